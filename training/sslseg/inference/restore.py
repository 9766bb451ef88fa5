"""From slabs of probabilities on the working grid to label and uncertainty on the grid of the scan.

Probabilities are interpolated and then compared, which keeps outlines smooth where the scan is finer than the
working grid. The two grids share their axes, so interpolation is linear along one axis after the other, and a
slice of the scan needs two slices of the working grid: nothing is ever held but one slab and the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sslseg.data.working_grid import AxisMap, WorkingGrid
from sslseg.inference.evidence import EvidenceCollector
from sslseg.inference.sliding_window import Slab

PERCENT = 100

_ALL = slice(None)


@dataclass(frozen=True)
class Restored:
    """Results on the grid of the scan, both `(z, y, x)` uint8 as SimpleITK orders arrays.

    Attributes:
        labels: declared values; background outside the body box.
        uncertainty: entropy of the mean softmax in % of the largest possible; 0 outside the body box.
    """

    labels: npt.NDArray[np.uint8]
    uncertainty: npt.NDArray[np.uint8]


def restore(
    slabs: Iterable[Slab],
    grid: WorkingGrid,
    values: npt.NDArray[np.uint8],
    evidence: EvidenceCollector | None = None,
) -> Restored:
    """Bring probabilities back to the grid of the scan.

    Args:
        slabs: all slices of the working grid in order, probabilities `(n, C, Y, X)`.
        grid: how the working grid lies in the scan.
        values: declared value of each class, `(C,)`.
        evidence: takes every slice of the working grid.
    """
    shape = grid.original.size[::-1]
    result = Restored(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    labels, uncertainty = (_in_box(array, grid) for array in (result.labels, result.uncertainty))
    z, y, x = (_Axis.of(axis, side) for axis, side in zip(grid.axis_maps, grid.shape, strict=True))
    plane: _Plane | None = None
    lower: _Slice | None = None
    for upper in _slices(slabs, evidence):
        plane = plane or _Plane(y, x, upper.entropy.device)
        # The only slice of a flat volume is its own neighbour.
        if lower is None and grid.shape[0] > 1:
            lower = upper
            continue
        lower = lower or upper
        rows = np.flatnonzero(z.before == lower.index)
        if rows.size:
            weight = torch.from_numpy(z.weight[rows]).to(upper.entropy.device)[:, None, None]
            classes, percent = plane.between(lower, upper, weight)
            labels[rows] = values[classes.cpu().numpy()]
            uncertainty[rows] = percent.cpu().numpy()
        lower = upper
    return result


def entropy_percent(probabilities: Tensor) -> Tensor:
    """Entropy `(Y, X)` of `probabilities (C, Y, X)` in % of that of C equally likely classes."""
    entropy = probabilities.clamp_min(1e-9).log_().mul_(probabilities).sum(0)
    return entropy.mul_(-PERCENT / math.log(len(probabilities))).clamp_(0, PERCENT)


@dataclass(frozen=True)
class _Axis:
    """Along an axis of the body box: the working voxels before and after each voxel, the latter's weight."""

    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    side: int

    @classmethod
    def of(cls, axis: AxisMap, side: int) -> _Axis:
        position = np.clip(axis.working(np.arange(axis.start, axis.stop)), 0, side - 1)
        before = np.minimum(position.astype(np.int64), max(side - 2, 0))
        return cls(before, np.minimum(before + 1, side - 1), (position - before).astype(np.float32), side)

    def matrix(self) -> Tensor:
        """`(voxels of the scan, working voxels)`: linear interpolation as a product."""
        matrix = np.zeros((len(self.weight), self.side), np.float32)
        rows = np.arange(len(self.weight))
        matrix[rows, self.after] = self.weight
        matrix[rows, self.before] += 1 - self.weight
        return torch.from_numpy(matrix)

    def reached_from(self, flags: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
        """Voxels of the scan that flagged working voxels contribute to, and all working voxels these need."""
        flagged = np.flatnonzero(flags)
        reached = np.flatnonzero((self.after >= flagged[0]) & (self.before <= flagged[-1]))
        if not reached.size:
            return slice(0), slice(0)
        # Voxels come in one run, because the mapping is a straight line; it may run backwards.
        scan = slice(int(reached[0]), int(reached[-1]) + 1)
        return scan, slice(int(self.before[scan].min()), int(self.after[scan].max()) + 1)


@dataclass(frozen=True)
class _Slice:
    """A slice of the working grid: `(C, Y, X)`, entropy `(Y, X)`, rows and columns a class may win in."""

    index: int
    probabilities: Tensor
    entropy: Tensor
    rows: npt.NDArray[np.bool_]
    columns: npt.NDArray[np.bool_]


def _slices(slabs: Iterable[Slab], evidence: EvidenceCollector | None) -> Iterator[_Slice]:
    for slab in slabs:
        for number, content in enumerate(slab.probabilities):
            # The winner has at least 1/C, and so has at least one of the voxels it was interpolated from.
            possible = content > 0.99 / len(content)
            rows, columns = possible.any(-1).cpu().numpy(), possible.any(-2).cpu().numpy()
            # The last slice is still needed when the slab is gone.
            kept = content.clone() if number + 1 == len(slab.probabilities) else content
            entropy = entropy_percent(content)
            if evidence is not None:
                differing = None if slab.disagreement is None else slab.disagreement[number]
                evidence.add(content, entropy / PERCENT, differing)
            yield _Slice(slab.start + number, kept, entropy, rows, columns)


class _Plane:
    """Interpolates between two slices of the working grid to slices of the scan."""

    def __init__(self, y: _Axis, x: _Axis, device: torch.device) -> None:
        self.y, self.x = y, x
        self._left, self._right = y.matrix().to(device), x.matrix().T.contiguous().to(device)

    def between(self, lower: _Slice, upper: _Slice, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Class and uncertainty `(n, Y, X)` uint8 at `weight (n, 1, 1)` of the way from `lower` to `upper`.

        Each organ is looked at only where it can win, which is a small part of most slices.
        """
        entropy = self._lerp(torch.stack((lower.entropy, upper.entropy)), weight)
        pair = torch.stack((lower.probabilities, upper.probabilities), dim=1)
        best = self._lerp(pair[0], weight)
        classes = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        rows, columns = lower.rows | upper.rows, lower.columns | upper.columns
        for index in range(1, len(pair)):
            if not rows[index].any():
                continue
            y, from_y = self.y.reached_from(rows[index])
            x, from_x = self.x.reached_from(columns[index])
            candidate = self._lerp(pair[index, :, from_y, from_x], weight, y, x, from_y, from_x)
            so_far = best[:, y, x]
            classes[:, y, x].masked_fill_(candidate > so_far, index)
            torch.maximum(so_far, candidate, out=so_far)
        return classes, entropy.round_().to(torch.uint8)

    def _lerp(
        self,
        pair: Tensor,
        weight: Tensor,
        y: slice = _ALL,
        x: slice = _ALL,
        from_y: slice = _ALL,
        from_x: slice = _ALL,
    ) -> Tensor:
        """From `pair (2, Y, X)` to `(n, Y, X)` of the scan."""
        lower, upper = self._left[y, from_y] @ pair @ self._right[from_x, x]
        return torch.lerp(lower, upper, weight)


def _in_box(array: npt.NDArray[np.uint8], grid: WorkingGrid) -> npt.NDArray[np.uint8]:
    """A view of the body box with the axes in the order of the working grid."""
    order = [axis.original_axis for axis in grid.axis_maps]
    return array.transpose(order)[tuple(slice(axis.start, axis.stop) for axis in grid.axis_maps)]

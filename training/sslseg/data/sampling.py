"""Which patches a training step sees: a pure function of (seed, step).

A step's patches do not depend on the steps before it, so a resumed run sees what an uninterrupted one would
have seen, and several worker processes can share the steps out among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import IGNORE
from sslseg.transforms.streams import numpy_stream

Size = tuple[int, int, int]

FOREGROUND_PROBABILITY = 2 / 3
SHIFT_LIMITS = (0.10, 0.30)
"""Smallest and largest in-plane shift of the second crop, as a share of the patch."""

_ENOUGH_CONTENT = 0.10
_TRIES = 4


class PatchSource(Protocol):
    """A preprocessed case, as the patch store gives it; axes are (z, y, x)."""

    @property
    def id(self) -> str: ...
    @property
    def shape(self) -> Size: ...
    @property
    def known(self) -> np.ndarray:
        """`(C,)` bool, which classes were annotated."""

    @property
    def foreground(self) -> Mapping[int, np.ndarray]:
        """Voxel coordinates `(n, 3)` of each organ class that occurs."""

    def read(self, start: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Image (int16) and label (uint8) of a box, which may reach outside: image 0, label 255 there."""


def shift_reach(patch_size: Size) -> Size:
    """The largest shift of the second crop along each axis, in voxels; none through-plane."""
    return 0, math.ceil(SHIFT_LIMITS[1] * patch_size[1]), math.ceil(SHIFT_LIMITS[1] * patch_size[2])


def default_margin(patch_size: Size) -> Size:
    """Voxels read around a patch, so that rotating it brings in anatomy and not emptiness."""
    return tuple(side // 8 for side in patch_size)  # type: ignore[return-value]


class PatchSampler:
    """Draws the raw patches of a step, as regions a little larger than the patch.

    The regions are what `Augmenter` takes: it rotates within the region and cuts the patch from its middle.

    ```
    sampler = PatchSampler(labelled, unlabelled, patch_size=(64, 64, 64), labelled_batch=2, seed=0)
    batch = augmenter(sampler.batch(step), step)
    ```

    A labelled patch holds, two times out of three, a voxel of an organ drawn uniformly from the organs of its
    case: so small organs are seen as often as large ones. The other patches lie anywhere, but not in air.
    """

    def __init__(
        self,
        labelled: Sequence[PatchSource],
        unlabelled: Sequence[PatchSource] = (),
        *,
        patch_size: Size,
        labelled_batch: int,
        unlabelled_batch: int = 0,
        seed: int,
        shifted_crop: bool = False,
        margin: Size | None = None,
    ) -> None:
        """
        Args:
            labelled: cases with a label.
            unlabelled: cases whose image alone is used; without any, those of the labelled cases are used.
            patch_size: voxels (z, y, x).
            labelled_batch: labelled patches in a step.
            unlabelled_batch: unlabelled patches in a step; 0 for methods that use none.
            seed: every draw follows from it and the step. Processes that train together need different ones.
            shifted_crop: make the unlabelled regions large enough for a second crop, and draw its shift.
            margin: voxels read around the patch on each side.

        Raises:
            SSLSegError: there is no labelled case.
        """
        if not labelled:
            raise SSLSegError(
                "No case of the cohort is annotated", remedy="Annotate at least one case and train again."
            )
        self.labelled = list(labelled)
        self.unlabelled = list(unlabelled) or self.labelled
        self.patch_size = patch_size
        self.labelled_batch = labelled_batch
        self.unlabelled_batch = unlabelled_batch
        self.seed = seed
        self.shifted_crop = shifted_crop
        self.margin = default_margin(patch_size) if margin is None else margin

    def batch(self, step: int) -> dict[str, Tensor]:
        """The patches of a step, on the CPU; M = patch + 2 margin, S = M + `shift_reach`.

        Returns:
            `image (L, 1, *M)` int16, `label (L, *M)` uint8, `known (L, C)` bool and, for an unlabelled batch,
            `unlabelled (U, 1, *M)` int16. With `shifted_crop`: `unlabelled (U, 1, *S)`, `shift (U, 3)` int64;
            the first crop starts in the region, margin taken off, at `max(0, -shift)`, the second at
            `max(0, shift)`.
        """
        drawn = [
            self._labelled_patch(numpy_stream(self.seed, step, f"labelled {i}"))
            for i in range(self.labelled_batch)
        ]
        batch = {
            "image": _stack([image for image, _, _ in drawn])[:, None],
            "label": _stack([label for _, label, _ in drawn]),
            "known": _stack([known for _, _, known in drawn]),
        }
        if self.unlabelled_batch:
            regions = [
                self._unlabelled_patch(numpy_stream(self.seed, step, f"unlabelled {i}"))
                for i in range(self.unlabelled_batch)
            ]
            batch["unlabelled"] = _stack([image for image, _ in regions])[:, None]
            if self.shifted_crop:
                batch["shift"] = _stack([shift for _, shift in regions])
        return batch

    def _labelled_patch(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        case = self.labelled[random.integers(len(self.labelled))]
        classes = [index for index in case.foreground if case.known[index]]
        if classes and random.random() < FOREGROUND_PROBABILITY:
            points = case.foreground[classes[random.integers(len(classes))]]
            start = self._start_around(points[random.integers(len(points))], case.shape, random)
            image, label = self._read(case, start, self.patch_size)
        else:
            image, label = self._anywhere(case, random, labelled=True)[1:]
        if label is None:
            raise ValueError(f"the case '{case.id}' has no label")
        return image, label, np.asarray(case.known, dtype=bool)

    def _unlabelled_patch(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        case = self.unlabelled[random.integers(len(self.unlabelled))]
        start, image, _ = self._anywhere(case, random, labelled=False)
        if not self.shifted_crop:
            return image, np.zeros(3, dtype=np.int64)
        shift = _draw_shift(start, self.patch_size, case.shape, random)
        box = tuple(p + r for p, r in zip(self.patch_size, shift_reach(self.patch_size), strict=True))
        return self._read(case, start + np.minimum(shift, 0), box)[0], shift

    def _anywhere(
        self, case: PatchSource, random: np.random.Generator, *, labelled: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Start, image and label of a uniformly placed patch; the first of a few with enough content."""
        best: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
        most = -1.0
        for _ in range(_TRIES):
            low, high = _start_limits(case.shape, self.patch_size)
            start = random.integers(low, high + 1)
            image, label = self._read(case, start, self.patch_size)
            content = self._content(image, label if labelled else None)
            if content > most:
                best, most = (start, image, label), content
            if content >= _ENOUGH_CONTENT:
                break
        assert best is not None
        return best

    def _content(self, image: np.ndarray, label: np.ndarray | None) -> float:
        """Share of the patch that is neither padding nor air; 0 when none of it was annotated."""
        inner = tuple(slice(m, m + p) for m, p in zip(self.margin, self.patch_size, strict=True))
        if label is not None and not (label[inner] != IGNORE).any():
            return 0.0
        return float(np.count_nonzero(image[inner])) / math.prod(self.patch_size)

    def _start_around(self, point: np.ndarray, shape: Size, random: np.random.Generator) -> np.ndarray:
        """Start of a patch that holds the point, up to a quarter of the patch off its middle."""
        patch = np.array(self.patch_size)
        reach = patch // 4
        centre = np.asarray(point, dtype=np.int64) + random.integers(-reach, reach + 1)
        low, high = _start_limits(shape, self.patch_size)
        return np.clip(centre - patch // 2, low, high)

    def _read(
        self, case: PatchSource, start: np.ndarray, size: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        margin = np.array(self.margin)
        return case.read(tuple((start - margin).tolist()), tuple((np.array(size) + 2 * margin).tolist()))


class PatchDataset(IterableDataset[dict[str, Tensor]]):
    """Steps `start .. start + steps - 1` of a sampler, in order, for `DataLoader(dataset, batch_size=None)`.

    Several workers take the steps in turn, and the loader asks them in turn, so the order is kept.
    """

    def __init__(self, sampler: PatchSampler, start: int, steps: int) -> None:
        self.sampler = sampler
        self.start = start
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for index in range(first, self.steps, stride):
            yield self.sampler.batch(self.start + index)


def _start_limits(shape: Size, patch_size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest start that stay inside; a volume smaller than the patch lies in its middle."""
    room = np.array(shape) - np.array(patch_size)
    centred = np.where(room < 0, room // 2, 0)
    return centred, np.where(room < 0, centred, room)


def _draw_shift(start: np.ndarray, patch_size: Size, shape: Size, random: np.random.Generator) -> np.ndarray:
    """A shift along an in-plane diagonal, clipped to the volume; 0 where there is no room at all."""
    low, high = _start_limits(shape, patch_size)
    for _ in range(2 * _TRIES):
        share = random.uniform(*SHIFT_LIMITS, size=2) * random.choice((-1, 1), size=2)
        wanted = np.array([0, *np.rint(share * patch_size[1:]).astype(np.int64)])
        shift = np.clip(start + wanted, low, high) - start
        if shift.any():
            return shift
    return np.zeros(3, dtype=np.int64)


def _stack(arrays: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))

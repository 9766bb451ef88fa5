"""How the grid of a scan and the plan's grid map onto each other.

The working grid has the axes of the scan, put in the order and sense of the patient (array axes z to the
head, y to the back, x to the left), so an oblique scan keeps its own axes and the mapping is a line per axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.data.body import Box
from sslseg.data.geometry import Geometry

_AXIS_OF_LETTER = {"L": 2, "R": 2, "P": 1, "A": 1, "S": 0, "I": 0}


@dataclass(frozen=True)
class AxisMap:
    """One axis: voxel `i` of the scan has its centre at `scale * i + offset` on the working grid.

    Attributes:
        original_axis: array axis of the scan that runs along it.
        scale: negative where the scan runs the other way.
        offset: in voxels of the working grid.
        start: first voxel of the scan inside the body box.
        stop: the one after the last.
    """

    original_axis: int
    scale: float
    offset: float
    start: int
    stop: int

    def working(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Working-grid coordinates of voxel indices of the scan."""
        return self.scale * np.asarray(index, dtype=np.float64) + self.offset

    def original(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scan coordinates of voxel indices of the working grid."""
        return (np.asarray(index, dtype=np.float64) - self.offset) / self.scale


@dataclass(frozen=True)
class WorkingGrid:
    """The plan's grid laid over the body box of one scan, centre on centre.

    Attributes:
        original: grid of the scan, in SimpleITK's order (x, y, z).
        box: the body box, in voxels of the scan and array order (z, y, x).
        spacing: of the working grid (z, y, x), mm.
    """

    original: Geometry
    box: Box
    spacing: tuple[float, float, float]

    @cached_property
    def axis_maps(self) -> tuple[AxisMap, AxisMap, AxisMap]:
        """The mapping along z, y and x of the working grid."""
        maps = []
        for axis, (original_axis, sense) in enumerate(canonical_axes(self.original)):
            start, stop = self.box[original_axis]
            scale = sense * self.original.spacing[2 - original_axis] / self.spacing[axis]
            centre = (start + stop - 1) / 2
            offset = (self._side(axis, original_axis) - 1) / 2 - scale * centre
            maps.append(AxisMap(original_axis, scale, offset, start, stop))
        z, y, x = maps
        return z, y, x

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the working grid (z, y, x)."""
        z, y, x = (
            self._side(axis, original) for axis, (original, _) in enumerate(canonical_axes(self.original))
        )
        return z, y, x

    def _side(self, axis: int, original_axis: int) -> int:
        start, stop = self.box[original_axis]
        return max(1, round((stop - start) * self.original.spacing[2 - original_axis] / self.spacing[axis]))


def canonical_axes(geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """For the patient's axes z, y, x: the array axis of the scan along it, and its sense (1 or -1)."""
    letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction)
    found = {
        _AXIS_OF_LETTER[letter]: (2 - i, 1 if letter in "LPS" else -1) for i, letter in enumerate(letters)
    }
    return found[0], found[1], found[2]


def spacing_along(geometry: Geometry) -> tuple[float, float, float]:
    """Spacing of the scan along the patient's z, y, x, mm."""
    z, y, x = (geometry.spacing[2 - axis] for axis, _ in canonical_axes(geometry))
    return z, y, x

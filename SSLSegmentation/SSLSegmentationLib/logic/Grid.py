"""Where the voxels of an image lie: as its file says, whatever happens to its node in the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from sslseg.contract.staging import StagedVolume


@dataclass(frozen=True)
class Grid:
    """A grid as SimpleITK has it, in LPS and mm.

    Attributes:
        size: voxels along i, j, k.
        spacing, origin: along the same axes, of the first voxel.
        direction: 3x3, row by row.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, staged: StagedVolume) -> Grid:
        return cls(staged.size, staged.spacing, staged.origin, staged.direction)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        i, j, k = self.size
        return k, j, i

    def toRas(self) -> np.ndarray:
        """The 4x4 matrix from voxel indices (i, j, k) to RAS, mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        matrix[:3, 3] = self.origin
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix

    def matrix(self) -> Any:
        """The same as a vtkMatrix4x4."""
        return slicer.util.vtkMatrixFromArray(self.toRas())

    def isThatOf(self, volumeNode: Any, tolerance: float = 1e-4) -> bool:
        """Whether a node of the scene has this grid: no corner is off by more than so many mm."""
        image = volumeNode.GetImageData()
        if image is None or tuple(image.GetDimensions()) != tuple(self.size):
            return False
        matrix = vtk.vtkMatrix4x4()
        volumeNode.GetIJKToRASMatrix(matrix)
        corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]).T
        corners[:3] *= np.array(self.size)[:, None] - 1.0
        difference = slicer.util.arrayFromVTKMatrix(matrix) - self.toRas()
        return bool(np.abs(difference @ corners).max() <= tolerance)

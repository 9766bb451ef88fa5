"""Where the voxels of a volume lie in the patient."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Grid of a volume, in the order of SimpleITK (x, y, z) and in LPS patient coordinates.

    Attributes:
        size: voxels along each axis.
        spacing: mm between neighbouring voxels along each axis.
        origin: mm, the centre of the first voxel.
        direction: 3x3 matrix, row by row; its columns are the axes.
    """

    size: tuple[int, int, int]
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @classmethod
    def from_matrix(cls, size: tuple[int, int, int], index_to_lps: npt.ArrayLike) -> Geometry:
        """From the 4x4 matrix that takes voxel indices (i, j, k) to LPS mm."""
        matrix = np.asarray(index_to_lps, dtype=np.float64)
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            direction = matrix[:3, :3] / spacing
        return cls(size, _triple(spacing), _triple(matrix[:3, 3]), tuple(direction.ravel().tolist()))

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The 4x4 matrix from voxel indices (i, j, k) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    def set_on(self, image: sitk.Image) -> None:
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)

    def mismatch(self, other: Geometry, tolerance_mm: float = 1e-4) -> str | None:
        """How this grid differs from `other` as a phrase for an error, or None if no voxel is off by more.

        The distance is that of the corners: a direction that is off by a hair matters far from the origin.
        """
        if self.size != other.size:
            return f"it has {_by(self.size)} voxels instead of {_by(other.size)}"
        corners = np.array(list(itertools.product(*((0, n - 1) for n in self.size), (1,)))).T
        distances = np.linalg.norm(((self.matrix - other.matrix) @ corners)[:3], axis=0)
        if not distances.max() > tolerance_mm:
            return None
        extent = np.array(self.size)
        if np.any(np.abs(np.subtract(self.spacing, other.spacing)) * extent > tolerance_mm):
            return f"its voxels are {_by(self.spacing)} mm instead of {_by(other.spacing)} mm"
        shift = float(np.linalg.norm(np.subtract(self.origin, other.origin)))
        if not np.allclose(self.direction, other.direction, atol=tolerance_mm / extent.max()):
            return f"its axes point elsewhere (corners up to {distances.max():.3g} mm apart)"
        return f"its origin lies {shift:.3g} mm away"

    def shares_lattice_with(self, other: Geometry, tolerance_voxels: float = 0.01) -> bool:
        """Whether the voxels of both coincide where they overlap: same axes, shifted by whole voxels."""
        between = np.linalg.inv(other.matrix) @ self.matrix
        turned = np.abs(between[:3, :3] - np.eye(3)) @ np.array(self.size)
        shift = between[:3, 3]
        return bool(
            (turned < tolerance_voxels).all() and (np.abs(shift - shift.round()) < tolerance_voxels).all()
        )


def orthonormal(direction: tuple[float, ...], tolerance: float = 1e-3) -> tuple[float, ...] | None:
    """The rotation (or reflection) nearest to `direction`, or None if the axes are sheared or undefined.

    Headers in single precision are off by up to about 1e-4. ITK's writers would silently turn the axes of
    such an image, and a label map written for it would no longer lie on it. Polar decomposition, Higham 1986.
    """
    matrix = np.reshape(direction, (3, 3))
    if not np.isfinite(matrix).all():
        return None
    if np.abs(matrix.T @ matrix - np.eye(3)).max() > tolerance:
        return None
    u, _, vt = np.linalg.svd(matrix)
    return tuple((u @ vt).ravel().tolist())


def _triple(values: npt.NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])


def _by(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)

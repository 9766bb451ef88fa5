"""What an image and a label map must fulfil before anything is computed from them.

A wrong volume must stop here: further on it would only show as a worse model.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import BACKGROUND, IGNORE
from sslseg.data.geometry import Geometry, orthonormal

LARGEST_INTENSITY = 1e12
"""Far above any scanner's values; beyond, sums of squares leave the range of single precision."""


def check_layout(size: Collection[int], components: int, complex_valued: bool, path: Path) -> None:
    """Refuse what is not one scalar per voxel of a three-dimensional grid.

    Raises:
        SSLSegError: 2D, 4D, a single slice, colour, vector or complex.
    """
    size = tuple(size)
    if complex_valued:
        raise SSLSegError(
            "The voxels are complex numbers", file=path, remedy="Save the magnitude image instead."
        )
    if components != 1:
        raise SSLSegError(
            f"Each voxel has {components} values (colour or vector), not one",
            file=path,
            remedy="Save one channel as a volume of its own.",
        )
    if len(size) > 3:
        raise SSLSegError(
            f"The image has {len(size)} dimensions, not 3",
            file=path,
            remedy="Save one time point or channel as a volume of its own.",
        )
    if len(size) < 3 or min(size) < 2:
        raise SSLSegError(
            f"The image is flat ({' x '.join(map(str, size))} voxels), not a volume",
            file=path,
            remedy="Give the whole volume, not one slice.",
        )


def checked_geometry(geometry: Geometry, path: Path) -> Geometry:
    """`geometry` with exactly orthonormal axes.

    Raises:
        SSLSegError: spacing, origin or axes are zero, not finite or sheared.
    """
    spacing = np.array(geometry.spacing)
    if not (np.isfinite(spacing).all() and (spacing > 1e-6).all() and np.isfinite(geometry.origin).all()):
        raise SSLSegError(
            f"The header places the voxels nowhere (spacing {geometry.spacing}, origin {geometry.origin})",
            file=path,
            remedy="Convert the original images again.",
        )
    direction = orthonormal(geometry.direction)
    if direction is None:
        raise SSLSegError(
            "The axes of the grid are sheared or undefined: they are not at right angles",
            file=path,
            remedy="Resample the volume onto a straight grid (in Slicer: Resample Scalar/Vector/DWI Volume).",
        )
    return Geometry(geometry.size, geometry.spacing, geometry.origin, direction)


def check_intensities(image: sitk.Image, path: Path) -> None:
    """Refuse NaN, Inf, absurd and constant intensities.

    Raises:
        SSLSegError: see above.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f":
        low, high = _finite_range(voxels, path)
        if max(-low, high) > LARGEST_INTENSITY:
            raise SSLSegError(
                f"The intensities reach {max(low, high, key=abs):.3g}, which no scanner measures",
                file=path,
                remedy="It was probably written with a wrong type, scale or byte order; convert it again.",
            )
    first = voxels[0, 0, 0]
    # Stops at the first slice that differs: all but free on a real image.
    if all((plane == first).all() for plane in voxels):
        raise SSLSegError(
            f"Every voxel has the value {first:g}: there is nothing to segment",
            file=path,
            remedy="Convert the original images again, or leave this case out.",
        )


def checked_label_map(image: sitk.Image, allowed: Collection[int] | None, path: Path) -> sitk.Image:
    """`image` as uint8, or uint16 where a value is above 255.

    Args:
        allowed: the declared values; 0 and 255 are always allowed. None allows any.

    Raises:
        SSLSegError: a value is negative, fractional, not finite, above 65535 or not declared.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f":
        low, high = _finite_range(voxels, path)
        if any((plane != np.rint(plane)).any() for plane in voxels):
            raise SSLSegError(
                "The label map holds fractional values",
                file=path,
                remedy="Save a label map with whole numbers; if it was resampled, use nearest neighbour.",
            )
    else:
        low, high = float(voxels.min()), float(voxels.max())
    if low < 0:
        raise SSLSegError(
            f"The label map holds the negative value {low:g}",
            file=path,
            remedy="Number the organs from 1; 0 is background.",
        )
    if high > np.iinfo(np.uint16).max:
        raise SSLSegError(
            f"The label map holds the value {high:g}",
            file=path,
            remedy="Is this an image instead of a label map? Organ values lie between 1 and 254.",
        )
    pixel_id = sitk.sitkUInt8 if high <= 255 else sitk.sitkUInt16
    labels = image if image.GetPixelID() == pixel_id else sitk.Cast(image, pixel_id)
    if allowed is not None:
        unknown = sorted(label_values(labels) - {*allowed, BACKGROUND, IGNORE})
        if unknown:
            declared = ", ".join(map(str, sorted(allowed)))
            listed = ", ".join(map(str, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            raise SSLSegError(
                f"The label map holds values that are not declared: {listed}",
                file=path,
                remedy=f"Declared are {declared}. Declare these organs too, or set their voxels to 0.",
            )
    return labels


def label_values(labels: sitk.Image) -> set[int]:
    """The values that occur in a label map of type uint8 or uint16, background included."""
    voxels = sitk.GetArrayViewFromImage(labels)
    if voxels.dtype != np.uint8:
        return {int(value) for value in np.unique(voxels)}
    found = b""
    for plane in voxels:
        # Deleting the bytes seen so far leaves next to nothing: four times as fast as counting.
        found += bytes(set(plane.tobytes().translate(None, found)))
    return set(found)


def _finite_range(voxels: npt.NDArray[np.floating], path: Path) -> tuple[float, float]:
    """Smallest and largest value; both carry a NaN or Inf along, so that no further pass is needed."""
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(sum(np.count_nonzero(~np.isfinite(plane)) for plane in voxels))
        raise SSLSegError(
            f"{bad} voxels are not numbers (NaN or infinite)",
            file=path,
            remedy="Replace them, for example by the value of air, or convert the original images again.",
        )
    return low, high

"""Small pictures of cases: an axial slice with its organs, for lists of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from sslseg.contract.labels import IGNORE, LabelTable
from sslseg.data.body import AIR_HU, mr_background, sample

SIDE = 64
"""Pixels along each side of a picture."""
SOFT_TISSUE_HU = (-160.0, 240.0)
FILLED = 0.4
"""How much of an organ's colour covers the voxels inside its outline."""

Array = npt.NDArray[Any]


def make_thumbnail(
    image: sitk.Image, label_map: sitk.Image | None, labels: LabelTable, *, side: int = SIDE
) -> Array:
    """An axial slice, (side, side, 4) red, green, blue, opacity; transparent beside the patient.

    It is the slice that shows as much as possible of as many organs as possible; without organs, the middle one.
    The patient's right is at the left, the front at the top.

    Args:
        image: the volume; its intensities are HU where they reach below -500.
        label_map: label map on the grid of the volume, or None.
        labels: values and colours of the organs.
        side: pixels along each side of the picture.
    """
    voxels = _axial(sitk.GetArrayViewFromImage(image), image)
    spacing = _axial_spacing(image)
    drawn = None if label_map is None else _axial(sitk.GetArrayViewFromImage(label_map), image)
    index = _telling_slice(drawn, voxels.shape[0])
    plane = voxels[index].astype(np.float32)
    if float(voxels.min()) <= AIR_HU:
        low, high = SOFT_TISSUE_HU
        body = plane > AIR_HU
    else:
        low, high = (float(v) for v in np.percentile(sample(voxels), (1, 99.5)))
        body = plane > mr_background(voxels)
    rows, columns = _patient(body)
    grey = np.clip((plane[rows, columns] - low) / max(high - low, 1e-6), 0, 1)
    picture = _resized(grey, spacing, sitk.sitkLinear, side)
    inside = _resized(np.ones_like(grey), spacing, sitk.sitkNearestNeighbor, side) > 0
    colour = np.repeat(picture[..., None] * 255, 3, axis=2)
    if drawn is not None:
        plane = drawn[index][rows, columns].astype(np.float32)
        organs = _resized(plane, spacing, sitk.sitkNearestNeighbor, side)
        _draw(colour, organs.round().astype(int), labels)
    opacity = np.where(inside, 255, 0)[..., None]
    return np.concatenate([colour, opacity], axis=2).round().clip(0, 255).astype(np.uint8)


def write_thumbnail(picture: Array, path: Path) -> None:
    """Write a picture (H, W, 4) as PNG, atomically.

    Raises:
        SSLSegError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(temporary))
        except RuntimeError as error:
            raise SSLSegError(
                "The picture cannot be written", file=path, remedy="Check that the disk has free space."
            ) from error


def _axial(voxels: Array, image: sitk.Image) -> Array:
    """A view of (k, j, i) voxels whose axes run up, back and left, as far as the grid's axes allow."""
    axes, signs = _orientation(image)
    turned = voxels.transpose([2 - axis for axis in reversed(axes)])
    return turned[tuple(slice(None, None, sign) for sign in reversed(signs))]


def _axial_spacing(image: sitk.Image) -> tuple[float, float]:
    """mm between the rows and between the columns of an axial slice."""
    axes, _ = _orientation(image)
    return image.GetSpacing()[axes[1]], image.GetSpacing()[axes[0]]


def _orientation(image: sitk.Image) -> tuple[list[int], list[int]]:
    """The index axis that is nearest to each of left, back and up, and whether it runs that way (1) or not (-1)."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    axes = [0, 0, 0]
    free, patient = {0, 1, 2}, {0, 1, 2}
    while free:
        row, column = max(((r, c) for r in patient for c in free), key=lambda rc: abs(direction[rc]))
        axes[row] = column
        patient.remove(row)
        free.remove(column)
    return axes, [1 if direction[row, axes[row]] >= 0 else -1 for row in range(3)]


def _telling_slice(drawn: Array | None, slices: int) -> int:
    """Every organ counts by the share of its own widest section: a large one does not outvote a small one."""
    score = np.zeros(slices)
    values = [] if drawn is None else [v for v in np.unique(drawn) if 0 < v < IGNORE]
    for value in values:
        area = np.count_nonzero(drawn == value, axis=(1, 2))
        score += area / area.max()
    return int(score.argmax()) if score.any() else slices // 2


def _patient(body: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns of a slice that hold the patient; all of them where it is not clear."""
    sides = []
    for axis in (0, 1):
        share = body.mean(axis=1 - axis)
        used = np.flatnonzero(share > 0.1 * share.max())
        whole = slice(0, body.shape[axis])
        clear = used.size and used[-1] - used[0] > 0.2 * body.shape[axis]
        sides.append(slice(max(int(used[0]) - 1, 0), int(used[-1]) + 2) if clear else whole)
    return sides[0], sides[1]


def _resized(plane: Array, spacing: tuple[float, float], interpolator: int, side: int) -> Array:
    """The slice in the middle of a square of `side` pixels, with square pixels."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(plane, dtype=np.float32))
    image.SetSpacing((spacing[1], spacing[0]))
    extent = [count * step for count, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    pixel = max(extent) / side
    if interpolator == sitk.sitkLinear:
        # Every voxel counts, not only the one next to the middle of a pixel.
        factors = [max(1, int(pixel / step)) for step in image.GetSpacing()]
        image = sitk.BinShrink(image, [min(f, n) for f, n in zip(factors, image.GetSize(), strict=True)])
    first = [-spacing[1] / 2, -spacing[0] / 2]
    grid = sitk.Image(side, side, sitk.sitkFloat32)
    grid.SetSpacing((pixel, pixel))
    grid.SetOrigin([f + e / 2 - pixel * (side - 1) / 2 for f, e in zip(first, extent, strict=True)])
    return sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), interpolator, 0.0))


def _draw(colour: Array, organs: npt.NDArray[np.int_], labels: LabelTable) -> None:
    """Fill organs faintly and outline them, in place."""
    for label in labels:
        mask = organs == label.value
        if not mask.any():
            continue
        around = np.pad(mask, 1)
        core = mask & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
        paint = np.array(label.color, dtype=np.float32)
        colour[mask] = (1 - FILLED) * colour[mask] + FILLED * paint
        colour[mask & ~core] = paint

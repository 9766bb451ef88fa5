"""A scan and its label map on the plan's grid, as the network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from scipy.sparse import csr_array

from sslseg.contract.cohort import Case
from sslseg.contract.errors import SSLSegError
from sslseg.data.annotation import ARRAY_AXIS, only_where_annotated
from sslseg.data.body import body_box
from sslseg.data.geometry import Geometry
from sslseg.data.plan import FULL_SCALE, Plan, class_lookup, known_classes
from sslseg.data.working_grid import AxisMap, WorkingGrid


@dataclass(frozen=True)
class Prepared:
    """A scan on the working grid.

    Attributes:
        array: (D, H, W) int16; 0 to 32767 stand for 0 to 1.
        grid: the way back to the scan.
    """

    array: npt.NDArray[np.int16]
    grid: WorkingGrid


def prepare_image(image: sitk.Image, plan: Plan) -> Prepared:
    """Crop to the body, turn to the patient's axes, resample linearly to the plan's spacing, map to [0, 1].

    Along an axis that gets coarser, the interpolation averages over the wider voxel, against aliasing.

    Args:
        image: scalar, three-dimensional, finite (as `read_volume` gives).
        plan: spacing, intensity mapping and modality.
    """
    original = Geometry.of(image)
    box = body_box(sitk.GetArrayViewFromImage(image), original.spacing[::-1], plan.modality)
    grid = WorkingGrid(original, box, plan.spacing)
    mapped = plan.intensity.apply(_resampled(image, grid))
    mapped *= FULL_SCALE
    return Prepared(np.rint(mapped, out=mapped).astype(np.int16), grid)


def prepare_label(
    label: sitk.Image, grid: WorkingGrid, plan: Plan, case: Case, *, file: Path | None = None
) -> npt.NDArray[np.uint8]:
    """Class indices (D, H, W) on the working grid, by nearest neighbour; 255 where nobody knows.

    Unknown are voxels of value 255, voxels drawn as an organ that the case does not list as annotated, and what
    `only_where_annotated` says of organs annotated on some slices. An annotated slice is never skipped.

    Args:
        label: uint8 with declared values only (as `read_label_map` gives), on the grid of the scan.
        grid: from `prepare_image`.
        plan: the labels.
        case: what was annotated.
        file: the label map, for messages.

    Raises:
        SSLSegError: the label map does not lie on its scan, or the case names slices that are not there.
    """
    difference = Geometry.of(label).mismatch(grid.original)
    if difference is not None:
        raise SSLSegError(
            f"The label map does not lie on its image: {difference}",
            file=file,
            remedy="Export it again with the image as reference volume.",
        )
    voxels = only_where_annotated(sitk.GetArrayViewFromImage(label), case, plan.labels, file=file)
    rows = [
        _nearest(axis_map, side, _annotated_slices(case, axis_map.original_axis))
        for side, axis_map in zip(grid.shape, grid.axis_maps, strict=True)
    ]
    classes = class_lookup(plan.labels, known_classes(plan.labels, case.annotated))
    return _looked_up(voxels.transpose([m.original_axis for m in grid.axis_maps]), rows, classes)


def _resampled(image: sitk.Image, grid: WorkingGrid) -> npt.NDArray[np.float32]:
    """One sparse matrix per axis; slice by slice, so that no copy of the whole scan is made."""
    z, y, x = (_interpolation(m, side) for m, side in zip(grid.axis_maps, grid.shape, strict=True))
    voxels = sitk.GetArrayViewFromImage(image).transpose([m.original_axis for m in grid.axis_maps])
    body = voxels[tuple(slice(m.start, m.stop) for m in grid.axis_maps)]
    planes = np.empty((len(body), *grid.shape[1:]), dtype=np.float32)
    for plane, voxel_plane in zip(planes, body, strict=True):
        rows = y @ np.ascontiguousarray(voxel_plane, dtype=np.float32)
        plane[:] = (x @ np.ascontiguousarray(rows.T)).T
    return (z @ planes.reshape(len(body), -1)).reshape(grid.shape)


def _interpolation(axis_map: AxisMap, side: int) -> csr_array:
    """(side, voxels in the box) linear weights; the tent is as wide as the wider of the two voxels."""
    exact = axis_map.original(np.arange(side))
    reach = max(1.0, 1 / abs(axis_map.scale))
    voxels = np.ceil(exact - reach).astype(np.int64)[:, None] + np.arange(int(2 * reach) + 1)
    weights = np.maximum(0, 1 - np.abs(voxels - exact[:, None]) / reach)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    # The outermost centres may lie outside the body box: its edge goes on for ever.
    columns = np.clip(voxels, axis_map.start, axis_map.stop - 1) - axis_map.start
    rows = np.repeat(np.arange(side), voxels.shape[1])
    matrix = csr_array(
        (weights.ravel(), (rows, columns.ravel())), shape=(side, axis_map.stop - axis_map.start)
    )
    matrix.eliminate_zeros()
    return matrix


def _nearest(axis_map: AxisMap, side: int, wanted: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    """Voxel of the scan for each of `side` working voxels; a `wanted` one where its centre lies inside."""
    exact = axis_map.original(np.arange(side))
    # A little to one side of the patient, so that a tie hangs neither on rounding nor on orientation.
    nearest = np.rint(exact + np.copysign(5e-4, axis_map.scale)).astype(np.int64)
    nearest = np.clip(nearest, axis_map.start, axis_map.stop - 1)
    if wanted is not None:
        home = np.rint(axis_map.working(wanted)).astype(np.int64)
        inside = (home >= 0) & (home < side)
        for working, voxel in zip(home[inside], wanted[inside], strict=True):
            closer = abs(exact[working] - voxel) < abs(exact[working] - nearest[working])
            if closer or nearest[working] not in wanted:
                nearest[working] = voxel
    return nearest


def _looked_up(
    voxels: npt.NDArray[np.uint8], rows: list[npt.NDArray[np.int64]], classes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """`classes[voxels[np.ix_(*rows)]]`, twice as fast."""
    planes, lines, columns = rows
    prepared = np.empty([len(row) for row in rows], dtype=np.uint8)
    for plane, number in zip(prepared, planes, strict=True):
        plane[:] = np.take(classes, voxels[number][lines][:, columns])
    return prepared


def _annotated_slices(case: Case, axis: int) -> npt.NDArray[np.int64] | None:
    """The slices along an array axis on which some organ was annotated; None where that is not asked of this axis."""
    indices = {
        i for slices in case.slices.values() if ARRAY_AXIS[slices.axis] == axis for i in slices.indices
    }
    return np.array(sorted(indices), dtype=np.int64) if indices else None

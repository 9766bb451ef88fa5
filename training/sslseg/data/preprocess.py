"""A scan and its label map on the plan's grid, as the network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.cohort import AnnotatedSlices, Case
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import IGNORE
from sslseg.data.body import body_box
from sslseg.data.geometry import Geometry
from sslseg.data.plan import FULL_SCALE, Plan, class_lookup, known_classes
from sslseg.data.working_grid import AxisMap, WorkingGrid

_ARRAY_AXIS = {"i": 2, "j": 1, "k": 0}


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

    An axis that gets at least twice as coarse is averaged in whole bins first, against aliasing.

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

    Unknown are voxels of value 255, voxels drawn as an organ that the case does not list as annotated, and,
    where only some slices were annotated, all others. An annotated slice is never skipped.

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
    voxels = sitk.GetArrayViewFromImage(label)
    drawn = None if case.slices is None else _checked_slices(case.slices, voxels.shape, file)
    rows = []
    for side, axis_map in zip(grid.shape, grid.axis_maps, strict=True):
        wanted = drawn[1] if drawn is not None and drawn[0] == axis_map.original_axis else None
        rows.append(_nearest(axis_map, side, wanted))
    order = [axis_map.original_axis for axis_map in grid.axis_maps]
    classes = class_lookup(plan.labels, known_classes(plan.labels, case.annotated))
    prepared = classes[voxels.transpose(order)[np.ix_(*rows)]]
    if drawn is not None:
        axis = order.index(drawn[0])
        unknown = [slice(None)] * 3
        unknown[axis] = np.flatnonzero(~np.isin(rows[axis], drawn[1]))  # type: ignore[call-overload]
        prepared[tuple(unknown)] = IGNORE
    return prepared


def _resampled(image: sitk.Image, grid: WorkingGrid) -> npt.NDArray[np.float32]:
    starts = [start for start, _ in reversed(grid.box)]
    sizes = [stop - start for start, stop in reversed(grid.box)]
    body = sitk.RegionOfInterest(image, sizes, starts)
    bins = [1, 1, 1]
    for axis_map in grid.axis_maps:
        bins[2 - axis_map.original_axis] = max(1, int(1 / abs(axis_map.scale) + 1e-6))
    if max(bins) > 1:
        body = sitk.BinShrink(sitk.Cast(body, sitk.sitkFloat32), bins)
    target = grid.geometry
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.size)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(target.origin)
    resampler.SetOutputDirection(target.direction)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    # The outermost centres may lie up to one voxel outside the body box.
    resampler.UseNearestNeighborExtrapolatorOn()
    resampled = resampler.Execute(body)
    return sitk.GetArrayFromImage(resampled)


def _nearest(axis_map: AxisMap, side: int, wanted: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    """Voxel of the scan for each of `side` working voxels; a `wanted` one where its centre lies inside."""
    exact = axis_map.original(np.arange(side))
    # Half a thousandth aside, so that a tie does not hang on the last bit.
    nearest = np.clip(np.rint(exact + 5e-4).astype(np.int64), axis_map.start, axis_map.stop - 1)
    if wanted is not None:
        home = np.rint(axis_map.working(wanted)).astype(np.int64)
        inside = (home >= 0) & (home < side)
        for working, voxel in zip(home[inside], wanted[inside], strict=True):
            closer = abs(exact[working] - voxel) < abs(exact[working] - nearest[working])
            if closer or nearest[working] not in wanted:
                nearest[working] = voxel
    return nearest


def _checked_slices(
    slices: AnnotatedSlices, shape: tuple[int, ...], file: Path | None
) -> tuple[int, npt.NDArray[np.int64]]:
    axis = _ARRAY_AXIS[slices.axis]
    outside = [index for index in slices.indices if not 0 <= index < shape[axis]]
    if outside or not slices.indices:
        raise SSLSegError(
            f"The case names slice {outside[0]} of {shape[axis]}" if outside else "The case names no slice",
            file=file,
            remedy=f"Give slices 0 to {shape[axis] - 1} along axis {slices.axis}.",
        )
    return axis, np.array(sorted(set(slices.indices)), dtype=np.int64)

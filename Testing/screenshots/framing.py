"""Which slices are shown, and how much of them: those with the most organs, filled by the body."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from scipy import ndimage

AXES = {"Red": 2, "Green": 1, "Yellow": 0}
"""Across which axis of the patient (R, A, S) the slices of a view lie."""
MARGIN = 1.12
DARK = 0.02
"""Share of the window below which a voxel counts as air."""


def show_organs(volume: Any, segmentation: Any) -> None:
    """Let each slice view show the slice that cuts the most organs, and of those the one that cuts the most of them.

    Args:
        volume: node of a scan whose axes are those of the patient.
        segmentation: node of the organs in it.
    """
    ids = list(segmentation.GetSegmentation().GetSegmentIDs())
    organs = [slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, name, volume) > 0 for name in ids]
    for view, axis in AXES.items():
        along, step, start = _axis(volume, axis)
        others = tuple(index for index in range(3) if index != along)
        areas = np.array([organ.sum(others) for organ in organs], float)
        # Each organ counts as a share of its largest section: a large one does not outweigh the others.
        shares = areas / np.maximum(areas.max(1, keepdims=True), 1)
        best = int(np.argmax((shares > 0).sum(0) * 10 + shares.sum(0)))
        _node(view).SetSliceOffset(start + step * best)


def fill_views(volume: Any, size: tuple[int, int]) -> None:
    """Zoom each slice view to what is not air on the slice it shows.

    Args:
        volume: node of a scan whose axes are those of the patient.
        size: width and height of each view, pixels.
    """
    voxels = slicer.util.arrayFromVolume(volume)
    display = volume.GetDisplayNode()
    lowest = display.GetWindowLevelMin() + DARK * display.GetWindow()
    for view, axis in AXES.items():
        node = _node(view)
        along, step, start = _axis(volume, axis)
        index = int(np.clip(round((node.GetSliceOffset() - start) / step), 0, voxels.shape[along] - 1))
        low, high = _extent(volume, _largest(np.take(voxels, [index], axis=along) > lowest))
        middle, lengths = (low + high) / 2, (high - low) * MARGIN
        across, up = (lengths[other] for other in range(3) if other != axis)
        scale = max(across / size[0], up / size[1])
        node.SetDimensions(*size, 1)
        node.SetFieldOfView(size[0] * scale, size[1] * scale, node.GetFieldOfView()[2])
        node.SetXYZOrigin(0, 0, 0)
        middle[axis] = node.GetSliceOffset()
        node.JumpSliceByCentering(*middle)


def _largest(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest part of a mask that hangs together, such as the body without the couch; all of it if it is empty."""
    parts, count = ndimage.label(mask)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:]) if count else np.ones_like(mask)


def _extent(volume: Any, mask: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Lowest and highest coordinate (R, A, S; mm) of the voxels of a mask."""
    low, high = np.zeros(3), np.zeros(3)
    for axis in range(3):
        along, step, start = _axis(volume, axis)
        others = tuple(index for index in range(3) if index != along)
        found = np.flatnonzero(mask.any(others))
        ends = start + step * np.array([found[0], found[-1]])
        low[axis], high[axis] = ends.min(), ends.max()
    return low, high


def _axis(volume: Any, axis: int) -> tuple[int, float, float]:
    """Of a patient axis: the array's axis along it, mm from voxel to voxel, mm of the first voxel."""
    ijk_to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(ijk_to_ras)
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras)
    column = int(np.argmax(np.abs(matrix[axis, :3])))
    return 2 - column, float(matrix[axis, column]), float(matrix[axis, 3])


def _node(view: str) -> Any:
    return slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode()

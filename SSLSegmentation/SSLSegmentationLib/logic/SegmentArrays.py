"""The voxels of one segment, quickly: its part of the label map that Slicer shares between segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

MARGIN = 2
"""Voxels that are kept around a segment, so that its surface is closed."""


@dataclass(frozen=True)
class SegmentVoxels:
    """A box around a segment.

    Attributes:
        labels: (D, H, W), a view into the segmentation's own array.
        value: of the segment's voxels in it.
        first: index (i, j, k) of the box's first voxel.
        toWorld: (4, 4), from index (i, j, k) to millimetres, right-anterior-superior.
    """

    labels: np.ndarray[Any, Any]
    value: int
    first: tuple[int, int, int]
    toWorld: np.ndarray[Any, Any]


def segmentVoxels(segmentationNode: Any, segmentId: str, *, stride: int = 4) -> SegmentVoxels | None:
    """The box around a segment, or None if the segment is gone or empty.

    Every `stride`-th voxel of the whole array is looked at: that finds a segment of any size in milliseconds, unless
    it is thinner than the stride throughout; then every voxel is.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    image = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId) if segment else None
    if image is None or image.IsEmpty():
        return None
    extent = image.GetExtent()
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentationNode, segmentId)
    value = segment.GetLabelValue()
    box = _box(array, value, stride) or _box(array, value, 1)
    if box is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    first = tuple(extent[2 * axis] + box[2 - axis].start for axis in range(3))
    return SegmentVoxels(array[box], value, first, slicer.util.arrayFromVTKMatrix(matrix))


def _box(array: np.ndarray[Any, Any], value: int, stride: int) -> tuple[slice, slice, slice] | None:
    found = array[::stride, ::stride, ::stride] == value
    box = []
    for axis in range(3):
        hits = np.flatnonzero(found.any(axis=tuple(other for other in range(3) if other != axis)))
        if not hits.size:
            return None
        # Between two voxels that were looked at the segment may reach up to the next one.
        first = (int(hits[0]) - 1) * stride + 1 - MARGIN
        last = (int(hits[-1]) + 1) * stride + MARGIN
        box.append(slice(max(0, first), min(array.shape[axis], last)))
    return box[0], box[1], box[2]

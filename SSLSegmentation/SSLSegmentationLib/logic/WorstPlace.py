"""Where in an organ the model is least sure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer
import vtk

from SSLSegmentationLib.logic.SegmentArrays import segmentVoxels

MOST_VOXELS = 400_000
"""Of an organ in a larger box, only every second, third… voxel is looked at."""
BLOCK_MM = 12.0
"""Edge of the cubes whose uncertainty is summed: a place to look at, not a single voxel of a border."""


def worstPlace(
    segmentationNode: Any, segmentId: str, uncertaintyNode: Any
) -> tuple[float, float, float] | None:
    """The middle of the most uncertain part of a segment, in millimetres (right, anterior, superior).

    Every border is uncertain at its outermost voxels; a place is worth a look where much uncertainty lies together.
    The organ is cut into cubes, and the one with the largest sum is taken.

    Returns:
        None if the segment is empty or the uncertainty is zero throughout.
    """
    voxels = segmentVoxels(segmentationNode, segmentId)
    if voxels is None or uncertaintyNode is None or uncertaintyNode.GetImageData() is None:
        return None
    step = max(1, math.ceil((voxels.labels.size / MOST_VOXELS) ** (1 / 3)))
    where = np.argwhere(voxels.labels[::step, ::step, ::step] == voxels.value)
    index = where[:, ::-1] * step + np.array(voxels.first)
    world = index @ voxels.toWorld[:3, :3].T + voxels.toWorld[:3, 3]
    weight = _sample(uncertaintyNode, world)
    if not weight.any():
        return None
    block = np.floor(world / BLOCK_MM).astype(np.int64)
    block -= block.min(axis=0)
    key = np.ravel_multi_index(tuple(block.T), tuple(block.max(axis=0) + 1))
    worst = key == np.bincount(key, weights=weight).argmax()
    middle = np.average(world[worst], axis=0, weights=weight[worst])
    nearest = world[worst][np.argmin(((world[worst] - middle) ** 2).sum(axis=1))]  # inside the organ
    return float(nearest[0]), float(nearest[1]), float(nearest[2])


def _sample(volumeNode: Any, world: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Values (N,) of a volume at places (N, 3), by nearest neighbour; 0 outside."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetRASToIJKMatrix(matrix)
    toIndex = slicer.util.arrayFromVTKMatrix(matrix)
    array = slicer.util.arrayFromVolume(volumeNode)
    index = np.rint(world @ toIndex[:3, :3].T + toIndex[:3, 3]).astype(np.int64)[:, ::-1]
    inside = ((index >= 0) & (index < array.shape)).all(axis=1)
    values = np.zeros(len(world))
    values[inside] = array[tuple(index[inside].T)]
    return values

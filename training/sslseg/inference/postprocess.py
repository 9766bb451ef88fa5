"""Removing scattered pieces of a predicted organ, and filling its holes.

Each organ is looked at in its own bounding box, so that the memory needed beside the label map is at most seven bytes a
voxel of the largest box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sslseg.contract.postprocess import OrganRule

Mask = npt.NDArray[np.bool_]


def postprocess(labels: npt.NDArray[Any], rules: Sequence[OrganRule], voxel_ml: float) -> None:
    """Change a label map (D, H, W) in place as the rules say.

    What is removed becomes background; only background becomes part of an organ, never another organ.

    Args:
        labels: integers.
        rules: for some of its organs.
        voxel_ml: volume of a voxel.
    """
    boxes = ndimage.find_objects(labels)
    for rule in rules:
        box = boxes[rule.value - 1] if rule.value <= len(boxes) else None
        if box is None:
            continue
        region = labels[box]
        mask = region == rule.value
        if rule.largest_only or rule.smallest_ml > 0:
            mask = _without_pieces(mask, rule, voxel_ml)
            region[(region == rule.value) & ~mask] = 0
        if rule.fill_holes:
            _fill_holes(region, mask, rule.value)


def components(mask: Mask) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Components of a mask (26 neighbours): their numbers from 1, 0 elsewhere; the voxels of each number, 0 of 0."""
    # In a box without a margin cc3d reserves too few labels for thin organs, and gives up.
    numbers = cc3d.connected_components(np.pad(mask, 1), connectivity=26)
    sizes = cc3d.statistics(numbers, no_slice_conversion=True)["voxel_counts"].astype(np.int64)
    sizes[0] = 0
    return numbers[1:-1, 1:-1, 1:-1], sizes


def holes(mask: Mask) -> Mask:
    """Voxels outside the mask from which no path (6 neighbours) leads out of its array."""
    numbers, count = cc3d.connected_components(~mask, connectivity=6, return_N=True)
    closed = np.ones(count + 1, bool)
    closed[0] = False
    for axis in range(mask.ndim):
        for face in (0, -1):
            closed[numbers.take(face, axis=axis)] = False
    return closed[numbers]


def _without_pieces(mask: Mask, rule: OrganRule, voxel_ml: float) -> Mask:
    numbers, sizes = components(mask)
    if rule.largest_only:
        return numbers == sizes.argmax()
    kept = sizes * voxel_ml >= rule.smallest_ml
    kept[0] = False
    return kept[numbers]


def _fill_holes(region: npt.NDArray[Any], mask: Mask, value: int) -> None:
    """Fill within the organ's own box: nothing outside of it is enclosed."""
    for box in ndimage.find_objects(mask.view(np.uint8)):
        inside = region[box]
        inside[holes(mask[box]) & (inside == 0)] = value

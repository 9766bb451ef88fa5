"""Where the patient is in a volume: what lies outside need not be stored, trained on or predicted."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First voxel and the one after the last, for each array axis."""

AIR_HU = -500.0
MARGIN_MM = 10.0
SMALLEST_SHARE = 0.02
"""A box of less than this share of the volume is no patient; the whole volume is kept then."""

_SAMPLE = 1_000_000


def body_box(
    volume: npt.NDArray[Any], spacing: tuple[float, float, float], modality: Literal["CT", "MR"]
) -> Box:
    """The box around the patient with a margin of 10 mm.

    A plane belongs to the body when a thousandth of its voxels is above air, so that specks of noise do not
    count. Air ends at -500 HU in CT and at `mr_background` in MR. The whole volume is returned where the box
    would be implausibly small.

    Args:
        volume: (D, H, W) intensities.
        spacing: mm along the same axes.
        modality: CT or MR.
    """
    whole: Box = ((0, volume.shape[0]), (0, volume.shape[1]), (0, volume.shape[2]))
    steps = [2 if side > 128 else 1 for side in volume.shape]
    coarse = volume[:: steps[0], :: steps[1], :: steps[2]]
    body = coarse > (AIR_HU if modality == "CT" else mr_background(volume))
    sides = []
    for axis, (size, step, mm) in enumerate(zip(volume.shape, steps, spacing, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(body.mean(axis=others, dtype=np.float32) > 0.001)
        if not planes.size:
            return whole
        margin = int(np.ceil(MARGIN_MM / mm))
        sides.append(
            (max(0, int(planes[0]) * step - margin), min(size, (int(planes[-1]) + 1) * step + margin))
        )
    z, y, x = sides
    if np.prod([stop - start for start, stop in sides]) < SMALLEST_SHARE * volume.size:
        return whole
    return z, y, x


def mr_background(volume: npt.NDArray[Any]) -> float:
    """Intensity up to which an MR voxel counts as air: 5 % of the way to the 99.5th percentile."""
    voxels = sample(volume)
    low = float(voxels.min())
    return low + 0.05 * (float(np.percentile(voxels, 99.5)) - low)


def sample(volume: npt.NDArray[Any], most: int = _SAMPLE) -> npt.NDArray[Any]:
    """Up to about `most` voxels, evenly spread: enough for a percentile, forty times faster than all."""
    step = max(1, volume.size // most)
    # An even stride would hit the same columns of every row.
    return volume.ravel()[:: step + (step > 1 and step % 2 == 0)]

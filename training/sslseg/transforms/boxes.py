"""Boxes in patches, and mixing two batches inside and outside of them (CutMix, Yun 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sslseg.transforms.streams import to_device, uniform

VOLUME_LIMITS = (0.02, 0.4)
ASPECT_LIMITS = (0.3, 1 / 0.3)


def cuboid_mask(
    count: int,
    size: Sequence[int],
    generator: torch.Generator,
    device: torch.device,
    *,
    volume: tuple[float, float] = VOLUME_LIMITS,
    aspect: tuple[float, float] = ASPECT_LIMITS,
) -> Tensor:
    """`(count, D, H, W)` bool, true in one random cuboid per sample.

    Args:
        count: samples B.
        size: voxels (z, y, x) of a patch.
        generator: a CPU generator that everything is drawn from.
        device: where the mask is wanted.
        volume: limits of the cuboid's share of the patch.
        aspect: limits of the ratio of any two of its sides, each measured in sides of the patch.
    """
    return box_mask(*random_cuboids(count, size, generator, volume=volume, aspect=aspect), size, device)


def random_cuboids(
    count: int,
    size: Sequence[int],
    generator: torch.Generator,
    *,
    volume: tuple[float, float] = VOLUME_LIMITS,
    aspect: tuple[float, float] = ASPECT_LIMITS,
) -> tuple[Tensor, Tensor]:
    """First voxels and voxels after the last, `(count, 3)` int64 each, on the CPU; see `cuboid_mask`."""
    voxels = torch.tensor(size)
    share = uniform(count, volume, generator)
    low, high = (math.log(limit) / 2 for limit in aspect)
    # The logarithm of a side is that of a cube of this volume plus a deviation; the deviations add up to 0.
    # An axis of a single voxel cannot be cut, so the others make the volume.
    free = (voxels > 1).float()
    axes = free.sum().clamp_min(1)
    deviation = (torch.rand(count, 3, generator=generator) * (high - low) + low) * free
    deviation = (deviation - deviation.sum(1, keepdim=True) / axes) * free
    cube = share.log()[:, None] / axes * free
    # A side that would leave the patch pulls all three towards the cube: the volume stays what was drawn.
    largest = deviation.amax(1, keepdim=True).clamp_min(1e-6)
    deviation = deviation * (-cube.amin(1, keepdim=True) / largest).clamp(max=1.0)
    sides = ((cube + deviation).exp() * voxels).round().long().clamp_min(1).minimum(voxels)
    first = (torch.rand(count, 3, generator=generator) * (voxels - sides + 1)).long()
    return first, first + sides


def box_mask(first: Tensor, stop: Tensor, size: Sequence[int], device: torch.device) -> Tensor:
    """`(B, D, H, W)` bool, true where `first <= voxel < stop`; both are `(B, 3)` CPU tensors."""
    inside = []
    for axis, side in enumerate(size):
        index = torch.arange(side)
        along = (index >= first[:, axis, None]) & (index < stop[:, axis, None])
        shape = [len(first), 1, 1, 1]
        shape[axis + 1] = side
        inside.append(to_device(along, device).view(shape))
    return inside[0] & inside[1] & inside[2]


def mix(outside: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
    """`inside` where the mask is true, `outside` elsewhere.

    Args:
        outside: `(B, D, H, W)` or `(B, C, D, H, W)`: images, labels, masks.
        inside: the same shape.
        mask: `(B, D, H, W)` bool.
    """
    return torch.where(mask if outside.dim() == mask.dim() else mask.unsqueeze(1), inside, outside)

"""Rotation, scaling, flips and crops of batches of patches; axes are (z, y, x)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslseg.contract.labels import IGNORE
from sslseg.transforms.streams import to_device


def rotation_and_zoom(axis: Tensor, angle: Tensor, zoom: Tensor, spacing: Sequence[float]) -> Tensor:
    """Matrices that take a voxel offset from the centre of the result to one in the source.

    The rotation happens in millimetres: voxels of unequal sides keep the anatomy's angles.

    Args:
        axis: `(B, 3)` unit vectors (z, y, x).
        angle: `(B,)` radians.
        zoom: `(B,)` magnification; above 1 the anatomy grows.
        spacing: voxel sides (z, y, x) in mm.

    Returns:
        `(B, 3, 3)`.
    """
    z, y, x = axis.unbind(dim=1)
    zero = torch.zeros_like(z)
    cross = torch.stack([zero, -x, y, x, zero, -z, -y, z, zero], dim=1).reshape(-1, 3, 3)
    sine, cosine = torch.sin(angle)[:, None, None], torch.cos(angle)[:, None, None]
    # Rodrigues' rotation formula.
    rotation = torch.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    scale = torch.tensor(spacing, dtype=rotation.dtype)
    return rotation * scale[None, None, :] / scale[None, :, None] / zoom[:, None, None]


def sampling_grid(
    matrix: Tensor, source_size: Sequence[int], size: Sequence[int], device: torch.device
) -> Tensor:
    """The `(B, *size, 3)` grid for `warp`, of a result that lies centrally in the source.

    Args:
        matrix: `(B, 3, 3)` on the CPU, as `rotation_and_zoom` gives it.
        source_size: voxels (z, y, x) of the source.
        size: voxels (z, y, x) of the result.
        device: where the grid is wanted.
    """
    to_offset = torch.tensor(size, dtype=matrix.dtype) / 2
    to_unit = 2 / torch.tensor(source_size, dtype=matrix.dtype)
    unit = matrix * to_offset[None, None, :] * to_unit[None, :, None]
    # grid_sample counts its axes from the fastest: (x, y, z), and wants a translation, here none.
    theta = F.pad(unit.flip(1, 2), (0, 1))
    return F.affine_grid(to_device(theta, device), [len(matrix), 1, *size], align_corners=False)


def warp(image: Tensor, grid: Tensor) -> Tensor:
    """Trilinear values of `image (B, C, ...)` at the grid; 0 outside."""
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def warp_label(label: Tensor, grid: Tensor) -> Tensor:
    """Nearest values of `label (B, D, H, W)` at the grid; 255 (ignore) outside."""
    # grid_sample can only fill with 0, so the value to fill with is moved there.
    shifted = label[:, None].to(grid.dtype) - IGNORE
    sampled = F.grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (sampled[:, 0] + IGNORE).to(label.dtype)


def flip_samples(volume: Tensor, flips: Tensor) -> Tensor:
    """Flip each sample of `volume (B, ..., D, H, W)` along the axes set in `flips (B, 3)`, a CPU tensor."""
    if not bool(flips.any()):
        return volume
    axes = [[axis - 3 for axis in range(3) if row[axis]] for row in flips.tolist()]
    return torch.stack([sample.flip(which) for sample, which in zip(volume, axes, strict=True)])


def crop_centre(volume: Tensor, size: Sequence[int]) -> Tensor:
    """The central `size` of the last three axes, as a view."""
    for axis, side in zip((-3, -2, -1), size, strict=True):
        volume = volume.narrow(axis, (volume.shape[axis] - side) // 2, side)
    return volume


def crop_samples(volume: Tensor, starts: Tensor, size: Sequence[int]) -> Tensor:
    """Crop each sample of `volume (B, ..., D, H, W)` at its row of `starts (B, 3)`, a CPU tensor."""
    boxes = [
        [slice(first, first + side) for first, side in zip(s, size, strict=True)] for s in starts.tolist()
    ]
    return torch.stack([sample[(..., *box)] for sample, box in zip(volume, boxes, strict=True)])

"""From the raw regions of a step to the patches a method trains on, on the training device.

The parameters are drawn on the CPU from (seed, step) and sent to the device; the CPU never waits for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sslseg.data.plan import FULL_SCALE
from sslseg.data.sampling import Size, shift_reach
from sslseg.transforms import geometry
from sslseg.transforms.intensity import WEAK, IntensityJitter, jitter
from sslseg.transforms.streams import chosen, to_device, torch_stream, uniform

ANISOTROPY_LIMIT = 3.0
"""With slices so much thicker than the pixels, or so few, patches are rotated within the slices only."""

WARP_PROBABILITY = 0.4
"""Share of the patches that are rotated and zoomed; the others are spared the interpolation."""
LARGEST_ANGLE = math.radians(15)
ZOOM_LIMITS = (0.85, 1.2)
FLIP_PROBABILITY = 0.5

Strength = Literal["none", "standard"]


@dataclass(frozen=True)
class _Placement:
    """How the samples of a batch are placed; all on the CPU.

    Attributes:
        warped: indices of the samples that are rotated and zoomed.
        matrix: `(len(warped), 3, 3)`.
        flips: `(B, 3)` bool.
    """

    warped: Tensor
    matrix: Tensor
    flips: Tensor


class Augmenter:
    """Turns `PatchSampler.batch(step)` into the training batch.

    ```
    augmenter = Augmenter(patch_size=(64, 64, 64), spacing=(3.0, 1.5, 1.5), mirror_axes=(0, 1), seed=0)
    batch = augmenter(sampler.batch(step), step)
    ```

    Every patch may be rotated and zoomed, flipped along the mirror axes and changed in intensity. What lies
    outside the region becomes 0 in the image and 255 (ignore) in the label. Where a second crop is asked for,
    the region that holds both is changed first and then cropped twice, so both show the same anatomy.
    """

    def __init__(
        self,
        *,
        patch_size: Size,
        spacing: tuple[float, float, float],
        mirror_axes: tuple[int, ...],
        seed: int,
        device: torch.device | str = "cpu",
        strength: Strength = "standard",
    ) -> None:
        """
        Args:
            patch_size: voxels (z, y, x) of what comes out.
            spacing: voxel sides (z, y, x) in mm.
            mirror_axes: axes (0 is z) along which anatomy may be flipped.
            seed: every draw follows from it and the step.
            device: where the batch is wanted.
            strength: none only cuts the patches out.
        """
        self.patch_size = patch_size
        self.spacing = spacing
        self.mirror_axes = mirror_axes
        self.seed = seed
        self.device = torch.device(device)
        active = strength == "standard"
        self.warp_probability = WARP_PROBABILITY if active else 0.0
        self.flip_probability = FLIP_PROBABILITY if active else 0.0
        self.intensity: IntensityJitter | None = WEAK if active else None
        self.rotation_axis = _only_rotation_axis(patch_size, spacing)

    def __call__(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """The training batch of a step.

        Args:
            batch: what the sampler gave, on the CPU (pinned memory is copied without waiting).
            step: the step it was drawn for.

        Returns:
            On the device: `image (L, 1, D, H, W)` float32 in [0, 1], `label (L, D, H, W)` int64,
            `known (L, C)` bool and where given `unlabelled (U, 1, D, H, W)`, and for a second crop
            `shifted (U, 1, D, H, W)`, `shift (U, 3)` int64: `shifted[v] = unlabelled[v + shift]`.
        """
        placement = self._place(len(batch["image"]), step, "labelled")
        image, label = self._geometry(batch["image"], batch["label"], self.patch_size, placement)
        assert label is not None
        result = {
            "image": self._intensity(image, step, "labelled"),
            "label": label.long(),
            "known": to_device(batch["known"], self.device),
        }
        if "unlabelled" in batch:
            result |= self._unlabelled(batch["unlabelled"], batch.get("shift"), step)
        return result

    def _unlabelled(self, region: Tensor, shift: Tensor | None, step: int) -> dict[str, Tensor]:
        placement = self._place(len(region), step, "unlabelled")
        reach = (0, 0, 0) if shift is None else shift_reach(self.patch_size)
        size = tuple(p + r for p, r in zip(self.patch_size, reach, strict=True))
        image, _ = self._geometry(region, None, size, placement)  # type: ignore[arg-type]
        image = self._intensity(image, step, "unlabelled")
        if shift is None:
            return {"unlabelled": image}
        # A flipped region is cropped at the mirrored places: both crops keep the content they were drawn for.
        spare = torch.tensor(reach)
        first, second = (-shift).clamp(min=0), shift.clamp(min=0)
        first = torch.where(placement.flips, spare - first, first)
        second = torch.where(placement.flips, spare - second, second)
        return {
            "unlabelled": geometry.crop_samples(image, first, self.patch_size),
            "shifted": geometry.crop_samples(image, second, self.patch_size),
            "shift": to_device(second - first, self.device),
        }

    def _place(self, count: int, step: int, purpose: str) -> _Placement:
        generator = torch_stream(self.seed, step, f"placement {purpose}")
        axis = torch.randn(count, 3, generator=generator)
        angle = uniform(count, (-LARGEST_ANGLE, LARGEST_ANGLE), generator)
        zoom = uniform(count, ZOOM_LIMITS, generator)
        flips = torch.rand(count, 3, generator=generator) < self.flip_probability
        warped = chosen(count, self.warp_probability, generator)
        if self.rotation_axis is not None:
            axis = torch.eye(3)[self.rotation_axis].expand(count, 3)
        axis = axis / axis.norm(dim=1, keepdim=True)
        allowed = torch.tensor([axis in self.mirror_axes for axis in range(3)])
        matrix = geometry.rotation_and_zoom(axis[warped], angle[warped], zoom[warped], self.spacing)
        return _Placement(warped, matrix, flips & allowed)

    def _geometry(
        self, region: Tensor, label: Tensor | None, size: Size, placement: _Placement
    ) -> tuple[Tensor, Tensor | None]:
        """Image float32 `(B, 1, *size)` and label uint8 `(B, *size)` from the regions around them."""
        region = region.to(self.device, non_blocking=True)
        image = geometry.crop_centre(region, size).float() / FULL_SCALE
        if label is not None:
            label = label.to(self.device, non_blocking=True)
        patch = None if label is None else geometry.crop_centre(label, size)
        if len(placement.warped):
            where = to_device(placement.warped, self.device)
            grid = geometry.sampling_grid(placement.matrix, region.shape[-3:], size, self.device)
            turned = geometry.warp(region.index_select(0, where).float() / FULL_SCALE, grid)
            image = image.index_copy(0, where, turned)
            if label is not None and patch is not None:
                turned_label = geometry.warp_label(label.index_select(0, where), grid)
                patch = patch.index_copy(0, where, turned_label)
        image = geometry.flip_samples(image, placement.flips)
        return image, None if patch is None else geometry.flip_samples(patch, placement.flips)

    def _intensity(self, image: Tensor, step: int, purpose: str) -> Tensor:
        if self.intensity is None:
            return image
        return jitter(image, self.intensity, torch_stream(self.seed, step, f"intensity {purpose}"))


def _only_rotation_axis(patch_size: Size, spacing: tuple[float, float, float]) -> int | None:
    """The through-plane axis of thick slices or of flat patches, else None."""
    if max(spacing) > ANISOTROPY_LIMIT * min(spacing):
        return spacing.index(max(spacing))
    if max(patch_size) > ANISOTROPY_LIMIT * min(patch_size):
        return patch_size.index(min(patch_size))
    return None

"""FDPL: fixed and dynamic pseudo-labels (Kumari and Singh, "Leveraging Fixed and Dynamic Pseudo-labels for
Semi-supervised Medical Image Segmentation", arXiv 2405.07256; CoTwin, CVPR Workshops 2025).

Two networks label the unlabelled patches for each other, each patch twice: from the patch itself (fixed),
and from a crop of the same volume displaced against it (dynamic), which shows the anatomy in another context.
A superscript tells which network labelled:

```
y_f = argmax p(x_f)                   x_f: the patch
y_t = argmax p(x_d)                   x_d: the displaced crop
y_d = COM(y_t, y_f)                   y_t where the crops overlap, y_f elsewhere
l   = (CE + Dice) / 2,   L_sup = alpha CE + (1 - alpha) Dice
L_1 = L_sup(z_1, y) + lambda(t) (l(z_1(x_f), y_f^2) + l(z_1(x_f), y_d^2))
L_2 = L_sup(z_2, y) + lambda(t) (l(z_2(x_cut), CUT(y_f^1)) + l(z_2(x_cut), CUT(y_d^1)))
```

CUT is CutMix between unlabelled patches. The displacement is the sampler's: along one of the four in-plane
diagonals, by 10 to 30 % of the patch. The paper draws a crop along each of the four; here a step draws one of
them and uses it. A prediction is the mean softmax of both networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods.base import Batch, Method, forward_together, pseudo_labelling
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork
from sslseg.transforms.boxes import box_mask, mix
from sslseg.transforms.streams import numpy_stream


@dataclass(frozen=True)
class FDPLSettings(MethodSettings):
    alpha: float = setting(
        0.5, "share of cross-entropy, against Dice, in the supervised loss", "paper", minimum=0.0, maximum=1.0
    )
    consistency: float = setting(1.0, "largest weight of the pseudo-label losses", "paper", minimum=0.0)
    ramp_up: float = setting(
        0.4,
        "share of the run over which that weight rises; the field's 6,000 steps are a whole short run",
        "own decision",
        minimum=0.0,
        maximum=1.0,
    )
    loss_scale: float = setting(
        2.0,
        "factor of the whole loss; 2 makes alpha = 0.5 the cross-entropy + Dice of other methods, so that "
        "one learning rate suits all; 1 is the paper's",
        "own decision",
        minimum=0.1,
        maximum=10.0,
    )
    cutmix_beta: float = setting(
        4.0, "both parameters of the Beta distribution of the CutMix box", "paper", minimum=0.1, maximum=100.0
    )


class FDPL(Method):
    """Each network learns from the other's fixed and dynamic labels, the second on CutMix patches."""

    name = "fdpl"
    summary = (
        "Two networks label each other's unannotated patches, each seen in two surroundings. "
        "Choose it for a few large organs in volumes clearly wider than the patch."
    )
    uses_shifted_crop = True
    Settings = FDPLSettings
    settings: FDPLSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.first = self.make_network(init="kaiming")
        self.second = self.make_network(init="xavier")

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image, fixed, shifted, shift = (batch[key] for key in ("image", "unlabelled", "shifted", "shift"))
        with pseudo_labelling():
            label_2, moved_2 = _labels(*forward_together(self.second, fixed, shifted))
            (moved_1,) = _labels(self.first(shifted))
        labelled_1, original_1 = forward_together(self.first, image, fixed)
        (label_1,) = _labels(original_1)

        box = self._box(fixed, step)
        labelled_2, mixed_2 = forward_together(self.second, image, cut(fixed, box))
        dynamic_1, dynamic_2 = combine(moved_1, label_1, shift), combine(moved_2, label_2, shift)
        weight = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        terms = {
            "supervised first": self._supervised(labelled_1, batch),
            "supervised second": self._supervised(labelled_2, batch),
            "fixed first": weight * _learn(original_1, label_2),
            "dynamic first": weight * _learn(original_1, dynamic_2),
            "fixed second": weight * _learn(mixed_2, cut(label_1, box)),
            "dynamic second": weight * _learn(mixed_2, cut(dynamic_1, box)),
        }
        return {name: self.settings.loss_scale * term for name, term in terms.items()}

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.first, self.second]

    def _box(self, patches: Tensor, step: int) -> Tensor:
        random = numpy_stream(self.run.seed, step, "CutMix box")
        return cutmix_box(patches.shape[2:], self.settings.cutmix_beta, random, patches.device)

    def _supervised(self, logits: Tensor, batch: Batch) -> Tensor:
        alpha = self.settings.alpha
        return segmentation_loss(
            logits, batch["label"], batch["known"], ce_weight=alpha, dice_weight=1 - alpha
        )


def combine(temporary: Tensor, fixed: Tensor, shift: Tensor) -> Tensor:
    """COM: the labels of the displaced crop where it overlaps the patch, the patch's own elsewhere.

    Args:
        temporary: (B, D, H, W), labels of the displaced crop in its own coordinates.
        fixed: (B, D, H, W), labels of the patch.
        shift: (B, 3) voxels; voxel v of the displaced crop is voxel `v + shift` of the patch.
    """
    places, inside = [], []
    for axis, side in enumerate(fixed.shape[1:]):
        place = torch.arange(side, device=fixed.device) - shift[:, axis, None]
        shape = [len(fixed), 1, 1, 1]
        shape[axis + 1] = side
        inside.append(((place >= 0) & (place < side)).view(shape))
        places.append(place.clamp(0, side - 1).view(shape))
    sample = torch.arange(len(fixed), device=fixed.device).view(-1, 1, 1, 1)
    moved = temporary[sample, places[0], places[1], places[2]]
    return torch.where(inside[0] & inside[1] & inside[2], moved, fixed)


def cutmix_box(size: Sequence[int], beta: float, random: np.random.Generator, device: torch.device) -> Tensor:
    """`(1, D, H, W)` bool, true in one box through all slices, for all patches of a step.

    Its sides are `sqrt(1 - lam)` of the plane's, lam from Beta(beta, beta); it lies anywhere in the plane.

    Args:
        size: voxels (z, y, x) of a patch.
        beta: both parameters of the distribution.
        random: what everything is drawn from.
        device: where the mask is wanted.
    """
    plane = np.array(size[1:])
    sides = np.rint(np.sqrt(1 - random.beta(beta, beta)) * plane).astype(np.int64)
    first = random.integers(0, plane - sides + 1)
    stop = first + sides
    return box_mask(torch.tensor([[0, *first]]), torch.tensor([[size[0], *stop]]), size, device)


def cut(patches: Tensor, box: Tensor) -> Tensor:
    """CUT: the box of each of `patches (B, ..., D, H, W)` is filled from the one before; one alone stays."""
    return mix(patches, patches.roll(1, dims=0), box)


def _labels(*logits: Tensor) -> tuple[Tensor, ...]:
    return tuple(each.argmax(dim=1) for each in logits)


def _learn(logits: Tensor, pseudo_label: Tensor) -> Tensor:
    """l: half cross-entropy, half Dice."""
    return segmentation_loss(logits, pseudo_label, ce_weight=0.5, dice_weight=0.5)

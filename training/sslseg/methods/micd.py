"""MICD: masked image consistency and discrepancy (Zhou, Zhang and Li, "Boosting Semi-Supervised Medical Image
Segmentation via Masked Image Consistency and Discrepancy Learning", arXiv 2503.14013).

Two students A and B of different design see the same patches with blocks cut out. With `z^m` a student's
logits on the masked patches, `h = argmax z^m` its pseudo-labels, `g` those of its own averaged teacher on the
whole patches and `d^k` its decoder levels on the masked ones:

```
MCPC  L_cps = CE_wA(z_A^m, h_B) + CE_wB(z_B^m, h_A)           learn from the other, with less to go by
CFC   L_con = sum_k l_k KL(softmax d_A^k || softmax d_B^k)    softmax over the channels of each voxel
CMD   L_dis = CE(z_A^m, g_A) + CE(z_B^m, g_B)                 stay apart by one's own teacher
L     = Lseg_wA(z_A, y) + Lseg_wB(z_B, y) + beta(t) (L_cps + L_con + L_dis)
```

L_seg (cross-entropy + Dice) is on the clean labelled patches, the others are on all. The class weights w are
DHC's, see `micd_weights`. A prediction is the mean softmax of both students.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.contract.errors import SSLSegError
from sslseg.losses.consistency import kl_divergence
from sslseg.losses.segmentation import segmentation_terms
from sslseg.methods.base import Batch, Method, pseudo_labelling
from sslseg.methods.ema import EmaPair, make_teacher
from sslseg.methods.micd_weights import DifficultyWeights, DistributionWeights, class_counts
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.resnet34_vnet import ResNet34VNet
from sslseg.transforms.streams import to_device, torch_stream

LEVEL_WEIGHTS = (0.8, 0.6, 0.4, 0.2)
"""l_k of the decoder levels, the finest first; a network of fewer levels does without the last of them."""


@dataclass(frozen=True)
class MICDSettings(MethodSettings):
    heterogeneity: Literal["class_weights", "architecture"] = setting(
        "class_weights",
        "what tells the students apart: class weights (A by difficulty, B by distribution), or the network "
        "(B is resnet34_vnet, or vnet if A is that)",
        "paper",
    )
    consistency: float = setting(
        0.1, "largest weight of the losses without annotation", "own decision", minimum=0.0
    )
    ramp_up: float = setting(
        1.0, "share of the run over which that weight rises", "own decision", minimum=0.0, maximum=1.0
    )
    mask_ratio: float = setting(
        0.5, "share of the blocks that are cut out", "paper", minimum=0.0, maximum=0.95
    )
    mask_block: int = setting(3, "side of a block in voxels", "paper", minimum=1, maximum=64)
    ema_decay: float = setting(0.99, "memory of the teachers per step", "paper", minimum=0.0, maximum=1.0)
    teachers_in_train_mode: bool = setting(
        False,
        "let the teachers normalise with their batch and use dropout, as the released codes do",
        "own decision",
    )


class _Seen(NamedTuple):
    """What a student makes of a step's patches.

    Attributes:
        labelled: logits of the clean labelled patches.
        masked: logits of all the masked patches.
        levels: decoder levels of all the masked patches.
    """

    labelled: Tensor
    masked: Tensor
    levels: list[Tensor]


class MICD(Method):
    """Two students learn from each other on patches with gaps; their own teachers keep them different."""

    name = "micd"
    summary = (
        "Two differently weighted networks learn from each other on images with blocks cut out. "
        "Choose it for many organs of very different size and frequency."
    )
    Settings = MICDSettings
    settings: MICDSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.student_a = self.make_network()
        self.student_b = self._second_student()
        self.teacher_a = make_teacher(self.student_a)
        self.teacher_b = make_teacher(self.student_b)
        self.difficulty = DifficultyWeights(self.classes)
        self.distribution = DistributionWeights(self.classes)
        self.projections_a, self.projections_b = _projections(self.student_a, self.student_b)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        image, label, known = batch["image"], batch["label"], batch["known"]
        clean = torch.cat([image, batch["unlabelled"]])
        with pseudo_labelling():
            taught_a, taught_b = self.teacher_a(clean).argmax(dim=1), self.teacher_b(clean).argmax(dim=1)
        masked = clean * self._kept(clean, step)
        a, b = _see(self.student_a, image, masked), _see(self.student_b, image, masked)
        hard_a, hard_b = a.masked.argmax(dim=1), b.masked.argmax(dim=1)

        in_label = class_counts(label, self.classes, known)
        weights_a, weights_b = self._class_weights(in_label)
        supervised_a = segmentation_terms(a.labelled, label, known, class_weights=weights_a)
        supervised_b = segmentation_terms(b.labelled, label, known, class_weights=weights_b)
        crossed_a, kept_a = masked_cross_entropies(a.masked, hard_b, weights_a, taught_a)
        crossed_b, kept_b = masked_cross_entropies(b.masked, hard_a, weights_b, taught_b)
        if weights_a is not None:
            self.difficulty.update(supervised_a.dice.detach(), in_label > 0)
            self.distribution.update(class_counts(hard_b[len(image) :], self.classes))

        beta = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        return {
            "supervised a": supervised_a.cross_entropy + supervised_a.dice_loss,
            "supervised b": supervised_b.cross_entropy + supervised_b.dice_loss,
            "masked cross pseudo": beta * (crossed_a + crossed_b),
            "cross feature": beta * self._feature_consistency(a.levels, b.levels),
            "discrepancy": beta * (kept_a + kept_b),
        }

    def ema_pairs(self) -> Sequence[EmaPair]:
        decay = self.settings.ema_decay
        return [
            EmaPair(self.student_a, self.teacher_a, decay),
            EmaPair(self.student_b, self.teacher_b, decay),
        ]

    @property
    def teachers_in_train_mode(self) -> bool:
        return self.settings.teachers_in_train_mode

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.student_a, self.student_b]

    def _second_student(self) -> SegmentationNetwork:
        if self.settings.heterogeneity == "class_weights":
            return self.make_network()
        other = "vnet" if isinstance(self.student_a, ResNet34VNet) else "resnet34_vnet"
        return self.make_network(name=other)

    def _kept(self, image: Tensor, step: int) -> Tensor:
        settings = self.settings
        generator = torch_stream(self.run.seed, step, "block mask")
        return block_mask(image, settings.mask_ratio, settings.mask_block, generator)

    def _class_weights(self, in_label: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """w_A and w_B as the steps before left them; none where the networks differ already."""
        if self.settings.heterogeneity == "architecture":
            return None, None
        self.distribution.start(in_label)
        return self.difficulty(), self.distribution()

    def _feature_consistency(self, levels_a: list[Tensor], levels_b: list[Tensor]) -> Tensor:
        """`sum_k l_k KL(softmax d_A^k || softmax d_B^k)`; both students get gradient."""
        pairs = zip(
            self.projections_a, reversed(levels_a), self.projections_b, reversed(levels_b), strict=False
        )
        terms = []
        for weight, (project_a, a, project_b, b) in zip(LEVEL_WEIGHTS, pairs, strict=False):
            if a.shape[2:] != b.shape[2:]:
                raise SSLSegError(
                    f"The decoder levels of the two networks differ in size: {tuple(a.shape[2:])} and "
                    f"{tuple(b.shape[2:])}",
                    remedy="Set 'heterogeneity' to class_weights, or choose the network vnet.",
                )
            terms.append(weight * kl_divergence(project_a(a), project_b(b)).mean())
        return torch.stack(terms).sum()


def block_mask(image: Tensor, ratio: float, block: int, generator: torch.Generator) -> Tensor:
    """What is kept (1) and cut out (0) of `image (B, C, D, H, W)`: `(B, 1, D, H, W)`, in its dtype.

    Args:
        image: patches in [0, 1], where 0 is the value to fill with.
        ratio: probability of each block to be cut out.
        block: side of the blocks in voxels; those at the far borders may be smaller.
        generator: a CPU generator.
    """
    depth, height, width = image.shape[2:]
    blocks = [-(-side // block) for side in (depth, height, width)]
    kept = to_device(torch.rand(len(image), 1, *blocks, generator=generator) >= ratio, image.device)
    for axis in (2, 3, 4):
        kept = kept.repeat_interleave(block, dim=axis)
    return kept[:, :, :depth, :height, :width].to(image.dtype)


def masked_cross_entropies(
    logits: Tensor, crossed: Tensor, weights: Tensor | None, taught: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of a student with the other student's labels, weighted, and with its own teacher's.

    Args:
        logits: (B, C, D, H, W), of the masked patches.
        crossed: (B, D, H, W), hard labels of the other student.
        weights: (C,) of the classes in the first term, a weighted mean; 0 if all the voxels have weight 0.
        taught: (B, D, H, W), hard labels of the own teacher.
    """
    with torch.autocast(logits.device.type, enabled=False):
        log_p = logits.float().log_softmax(dim=1)
        own = F.nll_loss(log_p, taught)
        if weights is None:
            return F.nll_loss(log_p, crossed), own
        total = weights[crossed].sum().clamp_min(1e-12)
        return F.nll_loss(log_p, crossed, weight=weights, reduction="sum") / total, own


def _see(student: SegmentationNetwork, image: Tensor, masked: Tensor) -> _Seen:
    """One forward pass over clean and masked patches."""
    # Normalisation layers keep statistics of both for inference, so both are normalised together in training.
    levels = student.features(torch.cat([image, masked]))
    labelled, of_masked = student.head(levels[-1]).split([len(image), len(masked)])
    return _Seen(labelled, of_masked, [level[len(image) :] for level in levels])


def _projections(a: SegmentationNetwork, b: SegmentationNetwork) -> tuple[nn.ModuleList, nn.ModuleList]:
    """For each compared level, the finest first, what gives the wider student the channels of the other."""
    of_a, of_b = nn.ModuleList(), nn.ModuleList()
    levels = zip(reversed(a.level_channels), reversed(b.level_channels), strict=False)
    for _, (channels_a, channels_b) in zip(LEVEL_WEIGHTS, levels, strict=False):
        common = min(channels_a, channels_b)
        of_a.append(_projection(channels_a, common))
        of_b.append(_projection(channels_b, common))
    return of_a, of_b


def _projection(channels: int, wanted: int) -> nn.Module:
    return nn.Identity() if channels == wanted else nn.Conv3d(channels, wanted, kernel_size=1)

"""Collaborative generalist and specialists, CGS (arXiv 2504.00862, IEEE TMI 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sslseg.losses.linear_heads import heads_loss
from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods.base import Batch, Method, pseudo_labelling
from sslseg.methods.cgs_heads import Specialists
from sslseg.methods.cgs_pseudo_labels import PseudoLabels, pseudo_labels
from sslseg.methods.ema import EmaPair, make_teacher
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork
from sslseg.transforms.boxes import cuboid_mask, mix
from sslseg.transforms.intensity import strong_intensity
from sslseg.transforms.streams import torch_stream


@dataclass(frozen=True)
class CGSSettings(MethodSettings):
    consistency: float = setting(
        0.1, "largest weight lambda of the pseudo-label losses", "released code", minimum=0.0
    )
    ramp_up: float = setting(
        1.0, "share of the run over which that weight rises", "released code", minimum=0.0, maximum=1.0
    )
    threshold: float = setting(
        0.95,
        "probability above which the generalist's pseudo-label counts",
        "released code",
        minimum=0.0,
        maximum=1.0,
    )
    specialist_head: Literal["shared", "paper"] = setting(
        "shared",
        "heads of the specialists: one hidden layer shared by all, or one for each as in the paper",
        "own decision",
    )
    cutmix: bool = setting(True, "mix the strong views of two unlabelled patches", "released code")
    ema_decay: float = setting(
        0.99, "memory of the teacher per step", "released code", minimum=0.0, maximum=1.0
    )
    teacher_in_train_mode: bool = setting(
        False,
        "let the teacher normalise with its batch and use dropout, as the released code does",
        "own decision",
    )
    faithful: bool = setting(
        False,
        "also run the released code's passes that feed no loss but change the statistics of BatchNorm",
        "own decision",
    )


class CGS(Method):
    """A generalist tells all organs apart; one specialist per organ tells its own from all others.

    With g the generalist's logits, s_k those of specialist k, both on the network's last feature, and
    phi_k(y) = 0 for background, 1 for organ k, 2 for other organs:

        L_sup = L_seg(g, y) + (1/K) sum_k L_seg(s_k, phi_k(y))                         L_seg = CE + Dice
        L_uG  = L_{M_G}(g, y_G) + L_{M_S}(g, y_S) + L_{M_C}(g, y_C)
        L_uk  = L_{M_G}(s_k, phi_k(y_G)) + L_{M_S}(s_k, a_k) + L_{M_C}(s_k, phi_k(y_C))
        L     = L_sup + lambda(t) (L_uG + (1/K) sum_k L_uk)

    The teacher, an average of the student, labels the weak view; the student learns from the strong one,
    mixed with the strong view of the next patch of the batch. A single unlabelled patch has no partner and is
    not mixed. The teacher's generalist is shipped, a plain network.
    """

    name = "cgs"
    summary = (
        "A head for all organs and one specialist per organ check each other's pseudo-labels. "
        "Choose it for several organs of very different size."
    )
    Settings = CGSSettings
    settings: CGSSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.network = self.make_network()
        self.specialists = Specialists(self.network, self.classes - 1, self.settings.specialist_head)
        self.teacher = make_teacher(self.network)
        self.teacher_specialists = make_teacher(self.specialists)
        self.register_buffer("same_label", torch.arange(self.classes)[None], persistent=False)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        labels = self._pseudo_labels(batch)
        mixed, labels = self._strong_view(batch["unlabelled"], labels, step)
        (seen, read), (seen_u, read_u) = self._student(batch, mixed, step)

        label, known = batch["label"], batch["known"]
        for_generalist = torch.stack([labels.generalist, labels.specialists, labels.consensus], dim=1)
        for_specialists = torch.stack([labels.generalist, labels.own, labels.consensus], dim=1)
        head = self.network.head
        pseudo = heads_loss(seen_u, head, for_generalist, self.same_label, over_all_voxels=True)
        weight = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        return {
            "supervised": segmentation_loss(head(seen), label, known),
            "supervised_specialists": self.specialists.loss(read, label.to(torch.uint8)[:, None], known),
            "pseudo": weight * pseudo,
            "pseudo_specialists": weight * self.specialists.loss(read_u, for_specialists),
        }

    def ema_pairs(self) -> Sequence[EmaPair]:
        decay = self.settings.ema_decay
        return [
            EmaPair(self.network, self.teacher, decay),
            EmaPair(self.specialists, self.teacher_specialists, decay),
        ]

    @property
    def teachers_in_train_mode(self) -> bool:
        return self.settings.teacher_in_train_mode

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.teacher]

    def _pseudo_labels(self, batch: Batch) -> PseudoLabels:
        weak = batch["unlabelled"]
        with pseudo_labelling():
            seen = torch.cat([batch["image"], weak]) if self.settings.faithful else weak
            feature = self.teacher.features(seen)[-1]
            generalist, specialists = self.teacher.head(feature), self.teacher_specialists(feature)
            first = len(seen) - len(weak)
            return pseudo_labels(generalist[first:], specialists[first:], self.settings.threshold)

    def _strong_view(self, weak: Tensor, labels: PseudoLabels, step: int) -> tuple[Tensor, PseudoLabels]:
        """The student's view of the unlabelled patches, and the pseudo-labels cut and pasted alike."""
        strong = strong_intensity(weak, torch_stream(self.run.seed, step, "strong view"))
        if not self.settings.cutmix:
            return strong, labels
        draw = torch_stream(self.run.seed, step, "cutmix")
        box = cuboid_mask(len(weak), weak.shape[2:], draw, weak.device)
        cut, *cut_labels = (mix(own, own.roll(1, dims=0), box) for own in (strong, *labels))
        return cut, PseudoLabels(*cut_labels)

    def _student(
        self, batch: Batch, mixed: Tensor, step: int
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The last feature and what the specialists read of it, for the labelled and the mixed patches."""
        image = batch["image"]
        if not self.settings.faithful:
            return self._read(image, mixed)
        strong = strong_intensity(image, torch_stream(self.run.seed, step, "strong labelled view"))
        return self._read(image, batch["unlabelled"])[0], self._read(strong, mixed)[1]

    def _read(
        self, labelled: Tensor, unlabelled: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        sizes = [len(labelled), len(unlabelled)]
        feature = self.network.features(torch.cat([labelled, unlabelled]))[-1]
        seen, seen_u = feature.split(sizes)
        read, read_u = self.specialists.read(feature).split(sizes)
        return (seen, read), (seen_u, read_u)

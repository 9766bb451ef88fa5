"""Mean teacher (Tarvainen and Valpola 2017), in the form of UA-MT (Yu 2019) without its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sslseg.losses import segmentation_loss, softmax_mse
from sslseg.methods.base import Batch, Method, forward_together, pseudo_labelling
from sslseg.methods.ema import EmaPair, make_teacher
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork
from sslseg.transforms.intensity import strong_intensity
from sslseg.transforms.streams import torch_stream


@dataclass(frozen=True)
class MeanTeacherSettings(MethodSettings):
    consistency: float = setting(1.0, "largest weight of the consistency loss", "own decision", minimum=0.0)
    ramp_up: float = setting(
        1.0, "share of the run over which that weight rises", "field", minimum=0.0, maximum=1.0
    )
    ema_decay: float = setting(0.99, "memory of the teacher per step", "field", minimum=0.0, maximum=1.0)
    view: Literal["strong", "noise"] = setting(
        "strong",
        "what the student sees of an unlabelled patch: strong intensity changes, or noise",
        "own decision",
    )
    teacher_in_train_mode: bool = setting(
        False,
        "let the teacher normalise with its batch and use dropout, as the released codes do",
        "own decision",
    )


class MeanTeacher(Method):
    """The student agrees with its own average on patches nobody annotated.

    `L = CE + Dice + lambda(t) * C * mean (softmax student(strong view) - softmax teacher(weak view))^2`
    """

    name = "mean_teacher"
    summary = (
        "Learns to agree with its own running average on the cases without annotation. "
        "Choose it first: of the methods that use them it needs the least time and memory."
    )
    Settings = MeanTeacherSettings
    settings: MeanTeacherSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.student = self.make_network()
        self.teacher = make_teacher(self.student)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        weak = batch["unlabelled"]
        with pseudo_labelling():
            target = self.teacher(weak).contiguous().float().softmax(dim=1)
        labelled, unlabelled = forward_together(self.student, batch["image"], self._view(weak, step))
        weight = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        return {
            "supervised": segmentation_loss(labelled, batch["label"], batch["known"]),
            "consistency": weight * self.classes * softmax_mse(unlabelled.contiguous(), target),
        }

    def ema_pairs(self) -> Sequence[EmaPair]:
        return [EmaPair(self.student, self.teacher, self.settings.ema_decay)]

    @property
    def teachers_in_train_mode(self) -> bool:
        return self.settings.teacher_in_train_mode

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.teacher]

    def _view(self, weak: Tensor, step: int) -> Tensor:
        if self.settings.view == "strong":
            return strong_intensity(weak, torch_stream(self.run.seed, step, "strong view"))
        return weak + (0.1 * torch.randn_like(weak)).clamp(-0.2, 0.2)

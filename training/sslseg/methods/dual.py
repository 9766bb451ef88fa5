"""Dual Networks (arXiv 2505.17690): two networks of different design, the better one teaches the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from sslseg.losses.segmentation import segmentation_terms
from sslseg.methods.base import Batch, Method
from sslseg.methods.dual_losses import (
    Prediction,
    Reliability,
    confident_labels_differ,
    contrast_loss,
    disagreement,
    guidance_loss,
    judge,
    mean_of_set,
    mistake_loss,
    predict,
)
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork, initialise
from sslseg.networks.resnet34_vnet import ResNet34VNet
from sslseg.transforms.streams import to_device, torch_stream

RATE_DROPS = (2500 / 6000, 5000 / 6000)
"""Shares of the run after which the paper divides its learning rate by 10."""


@dataclass(frozen=True)
class DualSettings(MethodSettings):
    objective: Literal["paper", "released_code"] = setting(
        "paper",
        "what is minimised: the paper's loss, or what its released code amounts to (the first network "
        "always teaches, constant weights, no reliability, all patches)",
        "paper",
    )
    second_network: Literal["auto", "vnet", "resnet34_vnet", "unet", "dynunet", "segresnet"] = setting(
        "auto",
        "the other network: auto is resnet34_vnet, or vnet beside a resnet34_vnet; one of the run's own "
        "kind starts from Xavier weights",
        "paper",
    )
    consistency: float = setting(1.0, "largest weight w1 of the unlabelled terms", "paper", minimum=0.0)
    ramp_up: float = setting(
        1.0,
        "share of the run over which w1 rises; the paper's 40 units of 150 steps are its whole run",
        "paper",
        minimum=0.0,
        maximum=1.0,
    )
    mistakes: float = setting(0.5, "weight of the error where the networks differ", "paper", minimum=0.0)
    contrast: float = setting(0.1, "weight of the contrast of features, times w1", "paper", minimum=0.0)
    confidence: float = setting(
        0.6, "probability from which a label is confident", "paper", minimum=0.0, maximum=1.0
    )
    certain_share: float = setting(
        0.8,
        "share of a class's voxels, by rising entropy, that a network is certain of",
        "paper",
        minimum=0.0,
        maximum=1.0,
    )
    sampled_share: float = setting(
        0.01, "share of the unreliable voxels drawn for the contrast", "paper", minimum=0.0, maximum=1.0
    )
    smallest_set: int = setting(100, "voxels below which a set is left out of the loss", "paper", minimum=1)
    teacher_momentum: float = setting(
        0.9,
        "memory per step of the labelled Dice loss that decides who teaches",
        "own decision",
        minimum=0.0,
        maximum=1.0,
    )
    learning_rate_schedule: Literal["poly", "steps"] = setting(
        "poly",
        "poly decay as in the other methods, or the paper's division by 10 after 5/12 and 5/6 of the run",
        "own decision",
    )


class _Output(NamedTuple):
    """Of one network, for the labelled patches and then the unlabelled ones."""

    features: Tensor
    logits: Tensor

    def samples(self, first: int) -> _Output:
        """Those from number `first` on."""
        return _Output(self.features[first:], self.logits[first:])


class Dual(Method):
    """Two different networks A and B; the one with the lower labelled Dice loss teaches (T), the other is S.

    ```
    L_s_m = CE + Dice + 0.5 L_mis                                            m = A, B, labelled patches
    L_T   = L_s_T + w1(t) L_reg
    L_S   = L_s_S + w1(t) (L_reg + L_unc + L_ent) + 0.1 w1(t) L_c            unlabelled patches
    ```

    L_mis is the error where the confident labels of A and B differ; L_reg their disagreement; L_unc follows
    the teacher's labels where the two are close; L_ent follows the more confident one's label on reliable
    voxels; L_c pulls unreliable voxels to the features of their class. Each network gets the gradient of its
    own loss, so L_reg enters the sum once. A prediction is the mean of both networks' softmax.

    `objective: released_code` is `L_s_A + L_s_B + L_unc(B <- A) + L_reg` with L_unc and L_reg on all patches.
    """

    name = "dual"
    summary = (
        "Two networks of different design correct each other; whichever does better on the annotated cases "
        "teaches. Choose it when time and memory allow for two networks: their mean is steadier than one."
    )
    Settings = DualSettings
    settings: DualSettings
    mean_dice_losses: Tensor

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.first = self.make_network()
        name: str = self.settings.second_network
        if name == "auto":
            name = "vnet" if isinstance(self.first, ResNet34VNet) else "resnet34_vnet"
        self.second = self.make_network(name=name)
        if type(self.second) is type(self.first):
            initialise(self.second, "xavier")
        # Running means of the labelled Dice losses of A and B. Both start at 0, so that neither is ahead.
        self.register_buffer("mean_dice_losses", torch.zeros(2))

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        images = torch.cat([batch["image"], batch["unlabelled"]])
        first, second = self._forward(self.first, images), self._forward(self.second, images)
        labelled = len(batch["image"])
        with torch.autocast(images.device.type, enabled=False):
            terms = self._supervised(first.logits[:labelled], second.logits[:labelled], batch)
            if self.settings.objective == "released_code":
                one, other = predict(first.logits), predict(second.logits)
                return terms | {"agreement": disagreement(one, other), "guidance": guidance_loss(other, one)}
            return terms | self._unlabelled(first.samples(labelled), second.samples(labelled), step)

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.first, self.second]

    def learning_rate_factor(self, step: int) -> float:
        if self.settings.learning_rate_schedule == "poly":
            return super().learning_rate_factor(step)
        return 0.1 ** sum(step >= share * self.run.steps for share in RATE_DROPS)

    @property
    def second_teaches(self) -> Tensor:
        """Whether B is the teacher: a bool on the device, which the CPU never waits for."""
        return self.mean_dice_losses[1] < self.mean_dice_losses[0]

    def _forward(self, network: SegmentationNetwork, images: Tensor) -> _Output:
        features = network.features(images)[-1]
        return _Output(features, network.head(features))

    def _supervised(self, first: Tensor, second: Tensor, batch: Batch) -> dict[str, Tensor]:
        """L_s of both networks; their Dice losses decide who teaches."""
        label, known = batch["label"], batch["known"]
        of_first, of_second = (segmentation_terms(logits, label, known) for logits in (first, second))
        with torch.no_grad():
            dice_losses = torch.stack([of_first.dice_loss, of_second.dice_loss])
            self.mean_dice_losses.lerp_(dice_losses, 1 - self.settings.teacher_momentum)

        one, other = predict(first, known), predict(second, known)
        mistakes = confident_labels_differ(one, other, self.settings.confidence)
        errors = [
            mistake_loss(prediction, label.flatten(1), known, mistakes, self.settings.smallest_set)
            for prediction in (one, other)
        ]
        return {
            "first": of_first.cross_entropy + of_first.dice_loss,
            "second": of_second.cross_entropy + of_second.dice_loss,
            "mistakes": self.settings.mistakes * (errors[0] + errors[1]),
        }

    def _unlabelled(self, first: _Output, second: _Output, step: int) -> dict[str, Tensor]:
        """L_reg of both networks, L_unc, L_ent and L_c of the student."""
        one, other = predict(first.logits), predict(second.logits)
        judged = judge(one, other, self.settings.certain_share)
        drawn = self._drawn_voxels(judged, step)
        # They are a few passes over the last layer: computed for both networks, taken of the student.
        guidance, reliable, contrast = torch.where(
            self.second_teaches,
            self._lessons(one, other, first.features, judged, drawn),
            self._lessons(other, one, second.features, judged, drawn),
        )
        weight = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        return {
            "agreement": weight * disagreement(one, other),
            "guidance": weight * guidance,
            "reliable": weight * reliable,
            "contrast": weight * self.settings.contrast * contrast,
        }

    def _lessons(
        self, student: Prediction, teacher: Prediction, features: Tensor, judged: Reliability, drawn: Tensor
    ) -> Tensor:
        """L_unc, L_ent and L_c of a student, `(3,)`."""
        smallest = self.settings.smallest_set
        return torch.stack(
            [
                guidance_loss(student, teacher),
                mean_of_set(student.cross_entropy(judged.label), judged.reliable, smallest),
                contrast_loss(features, judged, self.classes, drawn, smallest),
            ]
        )

    def _drawn_voxels(self, judged: Reliability, step: int) -> Tensor:
        """Indices of randomly chosen voxels; their unreliable ones are the chosen share of the unreliable."""
        voxels = judged.reliable.numel()
        stream = torch_stream(self.run.seed, step, "voxels of the contrast")
        count = math.ceil(self.settings.sampled_share * voxels)
        return to_device(torch.randint(voxels, (count,), generator=stream), judged.reliable.device)

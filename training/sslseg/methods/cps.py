"""Cross pseudo supervision (Chen 2021, arXiv 2106.01226)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods.base import Batch, Method
from sslseg.methods.schedules import ramp_up
from sslseg.methods.settings import MethodSettings, setting
from sslseg.networks.base import SegmentationNetwork


@dataclass(frozen=True)
class CPSSettings(MethodSettings):
    consistency: float = setting(0.1, "largest weight of the pseudo-label loss", "field", minimum=0.0)
    ramp_up: float = setting(
        1.0, "share of the run over which that weight rises", "field", minimum=0.0, maximum=1.0
    )
    on_labelled: bool = setting(True, "exchange pseudo-labels on annotated patches as well", "paper")


class CPS(Method):
    """Two networks, alike but for their initial weights, teach each other by hard pseudo-labels.

    `L = L_seg(z_A, y) + L_seg(z_B, y) + lambda(t) * (CE(z_A, argmax z_B) + CE(z_B, argmax z_A))`, with
    `L_seg = CE + Dice` on the annotated patches and the pseudo-labels on all of them.
    """

    name = "cps"
    summary = (
        "Two networks of one design label the cases without annotation for each other. "
        "Choose it as the simplest baseline with two networks, at twice the cost of one."
    )
    Settings = CPSSettings
    settings: CPSSettings

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.first = self.make_network()
        self.second = self.make_network()

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        labelled = len(batch["image"])
        both = torch.cat([batch["image"], batch["unlabelled"]])
        logits_a, logits_b = self.first(both), self.second(both)
        exchanged = slice(0 if self.settings.on_labelled else labelled, None)
        weight = self.settings.consistency * ramp_up(step, self.settings.ramp_up * self.run.steps)
        terms = {}
        for name, own, other in (("first", logits_a, logits_b), ("second", logits_b, logits_a)):
            terms[f"supervised_{name}"] = segmentation_loss(own[:labelled], batch["label"], batch["known"])
            pseudo_label = other[exchanged].detach().argmax(dim=1)
            terms[f"cross_{name}"] = weight * F.cross_entropy(own[exchanged].float(), pseudo_label)
        return terms

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.first, self.second]

"""Labelled cases only: what the other methods have to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sslseg.losses import segmentation_loss
from sslseg.methods.base import Batch, Method
from sslseg.networks.base import SegmentationNetwork


class Supervised(Method):
    """`L = CE + Dice` on the labelled patches."""

    name = "supervised"
    summary = (
        "Learns from the annotated cases alone. "
        "Choose it when every case is annotated, or to see what the other methods gain."
    )
    uses_unlabelled = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.network = self.make_network()

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return {"supervised": segmentation_loss(self.network(batch["image"]), batch["label"], batch["known"])}

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.network]

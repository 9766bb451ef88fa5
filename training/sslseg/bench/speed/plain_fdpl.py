"""FDPL in plain PyTorch; see `plain`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslseg.bench.speed.plain import Batch, MakeNetwork, Plain, cross_entropy, dice_loss
from sslseg.methods.fdpl import cutmix_box
from sslseg.transforms.streams import numpy_stream

LOSS_SCALE = 2.0


class PlainFdpl(Plain):
    """Two networks; fixed labels of the patch and dynamic ones of a displaced crop."""

    def build(self, make_network: MakeNetwork) -> None:
        self.first = self.made(make_network(init="kaiming"))
        self.second = self.made(make_network(init="xavier"))

    def students(self) -> Sequence[nn.Module]:
        return [self.first, self.second]

    def loss(self, batch: Batch, step: int) -> Tensor:
        fixed, shifted = batch["unlabelled"], batch["shifted"]
        with torch.no_grad():
            fixed_labels = [torch.argmax(network(fixed), dim=1) for network in self.students()]
            moved_labels = [torch.argmax(network(shifted), dim=1) for network in self.students()]
        dynamic_labels = [
            combined(moved, label, batch["shift"])
            for moved, label in zip(moved_labels, fixed_labels, strict=True)
        ]
        random = numpy_stream(self.seed, step, "CutMix box")
        box = cutmix_box(fixed.shape[2:], 4.0, random, fixed.device)[0]
        supervised = [_half_each(network(batch["image"]), batch["label"]) for network in self.students()]
        original = self.first(fixed)
        mixed = self.second(_cut(fixed, box))
        first = _half_each(original, fixed_labels[1]) + _half_each(original, dynamic_labels[1])
        second = _half_each(mixed, _cut(fixed_labels[0], box)) + _half_each(
            mixed, _cut(dynamic_labels[0], box)
        )
        return LOSS_SCALE * (supervised[0] + supervised[1] + self.ramp(step, 0.4) * (first + second))


def combined(moved: Tensor, fixed: Tensor, shift: Tensor) -> Tensor:
    """Labels of the displaced crop where it overlaps the patch, sample by sample."""
    result = fixed.clone()
    for sample in range(len(fixed)):
        into, of = [], []
        for side, by in zip(fixed.shape[1:], shift[sample].tolist(), strict=True):
            into.append(slice(max(0, by), side + min(0, by)))
            of.append(slice(max(0, -by), side + min(0, -by)))
        result[sample][into[0], into[1], into[2]] = moved[sample][of[0], of[1], of[2]]
    return result


def _half_each(logits: Tensor, label: Tensor) -> Tensor:
    return 0.5 * (cross_entropy(logits, label) + dice_loss(logits, label))


def _cut(patches: Tensor, box: Tensor) -> Tensor:
    """CutMix with the patch before, sample by sample."""
    mixed = patches.clone()
    for sample in range(len(patches)):
        mixed[sample] = torch.where(box, patches[sample - 1], patches[sample])
    return mixed

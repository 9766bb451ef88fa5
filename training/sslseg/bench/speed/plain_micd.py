"""MICD in plain PyTorch; see `plain`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.bench.speed.plain import (
    SMOOTH,
    Batch,
    MakeNetwork,
    Plain,
    cross_entropy,
    dice_loss,
    one_hot,
    teacher_of,
)
from sslseg.methods.micd import block_mask
from sslseg.transforms.streams import torch_stream

_EPSILON = 1e-8
_LEVEL_WEIGHTS = (0.8, 0.6, 0.4, 0.2)
"""From the finest decoder level."""


class PlainMicd(Plain):
    """Two students with class weights, masked images, each with its teacher."""

    def build(self, make_network: MakeNetwork) -> None:
        self.student_a, self.student_b = self.made(make_network()), self.made(make_network())
        self.teacher_a, self.teacher_b = teacher_of(self.student_a), teacher_of(self.student_b)
        self.difficulty = _Difficulty(self.classes)
        self.distribution = _Distribution(self.classes)

    def students(self) -> Sequence[nn.Module]:
        return [self.student_a, self.student_b]

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        return [(self.student_a, self.teacher_a), (self.student_b, self.teacher_b)]

    def loss(self, batch: Batch, step: int) -> Tensor:
        image, unlabelled, label = batch["image"], batch["unlabelled"], batch["label"]
        with torch.no_grad():
            taught = [
                torch.cat([torch.argmax(teacher(image), dim=1), torch.argmax(teacher(unlabelled), dim=1)])
                for _, teacher in self.teachers()
            ]
        clean = torch.cat([image, unlabelled])
        masked = clean * block_mask(clean, 0.5, 3, torch_stream(self.seed, step, "block mask"))
        counts = [int((label == index).sum().item()) for index in range(self.classes)]
        self.distribution.start(counts)
        weights = [self.difficulty.weights().to(label.device), self.distribution.weights().to(label.device)]

        labelled = [student(image) for student in self.students()]
        levels = [_levels(student, masked, len(image)) for student in self.students()]
        logits = [
            student.head(each[-1])  # type: ignore[operator]
            for student, each in zip(self.students(), levels, strict=True)
        ]
        hard = [torch.argmax(torch.softmax(each.detach(), dim=1), dim=1) for each in logits]

        loss = image.new_zeros(())
        for own, weight in zip(labelled, weights, strict=True):
            loss = loss + cross_entropy(own, label, weight) + dice_loss(own, label, weights=weight)
        consistency = _feature_consistency(levels[0], levels[1])
        for own, other in ((0, 1), (1, 0)):
            consistency = consistency + cross_entropy(logits[own], hard[other], weights[own])
            consistency = consistency + cross_entropy(logits[own], taught[own])
        self.difficulty.update(_dice(labelled[0].detach(), label), counts)
        of_unlabelled = hard[1][len(image) :]
        self.distribution.update(
            [int((of_unlabelled == index).sum().item()) for index in range(self.classes)]
        )
        return loss + 0.1 * self.ramp(step) * consistency


class _Difficulty:
    """Weights of classes by how slowly they are learned."""

    def __init__(self, classes: int) -> None:
        self.learned, self.forgotten, self.hardness = [0.0] * classes, [0.0] * classes, [1.0] * classes
        self.last: list[float | None] = [None] * classes

    def weights(self) -> Tensor:
        raw = [
            ((f + _EPSILON) / (learned + _EPSILON)) ** 0.2 * h
            for f, learned, h in zip(self.forgotten, self.learned, self.hardness, strict=True)
        ]
        return torch.tensor([len(raw) * value / max(_EPSILON, *raw) for value in raw])

    def update(self, dice: list[float], counts: list[int]) -> None:
        memory = 49 / 50
        for index, count in enumerate(counts):
            if count == 0:
                continue
            d, last = min(max(dice[index], 1e-4), 1.0), self.last[index]
            if last is not None:
                change = (d - last) * math.log(d / last)
                gained, lost = (change, 0.0) if d > last else (0.0, change)
                self.learned[index] = memory * self.learned[index] + (1 - memory) * gained
                self.forgotten[index] = memory * self.forgotten[index] + (1 - memory) * lost
            self.hardness[index] = memory * self.hardness[index] + (1 - memory) * (1 - d)
            self.last[index] = d


class _Distribution:
    """Weights of classes by how rare they are."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.values: list[float] | None = None

    def weights(self) -> Tensor:
        assert self.values is not None
        return torch.tensor(self.values)

    def start(self, counts: list[int]) -> None:
        if self.values is None:
            self.values = [self.classes * r for r in _rarity([max(1, count) for count in counts])]

    def update(self, counts: list[int]) -> None:
        assert self.values is not None
        for index, rarity in enumerate(_rarity(counts)):
            if counts[index] > 0:
                self.values[index] = 0.99 * self.values[index] + 0.01 * self.classes * rarity


def _rarity(counts: list[int]) -> list[float]:
    logs = [math.log(max(counts) / count) if count > 0 else 0.0 for count in counts]
    return [value / max(_EPSILON, *logs) for value in logs]


def _levels(student: nn.Module, masked: Tensor, labelled: int) -> list[Tensor]:
    """Decoder levels of the masked patches, the labelled and the unlabelled ones each in their own pass."""
    features: Callable[[Tensor], list[Tensor]] = student.features  # type: ignore[assignment]
    parts = [features(part) for part in (masked[:labelled], masked[labelled:])]
    return [torch.cat(pair) for pair in zip(*parts, strict=True)]


def _feature_consistency(first: list[Tensor], second: list[Tensor]) -> Tensor:
    total = first[-1].new_zeros(())
    for weight, a, b in zip(_LEVEL_WEIGHTS, first[::-1], second[::-1], strict=False):
        log_a, log_b = F.log_softmax(a, dim=1), F.log_softmax(b, dim=1)
        divergence = F.kl_div(log_b, log_a, log_target=True, reduction="none").sum(dim=1)
        total = total + weight * divergence.mean()
    return total


def _dice(logits: Tensor, label: Tensor) -> list[float]:
    """Soft Dice of every class."""
    probabilities, target = torch.softmax(logits, dim=1), one_hot(label, logits.shape[1])
    used = (label != 255).float()
    found = []
    for index in range(logits.shape[1]):
        p, y = probabilities[:, index] * used, target[:, index] * used
        dice = (2 * (p * y).sum() + SMOOTH) / ((p * p).sum() + (y * y).sum() + SMOOTH)
        found.append(dice.item())
    return found

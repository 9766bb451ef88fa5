"""Dual Networks in plain PyTorch; see `plain`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.bench.speed.plain import IGNORE, Batch, MakeNetwork, Plain, cross_entropy, dice_loss, one_hot
from sslseg.transforms.streams import torch_stream

CONFIDENT = 0.6
CERTAIN_PERCENT = 80
SAMPLED_SHARE = 0.01
SMALLEST_SET = 100


class PlainDual(Plain):
    """Two different networks; the better one teaches."""

    def build(self, make_network: MakeNetwork) -> None:
        self.first = self.made(make_network())
        self.second = self.made(make_network(name="resnet34_vnet"))
        self.dice_losses = [0.0, 0.0]

    def students(self) -> Sequence[nn.Module]:
        return [self.first, self.second]

    def loss(self, batch: Batch, step: int) -> Tensor:
        image, unlabelled, label = batch["image"], batch["unlabelled"], batch["label"]
        labelled = [network(image) for network in self.students()]
        features = [network.features(unlabelled)[-1] for network in self.students()]  # type: ignore[operator]
        logits = [
            network.head(feature)  # type: ignore[operator]
            for network, feature in zip(self.students(), features, strict=True)
        ]
        loss = self._supervised(labelled, label)
        probabilities = [torch.softmax(each, dim=1) for each in logits]
        ramp = self.ramp(step)
        loss = loss + ramp * torch.mean(1 - F.cosine_similarity(probabilities[0], probabilities[1], dim=1))
        teacher, student = (1, 0) if self.dice_losses[1] < self.dice_losses[0] else (0, 1)
        guidance = _guidance(logits[student], logits[teacher].detach())
        pseudo, reliable = _reliability([each.detach() for each in probabilities])
        taught = loss.new_zeros(())
        if reliable.sum().item() >= SMALLEST_SET:
            errors = F.cross_entropy(logits[student], pseudo, reduction="none")
            taught = errors[reliable].mean()
        contrast = self._contrast(features[student], pseudo, reliable, step)
        return loss + ramp * (guidance + taught) + 0.1 * ramp * contrast

    def _supervised(self, logits: list[Tensor], label: Tensor) -> Tensor:
        loss = logits[0].new_zeros(())
        for index, each in enumerate(logits):
            dice = dice_loss(each, label)
            loss = loss + cross_entropy(each, label) + dice
            self.dice_losses[index] = 0.9 * self.dice_losses[index] + 0.1 * dice.item()
        probabilities = [torch.softmax(each, dim=1) for each in logits]
        found = []
        for each in probabilities:
            confidence, choice = torch.max(each.detach(), dim=1)
            choice[confidence < CONFIDENT] = -1
            found.append(choice)
        mistakes = (found[0] != found[1]) & (label != IGNORE)
        if mistakes.sum().item() >= SMALLEST_SET:
            target = one_hot(label, self.classes)
            for each in probabilities:
                error = 0.5 * torch.sum((each - target) ** 2, dim=1)
                loss = loss + 0.5 * error[mistakes].mean()
        return loss

    def _contrast(self, feature: Tensor, pseudo: Tensor, reliable: Tensor, step: int) -> Tensor:
        rows = feature.permute(0, 2, 3, 4, 1).reshape(-1, feature.shape[1])
        label, good = pseudo.reshape(-1), reliable.reshape(-1)
        prototypes = {}
        for index in range(self.classes):
            members = rows[(label == index) & good]
            if len(members) >= SMALLEST_SET:
                prototypes[index] = _direction(members.mean(dim=0, keepdim=True))[0]
        stream = torch_stream(self.seed, step, "voxels of the contrast")
        drawn = torch.randint(len(rows), (math.ceil(SAMPLED_SHARE * len(rows)),), generator=stream)
        drawn = drawn.to(rows.device)
        loss = rows.new_zeros(())
        if (~good).sum().item() >= SMALLEST_SET:
            distances = []
            for index, prototype in prototypes.items():
                chosen = drawn[(label[drawn] == index) & ~good[drawn]]
                distances.append(torch.norm(_direction(rows[chosen]) - prototype.detach(), dim=1))
            together = torch.cat(distances) if distances else rows.new_zeros(0)
            if len(together):
                loss = loss + together.mean()
        hinges = [
            F.relu(1 - torch.norm(prototypes[a] - prototypes[b]))
            for a in prototypes
            for b in prototypes
            if a < b
        ]
        return loss + torch.stack(hinges).mean() if hinges else loss


def _guidance(student: Tensor, teacher: Tensor) -> Tensor:
    divergence = F.kl_div(
        F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1), log_target=True, reduction="none"
    ).sum(dim=1)
    errors = F.cross_entropy(student, torch.argmax(teacher, dim=1), reduction="none")
    return torch.mean(torch.exp(-divergence) * errors) + torch.mean(divergence)


def _reliability(probabilities: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The more confident network's label, and the voxels where not both are uncertain."""
    confidences, labels, uncertain = [], [], []
    for each in probabilities:
        confidence, label = torch.max(each, dim=1)
        entropy = -torch.sum(each * torch.log(each + 1e-10), dim=1)
        above = torch.zeros_like(label, dtype=torch.bool)
        for index in range(each.shape[1]):
            values = entropy[label == index].cpu().numpy()
            if len(values):
                threshold = float(np.percentile(values, CERTAIN_PERCENT))
                above |= (label == index) & (entropy > threshold)
        confidences.append(confidence)
        labels.append(label)
        uncertain.append(above)
    pseudo = torch.where(confidences[0] >= confidences[1], labels[0], labels[1])
    return pseudo, ~(uncertain[0] & uncertain[1])


def _direction(vectors: Tensor) -> Tensor:
    return vectors / torch.sqrt(torch.sum(vectors**2, dim=1, keepdim=True) + 1e-4)

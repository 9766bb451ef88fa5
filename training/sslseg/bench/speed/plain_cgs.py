"""CGS in plain PyTorch; see `plain`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.bench.speed.plain import (
    IGNORE,
    SMOOTH,
    Batch,
    MakeNetwork,
    Plain,
    one_hot,
    supervised_loss,
    teacher_of,
)
from sslseg.transforms.boxes import cuboid_mask
from sslseg.transforms.streams import torch_stream

THRESHOLD = 0.95


class Specialists(nn.Module):
    """A module for each specialist: a hidden layer (shared by all, or its own) and three outputs."""

    def __init__(self, width: int, organs: int, *, shared: bool) -> None:
        super().__init__()
        self.shared = shared
        self.hidden = nn.ModuleList([_hidden(width) for _ in range(1 if shared else organs)])
        kernel = 1 if shared else 3
        self.outputs = nn.ModuleList(
            [nn.Conv3d(width, 3, kernel, padding=kernel // 2) for _ in range(organs)]
        )

    def forward(self, feature: Tensor) -> list[Tensor]:
        if self.shared:
            hidden = self.hidden[0](feature)
            return [output(hidden) for output in self.outputs]
        return [output(hidden(feature)) for hidden, output in zip(self.hidden, self.outputs, strict=True)]


def _hidden(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(width, width, 1), nn.BatchNorm3d(width), nn.LeakyReLU())


class PlainCGS(Plain):
    """A generalist and K specialists, their heads and losses one after the other."""

    shared = True

    def build(self, make_network: MakeNetwork) -> None:
        network = make_network()
        organs = self.classes - 1
        self.network = self.made(network)
        self.specialists = self.made(Specialists(network.feature_channels, organs, shared=self.shared))
        self.teacher = teacher_of(self.network)
        self.teacher_specialists = teacher_of(self.specialists)

    def students(self) -> Sequence[nn.Module]:
        return [self.network, self.specialists]

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        return [(self.network, self.teacher), (self.specialists, self.teacher_specialists)]

    def loss(self, batch: Batch, step: int) -> Tensor:
        label, organs = batch["label"], self.classes - 1
        labels, masks, own = self._pseudo_labels(batch["unlabelled"])
        image = self.strong(batch["unlabelled"], step)
        draw = torch_stream(self.seed, step, "cutmix")
        box = cuboid_mask(len(image), image.shape[2:], draw, image.device)
        image = _mixed(image, box)
        labels, masks = [_mixed(each, box) for each in labels], [_mixed(each, box) for each in masks]
        own = [_mixed(each, box) for each in own]

        generalist, specialists = _both(self.network, self.specialists, batch["image"])
        loss = supervised_loss(generalist, label)
        for organ in range(1, organs + 1):
            loss = loss + supervised_loss(specialists[organ - 1], _relabel(label, organ)) / organs

        generalist, specialists = _both(self.network, self.specialists, image)
        unsupervised = loss.new_zeros(())
        for pseudo, mask in zip(labels, masks, strict=True):
            unsupervised = unsupervised + _masked_loss(generalist, pseudo, mask)
        for organ in range(1, organs + 1):
            logits = specialists[organ - 1]
            part = _masked_loss(logits, _relabel(labels[0], organ), masks[0])
            part = part + _masked_loss(logits, own[organ - 1], masks[1])
            part = part + _masked_loss(logits, _relabel(labels[2], organ), masks[2])
            unsupervised = unsupervised + part / organs
        return loss + 0.1 * self.ramp(step) * unsupervised

    @torch.no_grad()
    def _pseudo_labels(self, weak: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Labels and masks of generalist, specialists and consensus; each specialist's own label."""
        generalist, specialists = _both(self.teacher, self.teacher_specialists, weak)
        probabilities = torch.softmax(generalist, dim=1)
        certainty, of_generalist = torch.max(probabilities, dim=1)
        single = [torch.softmax(logits, dim=1) for logits in specialists]
        background = torch.zeros_like(single[0][:, 0])
        for each in single:
            background = background + each[:, 0] / len(single)
        scores = torch.stack([background, *(each[:, 1] for each in single)], dim=1)
        of_specialists = torch.argmax(scores, dim=1)
        own = [torch.argmax(each, dim=1) for each in single]
        total = torch.zeros_like(own[0])
        for each in own:
            total = total + each
        sound = (total == 0) | (total == 2 * len(own) - 1)
        labels = [of_generalist, of_specialists, of_generalist]
        masks = [certainty > THRESHOLD, sound, of_generalist == of_specialists]
        return labels, [mask.float() for mask in masks], own


class PlainCGSPaper(PlainCGS):
    """With the paper's heads: each specialist has a hidden layer of its own, and a 3x3x3 convolution."""

    shared = False


def _both(network: nn.Module, specialists: nn.Module, image: Tensor) -> tuple[Tensor, list[Tensor]]:
    feature = network.features(image)[-1]  # type: ignore[operator]
    return network.head(feature), specialists(feature)  # type: ignore[operator]


def _relabel(label: Tensor, organ: int) -> Tensor:
    """0 background, 1 the organ, 2 another; 255 stays."""
    result = torch.zeros_like(label)
    result[label > 0] = 2
    result[label == organ] = 1
    result[label == IGNORE] = IGNORE
    return result


def _masked_loss(logits: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy times the mask over all voxels, and Dice with the mask in all of its sums."""
    cross_entropy = torch.mean(F.cross_entropy(logits, label, reduction="none") * mask)
    probabilities, target = torch.softmax(logits, dim=1), one_hot(label, logits.shape[1])
    dice = logits.new_zeros(())
    for index in range(logits.shape[1]):
        p, y = probabilities[:, index] * mask, target[:, index] * mask
        overlap = torch.sum(p * y)
        dice = dice + 1 - (2 * overlap + SMOOTH) / (torch.sum(p * p) + torch.sum(y * y) + SMOOTH)
    return cross_entropy + dice / logits.shape[1]


def _mixed(patches: Tensor, box: Tensor) -> Tensor:
    """CutMix with the neighbour in the batch, sample by sample."""
    mixed = patches.clone()
    for sample in range(len(patches)):
        inside = box[sample] if patches.dim() == 4 else box[sample].unsqueeze(0)
        mixed[sample] = torch.where(inside, patches[sample - 1], patches[sample])
    return mixed

"""Training steps as the field publishes them: correct, and without any of this project's means to be fast.

Float32 in contiguous memory, a forward pass for each kind of patch, one-hot Dice in a loop over classes,
teachers updated weight by weight, an optimiser that goes through the weights one by one, the loss read back at
every step. They minimise what this project's methods minimise, with the same networks and the same draws, and
are written from the papers' equations, not from `sslseg.methods`. All organs count as annotated in all cases.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.methods.schedules import ema_decay, poly_decay, ramp_up
from sslseg.networks.base import SegmentationNetwork
from sslseg.transforms.intensity import strong_intensity
from sslseg.transforms.streams import torch_stream

Batch = dict[str, Tensor]
MakeNetwork = Callable[..., SegmentationNetwork]

IGNORE = 255
SMOOTH = 1e-5


class Plain:
    """A method's step. A subclass makes `modules` and `teachers` and computes `loss`.

    Args:
        make_network: as methods get it.
        classes: C, background included.
        steps: of the run.
        seed: of the draws.
        device: where to train.
    """

    def __init__(
        self, make_network: MakeNetwork, classes: int, *, steps: int, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.classes = classes
        self.steps = steps
        self.seed = seed
        self.device = torch.device(device)
        self.build(make_network)
        self.optimizers = [
            torch.optim.SGD(
                module.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=False
            )
            for module in self.students()
        ]

    def build(self, make_network: MakeNetwork) -> None:
        """Make the networks as attributes."""
        raise NotImplementedError

    def students(self) -> Sequence[nn.Module]:
        """What is trained, each with an optimiser of its own."""
        raise NotImplementedError

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        """Pairs (student, teacher)."""
        return ()

    def loss(self, batch: Batch, step: int) -> Tensor:
        """What is minimised."""
        raise NotImplementedError

    def step(self, batch: Batch, step: int) -> float:
        """One step of training on a batch of the CPU."""
        batch = {name: values.to(self.device) for name, values in batch.items()}
        loss = self.loss(batch, step)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * poly_decay(step, self.steps)
            optimizer.step()
        decay = ema_decay(step, self.steps, 0.99)
        for student, teacher in self.teachers():
            update_teacher(student, teacher, decay)
        return loss.item()

    def ramp(self, step: int, share: float = 1.0) -> float:
        return ramp_up(step, share * self.steps)

    def made(self, network: nn.Module) -> nn.Module:
        return network.to(self.device).train()

    def strong(self, weak: Tensor, step: int) -> Tensor:
        """The strong view, drawn as the project's methods draw it."""
        return strong_intensity(weak, torch_stream(self.seed, step, "strong view"))


def teacher_of(student: nn.Module) -> nn.Module:
    """A copy without gradient that normalises with the averaged statistics."""
    teacher = copy.deepcopy(student)
    for parameter in teacher.parameters():
        parameter.requires_grad = False
    return teacher.eval()


def update_teacher(student: nn.Module, teacher: nn.Module, decay: float) -> None:
    """Exponential moving average, tensor by tensor."""
    for weight, other in zip(teacher.parameters(), student.parameters(), strict=True):
        weight.data.mul_(decay).add_(other.data, alpha=1 - decay)
    for buffer, source in zip(teacher.buffers(), student.buffers(), strict=True):
        if buffer.is_floating_point():
            buffer.data.mul_(decay).add_(source.data, alpha=1 - decay)
        else:
            buffer.data.copy_(source.data)


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(B, D, H, W) to (B, C, D, H, W) float32."""
    return torch.cat([(label == index).unsqueeze(1).float() for index in range(classes)], dim=1)


def dice_loss(
    logits: Tensor, label: Tensor, mask: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """1 - Dice with squared denominators, averaged over the classes; `mask (B, D, H, W)` enters all sums."""
    classes = logits.shape[1]
    probabilities = torch.softmax(logits, dim=1)
    target = one_hot(label, classes)
    used = (label != IGNORE).float() if mask is None else (label != IGNORE).float() * mask
    loss = logits.new_zeros(())
    total = 0.0 if weights is None else weights.sum()
    for index in range(classes):
        p, y = probabilities[:, index] * used, target[:, index] * used
        overlap = torch.sum(p * y)
        dice = (2 * overlap + SMOOTH) / (torch.sum(p * p) + torch.sum(y * y) + SMOOTH)
        loss = loss + (1 - dice) * (1.0 if weights is None else weights[index] / total)
    return loss / classes if weights is None else loss


def cross_entropy(logits: Tensor, label: Tensor, weights: Tensor | None = None) -> Tensor:
    return F.cross_entropy(logits, label.long(), weight=weights, ignore_index=IGNORE)


def supervised_loss(logits: Tensor, label: Tensor) -> Tensor:
    return cross_entropy(logits, label) + dice_loss(logits, label)


class PlainSupervised(Plain):
    """Cross-entropy and Dice on the labelled patches."""

    def build(self, make_network: MakeNetwork) -> None:
        self.network = self.made(make_network())

    def students(self) -> Sequence[nn.Module]:
        return [self.network]

    def loss(self, batch: Batch, step: int) -> Tensor:
        return supervised_loss(self.network(batch["image"]), batch["label"])


class PlainMeanTeacher(Plain):
    """Mean squared error between the softmax of student and teacher on the unlabelled patches."""

    def build(self, make_network: MakeNetwork) -> None:
        self.student = self.made(make_network())
        self.teacher = teacher_of(self.student)

    def students(self) -> Sequence[nn.Module]:
        return [self.student]

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        return [(self.student, self.teacher)]

    def loss(self, batch: Batch, step: int) -> Tensor:
        labelled = self.student(batch["image"])
        unlabelled = self.student(self.strong(batch["unlabelled"], step))
        with torch.no_grad():
            target = torch.softmax(self.teacher(batch["unlabelled"]), dim=1)
        difference = (torch.softmax(unlabelled, dim=1) - target) ** 2
        consistency = torch.mean(torch.sum(difference, dim=1))
        return supervised_loss(labelled, batch["label"]) + self.ramp(step) * consistency


class PlainCPS(Plain):
    """Two networks exchange hard pseudo-labels on all patches."""

    def build(self, make_network: MakeNetwork) -> None:
        self.first, self.second = self.made(make_network()), self.made(make_network())

    def students(self) -> Sequence[nn.Module]:
        return [self.first, self.second]

    def loss(self, batch: Batch, step: int) -> Tensor:
        label = batch["label"]
        labelled = [network(batch["image"]) for network in self.students()]
        unlabelled = [network(batch["unlabelled"]) for network in self.students()]
        logits = [torch.cat(pair) for pair in zip(labelled, unlabelled, strict=True)]
        pseudo = [torch.argmax(torch.softmax(each.detach(), dim=1), dim=1) for each in logits]
        loss = supervised_loss(labelled[0], label) + supervised_loss(labelled[1], label)
        crossed = cross_entropy(logits[0], pseudo[1]) + cross_entropy(logits[1], pseudo[0])
        return loss + 0.1 * self.ramp(step) * crossed

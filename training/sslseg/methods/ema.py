"""Exponential moving averages of networks: the teachers."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EmaPair(NamedTuple):
    """A teacher that follows a student.

    Attributes:
        student: module that the optimiser moves.
        teacher: its average, made by `make_teacher`.
        decay: a in `teacher <- a teacher + (1-a) student`; see `ema_decay` for when it is less.
    """

    student: nn.Module
    teacher: nn.Module
    decay: float


def make_teacher(student: M) -> M:
    """A copy that takes no gradient and starts in eval mode."""
    teacher = copy.deepcopy(student)
    teacher.requires_grad_(False)
    return teacher.eval()


@torch.no_grad()
def update_teacher(pair: EmaPair, decay: float) -> None:
    """`teacher <- decay * teacher + (1 - decay) * student`.

    Floating-point buffers (the statistics of BatchNorm) are averaged as the weights are, so that the teacher
    can run in eval mode; counters are copied.
    """
    teacher, student = _state(pair.teacher), _state(pair.student)
    floating = [index for index, tensor in enumerate(teacher) if tensor.is_floating_point()]
    torch._foreach_lerp_([teacher[i] for i in floating], [student[i] for i in floating], 1.0 - decay)
    for target, source in zip(teacher, student, strict=True):
        if not target.is_floating_point():
            target.copy_(source)


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]

"""Mean teacher and its baseline, on tensors of a few thousand voxels."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslseg.contract.errors import SSLSegError
from sslseg.methods import build_method
from sslseg.methods.base import Batch, RunSettings
from sslseg.methods.mean_teacher import MeanTeacher
from sslseg.methods.supervised import Supervised
from sslseg.networks.base import SegmentationNetwork

CLASSES = 3


class TinyNetwork(SegmentationNetwork):
    """One convolution with batch normalisation, and the head."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=CLASSES, level_channels=[4], strides=[(2, 2, 2)])
        self.body = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())

    def features(self, x: Tensor) -> list[Tensor]:
        return [self.body(x)]


@pytest.fixture
def a_batch() -> Batch:
    draw = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(2, 1, 8, 8, 8, generator=draw),
        "label": torch.randint(0, CLASSES, (2, 8, 8, 8), generator=draw),
        "known": torch.ones(2, CLASSES, dtype=torch.bool),
        "unlabelled": torch.rand(2, 1, 8, 8, 8, generator=draw),
    }


def mean_teacher(**settings: Any) -> MeanTeacher:
    run = RunSettings(steps=100)
    method = build_method(
        "mean_teacher", lambda **o: TinyNetwork(), classes=CLASSES, run=run, settings=settings
    )
    assert isinstance(method, MeanTeacher)
    method.train()
    return method


def gradients(method: MeanTeacher, loss: Tensor) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(method.student.parameters()), allow_unused=True))


def test_the_consistency_moves_the_student_only(a_batch: Batch) -> None:
    method = mean_teacher()
    nn.init.normal_(method.teacher.head.weight)
    loss = method.losses(a_batch, 50)["consistency"]
    loss.backward()
    assert loss > 0
    assert all(weight.grad is not None and weight.grad.any() for weight in method.student.head.parameters())
    assert all(weight.grad is None for weight in method.teacher.parameters())


def test_the_supervised_term_does_not_look_at_unlabelled_patches(a_batch: Batch) -> None:
    method = mean_teacher().eval()
    other = a_batch | {"unlabelled": torch.zeros_like(a_batch["unlabelled"])}
    first, second = (method.losses(batch, 50)["supervised"] for batch in (a_batch, other))
    assert first == second


def test_the_consistency_does_not_look_at_labels(a_batch: Batch) -> None:
    method = mean_teacher().eval()
    other = a_batch | {"label": torch.zeros_like(a_batch["label"])}
    first, second = (method.losses(batch, 50)["consistency"] for batch in (a_batch, other))
    assert first == second


def test_a_student_that_sees_what_its_equal_teacher_sees_has_no_consistency_loss(
    a_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = mean_teacher().eval()
    monkeypatch.setattr(method, "_view", lambda weak, step: weak)
    assert method.losses(a_batch, 50)["consistency"].item() == pytest.approx(0.0, abs=1e-10)


def test_the_weight_of_the_consistency_rises_over_the_run(a_batch: Batch) -> None:
    method = mean_teacher(view="strong").eval()
    nn.init.normal_(method.teacher.head.weight)
    # One view for both steps, so that only the weight differs.
    method._view = lambda weak, step: weak  # type: ignore[method-assign]
    early, late = (method.losses(a_batch, step)["consistency"].item() for step in (0, 100))
    assert early / late == pytest.approx(0.0067, abs=1e-4)


@pytest.mark.parametrize("view", ["strong", "noise"])
def test_both_views_differ_from_what_the_teacher_sees(a_batch: Batch, view: str) -> None:
    method = mean_teacher(view=view)
    weak = a_batch["unlabelled"]
    views = [method._view(weak, step) for step in range(8)]
    assert all(seen.shape == weak.shape for seen in views)
    assert any(not torch.equal(seen, weak) for seen in views)


def test_the_strong_view_of_a_step_is_always_the_same(a_batch: Batch) -> None:
    weak = a_batch["unlabelled"]
    assert torch.equal(mean_teacher()._view(weak, 3), mean_teacher()._view(weak, 3))


def test_the_teacher_can_be_kept_in_train_mode() -> None:
    assert mean_teacher(teacher_in_train_mode=True).teacher.training
    assert not mean_teacher().teacher.training


def test_the_teacher_is_shipped() -> None:
    method = mean_teacher()
    assert list(method.inference_networks()) == [method.teacher]


def test_unannotated_organs_take_part_in_nothing(a_batch: Batch) -> None:
    run = RunSettings(steps=100)
    method = build_method("supervised", lambda **o: TinyNetwork(), classes=CLASSES, run=run)
    assert isinstance(method, Supervised)
    unknown = a_batch["known"].clone()
    unknown[:, 2] = False
    label = a_batch["label"].masked_fill(a_batch["label"] == 2, 255)
    loss = method.losses(a_batch | {"known": unknown, "label": label}, 0)["supervised"]
    loss.backward()
    gradient = method.network.head.weight.grad
    assert gradient is not None and gradient[1].any() and not gradient[2].any()


@pytest.mark.parametrize("settings", [{"consistency": -1}, {"ema_decay": 1.5}, {"view": "blurred"}])
def test_settings_out_of_bounds_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(SSLSegError):
        mean_teacher(**settings)


def test_a_few_steps_lower_the_loss_of_the_baseline(a_batch: Batch) -> None:
    run = dataclasses.replace(RunSettings(steps=30), optimizer="adamw", learning_rate=0.01)
    method = build_method("supervised", lambda **o: TinyNetwork(), classes=CLASSES, run=run)
    batch = a_batch | {"label": (a_batch["image"][:, 0] * CLASSES).long()}
    optimizer = method.configure_optimizers()["optimizer"]
    losses = []
    for step in range(30):
        optimizer.zero_grad()
        loss = method.losses(batch, step)["supervised"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]

"""The plain renditions that the speed benchmark compares with minimise what the methods minimise."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch

from sslseg.bench.speed.plain import Plain
from sslseg.bench.speed.training import PLAIN
from sslseg.methods import METHODS, build_method
from sslseg.methods.base import Batch, Method, RunSettings, seed_generators
from sslseg.networks.base import SegmentationNetwork

STEPS, STEP = 100, 90

NETWORKS = {
    "supervised": ("network",),
    "mean_teacher": ("student", "teacher"),
    "cps": ("first", "second"),
    "cgs": ("network", "teacher"),
    "cgs, paper's heads": ("network", "teacher"),
    "fdpl": ("first", "second"),
    "micd": ("student_a", "student_b", "teacher_a", "teacher_b"),
    "dual": ("first", "second"),
}


def both(
    name: str, make_network: Callable[..., SegmentationNetwork], classes: int
) -> tuple[Method, Plain, dict[str, torch.nn.Module], dict[str, torch.nn.Module]]:
    """The method and its plain rendition with equal weights, dropout and batch statistics out of play."""
    rendition = PLAIN[name]
    method = build_method(
        rendition.method,
        make_network,
        classes=classes,
        run=RunSettings(steps=STEPS),
        settings=rendition.settings,
    )
    module, _, kind = rendition.rendition.rpartition(".")
    plain: Plain = getattr(import_module(module), kind)(make_network, classes, steps=STEPS)
    ours = {part: getattr(method, part) for part in NETWORKS[name]}
    theirs = {part: getattr(plain, part) for part in NETWORKS[name]}
    for part, network in ours.items():
        theirs[part].load_state_dict(network.state_dict())
    if rendition.method == "cgs":
        for part in ("specialists", "teacher_specialists"):
            copy_specialists(getattr(method, part), getattr(plain, part))
    for network in (method, *theirs.values()):
        network.eval()
    if rendition.method == "cgs":
        plain.specialists.eval()  # type: ignore[attr-defined]
    return method, plain, ours, theirs


def copy_specialists(ours: Any, theirs: Any) -> None:
    """The heads lie side by side in one convolution there, in a list of modules here."""
    width = theirs.hidden[0][0].out_channels
    for index, hidden in enumerate(theirs.hidden):
        part = slice(index * width, (index + 1) * width)
        for layer in (0, 1):
            source = ours.hidden[layer].state_dict()
            target = hidden[layer]
            target.load_state_dict({k: v[part] if v.dim() else v for k, v in source.items()})
    for index, output in enumerate(theirs.outputs):
        part = slice(3 * index, 3 * index + 3)
        output.load_state_dict({k: v[part] for k, v in ours.output.state_dict().items()})


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_plain_rendition_has_the_loss_and_the_gradient_of_the_method(
    name: str,
    network_factory: Callable[..., Callable[..., SegmentationNetwork]],
    tiny_batch: Callable[..., Batch],
) -> None:
    if PLAIN[name].method not in METHODS:
        pytest.skip(f"there is no method {PLAIN[name].method}")
    classes = 4
    batch = tiny_batch(classes, size=(16, 16, 16))
    batch["label"][0, :2] = 255
    batch["shifted"] = batch["unlabelled"].roll((-3, 2), (3, 4))
    batch["shift"] = torch.tensor([[0, 3, -2], [0, -2, 3]])
    method, plain, ours, theirs = both(name, network_factory(classes), classes)

    seed_generators(0, STEP)
    expected = torch.stack(list(method.losses(batch, STEP).values())).sum()
    expected.backward()
    loss = plain.loss(batch, STEP)
    loss.backward()

    # The entropy's percentile is read from a histogram in the one and exactly in the other.
    tolerance = 2e-2 if name == "dual" else 1e-4
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance)
    for part, network in ours.items():
        for (weight, own), other in zip(network.named_parameters(), theirs[part].parameters(), strict=True):
            if own.grad is None:
                assert other.grad is None, weight
                continue
            difference = (own.grad - other.grad).norm() / own.grad.norm().clamp_min(1e-3)
            assert difference < 10 * tolerance, f"{part}.{weight}: {difference}"


def test_every_method_has_a_plain_rendition() -> None:
    assert set(METHODS) <= {rendition.method for rendition in PLAIN.values()}

"""Cross pseudo supervision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslseg.methods import build_method
from sslseg.methods.base import RunSettings, seed_generators
from sslseg.methods.cps import CPS
from sslseg.methods.schedules import ramp_up


@pytest.fixture
def make(network_factory: Callable[..., Any]) -> Callable[..., CPS]:
    def method(
        classes: int = 3,
        *,
        seed: int = 0,
        steps: int = 10,
        network: dict[str, Any] | None = None,
        **settings: Any,
    ) -> CPS:
        run = RunSettings(steps=steps, seed=seed, learning_rate=0.05)
        factory = network_factory(classes, **(network or {}))
        built = build_method("cps", factory, classes=classes, run=run, settings=settings)
        assert isinstance(built, CPS)
        return built

    return method


def losses(method: CPS, batch: dict[str, Tensor], step: int = 3) -> dict[str, Tensor]:
    seed_generators(method.run.seed, step)
    return method.losses(batch, step)


def test_each_network_is_taught_by_the_hard_labels_of_the_other(make: Any, tiny_batch: Any):
    method, batch = make(network={"dropout": 0.0}), tiny_batch(3)
    both = torch.cat([batch["image"], batch["unlabelled"]])
    first, second = method.first(both), method.second(both)
    terms = losses(method, batch)
    weight = 0.1 * ramp_up(3, 10)
    torch.testing.assert_close(terms["cross_first"], weight * F.cross_entropy(first, second.argmax(1)))
    torch.testing.assert_close(terms["cross_second"], weight * F.cross_entropy(second, first.argmax(1)))
    only_unlabelled = losses(make(network={"dropout": 0.0}, on_labelled=False), batch)
    torch.testing.assert_close(
        only_unlabelled["cross_first"], weight * F.cross_entropy(first[2:], second[2:].argmax(1))
    )


@pytest.mark.parametrize("term", ["supervised_first", "cross_first", "supervised_second", "cross_second"])
def test_a_term_reaches_its_own_network_only(term: str, make: Any, tiny_batch: Any):
    method = make()
    losses(method, tiny_batch(3))[term].backward()
    mine, other = method.first, method.second
    if term.endswith("second"):
        mine, other = other, mine
    assert all(weight.grad is not None for weight in mine.parameters())
    assert all(weight.grad is None for weight in other.parameters())


def test_the_two_networks_start_apart_and_both_ship(make: Any):
    method = make()
    assert not torch.equal(method.first.head.weight, method.second.head.weight)
    assert method.inference_networks() == [method.first, method.second]
    again = make()
    assert all(torch.equal(a, b) for a, b in zip(method.parameters(), again.parameters(), strict=True))


def test_unannotated_voxels_and_organs_teach_nothing(make: Any, tiny_batch: Any):
    method, batch = make(consistency=0.0), tiny_batch(3)
    batch["label"][:] = 255
    assert all(term.item() == 0 for term in losses(method, batch).values())
    batch = tiny_batch(3)
    batch["known"][:, 2] = False
    sum(losses(method, batch).values()).backward()
    assert (method.first.head.weight.grad[2] == 0).all() and (method.first.head.weight.grad[1] != 0).any()


@pytest.mark.parametrize("organs", [1, 2, 15])
@pytest.mark.parametrize("what", ["organs", "background"])
def test_trains_with_any_number_of_organs(organs: int, what: str, make: Any, tiny_batch: Any, run_steps: Any):
    batch = tiny_batch(organs + 1)
    if what == "background":
        batch["label"].zero_()
    measured = run_steps(make(organs + 1), [batch] * 2)
    assert all(math.isfinite(value) for terms in measured for value in terms.values())


@pytest.mark.parametrize("name", ["vnet", "unet"])
def test_trains_on_thick_slices(name: str, make: Any, tiny_batch: Any, run_steps: Any):
    method = make(network={"name": name, "strides": ((1, 2, 2), (1, 2, 2))})
    measured = run_steps(method, [tiny_batch(3, size=(3, 16, 16))])
    assert all(math.isfinite(value) for value in measured[0].values())


def test_losses_follow_from_seed_and_step(make: Any, tiny_batch: Any):
    def measured(seed: int, step: int) -> float:
        return sum(losses(make(seed=seed), tiny_batch(3), step).values()).item()

    assert measured(1, 4) == measured(1, 4)
    assert len({measured(1, 4), measured(1, 5), measured(2, 4)}) == 3


def test_a_resumed_run_continues_identically(make: Any, tiny_batch: Any, run_steps: Any):
    method = make()
    run_steps(method, [tiny_batch(3)] * 2)
    resumed = make(seed=0)
    resumed.load_state_dict(method.state_dict())
    more = [tiny_batch(3, seed=1)] * 2
    assert run_steps(method, more, first_step=2) == run_steps(resumed, more, first_step=2)


def test_learns_in_bfloat16(make: Any, tiny_batch: Any, run_steps: Any):
    measured = run_steps(make(steps=200, network={"dropout": 0.0}), [tiny_batch(3)] * 200, bfloat16=True)
    assert all(math.isfinite(value) for terms in measured for value in terms.values())
    assert measured[-1]["supervised_first"] < 0.5 * measured[0]["supervised_first"]

"""What every method gets from its base class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from sslseg.contract.errors import SSLSegError
from sslseg.methods import METHODS, build_method, method_class
from sslseg.methods.base import (
    Batch,
    Method,
    RunSettings,
    forward_together,
    pseudo_labelling,
    seed_generators,
)
from sslseg.methods.ema import EmaPair, make_teacher, update_teacher
from sslseg.methods.schedules import ema_decay, poly_decay, ramp_up
from sslseg.methods.settings import MethodSettings, describe_settings, parse_settings, setting
from sslseg.networks.base import SegmentationNetwork

# Lightning speaks of its own internals, and of teachers being in eval mode, as they shall be.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec"),
    pytest.mark.filterwarnings("ignore:Found .* module.* in eval mode"),
]

CLASSES = 3


class TinyNetwork(SegmentationNetwork):
    """One convolution with batch normalisation and dropout, and the head."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__(in_channels=1, out_channels=CLASSES, level_channels=[4], strides=[(2, 2, 2)])
        self.body = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout3d(dropout)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        return [self.body(x)]


def make_tiny(**options: Any) -> SegmentationNetwork:
    """Whatever architecture or initialisation a method asks for, it gets the tiny network."""
    return TinyNetwork()


def a_batch(step: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(step)
    return {
        "image": torch.rand(2, 1, 8, 8, 8, generator=draw),
        "label": torch.randint(0, CLASSES, (2, 8, 8, 8), generator=draw),
        "known": torch.ones(2, CLASSES, dtype=torch.bool),
        "unlabelled": torch.rand(2, 1, 8, 8, 8, generator=draw),
    }


def batches(steps: int) -> list[Batch]:
    return [a_batch(step) for step in range(steps)]


def fit(method: Method, steps: int, **options: Any) -> lightning.Trainer:
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, enable_checkpointing=False, **quiet | options
    )
    trainer.fit(method, DataLoader(batches(steps), batch_size=None))  # type: ignore[arg-type]
    return trainer


class TwoNetworks(Method):
    """Each network learns from labels and from the other's pseudo-labels, in one summed loss."""

    name = "two"
    summary = "for the tests"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.first = self.make_network()
        self.second = self.make_network()
        self.first_teacher = make_teacher(self.first)
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.long))

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        with pseudo_labelling():
            labels = self.second(batch["unlabelled"]).argmax(dim=1)
        self.steps_seen += 1
        terms = {"first": nn.functional.cross_entropy(self.first(batch["unlabelled"]), labels)}
        if "only_first" not in batch:
            logits = self.second(batch["image"])
            terms["second"] = nn.functional.cross_entropy(logits, batch["label"])
        return terms

    def ema_pairs(self) -> Sequence[EmaPair]:
        return [EmaPair(self.first, self.first_teacher, 0.9)]

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        return [self.first_teacher, self.second]


@pytest.fixture
def two_networks() -> TwoNetworks:
    return TwoNetworks(make_tiny, CLASSES, RunSettings(steps=4), MethodSettings())


def test_ramp_up_rises_from_almost_nothing_to_one():
    assert ramp_up(0, 100) == pytest.approx(0.0067, abs=1e-4)
    assert ramp_up(50, 100) == pytest.approx(0.2865, abs=1e-4)
    assert ramp_up(100, 100) == ramp_up(500, 100) == 1.0
    assert ramp_up(0, 0) == 1.0


def test_the_learning_rate_falls_to_zero_at_the_end_of_the_run():
    assert poly_decay(0, 10) == 1.0
    assert poly_decay(5, 10) == pytest.approx(0.5**0.9)
    assert poly_decay(10, 10) == 0.0


def test_a_young_teacher_is_the_mean_of_its_students():
    student = nn.Linear(1, 1, bias=False)
    teacher = make_teacher(student)
    values = [3.0, 5.0, 10.0]
    for step, value in enumerate(values):
        nn.init.constant_(student.weight, value)
        update_teacher(EmaPair(student, teacher, 0.99), ema_decay(step, 6000, 0.99))
    assert teacher.weight.item() == pytest.approx(sum(values) / 3)
    assert ema_decay(5000, 6000, 0.99) == 0.99


def test_the_teacher_of_a_short_run_remembers_a_small_part_of_it():
    assert ema_decay(150, 200, 0.99) == pytest.approx(1 - 1 / 6)
    assert ema_decay(5, 10, 0.99) == 0.0


def test_the_statistics_of_batch_normalisation_are_averaged_too():
    student = nn.BatchNorm3d(1)
    teacher = make_teacher(student)
    student.running_mean.fill_(8.0)
    student.num_batches_tracked.fill_(7)
    update_teacher(EmaPair(student, teacher, 0.99), 0.75)
    assert teacher.running_mean.item() == pytest.approx(2.0)
    assert teacher.num_batches_tracked.item() == 7


def test_training_updates_the_teacher_after_the_optimiser(two_networks: TwoNetworks):
    fit(two_networks, 1)
    # At step 0 the average has seen one student only, the one after the first optimiser step.
    for ours, theirs in zip(
        two_networks.first.parameters(), two_networks.first_teacher.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_teachers_stay_in_eval_mode_and_take_no_gradient(two_networks: TwoNetworks):
    two_networks.train()
    assert not two_networks.first_teacher.training and two_networks.first.training
    assert not any(weight.requires_grad for weight in two_networks.first_teacher.parameters())
    optimised = two_networks.configure_optimizers()["optimizer"].param_groups[0]["params"]
    taught = {id(weight) for weight in two_networks.first_teacher.parameters()}
    assert not taught & {id(weight) for weight in optimised}


def test_a_loss_of_one_network_leaves_the_other_alone(two_networks: TwoNetworks):
    sum(two_networks.losses(a_batch() | {"only_first": torch.ones(1)}, 0).values()).backward()
    assert all(weight.grad is not None for weight in two_networks.first.parameters())
    assert all(weight.grad is None for weight in two_networks.second.parameters())


def test_pseudo_labelling_under_autocast_does_not_cut_the_network_off_from_its_loss():
    network = TinyNetwork()
    with torch.autocast("cpu", torch.bfloat16):
        with pseudo_labelling():
            assert not network(a_batch()["image"]).requires_grad
        network(a_batch()["image"]).float().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_forward_together_gives_each_batch_its_own_output():
    network = TinyNetwork().eval()
    first, second = torch.rand(1, 1, 8, 8, 8), torch.rand(3, 1, 8, 8, 8)
    outputs = forward_together(network, first, second)
    torch.testing.assert_close(outputs[0], network(first))
    torch.testing.assert_close(outputs[1], network(second))


def test_the_same_seed_gives_the_same_weights_and_the_same_run():
    def trained(seed: int) -> list[Tensor]:
        method = TwoNetworks(
            lambda: TinyNetwork(dropout=0.5), CLASSES, RunSettings(steps=3, seed=seed), MethodSettings()
        )
        torch.manual_seed(torch.seed())
        fit(method, 3)
        return [weight.detach() for weight in method.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(trained(1), trained(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trained(1), trained(2), strict=True))


def test_steps_and_seeds_have_random_numbers_of_their_own():
    draws = []
    for seed, step in [(0, 0), (0, 1), (1, 0)]:
        seed_generators(seed, step)
        draws.append(torch.rand(()).item())
    assert len(set(draws)) == 3


def test_two_networks_of_a_method_start_from_different_weights(two_networks: TwoNetworks):
    assert not torch.equal(two_networks.first.head.weight, two_networks.second.head.weight)


def test_measures_each_term_and_their_sum(two_networks: TwoNetworks):
    assert two_networks.measured_losses() == {}
    fit(two_networks, 1)
    losses = two_networks.measured_losses()
    assert set(losses) == {"first", "second", "total"}
    assert losses["total"] == pytest.approx(losses["first"] + losses["second"], rel=1e-5)


def test_extra_state_of_a_method_is_part_of_its_checkpoint(two_networks: TwoNetworks):
    fit(two_networks, 2)
    assert two_networks.state_dict()["steps_seen"].item() == 2


def test_both_optimisers_train_and_decay():
    for optimizer in ("sgd", "adamw"):
        run = RunSettings(steps=4, optimizer=optimizer, learning_rate=0.1)  # type: ignore[arg-type]
        method = TwoNetworks(make_tiny, CLASSES, run, MethodSettings())
        trainer = fit(method, 2)
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**0.9)


@dataclass(frozen=True)
class ExampleSettings(MethodSettings):
    weight: float = setting(1.0, "weight of a term", "paper", minimum=0.0, maximum=2.0)
    hard: bool = setting(False, "use hard labels", "own decision")


def test_settings_typed_on_a_command_line_are_read():
    assert parse_settings(ExampleSettings, {"weight": "0.5", "hard": "true"}) == ExampleSettings(0.5, True)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"weigth": 1.0}, "weigth"),
        ({"weight": 3.0}, "between 0.0 and 2.0"),
        ({"hard": "maybe"}, "true or false"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(values: dict[str, Any], complaint: str):
    with pytest.raises(SSLSegError, match=complaint):
        parse_settings(ExampleSettings, values)


def test_settings_describe_themselves():
    weight, hard = describe_settings(ExampleSettings)
    assert (weight.name, weight.kind, weight.default, weight.source) == ("weight", "number", 1.0, "paper")
    assert (hard.kind, hard.help) == ("switch", "use hard labels")


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_trains_a_step_and_ships_networks(name: str):
    method_type = method_class(name)
    assert method_type.name == name and method_type.summary
    assert all(d.help and d.source for d in describe_settings(method_type.Settings))
    if method_type.uses_shifted_crop:
        pytest.skip("needs shifted crops; its own tests train it")
    method = build_method(name, make_tiny, classes=CLASSES, run=RunSettings(steps=2))
    before = [weight.detach().clone() for weight in method.parameters() if weight.requires_grad]
    fit(method, 1)
    after = [weight.detach() for weight in method.parameters() if weight.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(isinstance(network, SegmentationNetwork) for network in method.inference_networks())


def test_an_unknown_method_is_refused():
    with pytest.raises(SSLSegError, match="mean_teacher"):
        build_method("meanteacher", make_tiny, classes=CLASSES, run=RunSettings(steps=1))

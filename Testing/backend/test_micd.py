"""MICD: masked image consistency and discrepancy, and its class weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import IGNORE
from sslseg.methods import build_method
from sslseg.methods.base import Batch, RunSettings, seed_generators
from sslseg.methods.ema import update_teacher
from sslseg.methods.micd import MICD, block_mask, masked_cross_entropies
from sslseg.methods.micd_weights import DifficultyWeights, DistributionWeights, class_counts
from sslseg.methods.settings import describe_settings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.resnet34_vnet import ResNet34VNet
from sslseg.networks.vnet import VNet

PATCH = (8, 16, 16)
STRIDES = ((1, 2, 2), (2, 2, 2))
UNSUPERVISED = ("masked cross pseudo", "cross feature", "discrepancy")


def make_method(
    organs: int = 2,
    *,
    network: str = "vnet",
    levels: int = 2,
    seed: int = 0,
    steps: int = 10,
    **settings: Any,
) -> MICD:
    def make_network(name: str = network, **options: Any) -> SegmentationNetwork:
        shared = {"out_channels": organs + 1, "strides": STRIDES[:levels], "filters": 4}
        return build_network(name, **shared | options)

    run = RunSettings(steps=steps, seed=seed)
    method = build_method("micd", make_network, classes=organs + 1, run=run, settings=settings)
    assert isinstance(method, MICD)
    return method.train()


def a_batch(organs: int = 2, *, step: int = 0, unlabelled: int = 2, size: tuple[int, ...] = PATCH) -> Batch:
    draw = torch.Generator().manual_seed(step)
    return {
        "image": torch.rand(2, 1, *size, generator=draw),
        "label": torch.randint(0, organs + 1, (2, *size), generator=draw),
        "known": torch.ones(2, organs + 1, dtype=torch.bool),
        "unlabelled": torch.rand(unlabelled, 1, *size, generator=draw),
    }


def losses(method: MICD, batch: Batch, step: int = 9) -> dict[str, Tensor]:
    seed_generators(method.run.seed, step)
    return method.losses(batch, step)


def has_gradient(module: nn.Module) -> bool:
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in module.parameters())


def test_the_mask_cuts_out_whole_blocks_of_half_the_voxels():
    image = torch.rand(3, 2, 30, 30, 30)
    kept = block_mask(image, 0.5, 3, torch.Generator().manual_seed(0))
    assert kept.shape == (3, 1, 30, 30, 30) and set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean().item() == pytest.approx(0.5, abs=0.03)
    blocks = kept.unfold(2, 3, 3).unfold(3, 3, 3).unfold(4, 3, 3).flatten(5)
    assert torch.equal(blocks, blocks[..., :1].expand_as(blocks))
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.9])
def test_the_mask_cuts_out_the_share_it_is_told(ratio: float):
    kept = block_mask(torch.rand(1, 1, 32, 64, 64), ratio, 2, torch.Generator().manual_seed(0))
    assert 1 - kept.mean().item() == pytest.approx(ratio, abs=0.02)


def test_blocks_need_not_divide_the_patch():
    kept = block_mask(torch.rand(1, 1, 1, 7, 8), 0.5, 3, torch.Generator().manual_seed(1))
    assert kept.shape == (1, 1, 1, 7, 8)
    assert torch.equal(kept[0, 0, 0, 0:3, 0:3], kept[0, 0, 0, 0, 0].expand(3, 3))


class Recorder(nn.Module):
    """Stands for a network and keeps what it was shown."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network
        self.head = network.head
        self.shown = torch.empty(0)

    def features(self, x: Tensor) -> list[Tensor]:
        self.shown = x
        return self.network.features(x)

    def forward(self, x: Tensor) -> Tensor:
        self.shown = x
        return self.network(x)


def test_both_students_see_one_mask_and_the_teachers_see_the_whole_patches():
    method, batch = make_method(), a_batch()
    names = ("student_a", "student_b", "teacher_a", "teacher_b")
    recorders = [Recorder(getattr(method, name)) for name in names]
    for name, recorder in zip(names, recorders, strict=True):
        setattr(method, name, recorder)
    losses(method, batch)
    a, b, of_teacher, of_other_teacher = (recorder.shown for recorder in recorders)
    clean = torch.cat([batch["image"], batch["unlabelled"]])
    assert torch.equal(a, b)
    assert torch.equal(of_teacher, clean) and torch.equal(of_other_teacher, clean)
    assert torch.equal(a[:2], batch["image"])
    masked = a[2:]
    assert bool(((masked == clean) | (masked == 0)).all())
    assert 0.3 < (masked == 0).float().mean() < 0.7


def test_cross_entropies_of_a_hand_made_example():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 1, 2)
    crossed, taught = torch.tensor([0, 0]).view(1, 1, 1, 2), torch.tensor([1, 1]).view(1, 1, 1, 2)
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    cross, own = masked_cross_entropies(logits, crossed, torch.tensor([0.5, 3.0]), taught)
    assert cross.item() == pytest.approx(F.cross_entropy(z, torch.tensor([0, 0])).item())
    assert own.item() == pytest.approx(F.cross_entropy(z, torch.tensor([1, 1])).item())
    mixed, weights = torch.tensor([0, 1]), torch.tensor([0.5, 3.0])
    cross, _ = masked_cross_entropies(logits, mixed.view(1, 1, 1, 2), weights, taught)
    assert cross.item() == pytest.approx(F.cross_entropy(z, mixed, weight=weights).item())
    unweighted, _ = masked_cross_entropies(logits, mixed.view(1, 1, 1, 2), None, taught)
    assert unweighted.item() == pytest.approx(F.cross_entropy(z, mixed).item())


def test_voxels_of_weight_nought_cost_nothing_and_give_no_gradient():
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    zeros = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    cross, _ = masked_cross_entropies(logits, zeros, torch.tensor([0.0, 2.0]), zeros)
    assert cross.item() == 0
    cross.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_each_student_learns_from_the_other_and_from_its_own_teacher():
    method = make_method(1)
    # Classes weigh alike, and heads answer with one class whatever they see.
    method.distribution.started.fill_(True)
    for network, answer in (
        (method.student_a, 1),
        (method.teacher_a, 1),
        (method.student_b, 0),
        (method.teacher_b, 0),
    ):
        nn.init.zeros_(network.head.weight)
        with torch.no_grad():
            network.head.bias.copy_(3.0 * F.one_hot(torch.tensor(answer), 2))
    terms = losses(method, a_batch(1), step=10)
    wrong, right = math.log(1 + math.exp(3)), math.log(1 + math.exp(-3))
    assert terms["masked cross pseudo"].item() == pytest.approx(0.1 * 2 * wrong, rel=1e-3)
    assert terms["discrepancy"].item() == pytest.approx(0.1 * 2 * right, rel=1e-3)


@pytest.mark.parametrize(
    ("term", "reached"),
    [
        ("supervised a", {"a"}),
        ("supervised b", {"b"}),
        ("masked cross pseudo", {"a", "b"}),
        ("cross feature", {"a", "b"}),
        ("discrepancy", {"a", "b"}),
    ],
)
def test_each_term_reaches_its_students_and_never_a_teacher(term: str, reached: set[str]):
    method = make_method()
    losses(method, a_batch())[term].backward()
    for name, student in (("a", method.student_a), ("b", method.student_b)):
        assert has_gradient(student) == (name in reached)
        # Features are compared before the heads.
        if term == "cross feature":
            assert not has_gradient(student.head)
    teachers = [*method.teacher_a.parameters(), *method.teacher_b.parameters()]
    assert all(weight.grad is None for weight in teachers)


def test_students_of_equal_features_are_consistent():
    method = make_method(network="unet")
    method.student_b.load_state_dict(method.student_a.state_dict())
    assert losses(method, a_batch())["cross feature"].item() == pytest.approx(0, abs=1e-6)


def test_feature_consistency_is_the_weighted_sum_over_levels():
    method = make_method()
    shapes = [(4, 8, 4, 4, 4), (4, 4, 8, 8, 8)]
    a, b = [torch.randn(shape) for shape in shapes], [torch.randn(shape) for shape in shapes]
    expected = 0.0
    for weight, one, other in zip((0.6, 0.8), a, b, strict=True):
        p, q = one.softmax(1), other.softmax(1)
        expected += weight * (p * (p / q).log()).sum(1).mean().item()
    assert method._feature_consistency(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_levels_of_unequal_size_are_refused():
    method = make_method()
    with pytest.raises(SSLSegError, match="differ in size"):
        method._feature_consistency([torch.rand(1, 4, 8, 8, 8)], [torch.rand(1, 4, 4, 8, 8)])


def test_architecture_pairs_the_network_with_another_and_weighs_classes_alike():
    method = make_method(heterogeneity="architecture")
    assert isinstance(method.student_a, VNet) and isinstance(method.student_b, ResNet34VNet)
    turned = make_method(network="resnet34_vnet", heterogeneity="architecture")
    assert isinstance(turned.student_a, ResNet34VNet) and isinstance(turned.student_b, VNet)
    before = {name: buffer.clone() for name, buffer in method.difficulty.named_buffers()}
    sum(losses(method, a_batch()).values()).backward()
    assert all(torch.equal(before[name], buffer) for name, buffer in method.difficulty.named_buffers())
    assert has_gradient(method.student_a) and has_gradient(method.student_b)


def test_levels_of_unequal_width_are_projected_into_the_narrower():
    method = make_method(network="unet", heterogeneity="architecture")
    # Finest first: the U-Net has 8 and 4 channels, the other 4 and 8.
    assert [type(p) for p in method.projections_a] == [nn.Conv3d, nn.Identity]
    assert [type(p) for p in method.projections_b] == [nn.Identity, nn.Conv3d]
    losses(method, a_batch())["cross feature"].backward()
    assert has_gradient(method.projections_a[0]) and has_gradient(method.projections_b[1])


def test_deep_networks_are_compared_at_their_four_finest_levels():
    def make_network(**options: Any) -> SegmentationNetwork:
        strides = ((2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 1, 2), (1, 1, 1))
        return build_network("vnet", out_channels=2, strides=strides, filters=2, **options)

    method = build_method("micd", make_network, classes=2, run=RunSettings(steps=4)).train()
    assert isinstance(method, MICD)
    assert len(method.student_a.level_channels) == 5 and len(method.projections_a) == 4
    losses(method, a_batch(1))["cross feature"].backward()


def test_counts_voxels_of_known_classes():
    label = torch.tensor([[0, 0, 1, 2], [0, 2, 2, IGNORE]]).view(2, 1, 2, 2)
    assert class_counts(label, 4).tolist() == [3, 1, 3, 0]
    known = torch.tensor([[True, True, False, True], [True, True, True, True]])
    assert class_counts(label, 4, known).tolist() == [3, 1, 2, 0]


def test_distribution_weights_follow_the_logarithm_of_rarity():
    weights = DistributionWeights(3)
    weights.start(torch.tensor([1000.0, 100.0, 10.0]))
    torch.testing.assert_close(weights(), torch.tensor([0.0, 1.5, 3.0]))
    weights.start(torch.tensor([10.0, 10.0, 1000.0]))
    torch.testing.assert_close(weights(), torch.tensor([0.0, 1.5, 3.0]))
    weights.update(torch.tensor([100.0, 1000.0, 10.0]))
    torch.testing.assert_close(weights(), torch.tensor([0.015, 1.485, 3.0]))


def test_a_class_absent_from_the_first_labels_counts_as_the_rarest():
    weights = DistributionWeights(3)
    weights.start(torch.tensor([100.0, 10.0, 0.0]))
    torch.testing.assert_close(weights(), torch.tensor([0.0, 1.5, 3.0]))


def test_an_absent_class_keeps_its_distribution_weight():
    weights = DistributionWeights(3)
    weights.start(torch.tensor([1000.0, 100.0, 10.0]))
    weights.update(torch.tensor([100.0, 10.0, 0.0]))
    torch.testing.assert_close(weights(), torch.tensor([0.0, 1.515, 3.0]))
    for counts in ([1000.0, 0.0, 0.0], [0.0, 0.0, 0.0]):
        weights.update(torch.tensor(counts))
        torch.testing.assert_close(weights(), torch.tensor([0.0, 1.515, 3.0]))


ALL = torch.ones(2, dtype=torch.bool)


def test_difficulty_weights_are_equal_at_first():
    assert DifficultyWeights(2)().tolist() == [2.0, 2.0]


def test_difficulty_weights_of_a_hand_made_example():
    weights = DifficultyWeights(2)
    weights.update(torch.tensor([0.5, 0.5]), ALL)
    assert weights()[0] == weights()[1]
    weights.update(torch.tensor([0.8, 0.4]), ALL)
    learned, forgotten = 0.3 * math.log(1.6) / 50, -0.1 * math.log(0.8) / 50
    hard = [0.98 * (0.98 + 0.02 * 0.5) + 0.02 * (1 - dice) for dice in (0.8, 0.4)]
    raw = [(1e-8 / (learned + 1e-8)) ** 0.2 * hard[0], ((forgotten + 1e-8) / 1e-8) ** 0.2 * hard[1]]
    torch.testing.assert_close(weights(), torch.tensor([2 * raw[0] / raw[1], 2.0]))


def test_a_class_that_improves_weighs_less_than_one_that_is_forgotten():
    weights = DifficultyWeights(2)
    for step in range(20):
        weights.update(torch.tensor([0.3 + 0.03 * step, 0.9 - 0.03 * step]), ALL)
    assert weights()[0] < 0.5 * weights()[1] == 1.0


def test_an_absent_class_keeps_its_difficulty_statistics():
    weights = DifficultyWeights(2)
    weights.update(torch.tensor([0.5, 0.5]), ALL)
    before = {name: buffer[1].item() for name, buffer in weights.named_buffers()}
    weights.update(torch.tensor([0.7, 0.0]), torch.tensor([True, False]))
    assert {name: buffer[1].item() for name, buffer in weights.named_buffers()} == before


@pytest.mark.parametrize("dice", [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
def test_extreme_dice_values_leave_the_weights_finite(dice: list[float]):
    weights = DifficultyWeights(2)
    for step in range(500):
        weights.update(torch.tensor(dice if step % 3 else dice[::-1]), ALL)
        assert weights().isfinite().all() and (weights() >= 0).all()
    assert weights().max() <= 2.0001


def test_training_updates_the_class_weights_of_present_known_organs():
    method, batch = make_method(3), a_batch(2)
    batch["known"] = torch.tensor([[True, True, False, True]] * 2)
    losses(method, batch)
    # Organ 2 is not known and organ 3 not there: the first update leaves both as they were.
    assert (method.difficulty.last_dice > 0).tolist() == [True, True, False, False]
    assert method.distribution.started
    assert method.distribution().dtype == method.difficulty().dtype == torch.float32


def test_class_weights_move_the_supervised_losses():
    batch = a_batch()

    def supervised(weights: list[float]) -> tuple[float, Tensor]:
        method = make_method()
        method.distribution.weights.copy_(torch.tensor(weights))
        method.distribution.started.fill_(True)
        loss = losses(method, batch)["supervised b"]
        loss.backward()
        return loss.item(), method.student_b.head.weight.grad

    assert supervised([1.0, 1.0, 1.0])[0] != pytest.approx(supervised([0.0, 1.0, 3.0])[0], rel=1e-3)
    loss, gradient = supervised([0.0, 0.0, 0.0])
    assert loss == 0 and not gradient.any()


def test_the_weight_of_the_unsupervised_terms_rises_over_the_run():
    batch = a_batch()
    early, late = losses(make_method(), batch, step=0), losses(make_method(), batch, step=10)
    assert all(early[name] < 0.02 * late[name] for name in UNSUPERVISED)
    without = losses(make_method(consistency=0.0), batch, step=10)
    assert all(without[name] == 0 for name in UNSUPERVISED)


def test_unannotated_voxels_and_organs_give_no_supervised_gradient():
    batch = a_batch()
    batch["label"][:] = IGNORE
    terms = losses(make_method(), batch)
    assert terms["supervised a"] == 0 and terms["supervised b"] == 0
    method, batch = make_method(), a_batch()
    batch["known"][:, 2] = False
    losses(method, batch)["supervised a"].backward()
    gradient = method.student_a.head.weight.grad
    assert gradient is not None and not gradient[2].any() and gradient[1].any()


def test_a_step_depends_on_the_seed_and_the_step_alone():
    batch = a_batch()

    def values(seed: int, step: int) -> list[float]:
        return [term.item() for term in losses(make_method(seed=seed), batch, step).values()]

    assert values(0, 10) == values(0, 10)
    # At the end of the ramp the weights are equal: what differs is drawn.
    assert values(0, 10) != values(0, 11)
    assert values(0, 10) != values(1, 10)


@pytest.mark.parametrize("organs", [1, 2, 15])
@pytest.mark.parametrize("network", ["vnet", "unet"])
def test_any_number_of_organs_trains_with_any_network(organs: int, network: str):
    method = make_method(organs, network=network)
    sum(losses(method, a_batch(organs)).values()).backward()
    trained = [weight for weight in method.parameters() if weight.requires_grad]
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in trained)


def test_a_batch_of_background_or_without_an_organ_trains():
    for label in (torch.zeros(2, *PATCH, dtype=torch.long), torch.ones(2, *PATCH, dtype=torch.long)):
        method = make_method()
        sum(losses(method, a_batch(unlabelled=1) | {"label": label}).values()).backward()
        trained = [weight for weight in method.parameters() if weight.requires_grad]
        assert all(bool(weight.grad.isfinite().all()) for weight in trained)


def test_a_single_slice_trains_with_strides_that_spare_it():
    def make_network(**options: Any) -> SegmentationNetwork:
        return build_network("vnet", out_channels=2, strides=((1, 2, 2),) * 2, filters=4, **options)

    method = build_method("micd", make_network, classes=2, run=RunSettings(steps=4)).train()
    assert isinstance(method, MICD)
    assert all(torch.isfinite(term) for term in losses(method, a_batch(1, size=(1, 16, 16))).values())


def train(method: MICD, steps: range, *, bfloat16: bool = False) -> None:
    optimiser = torch.optim.SGD([w for w in method.parameters() if w.requires_grad], lr=0.01)
    for step in steps:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = sum(losses(method, a_batch(step=step, size=(4, 8, 8)), step).values())
        assert isinstance(total, Tensor)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        for pair in method.ema_pairs():
            update_teacher(pair, 0.9)


def test_half_precision_stays_finite_over_a_run():
    method = make_method(steps=200, levels=1)
    train(method, range(200), bfloat16=True)
    assert all(bool(value.isfinite().all()) for value in method.state_dict().values())
    assert method.difficulty.learned.dtype == torch.float32


def test_goes_on_from_its_saved_state_as_if_undisturbed():
    undisturbed = make_method()
    train(undisturbed, range(2))
    resumed = make_method(seed=5)
    resumed.load_state_dict(undisturbed.state_dict())
    resumed.run = undisturbed.run
    for method in (undisturbed, resumed):
        train(method, range(2, 4))
    after = zip(undisturbed.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in after)


def test_ships_both_students_and_nothing_else():
    method = make_method()
    networks = method.inference_networks()
    assert networks[0] is method.student_a and networks[1] is method.student_b
    plain = build_network("vnet", out_channels=3, strides=STRIDES, filters=4)
    counts = {sum(weight.numel() for weight in network.parameters()) for network in (plain, *networks)}
    assert len(counts) == 1
    assert [pair.student for pair in method.ema_pairs()] == list(networks)


def test_describes_its_settings():
    described = {setting.name: setting for setting in describe_settings(MICD.Settings)}
    assert described["heterogeneity"].choices == ("class_weights", "architecture")
    assert {name: setting.default for name, setting in described.items()} == {
        "heterogeneity": "class_weights",
        "consistency": 0.1,
        "ramp_up": 1.0,
        "mask_ratio": 0.5,
        "mask_block": 3,
        "ema_decay": 0.99,
        "teachers_in_train_mode": False,
    }

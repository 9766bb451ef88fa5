"""FDPL: fixed and dynamic pseudo-labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sslseg.contract.labels import IGNORE
from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods import build_method
from sslseg.methods.base import Batch, RunSettings, seed_generators
from sslseg.methods.fdpl import FDPL, combine, cut, cutmix_box
from sslseg.methods.settings import describe_settings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork

CPU = torch.device("cpu")
PATCH = (8, 16, 16)
STRIDES = ((1, 2, 2), (2, 2, 2))


def make_method(
    organs: int = 2,
    *,
    network: str = "vnet",
    levels: int = 2,
    seed: int = 0,
    steps: int = 10,
    **settings: Any,
) -> FDPL:
    def make_network(name: str = network, **options: Any) -> SegmentationNetwork:
        shared = {"out_channels": organs + 1, "strides": STRIDES[:levels], "filters": 4}
        return build_network(name, **shared | options)

    run = RunSettings(steps=steps, seed=seed)
    method = build_method("fdpl", make_network, classes=organs + 1, run=run, settings=settings)
    assert isinstance(method, FDPL)
    return method.train()


def a_batch(organs: int = 2, *, step: int = 0, unlabelled: int = 2, size: tuple[int, ...] = PATCH) -> Batch:
    draw = torch.Generator().manual_seed(step)
    shift = torch.tensor([[0, 3, -2], [0, -4, -3], [0, 2, 4]])[:unlabelled]
    return {
        "image": torch.rand(2, 1, *size, generator=draw),
        "label": torch.randint(0, organs + 1, (2, *size), generator=draw),
        "known": torch.ones(2, organs + 1, dtype=torch.bool),
        "unlabelled": torch.rand(unlabelled, 1, *size, generator=draw),
        "shifted": torch.rand(unlabelled, 1, *size, generator=draw),
        "shift": shift,
    }


def losses(method: FDPL, batch: Batch, step: int = 9) -> dict[str, Tensor]:
    seed_generators(method.run.seed, step)
    return method.losses(batch, step)


def touched(module: nn.Module) -> bool:
    return any(weight.grad is not None and bool(weight.grad.any()) for weight in module.parameters())


def crops(volume: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The patch in the middle of each sample of `volume (B, 8, 32, 32)`, and the one displaced by `shift`."""

    def crop(sample: Tensor, z: int, y: int, x: int) -> Tensor:
        return sample[z : z + 8, 8 + y : 24 + y, 8 + x : 24 + x]

    fixed = torch.stack([crop(sample, 0, 0, 0) for sample in volume])
    moved = torch.stack([crop(sample, *row) for sample, row in zip(volume, shift.tolist(), strict=True)])
    return fixed, moved


def test_combining_two_crops_of_one_truth_gives_that_truth_back():
    volume = torch.randint(0, 5, (4, 8, 32, 32), generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([[0, 3, 4], [0, -3, 4], [0, 3, -4], [0, -2, -1]])
    fixed, temporary = crops(volume, shift)
    assert torch.equal(combine(temporary, fixed, shift), fixed)


def test_combines_the_displaced_labels_inside_the_overlap_only():
    shift = torch.tensor([[0, 3, -2], [1, -4, 5]])
    combined = combine(
        torch.ones(2, *PATCH, dtype=torch.long), torch.zeros(2, *PATCH, dtype=torch.long), shift
    )
    for sample, row in zip(combined, shift.tolist(), strict=True):
        expected = torch.zeros(PATCH, dtype=torch.long)
        expected[tuple(slice(max(0, d), side + min(0, d)) for d, side in zip(row, PATCH, strict=True))] = 1
        assert torch.equal(sample, expected)


def test_without_a_shift_the_temporary_label_replaces_the_fixed_one():
    fixed, temporary = torch.zeros(1, *PATCH), torch.rand(1, *PATCH)
    assert torch.equal(combine(temporary, fixed, torch.zeros(1, 3, dtype=torch.long)), temporary)


def test_without_overlap_the_fixed_label_stays():
    fixed, temporary = torch.rand(1, *PATCH), torch.zeros(1, *PATCH)
    assert torch.equal(combine(temporary, fixed, torch.tensor([[0, 16, 0]])), fixed)


def test_cutting_twice_restores_the_pair():
    box = cutmix_box(PATCH, 4.0, np.random.default_rng(0), CPU)
    pair = torch.rand(2, 1, *PATCH)
    mixed = cut(pair, box)
    assert torch.equal(mixed[0, 0][box[0]], pair[1, 0][box[0]])
    assert torch.equal(mixed[0, 0][~box[0]], pair[0, 0][~box[0]])
    assert torch.equal(cut(mixed, box), pair)


def test_more_than_two_patches_are_cut_in_a_ring_and_one_stays_alone():
    box = cutmix_box(PATCH, 4.0, np.random.default_rng(0), CPU)
    label = torch.arange(3).view(3, 1, 1, 1).expand(3, *PATCH)
    assert [int(sample[box[0]].unique()) for sample in cut(label, box)] == [2, 0, 1]
    alone = torch.rand(1, 1, *PATCH)
    assert torch.equal(cut(alone, box), alone)


def test_the_box_goes_through_all_slices_with_the_sides_of_the_paper():
    shares, places = [], []
    random = np.random.default_rng(0)
    for _ in range(400):
        box = cutmix_box((3, 100, 50), 4.0, random, CPU)[0]
        assert torch.equal(box, box[:1].expand_as(box))
        rows, columns = box[0].any(1).nonzero().flatten(), box[0].any(0).nonzero().flatten()
        assert int(box[0].sum()) == len(rows) * len(columns)
        assert abs(len(rows) / 100 - len(columns) / 50) <= 0.02
        shares.append((len(rows) / 100) ** 2)
        places.append(int(rows[0]))
    # 1 - lam is distributed as lam is: mean 1/2, variance 1/36.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    assert np.std(shares) == pytest.approx(1 / 6, abs=0.02)
    assert min(places) == 0 and max(places) > 40


@pytest.mark.parametrize("which", ["first", "second"])
def test_the_losses_of_a_network_reach_that_network_only(which: str):
    for term in ("supervised", "fixed", "dynamic"):
        method = make_method()
        losses(method, a_batch())[f"{term} {which}"].backward()
        own, other = (method.first, method.second)[:: 1 if which == "first" else -1]
        assert touched(own), term
        assert all(weight.grad is None for weight in other.parameters()), term


class Threshold(SegmentationNetwork):
    """Class 1 where the image is brighter than a threshold; its logits are 50 times the distance from it."""

    def __init__(self, threshold: float) -> None:
        super().__init__(in_channels=1, out_channels=2, level_channels=[2], strides=[(1, 1, 1)])
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def features(self, x: Tensor) -> list[Tensor]:
        return [torch.cat([-(x - self.threshold), x - self.threshold], dim=1) * 50]

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]


def threshold_method(first: float, second: float) -> FDPL:
    thresholds = {"kaiming": first, "xavier": second}
    return FDPL(
        lambda init: Threshold(thresholds[init]), 2, RunSettings(steps=1), FDPL.Settings(loss_scale=1.0)
    )


def test_pseudo_labels_come_from_the_other_network_and_from_both_crops():
    # The first network calls everything class 1, the second only what is brighter than 0.5.
    method = threshold_method(first=0.0, second=0.5)
    batch = a_batch(1)
    batch["unlabelled"] = torch.full((2, 1, *PATCH), 0.25)
    batch["shifted"] = torch.full((2, 1, *PATCH), 0.75)
    batch["shift"] = torch.tensor([[0, 4, 4], [0, -4, 4]])
    terms = losses(method, batch, step=1)
    # Of the fixed crop the second says 0 everywhere; of the displaced one, which covers 9/16, it says 1.
    cross_entropy_if_wrong = 2 * 50 * 0.25
    assert terms["fixed first"].item() == pytest.approx(0.5 * cross_entropy_if_wrong + 0.5, rel=1e-3)
    right = 9 / 16
    dice = (2 * right / (1 + right) + 0) / 2
    expected = 0.5 * (1 - right) * cross_entropy_if_wrong + 0.5 * (1 - dice)
    assert terms["dynamic first"].item() == pytest.approx(expected, rel=1e-3)
    # The second, on CutMix patches of the same intensity, is told class 1 everywhere and says 0.
    assert terms["fixed second"].item() == pytest.approx(0.5 * cross_entropy_if_wrong + 0.5, rel=1e-3)
    assert terms["dynamic second"].item() == pytest.approx(terms["fixed second"].item())


def test_identical_agreeing_networks_have_nothing_to_learn_from_each_other():
    method = threshold_method(first=0.0, second=0.0)
    batch = a_batch(1)
    for key in ("unlabelled", "shifted"):
        batch[key] = 0.5 + 0.5 * batch[key]
    terms = losses(method, batch, step=1)
    assert all(
        terms[f"{kind} {name}"] < 1e-4 for kind in ("fixed", "dynamic") for name in ("first", "second")
    )


def test_the_second_network_learns_cut_labels_on_cut_patches():
    # Both networks read the class off the intensity, so a label cut unlike its patch would be wrong.
    method = threshold_method(first=0.5, second=0.5)
    batch = a_batch(1)
    batch["unlabelled"] = torch.stack([torch.full((1, *PATCH), 0.1), torch.full((1, *PATCH), 0.9)])
    batch["shifted"] = batch["unlabelled"].clone()
    terms = losses(method, batch, step=1)
    assert terms["fixed second"] < 1e-4 and terms["dynamic second"] < 1e-4


def test_the_weight_of_the_pseudo_labels_rises_while_labels_count_at_once():
    method, batch = make_method(steps=100), a_batch()
    early, late = losses(make_method(steps=100), batch, step=0), losses(method, batch, step=40)
    assert early["fixed first"] < 0.01 * late["fixed first"]
    assert early["supervised first"].item() == pytest.approx(late["supervised first"].item(), rel=0.5)


def test_alpha_weighs_cross_entropy_against_dice():
    batch = a_batch()

    def supervised(alpha: float) -> float:
        return losses(make_method(alpha=alpha), batch)["supervised first"].item()

    assert supervised(0.3) == pytest.approx(0.3 * supervised(1.0) + 0.7 * supervised(0.0), rel=1e-5)


def test_the_supervised_loss_has_the_scale_of_the_other_methods():
    method, batch = make_method(), a_batch()
    method.eval()
    with torch.no_grad():
        plain = segmentation_loss(method.first(batch["image"]), batch["label"], batch["known"])
        assert losses(method, batch)["supervised first"].item() == pytest.approx(plain.item(), rel=1e-5)


def test_unannotated_voxels_and_organs_give_no_gradient():
    method, batch = make_method(), a_batch()
    batch["label"][:] = IGNORE
    terms = losses(method, batch)
    assert terms["supervised first"] == 0 and terms["supervised second"] == 0
    method, batch = make_method(), a_batch()
    batch["known"][:, 2] = False
    losses(method, batch)["supervised first"].backward()
    gradient = method.first.head.weight.grad
    assert gradient is not None and not gradient[2].any() and gradient[1].any()


def test_a_step_depends_on_the_seed_and_the_step_alone():
    batch = a_batch()

    def values(seed: int, step: int) -> list[float]:
        return [term.item() for term in losses(make_method(seed=seed), batch, step).values()]

    assert values(0, 9) == values(0, 9)
    assert values(0, 9) != values(0, 8)
    assert values(0, 9) != values(1, 9)


@pytest.mark.parametrize("organs", [1, 2, 15])
@pytest.mark.parametrize("network", ["vnet", "unet"])
def test_any_number_of_organs_trains_with_any_network(organs: int, network: str):
    method = make_method(organs, network=network)
    sum(losses(method, a_batch(organs)).values()).backward()
    gradients = [weight.grad for weight in method.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("unlabelled", [1, 3])
def test_any_number_of_unlabelled_patches_will_do(unlabelled: int):
    assert all(torch.isfinite(t) for t in losses(make_method(), a_batch(unlabelled=unlabelled)).values())


def test_a_batch_of_background_or_without_an_organ_trains():
    for label in (torch.zeros(2, *PATCH, dtype=torch.long), torch.ones(2, *PATCH, dtype=torch.long)):
        method = make_method()
        terms = losses(method, a_batch() | {"label": label})
        sum(terms.values()).backward()
        assert all(bool(weight.grad.isfinite().all()) for weight in method.parameters())


def test_thin_slices_train_with_strides_that_spare_them():
    def make_network(**options: Any) -> SegmentationNetwork:
        return build_network("vnet", out_channels=2, strides=((1, 2, 2),) * 2, filters=4, **options)

    method = build_method("fdpl", make_network, classes=2, run=RunSettings(steps=4)).train()
    batch = a_batch(1, size=(1, 16, 16))
    assert all(torch.isfinite(term) for term in losses(method, batch).values())


def train(method: FDPL, steps: range, *, bfloat16: bool = False) -> None:
    optimiser = torch.optim.SGD(method.parameters(), lr=0.01)
    for step in steps:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total = sum(losses(method, a_batch(step=step, size=(4, 8, 8)), step).values())
        assert isinstance(total, Tensor)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()


def test_half_precision_stays_finite_over_a_run():
    method = make_method(steps=200, levels=1)
    train(method, range(200), bfloat16=True)
    assert all(bool(value.isfinite().all()) for value in method.state_dict().values())


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


def test_ships_both_networks_kaiming_and_xavier_initialised():
    method = make_method()
    first, second = method.inference_networks()
    assert first is method.first and second is method.second
    plain = build_network("vnet", out_channels=3, strides=STRIDES, filters=4)
    counts = [sum(weight.numel() for weight in network.parameters()) for network in (plain, first, second)]
    assert len(set(counts)) == 1
    # Glorot's weights are narrower where a convolution widens: 2 / (in + out) against 2 / in.
    kaiming, xavier = (network.state_dict()["blocks.1.0.weight"].std() for network in (first, second))
    assert xavier < 0.85 * kaiming


def test_describes_its_settings():
    defaults = {setting.name: setting.default for setting in describe_settings(FDPL.Settings)}
    assert defaults == {
        "alpha": 0.5,
        "consistency": 1.0,
        "ramp_up": 0.4,
        "loss_scale": 2.0,
        "cutmix_beta": 4.0,
    }

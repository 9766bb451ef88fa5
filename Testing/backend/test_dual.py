"""Dual Networks: each term against a known answer, and what it moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sslseg.contract.errors import SSLSegError
from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods import build_method
from sslseg.methods.base import Batch, RunSettings, seed_generators
from sslseg.methods.dual import Dual
from sslseg.methods.dual_losses import (
    Reliability,
    confident_labels_differ,
    contrast_loss,
    disagreement,
    guidance_loss,
    judge,
    mean_of_set,
    mistake_loss,
    predict,
    uncertain_voxels,
)
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.resnet34_vnet import ResNet34VNet
from sslseg.networks.vnet import VNet

UNLABELLED_TERMS = ("agreement", "guidance", "reliable", "contrast")
LESSONS = ("guidance", "reliable", "contrast")


class TinyNetwork(SegmentationNetwork):
    """Two convolutions, between them batch normalisation and dropout; `width` features."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__(in_channels=1, out_channels=classes, level_channels=[width], strides=[(2, 2, 2)])
        self.body = nn.Sequential(
            nn.Conv3d(1, width, 3, padding=1), nn.BatchNorm3d(width), nn.ReLU(), nn.Dropout3d(0.2),
            nn.Conv3d(width, width, 3, padding=1), nn.LeakyReLU(),
        )  # fmt: skip

    def features(self, x: Tensor) -> list[Tensor]:
        return [self.body(x)]


class OtherTinyNetwork(TinyNetwork):
    """Another architecture."""


def tiny_factory(classes: int) -> Callable[..., SegmentationNetwork]:
    def make(name: str = "tiny", **options: Any) -> SegmentationNetwork:
        return TinyNetwork(classes, 4) if name == "tiny" else OtherTinyNetwork(classes, 6)

    return make


def a_method(classes: int = 3, steps: int = 10, seed: int = 0, **settings: Any) -> Dual:
    # Sets of the tiny patches are small, and all their voxels are drawn.
    settings = {"smallest_set": 1, "sampled_share": 1.0} | settings
    method = build_method(
        "dual",
        tiny_factory(classes),
        classes=classes,
        run=RunSettings(steps=steps, seed=seed),
        settings=settings,
    )
    assert isinstance(method, Dual)
    return method.train()


def a_batch(classes: int = 3, step: int = 0, size: tuple[int, int, int] = (8, 8, 8)) -> Batch:
    draw = torch.Generator().manual_seed(step)
    return {
        "image": torch.rand(2, 1, *size, generator=draw),
        "label": torch.randint(0, classes, (2, *size), generator=draw),
        "known": torch.ones(2, classes, dtype=torch.bool),
        "unlabelled": torch.rand(2, 1, *size, generator=draw),
    }


def is_moved(network: nn.Module) -> bool:
    return any(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def let_teach(method: Dual, second: bool) -> None:
    """Far apart, so that the labelled Dice of one batch does not change the choice."""
    method.mean_dice_losses.copy_(torch.tensor([9.0, 0.0] if second else [0.0, 9.0]))


def logits_of(*probabilities: list[float]) -> Tensor:
    """Logits `(1, C, 1, 1, N)` of N voxels, each given by its probabilities."""
    return torch.tensor(probabilities).log().T.reshape(1, len(probabilities[0]), 1, 1, -1).contiguous()


# The labelled patches


def test_labels_differ_where_only_one_network_is_confident_or_both_disagree():
    first = predict(logits_of([0.7, 0.3], [0.7, 0.3], [0.55, 0.45], [0.9, 0.1], [0.45, 0.55]))
    second = predict(logits_of([0.8, 0.2], [0.1, 0.9], [0.45, 0.55], [0.55, 0.45], [0.3, 0.7]))
    differ = confident_labels_differ(first, second, 0.6)
    assert differ.tolist() == [[False, True, False, True, True]]


def test_the_error_of_two_classes_is_the_mean_squared_error():
    label = torch.tensor([[1, 0, 1]])
    prediction = predict(logits_of([0.3, 0.7], [0.6, 0.4], [0.9, 0.1]))
    known = torch.ones(1, 2, dtype=torch.bool)
    loss = mistake_loss(prediction, label, known, torch.tensor([[True, True, False]]), 1)
    assert loss.item() == pytest.approx((0.3**2 + 0.4**2) / 2)


def test_the_error_counts_neither_ignored_voxels_nor_unknown_organs():
    logits = torch.randn(1, 3, 1, 1, 4).requires_grad_()
    known = torch.tensor([[True, True, False]])
    # The last voxel carries a label that its case did not annotate.
    label = torch.tensor([[0, 1, 255, 2]])
    mistakes = torch.tensor([[True, False, True, True]])
    mistake_loss(predict(logits, known), label, known, mistakes, 1).backward()
    touched = logits.grad.flatten(2)[0] != 0
    assert touched.tolist() == [[True, False, False, False], [True, False, False, False], [False] * 4]


def test_a_set_that_is_too_small_is_left_out():
    values = torch.arange(5.0)
    members = values >= 2
    assert mean_of_set(values, members, 3).item() == 3.0
    assert mean_of_set(values, members, 4).item() == 0.0
    assert mean_of_set(values, values > 9, 1).item() == 0.0


def test_each_networks_supervised_loss_is_that_of_its_own_logits():
    method, batch = a_method().eval(), a_batch()
    terms = method.losses(batch, 0)
    for name, network in (("first", method.first), ("second", method.second)):
        expected = segmentation_loss(network(batch["image"]), batch["label"], batch["known"])
        assert terms[name].item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_unknown_organ_gets_no_gradient_from_the_labelled_patches():
    batch = a_batch() | {"known": torch.tensor([[True, True, False]] * 2)}
    batch["label"] = batch["label"].clamp_max(1)
    for name in ("first", "second", "mistakes"):
        method = a_method()
        method.losses(batch, 0)[name].backward()
        for network in (method.first, method.second):
            if network.head.bias.grad is not None:
                assert network.head.bias.grad[2] == 0
        assert is_moved(method.first) or is_moved(method.second)


# The unlabelled patches


def test_disagreement_is_one_minus_the_cosine_and_moves_both():
    first, second = logits_of([1.0, 1e-30]), logits_of([1e-30, 1.0])
    assert disagreement(predict(first), predict(second)).item() == pytest.approx(1.0)
    assert disagreement(predict(first), predict(first)).item() == pytest.approx(0.0, abs=1e-6)
    first, second = logits_of([0.6, 0.4]).requires_grad_(), logits_of([0.8, 0.2]).requires_grad_()
    loss = disagreement(predict(first), predict(second))
    cosine = (0.6 * 0.8 + 0.4 * 0.2) / math.sqrt((0.36 + 0.16) * (0.64 + 0.04))
    assert loss.item() == pytest.approx(1 - cosine, rel=1e-4)
    loss.backward()
    assert first.grad.any() and second.grad.any()


def test_guidance_follows_the_formula_and_moves_the_student_only():
    student, teacher = logits_of([0.5, 0.5]).requires_grad_(), logits_of([0.2, 0.8]).requires_grad_()
    loss = guidance_loss(predict(student), predict(teacher))
    divergence = 0.2 * math.log(0.2 / 0.5) + 0.8 * math.log(0.8 / 0.5)
    assert loss.item() == pytest.approx(math.exp(-divergence) * math.log(2) + divergence, rel=1e-5)
    loss.backward()
    assert teacher.grad is None
    # Downhill, the student moves towards the class that the teacher sees.
    assert student.grad.flatten()[0] > 0 > student.grad.flatten()[1]


def test_guidance_of_equal_networks_is_the_cross_entropy_of_their_own_label():
    logits = torch.randn(2, 3, 2, 2, 2)
    expected = nn.functional.cross_entropy(logits, logits.argmax(1))
    torch.testing.assert_close(guidance_loss(predict(logits), predict(logits)), expected)


def test_uncertain_voxels_lie_above_the_quantile_of_their_class():
    prediction = predict(2 * torch.randn(2, 4, 10, 20, 20, generator=torch.Generator().manual_seed(0)))
    found = uncertain_voxels(prediction, 0.8)
    entropy = -(prediction.probs * prediction.log_probs).sum(1)
    expected = torch.zeros_like(found)
    for c in range(4):
        of_class = prediction.label == c
        expected |= of_class & (entropy > entropy[of_class].quantile(0.8))
    # Voxels in the bin of the quantile itself count as certain.
    assert not (found & ~expected).any()
    assert found.sum() >= 0.98 * expected.sum()


def test_no_voxel_is_uncertain_when_all_are_alike():
    assert not uncertain_voxels(predict(torch.zeros(1, 3, 4, 4, 4)), 0.8).any()
    assert not uncertain_voxels(predict(torch.tensor([40.0, 0, 0]).reshape(1, 3, 1, 1, 1)), 0.8).any()


def test_the_more_confident_network_gives_the_label_and_one_certain_network_suffices():
    sure, doubt = [0.9, 0.1], [0.6, 0.4]
    first = predict(logits_of(sure, sure, sure, sure, doubt, doubt))
    second = predict(logits_of(sure, sure, sure, doubt, sure, [0.45, 0.55]))
    judged = judge(first, second, 0.5)
    assert judged.reliable.tolist() == [[True, True, True, True, True, True]]
    assert judged.label.tolist() == [[0] * 6]
    # Of class 1 the second network has two voxels more, and is less certain of the last one.
    second = predict(logits_of(sure, sure, sure, [0.1, 0.9], [0.1, 0.9], [0.35, 0.65]))
    judged = judge(first, second, 0.5)
    assert judged.reliable.tolist() == [[True, True, True, True, True, False]]
    assert judged.label.tolist() == [[0, 0, 0, 0, 1, 1]]


def a_contrast_scene() -> tuple[Tensor, Reliability]:
    """Eight voxels with two features: two reliable ones of each class, four unreliable ones."""
    rows = [[1, 0], [3, 0], [0, 1], [0, 1], [0, 2], [0, 2], [1, 0], [5, 0]]
    features = torch.tensor(rows, dtype=torch.float32).T.reshape(1, 2, 2, 2, 2).contiguous()
    label = torch.tensor([[0, 0, 1, 1, 0, 1, 0, 1]])
    reliable = torch.tensor([[True] * 4 + [False] * 4])
    return features.requires_grad_(), Reliability(label, reliable)


def test_unreliable_voxels_are_pulled_to_the_prototype_of_their_class():
    features, judged = a_contrast_scene()
    # The prototypes are the axes, sqrt 2 apart, so that nothing repels. Voxel 4 is 90 degrees off, 5 is not.
    loss = contrast_loss(features, judged, 2, torch.tensor([0, 4, 5]), 2)
    assert loss.item() == pytest.approx(math.sqrt(2) / 2, rel=1e-3)
    loss.backward()
    moved = features.grad.flatten(2)[0].abs().sum(0) > 1e-3
    assert moved.tolist() == [False] * 4 + [True] + [False] * 3


def test_prototypes_that_are_too_close_repel_each_other():
    features, judged = a_contrast_scene()
    with torch.no_grad():
        features.flatten(2)[0, :, 2:4] = torch.tensor([[1.0, 1.0], [0.5, 0.5]])
    loss = contrast_loss(features, judged, 2, torch.tensor([0]), 2)
    angle = math.atan(0.5)
    assert loss.item() == pytest.approx(1 - 2 * math.sin(angle / 2), rel=1e-3)
    loss.backward()
    moved = features.grad.flatten(2)[0].abs().sum(0) > 1e-3
    assert moved.tolist() == [True] * 4 + [False] * 4


def test_a_class_with_few_reliable_voxels_has_no_prototype():
    features, judged = a_contrast_scene()
    everything = torch.arange(8)
    assert contrast_loss(features, judged, 2, everything, 2) > 0
    # First the two reliable voxels of a class are too few for a prototype, then the unreliable one to pull.
    assert contrast_loss(features, judged, 2, everything, 3).item() == 0.0
    few = Reliability(
        torch.tensor([[0, 0, 1, 1, 0, 1, 0, 0]]), torch.tensor([[True] * 4 + [False] + [True] * 3])
    )
    assert contrast_loss(features, few, 3, everything, 1) > 0
    assert contrast_loss(features, few, 3, everything, 2).item() == 0.0


def test_features_that_are_all_zero_get_a_bounded_gradient():
    features, judged = a_contrast_scene()
    with torch.no_grad():
        features[..., 1, :, :] = 0
    contrast_loss(features, judged, 2, torch.arange(8), 2).backward()
    assert features.grad.isfinite().all() and features.grad.abs().max() < 100


# Who teaches


@pytest.mark.parametrize("second_teaches", [False, True])
@pytest.mark.parametrize("term", LESSONS)
def test_what_the_student_has_to_learn_moves_the_student_only(term: str, second_teaches: bool):
    method = a_method(certain_share=0.2)
    let_teach(method, second_teaches)
    method.losses(a_batch(), 10)[term].backward()
    assert is_moved(method.first) is second_teaches
    assert is_moved(method.second) is not second_teaches
    student = method.first if second_teaches else method.second
    assert is_moved(student.body) and is_moved(student.head) is (term != "contrast")


@pytest.mark.parametrize(
    ("term", "moves"),
    [
        ("first", (True, False)),
        ("second", (False, True)),
        ("agreement", (True, True)),
        ("mistakes", (True, True)),
    ],
)
def test_the_other_terms_move_whose_they_are(term: str, moves: tuple[bool, bool]):
    method = a_method(confidence=0.4)
    method.losses(a_batch(), 10)[term].backward()
    assert (is_moved(method.first), is_moved(method.second)) == moves


def test_unlabelled_terms_ignore_the_labelled_patches_and_their_labels():
    method = a_method().eval()
    batch = a_batch()
    image = batch["image"].requires_grad_()
    terms = method.losses(batch, 10)
    torch.stack([terms[name] for name in UNLABELLED_TERMS]).sum().backward()
    assert not image.grad.any()
    dice_losses, teaches = method.mean_dice_losses.clone(), method.second_teaches.item()
    batch["label"] = torch.full_like(batch["label"], 255)
    again = method.losses(batch, 10)
    # A batch without labels changes nobody's mind about who teaches.
    assert method.second_teaches.item() == teaches and (method.mean_dice_losses < dice_losses).all()
    for name in UNLABELLED_TERMS:
        torch.testing.assert_close(again[name], terms[name])
    assert again["first"].item() == again["second"].item() == again["mistakes"].item() == 0.0


def test_the_network_with_the_lower_labelled_dice_loss_teaches_without_flicker():
    method, batch = a_method(), a_batch()
    right = 20.0 * nn.functional.one_hot(batch["label"], 3).permute(0, 4, 1, 2, 3).float()
    wrong = right.roll(1, dims=1)

    def see(first: Tensor, second: Tensor) -> bool:
        method._supervised(first, second, batch)
        return bool(method.second_teaches)

    assert [see(wrong, right) for _ in range(5)] == [True] * 5
    # One batch that the other does better on changes nothing, a series of them does.
    assert see(right, wrong)
    assert [see(right, wrong) for _ in range(20)][-1] is False


def test_dual_settings_weigh_the_terms_and_the_ramp_rises():
    batch = a_batch()

    def terms(step: int, **settings: Any) -> dict[str, float]:
        seed_generators(0, 0)
        losses = a_method(certain_share=0.2, **settings).eval().losses(batch, step)
        return {name: value.item() for name, value in losses.items()}

    full, start = terms(10), terms(0)
    for name in UNLABELLED_TERMS:
        # What is drawn for the contrast differs between the steps.
        if name != "contrast":
            assert start[name] == pytest.approx(full[name] * math.exp(-5), rel=1e-4)
    assert terms(3, ramp_up=0.3)["agreement"] == pytest.approx(full["agreement"])
    assert terms(10, consistency=2.0)["guidance"] == pytest.approx(2 * full["guidance"])
    assert terms(10, contrast=0.2)["contrast"] == pytest.approx(2 * full["contrast"])
    assert terms(10, mistakes=0.25, confidence=0.4)["mistakes"] == pytest.approx(
        terms(10, confidence=0.4)["mistakes"] / 2
    )


def test_the_released_code_teaches_the_second_network_on_all_patches_from_the_start():
    method, batch = a_method(objective="released_code").eval(), a_batch()
    image = batch["image"].requires_grad_()
    let_teach(method, second=True)
    terms = method.losses(batch, 0)
    assert set(terms) == {"first", "second", "mistakes", "agreement", "guidance"}
    images = torch.cat([batch["image"], batch["unlabelled"]])
    first, second = (predict(network(images)) for network in (method.first, method.second))
    torch.testing.assert_close(terms["guidance"], guidance_loss(second, first))
    torch.testing.assert_close(terms["agreement"], disagreement(first, second))
    terms["guidance"].backward()
    assert is_moved(method.second) and not is_moved(method.first) and image.grad.any()


# The run


def test_the_same_seed_and_step_give_the_same_losses():
    def losses(seed: int, step: int) -> dict[str, float]:
        method = a_method(seed=seed, sampled_share=0.1, certain_share=0.2)
        seed_generators(seed, step)
        return {name: value.item() for name, value in method.losses(a_batch(), step).items()}

    assert losses(1, 8) == losses(1, 8)
    assert losses(1, 8)["contrast"] != losses(1, 9)["contrast"]
    assert losses(1, 8) != losses(2, 8)


@pytest.mark.parametrize("organs", [1, 2, 15])
@pytest.mark.parametrize("objective", ["paper", "released_code"])
def test_a_step_with_any_number_of_organs(organs: int, objective: str):
    method = a_method(organs + 1, objective=objective)
    terms = method.losses(a_batch(organs + 1), 10)
    torch.stack(list(terms.values())).sum().backward()
    for weight in method.parameters():
        assert weight.grad is not None and weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "scene", ["an organ is absent", "all background", "an organ is unknown", "unannotated"]
)
def test_a_step_on_an_unusual_batch(scene: str):
    batch = a_batch()
    if scene == "an organ is absent":
        batch["label"] = batch["label"].clamp_max(1)
    elif scene == "all background":
        batch["label"] = torch.zeros_like(batch["label"])
    elif scene == "an organ is unknown":
        batch["known"][0, 2] = False
        batch["label"][0].clamp_max_(1)
    else:
        batch["label"] = torch.full_like(batch["label"], 255)
    method = a_method()
    terms = method.losses(batch, 10)
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in method.parameters())
    assert method.mean_dice_losses.isfinite().all()


def test_learns_and_stays_finite_over_200_steps_in_half_precision(
    tiny_batch: Callable[..., Batch], run_steps: Callable[..., list[dict[str, float]]]
):
    method = a_method(steps=200)
    measured = run_steps(method, (tiny_batch(3, seed=step) for step in range(200)), bfloat16=True)
    assert all(math.isfinite(value) for terms in measured for value in terms.values())
    assert all(weight.isfinite().all() for weight in method.state_dict().values())
    for name in ("first", "second"):
        assert measured[-1][name] < 0.5 * measured[0][name]


class Stream:
    """Batches without a length, as a run gets them."""

    def __init__(self, first: int, last: int) -> None:
        self.steps = range(first, last)

    def __iter__(self) -> Iterator[Batch]:
        return (a_batch(step=step) for step in self.steps)


def fit(method: Dual, first: int, last: int, checkpoint: Path | None = None) -> lightning.Trainer:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=last,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, Stream(first, last), ckpt_path=checkpoint, weights_only=True)
    return trainer


def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path):
    undisturbed, stopped, resumed = (a_method(steps=6) for _ in range(3))
    fit(undisturbed, 0, 6)
    fit(stopped, 0, 3).save_checkpoint(tmp_path / "half.ckpt")
    assert stopped.mean_dice_losses.all()
    fit(resumed, 3, 6, tmp_path / "half.ckpt")
    for name, expected in undisturbed.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], expected), name


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the CPU wait for a GPU: reading numbers, results of unknown size."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::").partition(".")[0].removeprefix("_")
        assert name not in {waiting.removeprefix("_") for waiting in self.WAITING}, func
        indices = args[1] if name == "index" else ()
        assert not any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices), func
        return func(*args, **kwargs or {})


def test_the_step_never_waits_for_the_device():
    with pytest.raises(AssertionError), NoWaiting():
        torch.ones(2)[torch.tensor([True, False])].sum().item()
    method, batch = a_method(), a_batch()
    with NoWaiting():
        torch.stack(list(method.losses(batch, 5).values())).sum().backward()
    assert is_moved(method.first)


def test_the_rate_falls_in_two_steps_if_so_chosen():
    method = a_method(steps=6000, learning_rate_schedule="steps")
    rates = [method.learning_rate_factor(step) for step in (0, 2499, 2500, 4999, 5000, 6000)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert a_method(steps=10).learning_rate_factor(5) == pytest.approx(0.5**0.9)


# The networks


def real_method(network: str, classes: int = 2, filters: int | None = None, **settings: Any) -> Dual:
    def make(name: str = network, **options: Any) -> SegmentationNetwork:
        strides = ((1, 2, 2), (2, 2, 2)) if filters else ((2, 2, 2),) * 4
        return build_network(name, strides=strides, filters=filters, out_channels=classes, **options)

    method = build_method("dual", make, classes=classes, run=RunSettings(steps=10), settings=settings)
    assert isinstance(method, Dual)
    return method


def test_the_papers_pair_ships_with_the_papers_parameter_counts():
    shipped = real_method("vnet").inference_networks()
    assert [type(network) for network in shipped] == [VNet, ResNet34VNet]
    counts = [sum(weight.numel() for weight in network.parameters()) for network in shipped]
    assert counts == [9_448_866, 17_930_354]


@pytest.mark.parametrize(
    ("network", "second", "expected"),
    [
        ("resnet34_vnet", "auto", ("ResNet34VNet", "VNet")),
        ("unet", "auto", ("MonaiUNet", "ResNet34VNet")),
        ("unet", "unet", ("MonaiUNet", "MonaiUNet")),
        ("unet", "dynunet", ("MonaiUNet", "MonaiDynUNet")),
    ],
)
def test_networks_of_any_name_learn_from_thick_slices(network: str, second: str, expected: tuple[str, str]):
    method = real_method(network, classes=3, filters=4, second_network=second, smallest_set=1).train()
    assert tuple(type(n).__name__ for n in method.inference_networks()) == expected
    terms = method.losses(a_batch(size=(6, 16, 16)), 10)
    assert all(value.isfinite() for value in terms.values()) and terms["reliable"] > 0
    torch.stack(list(terms.values())).sum().backward()
    assert is_moved(method.first) and is_moved(method.second)


def test_two_networks_of_a_kind_start_from_different_distributions():
    method = real_method("unet", filters=8, second_network="unet")
    deepest = (
        max(net.parameters(), key=lambda weight: weight.numel()) for net in (method.first, method.second)
    )
    he, glorot = (weight.std().item() for weight in deepest)
    assert he != pytest.approx(glorot, rel=0.05)


def test_an_unknown_second_network_is_refused():
    with pytest.raises(SSLSegError, match="second_network"):
        real_method("unet", second_network="unnet")

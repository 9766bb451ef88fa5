"""What is collected about the quality of a prediction, against examples whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sslseg.data.sides import left_right_pairs
from sslseg.inference.evidence import EvidenceCollector
from sslseg.inference.features import FeatureMean
from sslseg.inference.restore import entropy_percent
from sslseg.inference.sliding_window import Ensemble, sliding_window
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork

CPU = torch.device("cpu")


def collected(probabilities: Tensor, disagreement: Tensor | None = None) -> EvidenceCollector:
    """From `(Z, C, Y, X)` slice by slice."""
    collector = EvidenceCollector(probabilities.shape[1], CPU)
    for number, content in enumerate(probabilities):
        differing = None if disagreement is None else disagreement[number]
        collector.add(content, entropy_percent(content) / 100, differing)
    return collector


def a_cube(inside: float, outside: float) -> Tensor:
    """An organ of 2 x 2 x 2 voxels in 4 x 4 x 4, with one probability inside of it and one outside."""
    probabilities = torch.full((4, 2, 4, 4), outside)
    probabilities[1:3, 1, 1:3, 1:3] = inside
    probabilities[:, 0] = 1 - probabilities[:, 1]
    return probabilities


def test_a_certain_organ_is_expected_to_be_right() -> None:
    (organ,) = collected(a_cube(1.0, 0.0)).organs()
    assert (organ.precision, organ.recall, organ.soft_dice) == (1, 1, 1)
    assert (organ.entropy, organ.entropy_inside, organ.disagreement) == (0, 0, 0)


def test_the_numbers_of_an_uncertain_organ_are_those_of_their_definition() -> None:
    (organ,) = collected(a_cube(0.8, 0.1)).organs()
    mass_inside, mass = 8 * 0.8, 8 * 0.8 + 56 * 0.1
    assert organ.precision == pytest.approx(0.8, abs=1e-4)
    assert organ.recall == pytest.approx(mass_inside / mass, abs=1e-4)
    assert organ.soft_dice == pytest.approx(2 * mass_inside / (mass + 8), abs=1e-4)

    def entropy(p: float) -> float:
        return -(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2)

    assert organ.entropy_inside == pytest.approx(entropy(0.8), abs=1e-4)
    expected = (mass_inside * entropy(0.8) + 5.6 * entropy(0.1)) / mass
    assert organ.entropy == pytest.approx(expected, abs=1e-4)


def test_the_soft_dice_is_the_expected_dice_when_the_probabilities_are_true() -> None:
    draw = torch.Generator().manual_seed(0)
    organ = torch.rand(24, 32, 32, generator=draw) ** 2
    probabilities = torch.stack((1 - organ, organ), dim=1)
    (evidence,) = collected(probabilities).organs()
    predicted = organ > 0.5
    dice = []
    for _ in range(30):
        truth = torch.rand(organ.shape, generator=draw) < organ
        dice.append(float(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum())))
    assert evidence.soft_dice == pytest.approx(np.mean(dice), abs=0.005)


def test_an_organ_that_is_nowhere_is_the_worst_and_not_an_error() -> None:
    (organ,) = collected(a_cube(0.0, 0.0)).organs()
    assert (organ.precision, organ.recall, organ.soft_dice, organ.disagreement) == (0, 0, 0, 0)
    assert (organ.entropy, organ.entropy_inside) == (1, 1)


@pytest.mark.parametrize(("place", "share"), [((2, 2, 2), 0.0), ((1, 2, 2), 1 / 26), ((2, 1, 3), 1 / 26)])
def test_only_disagreement_on_the_border_counts(place: tuple[int, int, int], share: float) -> None:
    probabilities = torch.zeros(5, 2, 5, 5)
    probabilities[1:4, 1, 1:4, 1:4] = 1
    probabilities[:, 0] = 1 - probabilities[:, 1]
    disagreement = torch.zeros(5, 5, 5)
    disagreement[place] = 1
    disagreement[0] = disagreement[:, 0] = 1
    (organ,) = collected(probabilities, disagreement).organs()
    assert organ.disagreement == pytest.approx(share, abs=1e-5)


def test_the_end_of_the_volume_is_no_border() -> None:
    probabilities = torch.zeros(3, 2, 3, 3)
    probabilities[:, 1] = 1
    (organ,) = collected(probabilities, torch.ones(3, 3, 3)).organs()
    assert organ.disagreement == 0


class Constant(SegmentationNetwork):
    """Says the same class everywhere; its coarsest level is a constant vector."""

    def __init__(self, winner: int, level: tuple[float, ...] = (1.0, 0.0)) -> None:
        super().__init__(in_channels=1, out_channels=3, level_channels=[2, 1], strides=[(2, 2, 2)])
        self.level = level
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.copy_(torch.eye(3)[winner] * 10)

    def features(self, x: Tensor) -> list[Tensor]:
        level = torch.tensor(self.level).reshape(1, 2, 1, 1, 1).expand(len(x), 2, 1, 1, 1)
        return [level, x]


class WhereBright(Constant):
    """Class 1 in the dark, class 2 where it is bright."""

    def __init__(self) -> None:
        super().__init__(1)
        with torch.no_grad():
            self.head.weight[2] = 40


def test_networks_that_differ_are_told_voxel_by_voxel() -> None:
    image = np.full((6, 8, 8), 0.1, np.float32)
    image[:, :, 4:] = 0.9
    ensemble = Ensemble([Constant(1), WhereBright()], CPU, bfloat16=False, compare=True)
    for slab in sliding_window(ensemble, image, (4, 4, 4)):
        assert slab.disagreement is not None and slab.probabilities.shape[1] == 3
        torch.testing.assert_close(slab.disagreement[:, :, 4:], torch.ones(len(slab.probabilities), 8, 4))
        assert slab.disagreement[:, :, :4].abs().max() == 0


def test_a_single_opinion_has_nobody_to_disagree_with() -> None:
    ensemble = Ensemble([Constant(1)], CPU, bfloat16=False, compare=True)
    (slab,) = sliding_window(ensemble, np.ones((4, 4, 4), np.float32), (4, 4, 4))
    assert not ensemble.compares and slab.disagreement is None


def test_collecting_changes_no_probability() -> None:
    torch.manual_seed(0)
    networks = [build_network("vnet", out_channels=3, strides=((2, 2, 2),) * 2, filters=4) for _ in range(2)]
    image = np.random.default_rng(0).uniform(0.1, 1, (10, 12, 14)).astype(np.float32)
    plain = Ensemble(networks, CPU, bfloat16=False)
    watched = Ensemble(networks, CPU, bfloat16=False, compare=True, features=FeatureMean(2))
    for one, other in zip(
        sliding_window(plain, image, (8, 8, 8)), sliding_window(watched, image, (8, 8, 8)), strict=True
    ):
        assert torch.equal(one.probabilities, other.probabilities)


def test_a_mirrored_opinion_sees_the_other_side_and_names_it_so() -> None:
    """Class 1 is on the left, class 2 on the right; the network tells them by the half of the window."""

    class Halves(Constant):
        def forward(self, x: Tensor) -> Tensor:
            logits = torch.zeros(len(x), 3, *x.shape[2:])
            logits[:, 1, ..., : x.shape[-1] // 2] = 10
            logits[:, 2, ..., x.shape[-1] // 2 :] = 10
            return logits

    image = torch.ones(1, 1, 4, 4, 8)
    straight = Ensemble([Halves(1)], CPU, bfloat16=False)(image)
    swapped = Ensemble([Halves(1)], CPU, bfloat16=False, mirrored=[0, 2, 1], compare=True)(image)
    unswapped = Ensemble([Halves(1)], CPU, bfloat16=False, mirrored=[0, 1, 2], compare=True)(image)
    torch.testing.assert_close(swapped[:, :3], straight)
    assert swapped[:, 3].max() == 0 and unswapped[:, 3].min() == 1


def test_features_are_a_unit_vector_in_which_each_network_weighs_the_same() -> None:
    features = FeatureMean(2)
    ensemble = Ensemble(
        [Constant(1, (3.0, 4.0)), Constant(1, (0.0, 100.0))], CPU, bfloat16=False, features=features
    )
    ensemble(torch.ones(2, 1, 4, 4, 4))
    expected = np.array([0.6, 0.8, 0.0, 1.0]) / math.sqrt(2)
    np.testing.assert_allclose(features.vector(), expected, atol=1e-4)
    features.clear()
    assert features.vector() == ()


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["right_parotid", "left_parotid", "cord"], [(1, 0)]),
        (["Left Kidney", "liver", "kidney right"], []),
        (["Kidney-L", "kidney r"], [(0, 1)]),
        (["left lung", "left kidney", "right kidney"], [(1, 2)]),
        (["lateral ventricle", "liver"], []),
    ],
)
def test_pairs_of_organs_are_known_by_their_names(names: list[str], pairs: list[tuple[int, int]]) -> None:
    assert left_right_pairs(names) == pairs

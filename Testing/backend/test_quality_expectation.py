"""The expected Dice, fitted to made-up organs whose Dice follows a known rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from quality_doubles import a_card
from scipy import stats

from sslseg.contract.quality import OrganQuality
from sslseg.quality.expectation import MOST_ODD, Expectation, Known, oddness

ORGANS = {"liver": 1.5, "spleen": 0.5, "pancreas": -0.5}
"""How much better or worse than the networks think, on the logarithmic scale of odds."""
VOLUMES = {organ: [1000.0, 1500.0, 2000.0] for organ in ORGANS}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def some_cases(count: int, seed: int = 0) -> list[list[Known]]:
    """Cases in which the true Dice is that of the formula, with weights (0.5, 0.5, 0) and the offsets of `ORGANS`."""
    random = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        case = []
        for organ, offset in ORGANS.items():
            precision, entropy = random.uniform(0.6, 0.95), random.uniform(0.05, 0.4)
            value = 0.5 * math.log(precision / (1 - precision)) - 0.5 * math.log(entropy + 1e-3)
            evidence = {"precision": precision, "entropy": entropy, "soft_dice": precision}
            case.append(Known(a_card(organ, evidence=evidence), sigmoid(value + offset - 1)))
        cases.append(case)
    return cases


def cards(cases: list[list[Known]]) -> list[OrganQuality]:
    return [known.card for case in cases for known in case]


def correlation(expectation: Expectation, cases: list[list[Known]]) -> float:
    pairs = [(expectation.dice(known.card), known.dice) for case in cases for known in case]
    return float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)


def test_without_anything_known_the_networks_are_taken_at_their_word() -> None:
    expectation = Expectation.fitted([a_card()], [], VOLUMES)
    assert not expectation.is_calibrated
    assert expectation.dice(a_card(evidence={"soft_dice": 0.83})) == 0.83


def test_two_known_cases_put_the_organs_in_their_order() -> None:
    cases = some_cases(22)
    naive = Expectation.fitted(cards(cases), [], VOLUMES)
    fitted = Expectation.fitted(cards(cases), [known for case in cases[:2] for known in case], VOLUMES)
    assert fitted.is_calibrated
    assert correlation(fitted, cases[2:]) > max(0.9, correlation(naive, cases[2:]) + 0.2)


def test_many_known_cases_tell_the_dice_itself() -> None:
    cases = some_cases(60)
    fitted = Expectation.fitted(cards(cases), [known for case in cases[:40] for known in case], VOLUMES)
    errors = [abs((fitted.dice(known.card) or 0) - known.dice) for case in cases[40:] for known in case]
    assert np.mean(errors) < 0.01


def test_the_dice_that_training_found_stands_in_where_no_other_is_known() -> None:
    cases = some_cases(20)
    measured = {
        organ: float(np.mean([k.dice for c in cases for k in c if k.card.organ == organ])) for organ in ORGANS
    }
    fitted = Expectation.fitted(cards(cases), [], VOLUMES, measured)
    assert (
        correlation(fitted, cases) > correlation(Expectation.fitted(cards(cases), [], VOLUMES), cases) + 0.1
    )
    worse = Expectation.fitted(cards(cases), cases[0], VOLUMES, dict.fromkeys(ORGANS, 0.01))
    assert (worse.dice(cases[0][0].card) or 0) > 0.5


def test_an_organ_of_which_nothing_is_known_takes_the_level_of_the_others() -> None:
    cases = some_cases(10)
    low = [Known(known.card, 0.3) for case in cases for known in case if known.card.organ != "liver"]
    fitted = Expectation.fitted(cards(cases), low, VOLUMES)
    assert all((fitted.dice(case[0].card) or 1) < 0.5 for case in cases)


def test_an_organ_that_is_not_there_is_expected_to_be_wrong() -> None:
    assert Expectation.fitted([a_card()], [], {}).dice(a_card(volume_ml=0.0)) == 0.0


def test_a_card_without_evidence_leaves_nothing_to_expect() -> None:
    bare = OrganQuality("liver", a_card().verdict, [], 10.0, 1, 1.0, False, 0.1, 0.0)
    assert Expectation.fitted([bare], [Known(bare, 0.5)], {}).dice(bare) is None


@pytest.mark.parametrize(
    ("volume", "annotated", "expected"),
    [
        (1500.0, [1000.0, 1500.0, 2000.0], 0.0),
        (100.0, [], 0.0),
        (0.0, [1500.0], MOST_ODD),
        (1500.0 * 1.25, [1500.0], 1.0),
        (1500.0 / 1.25**2, [1500.0, 1500.0, 1500.0], 2.0),
        (1.0, [1500.0], MOST_ODD),
    ],
)
def test_the_oddness_of_a_volume_counts_in_spreads(
    volume: float, annotated: list[float], expected: float
) -> None:
    assert oddness(volume, annotated) == pytest.approx(expected)

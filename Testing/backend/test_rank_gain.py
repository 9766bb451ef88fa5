"""The order of cases, on features whose geometry is plain to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quality_doubles import a_card, a_case

from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort, Use
from sslseg.contract.labels import parse_labels
from sslseg.contract.quality import CaseQuality, RankedCase, Verdict
from sslseg.quality.rules import Background
from sslseg.rank.gain import greedy_order, rank_cases


def at(*degrees: float) -> np.ndarray:
    """Unit vectors in the plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def order(uncertainty: list[float], candidates: np.ndarray, annotated: np.ndarray | None = None) -> list[int]:
    nobody = np.empty((0, candidates.shape[1]))
    choices = greedy_order(np.array(uncertainty), candidates, nobody if annotated is None else annotated)
    gains = [choice.gain for choice in choices]
    assert sorted(gains, reverse=True) == pytest.approx(gains)
    return [choice.index for choice in choices]


def test_of_alike_cases_the_least_certain_comes_first() -> None:
    assert order([0.2, 0.5, 0.3], at(10, 10, 10)) == [1, 2, 0]
    assert order([0.4], at(10)) == [0]


def test_of_equally_certain_cases_the_one_that_stands_for_most_comes_first() -> None:
    # Three alike at 0 degrees, one apart at 90: the annotated case is far from all of them.
    ranked = order([0.5] * 4, at(0, 1, 2, 90), at(200))
    assert ranked[0] == 1


def test_cases_that_follow_each_other_differ() -> None:
    # Two crowds; the first is less certain. After one of it, the other crowd is worth more.
    ranked = order([0.50, 0.49, 0.48, 0.40, 0.39], at(0, 1, 2, 90, 91), at(180))
    assert ranked[0] in (0, 1, 2) and ranked[1] in (3, 4)


def test_a_case_like_an_annotated_one_is_worth_little() -> None:
    assert order([0.5, 0.4], at(0, 90), at(1)) == [1, 0]


def test_what_the_model_is_sure_of_comes_last() -> None:
    assert order([0.0, 0.3, 0.2], at(0, 60, 120), at(180))[-1] == 0


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Two organs; `done` is annotated, `half` for the liver only, `slices` on some slices, `tested` is kept apart."""
    labels = parse_labels("liver=1,spleen=2")
    Cohort.create(tmp_path / "c", name="c", modality="CT", labels=labels)
    with Cohort.edit(tmp_path / "c") as cohort:
        for name in ("done", "half", "slices", "tested", "first", "second"):
            case = Case(name, f"images/{name}.nii.gz", use=Use.TEST if name == "tested" else Use.TRAIN)
            if name in ("done", "half", "slices"):
                case.label = f"labels/{name}.nii.gz"
                case.annotated = ["liver"] if name == "half" else labels.names
            if name == "slices":
                case.slices = {"liver": AnnotatedSlices("k", [3]), "spleen": AnnotatedSlices("k", [3])}
            cohort.cases.append(case)
    return Cohort.read(tmp_path / "c", check_files=False)


def cards_of(cohort: Cohort, **organs: list) -> dict[str, CaseQuality]:
    usual = [a_card("liver"), a_card("spleen")]
    return {
        case.id: a_case(case.id, organs.get(case.id, usual), at(30.0 * number)[0].tolist())
        for number, case in enumerate(cohort.cases)
    }


def ranked(cohort: Cohort, background: Background | None = None, **organs: list) -> dict[str, RankedCase]:
    return {
        entry.case: entry
        for entry in rank_cases(cohort, cards_of(cohort, **organs), background or Background())
    }


def test_only_what_is_left_to_annotate_is_ranked(cohort: Cohort) -> None:
    assert set(ranked(cohort)) == {"half", "slices", "first", "second"}
    without = {name: card for name, card in cards_of(cohort).items() if name != "first"}
    assert {entry.case for entry in rank_cases(cohort, without, Background())} == {"half", "slices", "second"}


def test_an_organ_that_a_person_annotated_raises_no_concern(cohort: Cohort) -> None:
    bad_liver = [a_card("liver", expected_dice=0.2), a_card("spleen")]
    found = ranked(cohort, half=bad_liver, first=bad_liver)
    assert found["half"].uncertainty == pytest.approx(0.05)
    assert found["first"].uncertainty == pytest.approx((0.8 + 0.05) / 2)


def test_an_organ_that_is_rightly_absent_raises_no_concern(cohort: Cohort) -> None:
    absent = a_card("spleen", volume_ml=0.0, expected_dice=0.0)
    assert ranked(cohort, first=[a_card("liver"), absent])["first"].uncertainty == pytest.approx(0.05)


def test_the_reason_names_the_organ_of_most_concern(cohort: Cohort) -> None:
    doubtful = a_card("spleen", expected_dice=0.6, verdict=Verdict.LOOK, reasons=["expected Dice 0.60"])
    wrong = a_card(
        "liver", verdict=Verdict.LIKELY_WRONG, reasons=["300 ml, half of the smallest annotated (600 ml)"]
    )
    found = ranked(cohort, first=[wrong, doubtful], second=[a_card("liver"), doubtful])
    assert found["first"].reason.startswith("liver: 300 ml, half of the smallest annotated (600 ml)")
    assert found["second"].reason.startswith("spleen: expected Dice 0.60")
    assert (found["first"].purpose, found["second"].purpose) == ("annotate", "review")


def test_the_reason_tells_which_parts_of_the_model_disagree(cohort: Cohort) -> None:
    background = Background(opinions="the two networks")
    found = ranked(cohort, background, first=[a_card("liver", disagreement=0.31, expected_dice=0.5)])
    assert found["first"].reason.startswith("liver: the two networks disagree on 31 % of its border")


def test_priorities_fall_from_one(cohort: Cohort) -> None:
    entries = rank_cases(cohort, cards_of(cohort), Background())
    priorities = [entry.priority for entry in entries]
    assert priorities[0] == 1 and sorted(priorities, reverse=True) == priorities
    assert all(0 <= entry.diversity <= 1 for entry in entries)
    assert entries[0].reason.endswith("; stands for cases that no annotated one resembles")


def test_cases_without_features_are_ranked_by_uncertainty(cohort: Cohort) -> None:
    cards = {
        name: a_case(name, [a_card("liver", expected_dice=dice)])
        for name, dice in (("done", 0.9), ("half", 0.9), ("first", 0.5), ("second", 0.7))
    }
    assert [entry.case for entry in rank_cases(cohort, cards, Background())] == ["first", "second"]


def test_a_cohort_that_is_done_has_nothing_to_rank(cohort: Cohort) -> None:
    assert rank_cases(cohort, {"done": cards_of(cohort)["done"]}, Background()) == []

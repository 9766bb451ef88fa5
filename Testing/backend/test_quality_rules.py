"""Each rule of the quality card, on organs whose fault is known."""

from __future__ import annotations

from typing import Any

import pytest
from quality_doubles import a_card, a_shape

from sslseg.contract.quality import Verdict
from sslseg.quality.judging import opinions_in_words
from sslseg.quality.rules import Background, judge_organ, judge_sides, millilitres, times, worst

FINE, LOOK, WRONG = Verdict.FINE, Verdict.LOOK, Verdict.LIKELY_WRONG
USUAL = Background(cases=[{"liver": a_shape(volume)} for volume in (1200.0, 1500.0, 1800.0)])


def judged(background: Background = USUAL, **changes: Any) -> tuple[Verdict, list[str]]:
    return judge_organ(a_card(**changes), background)


def test_an_ordinary_organ_is_fine_without_a_reason() -> None:
    assert judged() == (FINE, [])


@pytest.mark.parametrize(
    ("volume", "verdict", "reason"),
    [
        (1000.0, FINE, None),
        (2200.0, FINE, None),
        (800.0, LOOK, "800 ml, two thirds of the smallest annotated (1200 ml)"),
        (600.0, WRONG, "600 ml, half of the smallest annotated (1200 ml)"),
        (300.0, WRONG, "300 ml, a quarter of the smallest annotated (1200 ml)"),
        (2700.0, LOOK, "2700 ml, 1.5 times the largest annotated (1800 ml)"),
        (4500.0, WRONG, "4500 ml, 2.5 times the largest annotated (1800 ml)"),
    ],
)
def test_a_volume_is_held_against_the_annotated_range(
    volume: float, verdict: Verdict, reason: str | None
) -> None:
    assert judged(volume_ml=volume) == (verdict, [] if reason is None else [reason])


def test_without_annotated_cases_no_volume_is_odd() -> None:
    assert judged(Background(), volume_ml=3.0) == (FINE, [])


def test_an_organ_that_is_missing_is_likely_wrong_where_everybody_has_it() -> None:
    assert judged(volume_ml=0.0, centre=None, expected_dice=0.0) == (
        WRONG,
        ["not found, though every annotated case has it"],
    )
    half = Background(cases=[{"liver": a_shape(0.0)}, {"liver": a_shape()}, {"liver": a_shape()}])
    assert judged(half, volume_ml=0.0) == (LOOK, ["not found"])
    assert judged(Background(), volume_ml=0.0) == (LOOK, ["not found"])
    seldom = Background(cases=[{"liver": a_shape(0.0)}, {"liver": a_shape()}])
    assert judged(seldom, volume_ml=0.0) == (FINE, [])


@pytest.mark.parametrize(("share", "verdict"), [(0.95, FINE), (0.8, LOOK), (0.5, WRONG)])
def test_pieces_matter_by_what_lies_outside_the_largest(share: float, verdict: Verdict) -> None:
    found, reasons = judged(components=3, largest_share=share)
    assert found is verdict
    assert reasons == ([] if verdict is FINE else [f"in 3 pieces, the largest holds {100 * share:.0f} %"])


def test_an_organ_that_always_has_two_halves_may_have_them() -> None:
    halves = Background(cases=[{"liver": a_shape(components=2, largest_share=0.5)}])
    assert judged(halves, components=2, largest_share=0.5) == (FINE, [])
    assert judged(halves, components=3, largest_share=0.35)[0] is LOOK


def test_the_edge_matters_only_where_no_annotated_case_reaches_it() -> None:
    reason = "reaches the edge of the volume, which it does in no annotated case"
    assert judged(touches_edge=True) == (LOOK, [reason])
    cut_off = Background(cases=[{"liver": a_shape(touches_edge=True)}, {"liver": a_shape()}])
    assert judged(cut_off, touches_edge=True) == (FINE, [])
    assert judged(Background(), touches_edge=True) == (LOOK, ["reaches the edge of the volume"])


@pytest.mark.parametrize(("dice", "verdict"), [(0.7, FINE), (0.6, LOOK), (0.4, WRONG), (None, FINE)])
def test_a_poor_expectation_is_a_reason(dice: float | None, verdict: Verdict) -> None:
    found, reasons = judged(expected_dice=dice)
    assert found is verdict and reasons == ([] if verdict is FINE else [f"expected Dice {dice:.2f}"])


def test_disagreement_is_told_by_whom() -> None:
    background = Background(opinions=opinions_in_words(2))
    assert judged(background, disagreement=0.31) == (
        LOOK,
        ["the two networks disagree on 31 % of its border"],
    )
    assert judged(background, disagreement=0.3) == (FINE, [])
    assert opinions_in_words(3) == "the 3 networks"
    assert opinions_in_words(1) == "the scan and its mirror image"


def test_an_organ_is_uncertain_in_comparison_with_the_other_cases() -> None:
    others = [0.10, 0.11, 0.12, 0.13, 0.14]
    usual = Background(entropies={"liver": others})
    assert judged(usual, evidence={"entropy": 0.16}) == (FINE, [])
    assert judged(usual, evidence={"entropy": 0.2}) == (LOOK, ["far less certain than in the other cases"])
    assert judged(Background(entropies={"liver": others[:4]}), evidence={"entropy": 0.9}) == (FINE, [])


def test_the_gravest_reason_comes_first() -> None:
    verdict, reasons = judged(volume_ml=800.0, expected_dice=0.3, touches_edge=True)
    assert verdict is WRONG
    assert [reason.split()[0] for reason in reasons] == ["expected", "800", "reaches"]


PAIR = [("left kidney", "right kidney")]


def sides(left_x: float, right_x: float, cases: list[dict[str, Any]] | None = None) -> list[str]:
    cards = {
        "left kidney": a_card("left kidney", centre=(left_x, 0.0, 0.0)),
        "right kidney": a_card("right kidney", centre=(right_x, 0.0, 0.0)),
    }
    return judge_sides(cards, Background(cases=cases or [], pairs=PAIR))


def test_left_and_right_are_told_apart_by_the_patient() -> None:
    assert sides(60.0, -60.0) == []
    assert sides(-60.0, 60.0) == ["left kidney and right kidney seem to have changed places"]


def test_where_the_annotated_cases_are_the_other_way_round_that_is_usual() -> None:
    mirrored = [
        {"left kidney": a_shape(centre=(-50.0, 0, 0)), "right kidney": a_shape(centre=(50.0, 0, 0))},
        {"left kidney": a_shape(centre=(-50.0, 0, 0))},
    ]
    assert sides(-60.0, 60.0, mirrored) == []
    assert len(sides(60.0, -60.0, mirrored)) == 1


def test_a_pair_of_which_one_is_missing_cannot_be_swapped() -> None:
    cards = {"left kidney": a_card("left kidney"), "right kidney": a_card("right kidney", centre=None)}
    assert judge_sides(cards, Background(pairs=PAIR)) == []


def test_words() -> None:
    assert worst([]) is FINE and worst([LOOK, FINE]) is LOOK and worst([LOOK, WRONG, FINE]) is WRONG
    assert [times(ratio) for ratio in (0.5, 0.1, 0.85, 3.26)] == [
        "half of",
        "10 % of",
        "85 % of",
        "3.3 times",
    ]
    assert [millilitres(volume) for volume in (0.4321, 9.87, 1449.6)] == ["0.43 ml", "9.9 ml", "1450 ml"]

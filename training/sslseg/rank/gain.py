"""The order in which cases are worth a person's time: what the model is unsure of, and what is not annotated yet.

With u_i the expected error of case i (one minus its mean expected Dice), f_i what the network saw in it, and A the
annotated cases and those ranked before:

    gain_i = u_i * sum_j u_j max(0, min_{a in A} |f_j - f_a| - |f_j - f_i|)

A case is worth much when the model is wrong about it, and when cases that the model is wrong about lie nearer to it
than to anything annotated: facility location (Wei 2015, "Submodularity in data subset selection"), weighted by
uncertainty. After each choice the distances shrink, so cases that follow each other differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.quality import CaseQuality, OrganQuality, RankedCase, Verdict
from sslseg.quality.rules import (
    DOUBTFUL_DICE,
    MUCH_DISAGREEMENT,
    Background,
    disagreement_in_words,
    worst,
)

TELLING_COVERAGE = 0.5
"""Share of the largest coverage from which the reason says that a case stands for others."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """One step of the greedy choice.

    Attributes:
        index: which candidate.
        gain: its gain when it was chosen.
        coverage: the sum in its gain, without the factor u_i.
    """

    index: int
    gain: float
    coverage: float


def greedy_order(uncertainty: Array, candidates: Array, annotated: Array) -> list[Choice]:
    """All candidates in the order of their gain, each given those before it.

    Args:
        uncertainty: (n,), 0 to 1.
        candidates: (n, F), a vector of unit length for each.
        annotated: (m, F), m may be 0: then every case is as far from them as two of the cases are at most.
    """
    count = len(candidates)
    apart = _distances(candidates, candidates)
    most = float(apart.max(initial=0.0))
    if most == 0.0:
        # Alike, or a single one: uncertainty alone tells them apart.
        apart, most = np.ones((count, count)) - np.eye(count), 1.0
        nearest = np.full(count, most)
    else:
        nearest = _distances(candidates, annotated).min(axis=1) if len(annotated) else np.full(count, most)
    choices: list[Choice] = []
    left = np.ones(count, bool)
    for _ in range(count):
        coverage = np.maximum(nearest[None] - apart, 0.0) @ uncertainty
        gain = np.where(left, uncertainty * coverage, -1.0)
        # Where nothing is left to be covered, the order is that of the uncertainty.
        index = int(np.lexsort((np.where(left, uncertainty, -1.0), gain))[-1])
        choices.append(Choice(index, max(float(gain[index]), 0.0), float(coverage[index])))
        left[index] = False
        nearest = np.minimum(nearest, apart[index])
    return choices


def rank_cases(cohort: Cohort, cards: Mapping[str, CaseQuality], background: Background) -> list[RankedCase]:
    """The training cases that are not annotated as a whole, sorted by their expected gain.

    Args:
        cohort: says what is annotated.
        cards: judged cards by the ids of their cases; a case without one is left out.
        background: for the words.
    """
    cases = [case for case in cohort.cases if case.use is Use.TRAIN and case.id in cards]
    waiting = {case.id: organs for case in cases if (organs := _unknown_organs(case, cards[case.id]))}
    annotated = [case.id for case in cases if case.is_annotated and case.id not in waiting]
    names = list(waiting)
    if not names:
        return []
    uncertainty = np.array([_expected_error(waiting[name]) for name in names])
    vectors = _vectors([cards[name].features for name in [*names, *annotated]])
    choices = greedy_order(uncertainty, vectors[: len(names)], vectors[len(names) :])
    largest = max(choice.gain for choice in choices)
    most_covering = max(choice.coverage for choice in choices)
    ranked = []
    for choice in choices:
        organs = waiting[names[choice.index]]
        diversity = choice.coverage / most_covering if most_covering else 0.0
        ranked.append(
            RankedCase(
                case=names[choice.index],
                priority=round(choice.gain / largest, 4) if largest else 0.0,
                purpose=_purpose(organs),
                reason=_reason(organs, diversity, background),
                uncertainty=round(float(uncertainty[choice.index]), 4),
                diversity=round(diversity, 4),
            )
        )
    return ranked


def _unknown_organs(case: Case, card: CaseQuality) -> list[OrganQuality]:
    """What nobody has annotated as a whole; not what is rightly absent."""
    known = set(case.annotated) - set(case.slices) if case.label is not None else set()
    return [
        organ
        for organ in card.organs
        if organ.organ not in known and not (organ.volume_ml == 0 and organ.verdict is Verdict.FINE)
    ]


def _expected_error(organs: Sequence[OrganQuality]) -> float:
    """Mean over the organs; where no Dice is expected, the entropy stands in."""
    errors = [o.uncertainty if o.expected_dice is None else 1 - o.expected_dice for o in organs]
    return float(np.mean(errors))


def _purpose(organs: Sequence[OrganQuality]) -> Literal["annotate", "review"]:
    bad = worst([organ.verdict for organ in organs]) is Verdict.LIKELY_WRONG
    return "annotate" if bad or 1 - _expected_error(organs) < DOUBTFUL_DICE else "review"


def _reason(organs: Sequence[OrganQuality], diversity: float, background: Background) -> str:
    """About the organ of most concern, and about what the case stands for."""
    order = list(Verdict)
    organ = max(organs, key=lambda o: (order.index(o.verdict), _expected_error([o])))
    if organ.disagreement > MUCH_DISAGREEMENT / 2:
        what = disagreement_in_words(organ, background)
    elif organ.reasons:
        what = organ.reasons[0]
    elif organ.expected_dice is not None:
        what = f"expected Dice {organ.expected_dice:.2f}"
    else:
        what = f"uncertain in {100 * organ.uncertainty:.0f} % of what is possible"
    others = "; stands for cases that no annotated one resembles" if diversity >= TELLING_COVERAGE else ""
    return f"{organ.organ}: {what}{others}"


def _vectors(features: Sequence[Sequence[float]]) -> Array:
    """(n, F); without features, or with such of another length than most, all cases are alike."""
    if len({len(vector) for vector in features}) != 1 or not len(features[0]):
        return np.ones((len(features), 1))
    return np.array(features, dtype=np.float64)


def _distances(first: Array, second: Array) -> Array:
    """Euclidean distances (n, m) between rows of unit length."""
    return np.sqrt(np.maximum(2 - 2 * first @ second.T, 0.0))

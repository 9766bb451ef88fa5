"""From what is measured of a predicted organ to a verdict, with its reasons in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sslseg.contract.quality import OrganQuality, Verdict
from sslseg.quality.shapes import OrganShape

DOUBTFUL_DICE = 0.7
"""An expected Dice below this is worth a look."""
POOR_DICE = 0.5
"""An expected Dice below this means that as much is wrong as is right."""
TOLERANCE = 1.25
"""How far a volume may lie outside the annotated range without being worth a look."""
FAR_OFF = 2.0
"""How far outside the annotated range a volume is likely wrong."""
SCATTERED = 0.1
"""Share of an organ that may lie outside its largest piece without being worth a look."""
IN_PIECES = 0.4
"""The same without being likely wrong."""
MUCH_DISAGREEMENT = 0.3
"""Share of the border on which the parts of a model may disagree without it being worth a look."""
UNUSUAL = 3.5
"""How many spreads of the other cases an entropy may lie above their median; Iglewicz and Hoaglin 1993."""
ENOUGH_CASES = 5
"""Cases that it takes to say what is usual."""

Finding = tuple[Verdict, str]


@dataclass(frozen=True)
class Background:
    """What a prediction is compared with.

    Attributes:
        cases: shapes of the annotated organs, case by case.
        pairs: names of organs that are the left and the right one of a pair.
        entropies: of each organ, `evidence["entropy"]` in the predicted cases.
        opinions: what the parts of the model that can disagree are called, such as "the two networks".
    """

    cases: Sequence[Mapping[str, OrganShape]] = ()
    pairs: Sequence[tuple[str, str]] = ()
    entropies: Mapping[str, Sequence[float]] = field(default_factory=dict)
    opinions: str = "the parts of the model"

    def shapes(self, organ: str) -> list[OrganShape]:
        """Of one organ in the cases where it was annotated."""
        return [case[organ] for case in self.cases if organ in case]


def judge_organ(card: OrganQuality, background: Background) -> tuple[Verdict, list[str]]:
    """The verdict on an organ and the reasons for it, the gravest first; none when it is fine."""
    annotated = background.shapes(card.organ)
    if card.volume_ml == 0:
        return _missing(annotated)
    findings = [finding for rule in _RULES if (finding := rule(card, annotated, background)) is not None]
    return _worst(findings)


def judge_sides(cards: Mapping[str, OrganQuality], background: Background) -> list[str]:
    """Sentences about pairs of organs whose left one lies to the right of the right one, as (LPS) x tells.

    Where the annotated cases show a pair the other way round, their images are mirrored, and that counts as usual.
    """
    sentences = []
    for left, right in background.pairs:
        ours = _left_minus_right(cards.get(left), cards.get(right))
        theirs = [
            difference
            for case in background.cases
            if (difference := _left_minus_right(case.get(left), case.get(right))) is not None
        ]
        usual = float(np.median(theirs)) if theirs else 1.0
        if ours is not None and ours * usual < 0:
            sentences.append(f"{left} and {right} seem to have changed places")
    return sentences


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The one of most concern."""
    order = list(Verdict)
    return max(verdicts, key=order.index, default=Verdict.FINE)


def times(ratio: float) -> str:
    """A ratio of volumes in words, to be followed by what it is a ratio to: 'half', '2.5 times'."""
    for value, words in (
        (1 / 4, "a quarter of"),
        (1 / 3, "a third of"),
        (1 / 2, "half of"),
        (2 / 3, "two thirds of"),
    ):
        if abs(ratio / value - 1) < 0.1:
            return words
    if ratio < 1:
        return f"{100 * ratio:.0f} % of"
    return f"{ratio:.2g} times"


def millilitres(volume: float) -> str:
    """A volume with two significant digits, or whole millilitres: '0.43 ml', '1450 ml'."""
    return f"{volume:.0f} ml" if volume >= 10 else f"{volume:.2g} ml"


def _missing(annotated: Sequence[OrganShape]) -> tuple[Verdict, list[str]]:
    absent = sum(shape.volume_ml == 0 for shape in annotated)
    if absent and absent >= len(annotated) / 2:
        return Verdict.FINE, []
    if annotated and not absent:
        return Verdict.LIKELY_WRONG, ["not found, though every annotated case has it"]
    return Verdict.LOOK, ["not found"]


def _expected(card: OrganQuality, annotated: Sequence[OrganShape], background: Background) -> Finding | None:
    if card.expected_dice is None or card.expected_dice >= DOUBTFUL_DICE:
        return None
    verdict = Verdict.LIKELY_WRONG if card.expected_dice < POOR_DICE else Verdict.LOOK
    return verdict, f"expected Dice {card.expected_dice:.2f}"


def _volume(card: OrganQuality, annotated: Sequence[OrganShape], background: Background) -> Finding | None:
    volumes = [shape.volume_ml for shape in annotated if shape.volume_ml > 0]
    if not volumes:
        return None
    smallest, largest = min(volumes), max(volumes)
    if smallest / TOLERANCE <= card.volume_ml <= largest * TOLERANCE:
        return None
    if card.volume_ml < smallest:
        ratio, what = card.volume_ml / smallest, f"the smallest annotated ({millilitres(smallest)})"
    else:
        ratio, what = card.volume_ml / largest, f"the largest annotated ({millilitres(largest)})"
    verdict = Verdict.LOOK if 1 / FAR_OFF < ratio < FAR_OFF else Verdict.LIKELY_WRONG
    return verdict, f"{millilitres(card.volume_ml)}, {times(ratio)} {what}"


def _pieces(card: OrganQuality, annotated: Sequence[OrganShape], background: Background) -> Finding | None:
    whole = [shape for shape in annotated if shape.components]
    usual = min((shape.largest_share for shape in whole), default=1.0)
    if card.components <= max((shape.components for shape in whole), default=1):
        return None
    outside = usual - card.largest_share
    if outside <= SCATTERED:
        return None
    verdict = Verdict.LOOK if outside <= IN_PIECES else Verdict.LIKELY_WRONG
    return verdict, f"in {card.components} pieces, the largest holds {100 * card.largest_share:.0f} %"


def _edge(card: OrganQuality, annotated: Sequence[OrganShape], background: Background) -> Finding | None:
    if not card.touches_edge or any(shape.touches_edge for shape in annotated):
        return None
    known = ", which it does in no annotated case" if annotated else ""
    return Verdict.LOOK, f"reaches the edge of the volume{known}"


def _disagreement(
    card: OrganQuality, annotated: Sequence[OrganShape], background: Background
) -> Finding | None:
    if card.disagreement <= MUCH_DISAGREEMENT:
        return None
    return Verdict.LOOK, disagreement_in_words(card, background)


def disagreement_in_words(card: OrganQuality, background: Background) -> str:
    """Such as 'the two networks disagree on 31 % of its border'."""
    return f"{background.opinions} disagree on {100 * card.disagreement:.0f} % of its border"


def _unusual(card: OrganQuality, annotated: Sequence[OrganShape], background: Background) -> Finding | None:
    others = background.entropies.get(card.organ, ())
    if len(others) < ENOUGH_CASES or "entropy" not in card.evidence:
        return None
    middle = float(np.median(others))
    # Of a normal distribution, the median of the distances is 0.6745 standard deviations.
    spread = max(float(np.median(np.abs(np.subtract(others, middle)))) / 0.6745, 0.01)
    if card.evidence["entropy"] <= middle + UNUSUAL * spread:
        return None
    return Verdict.LOOK, "far less certain than in the other cases"


_Rule = Callable[[OrganQuality, Sequence[OrganShape], Background], Finding | None]
_RULES: tuple[_Rule, ...] = (_volume, _pieces, _expected, _disagreement, _unusual, _edge)


def _worst(findings: Sequence[Finding]) -> tuple[Verdict, list[str]]:
    order = list(Verdict)
    # Sorting is stable: among equals the order of the rules counts.
    ranked = sorted(findings, key=lambda finding: -order.index(finding[0]))
    return worst([verdict for verdict, _ in ranked]), [reason for _, reason in ranked]


def _left_minus_right(
    left: OrganQuality | OrganShape | None, right: OrganQuality | OrganShape | None
) -> float | None:
    """mm by which the left one lies further to the patient's left; None where one of them is missing."""
    if left is None or right is None or left.centre is None or right.centre is None:
        return None
    return left.centre[0] - right.centre[0]

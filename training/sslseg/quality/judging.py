"""Judging the cards of predicted cases by what is known of their cohort."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from statistics import fmean

from sslseg.bundle.rounds import read_model_record
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.quality import CaseQuality, OrganQuality, Verdict, write_quality
from sslseg.data.sides import left_right_pairs
from sslseg.quality.cards import known_dice, read_cards
from sslseg.quality.expectation import Expectation, Known
from sslseg.quality.rules import Background, judge_organ, judge_sides, worst
from sslseg.quality.shapes import OrganShape, annotated_shapes


class Judge:
    """Judges the cards of one model by what is known of its cohort at the time.

    ```
    judge = Judge(cohort, "first")
    write_quality(cohort, judge.judge(card))       # one that was measured just now
    judge.judge_all()                              # those on disk
    ```

    Args:
        cohort: the cohort.
        model: name of a model of it.
    """

    def __init__(self, cohort: Cohort, model: str) -> None:
        self._cohort = cohort
        record = read_model_record(cohort, model)
        measured = {} if record is None else record.dice
        self.cards = read_cards(cohort, model)
        known = known_dice(cohort, model, self.cards)
        cases = annotated_shapes(cohort)
        self.volumes = _volumes(cases)
        every = [organ for card in self.cards.values() for organ in card.organs]
        self.expectation = Expectation.fitted(
            every,
            [Known(organ, dice) for entries in known.values() for organ, dice in entries],
            self.volumes,
            {organ: dice for organ, dice in measured.items() if dice is not None},
        )
        self.calibrated_on = len(known)
        names = [label.name for label in cohort.labels]
        self.background = Background(
            cases=cases,
            pairs=[(names[left], names[right]) for left, right in left_right_pairs(names)],
            entropies=_entropies(every),
            opinions=opinions_in_words(_network_count(cohort, model)),
        )

    def judge(self, card: CaseQuality) -> CaseQuality:
        """The card with expected Dice, verdicts and reasons."""
        organs = {}
        for measured in card.organs:
            organ = dataclasses.replace(measured, expected_dice=self.expectation.dice(measured))
            verdict, reasons = judge_organ(organ, self.background)
            organs[organ.organ] = dataclasses.replace(organ, verdict=verdict, reasons=reasons)
        sentences = judge_sides(organs, self.background)
        expected = [organ.expected_dice for organ in organs.values() if organ.expected_dice is not None]
        verdicts = [organ.verdict for organ in organs.values()]
        return dataclasses.replace(
            card,
            organs=list(organs.values()),
            verdict=Verdict.LIKELY_WRONG if sentences else worst(verdicts),
            reasons=sentences,
            uncertainty=round(1 - fmean(expected), 4) if expected else 0.0,
            calibrated_on=self.calibrated_on,
        )

    def judge_all(self) -> dict[str, CaseQuality]:
        """Judge every card of the model anew and write those that changed; the cards by the ids of their cases."""
        judged = {case_id: self.judge(card) for case_id, card in self.cards.items()}
        for case_id, card in judged.items():
            if card != self.cards[case_id]:
                write_quality(self._cohort, card)
        self.cards = judged
        return judged


def opinions_in_words(networks: int) -> str:
    """What the opinions are called that can disagree; a single network disagrees with itself on the mirrored scan."""
    if networks > 1:
        return f"the {'two' if networks == 2 else networks} networks"
    return "the scan and its mirror image"


def _network_count(cohort: Cohort, model: str) -> int:
    try:
        content = read_json(cohort.model_folder(model) / "sslseg.json")
    except SSLSegError:
        return 1
    networks = content.get("networks") if isinstance(content, dict) else None
    return len(networks) if isinstance(networks, list) else 1


def _volumes(cases: Sequence[Mapping[str, OrganShape]]) -> dict[str, list[float]]:
    volumes: dict[str, list[float]] = {}
    for case in cases:
        for organ, shape in case.items():
            volumes.setdefault(organ, []).append(shape.volume_ml)
    return volumes


def _entropies(organs: Sequence[OrganQuality]) -> dict[str, list[float]]:
    entropies: dict[str, list[float]] = {}
    for organ in organs:
        if organ.volume_ml > 0 and "entropy" in organ.evidence:
            entropies.setdefault(organ.organ, []).append(organ.evidence["entropy"])
    return entropies

"""Quality cards of predicted cases: what is measured when a case is predicted.

Measuring needs the networks and happens once; judging, see `sslseg.quality.judging`, is done again when annotations are
added or corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import SimpleITK as sitk

from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.contract.quality import CaseQuality, OrganQuality, Verdict, read_quality
from sslseg.contract.scores import CaseDice, compared_files, read_scores
from sslseg.inference.evidence import Evidence
from sslseg.quality.shapes import organ_shapes


def measure_case(
    case_id: str, model: str, label_map: sitk.Image, labels: Sequence[Label], evidence: Evidence
) -> CaseQuality:
    """The card of a predicted case without any judgement.

    Args:
        case_id: of the case.
        model: name of the model.
        label_map: the prediction.
        labels: organs of the model, in the order of `evidence.organs`.
        evidence: what the networks gave away.
    """
    shapes = organ_shapes(label_map, labels)
    organs = []
    for label, given in zip(labels, evidence.organs, strict=True):
        shape = shapes[label.name]
        organs.append(
            OrganQuality(
                organ=label.name,
                verdict=Verdict.FINE,
                reasons=[],
                volume_ml=shape.volume_ml,
                components=shape.components,
                largest_share=shape.largest_share,
                touches_edge=shape.touches_edge,
                uncertainty=given.entropy_inside,
                disagreement=given.disagreement,
                centre=shape.centre,
                evidence={
                    "precision": given.precision,
                    "recall": given.recall,
                    "entropy": given.entropy,
                    "soft_dice": given.soft_dice,
                },
            )
        )
    return CaseQuality(case_id, model, Verdict.FINE, [], organs, 0.0, list(evidence.features))


def read_cards(cohort: Cohort, model: str) -> dict[str, CaseQuality]:
    """The cards of a model by the ids of their cases, where the prediction is there too; damaged ones are left out."""
    found = {}
    for case in cohort.cases:
        if cohort.prediction_path(model, case.id).exists():
            with suppress(SSLSegError):
                card = read_quality(cohort, model, case.id)
                if card is not None:
                    found[case.id] = card
    return found


def known_dice(
    cohort: Cohort, model: str, cards: Mapping[str, CaseQuality]
) -> dict[str, list[tuple[OrganQuality, float]]]:
    """Organs of predicted cases whose Dice is known, by case; test cases are not looked at."""
    scores = read_scores(cohort, model).cases
    found = {}
    for case in cohort.cases:
        score = scores.get(case.id)
        if case.use is Use.TEST or case.id not in cards or score is None:
            continue
        if score.files == compared_files(cohort, model, case):
            found[case.id] = _matched(cards[case.id], score)
    return {case_id: entries for case_id, entries in found.items() if entries}


def _matched(card: CaseQuality, score: CaseDice) -> list[tuple[OrganQuality, float]]:
    return [(organ, score.organs[organ.organ]) for organ in card.organs if organ.organ in score.organs]

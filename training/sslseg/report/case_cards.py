"""The cards of the cases of a cohort: each is read once and leaves a small picture and a few numbers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from sslseg.contract.cohort import Case, Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.models import case_digest, read_origin
from sslseg.contract.quality import CaseQuality, Verdict, read_quality, read_ranking
from sslseg.contract.scores import CaseDice, can_be_scored, compared_files, read_scores
from sslseg.data.cache import in_parallel
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.evaluate.case_facts import measure_dice
from sslseg.report.case_reading import thumbnail_jpeg
from sslseg.report.content import CaseCard, OrganCard

Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)
_CONCERN = {Verdict.LIKELY_WRONG: 0, Verdict.LOOK: 1, Verdict.FINE: 2}


@dataclass
class SeenCase:
    """A case that was read.

    Attributes:
        case: the case.
        predicted: whether the model has predicted it.
        card: for the grid.
        annotated_ml: volume in ml of the organs that a person drew on all slices, by name.
    """

    case: Case
    predicted: bool
    card: CaseCard
    annotated_ml: dict[str, float]


def in_order(cohort: Cohort, model: str) -> list[Case]:
    """As the ranking says; without one the least certain verdicts first. Cases without prediction come last."""
    ranking = read_ranking(cohort, model)
    place = {} if ranking is None else {entry.case: n for n, entry in enumerate(ranking.cases)}

    def key(case: Case) -> tuple[bool, float, float, float]:
        card = _quality(cohort, model, case)
        return (
            not cohort.prediction_path(model, case.id).exists(),
            place.get(case.id, math.inf),
            math.inf if card is None else _CONCERN[card.verdict],
            0.0 if card is None else -card.uncertainty,
        )

    return sorted(cohort.cases, key=key)


def _quality(cohort: Cohort, model: str, case: Case) -> CaseQuality | None:
    try:
        return read_quality(cohort, model, case.id)
    except SSLSegError:
        return None


def measure_agreement(cohort: Cohort, model: str, cases: Sequence[Case]) -> None:
    """Compare predictions with annotations where that was not done since either changed."""
    origin = read_origin(cohort, model)
    known = read_scores(cohort, model).cases
    for case in cases:
        files = compared_files(cohort, model, case) if can_be_scored(case, origin) else None
        if files is None or (case.id in known and known[case.id].files == files):
            continue
        try:
            measure_dice(cohort, model, [case])
        except SSLSegError:
            # The card of the case says what is wrong with its files.
            continue


def read_cases(
    cohort: Cohort, model: str, cases: Sequence[Case], organs: frozenset[str], progress: Progress | None
) -> list[SeenCase]:
    """Read each case once.

    Args:
        cohort: of the cases.
        model: whose predictions count.
        cases: in the order of the report.
        organs: names of those that the model segments.
        progress: is told cases done and cases in all.
    """
    origin = read_origin(cohort, model)
    learned = frozenset() if origin is None else origin.cases
    known = read_scores(cohort, model).cases
    fresh = {
        case.id: known[case.id]
        for case in cases
        if case.id in known
        and can_be_scored(case, origin)
        and known[case.id].files == compared_files(cohort, model, case)
    }
    return in_parallel(
        lambda case: _read(cohort, model, case, organs, fresh.get(case.id), case_digest(case.id) in learned),
        cases,
        progress,
    )


def _read(
    cohort: Cohort, model: str, case: Case, organs: frozenset[str], dice: CaseDice | None, learned: bool
) -> SeenCase:
    prediction = cohort.prediction_path(model, case.id)
    predicted = prediction.exists()
    annotated_ml: dict[str, float] = {}
    predicted_ml: dict[str, float] = {}
    picture, note = None, ""
    try:
        image = read_volume(cohort.image_path(case), series_uid=case.series)
        values, label = cohort.labels.values, cohort.label_path(case)
        drawn = None if label is None else read_label_map(label, allowed=values, reference=image)
        found = read_label_map(prediction, allowed=values, reference=image) if predicted else None
        if drawn is not None:
            whole = [name for name in case.annotated if name not in case.slices]
            annotated_ml = {name: ml for name, ml in _volumes(cohort, drawn).items() if name in whole}
        if found is not None:
            predicted_ml = {name: ml for name, ml in _volumes(cohort, found).items() if name in organs}
        picture = thumbnail_jpeg(cohort, image, drawn if found is None else found)
    except Exception as error:
        # Not the whole message: it names the file, and a file may be named after a patient.
        note = error.what if isinstance(error, SSLSegError) else "The files of the case cannot be read"
        if not isinstance(error, SSLSegError):
            _log.exception("the report could not read %s", case.id)
    card = _card(cohort, model, case, annotated_ml, predicted_ml, dice, learned)
    return SeenCase(case, predicted, replace(card, picture=picture, note=note), annotated_ml)


def _volumes(cohort: Cohort, labels: sitk.Image) -> dict[str, float]:
    counts = np.bincount(sitk.GetArrayViewFromImage(labels).ravel(), minlength=256)
    voxel = math.prod(labels.GetSpacing()) / 1000
    return {label.name: float(counts[label.value]) * voxel for label in cohort.labels}


def _card(
    cohort: Cohort,
    model: str,
    case: Case,
    annotated_ml: dict[str, float],
    predicted_ml: dict[str, float],
    dice: CaseDice | None,
    learned: bool,
) -> CaseCard:
    quality = _quality(cohort, model, case)
    told = {} if quality is None else {organ.organ: organ for organ in quality.organs}
    organs = []
    for label in cohort.labels:
        shown = predicted_ml if predicted_ml else annotated_ml
        if label.name not in shown:
            continue
        organ = told.get(label.name) if predicted_ml else None
        organs.append(
            OrganCard(
                label,
                shown[label.name],
                "predicted" if predicted_ml else "accepted",
                None if organ is None else organ.verdict.value,
                () if organ is None else organ.reasons,
                None if dice is None else dice.organs.get(label.name),
            )
        )
    return CaseCard(
        case.id,
        _state(case, learned, bool(predicted_ml)),
        None if quality is None or not predicted_ml else quality.verdict.value,
        () if quality is None else quality.reasons,
        organs,
    )


def _state(case: Case, learned: bool, predicted: bool) -> str:
    words = {Use.TEST: ["test case"], Use.VALIDATION: ["validation case"], Use.TRAIN: []}[case.use]
    if case.is_annotated:
        count = len(case.annotated)
        words.append("annotated" if count > 3 else f"annotated: {', '.join(case.annotated)}")
    if learned and case.use is Use.TRAIN:
        words.append("known to the model")
    if case.review is ReviewState.FLAGGED:
        words.append("flagged")
    elif case.review is ReviewState.COMPLETED:
        words.append("reviewed")
    elif not case.is_annotated:
        words.append("not reviewed" if predicted else "not predicted")
    return ", ".join(words)

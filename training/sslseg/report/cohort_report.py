"""`sslseg report`: what a model made of a cohort, as one page that a department can file.

Cases are read a few at a time and leave small pictures behind, so that hundreds of them take little memory.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sslseg import __version__
from sslseg.contract.cohort import Cohort, ReviewState, Use
from sslseg.contract.files import write_text
from sslseg.contract.labels import Label
from sslseg.contract.quality import read_ranking
from sslseg.report.case_cards import Progress, SeenCase, in_order, measure_agreement, read_cases
from sslseg.report.case_reading import case_jpeg, read_report_case
from sslseg.report.content import OrganVolumes, ReportInput, Statistic, Tile
from sslseg.report.html import VERDICTS, render_report
from sslseg.report.model_story import ModelStory, tell_story

LARGE = 6
"""Cases that are shown large."""
MOST_VOXELS = 256
FEW_CASES = 10
"""Figures over fewer cases are called few."""


@dataclass(frozen=True)
class ReportFile:
    """A report that was written: where, of how many cases, in how many bytes."""

    path: Path
    cases: int
    bytes: int


def write_cohort_report(
    cohort: Cohort, model: str, path: Path, *, large: int = LARGE, progress: Progress | None = None
) -> ReportFile:
    """Write the report of a model on its cohort, atomically.

    Agreement with annotations is measured where the model has not learned from them and that was not done yet. A case
    that cannot be read is in the report with the reason instead of a picture.

    Args:
        cohort: the cohort.
        model: one of its models.
        path: of the HTML file.
        large: how many of the cases, in the order of the review, are shown large as well.
        progress: is told cases done and cases in all.

    Raises:
        SSLSegError: there is no such model, or the file cannot be written.
    """
    story = tell_story(cohort, model)
    cases = in_order(cohort, model)
    measure_agreement(cohort, model, cases)
    seen = read_cases(cohort, model, cases, story.organs, progress)
    for one in [one for one in seen if one.predicted and not one.card.note][:large]:
        shown = read_report_case(cohort, model, one.case, most_voxels=MOST_VOXELS)
        one.card = replace(one.card, figure=case_jpeg(shown, list(cohort.labels)))
    text = render_report(_report(cohort, story, seen))
    write_text(path, text)
    return ReportFile(path, len(seen), len(text.encode()))


def _report(cohort: Cohort, story: ModelStory, seen: list[SeenCase]) -> ReportInput:
    predicted = [one for one in seen if one.predicted]
    compared = [one for one in seen if one.card.dice is not None]
    ranked = read_ranking(cohort, story.model) is not None
    return ReportInput(
        title=f"{cohort.name}: segmentations by {story.model}",
        subtitle=(
            f"{len(predicted)} of {len(seen)} {cohort.modality} volumes, reported by sslseg {__version__} on "
            f"{time.strftime('%Y-%m-%d')}. Research software, not a medical device."
        ),
        labels=list(cohort.labels),
        facts=_facts(cohort, seen),
        methods=[replace(story.method, summary=_dice_summary(cohort, compared))],
        order=_order(ranked, seen),
        warnings=_warnings(story, seen, compared),
        tiles=_tiles(seen, predicted),
        cards=[one.card for one in seen],
        volumes=[_organ_volumes(label, seen) for label in cohort.labels],
        rounds=story.rounds,
        cleaning=story.cleaning,
        provenance=story.provenance,
    )


def _order(ranked: bool, seen: Sequence[SeenCase]) -> str:
    if ranked:
        return "where a look is expected to gain most comes first"
    return "the most doubtful come first" if any(one.card.verdict for one in seen) else ""


def _facts(cohort: Cohort, seen: Sequence[SeenCase]) -> dict[str, object]:
    training = [one.case for one in seen if one.case.use is Use.TRAIN]
    annotated = sum(case.is_annotated for case in training)
    facts: dict[str, object] = {
        "volumes": f"{len(seen)} {cohort.modality}",
        "organs": len(cohort.labels),
        "annotated": annotated,
        "without annotation": len(training) - annotated,
        "for validation": sum(one.case.use is Use.VALIDATION for one in seen),
        "for testing": sum(one.case.use is Use.TEST for one in seen),
        "reviewed": sum(one.case.review is ReviewState.COMPLETED for one in seen),
        "flagged": sum(one.case.review is ReviewState.FLAGGED for one in seen),
    }
    return {name: value for name, value in facts.items() if value}


def _tiles(seen: Sequence[SeenCase], predicted: Sequence[SeenCase]) -> list[Tile]:
    tiles = [Tile("Segmented", f"{len(predicted)}", f"of {len(seen)} cases")]
    verdicts = [one.card.verdict for one in predicted if one.card.verdict]
    if verdicts:
        wrong, look, fine = (verdicts.count(verdict) for verdict in VERDICTS)
        unjudged = len(predicted) - len(verdicts)
        note = f"{wrong} likely wrong, {look} to look at, {fine} fine"
        tiles.append(
            Tile(
                "To look at", f"{wrong + look}", note + (f", {unjudged} without verdict" if unjudged else "")
            )
        )
    return tiles


def _dice_summary(cohort: Cohort, compared: Sequence[SeenCase]) -> dict[str, dict[str, Statistic]]:
    summary = {}
    for label in cohort.labels:
        values = [
            organ.dice
            for one in compared
            for organ in one.card.organs
            if organ.label.name == label.name and organ.dice is not None
        ]
        if values:
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            summary[label.name] = {"dice": Statistic(statistics.fmean(values), spread, len(values))}
    return summary


def _organ_volumes(label: Label, seen: Sequence[SeenCase]) -> OrganVolumes:
    predicted = []
    for one in seen:
        found = [organ for organ in one.card.organs if organ.label == label and organ.source == "predicted"]
        predicted += [(organ.volume_ml, organ.verdict) for organ in found if organ.volume_ml is not None]
    annotated = [one.annotated_ml[label.name] for one in seen if label.name in one.annotated_ml]
    return OrganVolumes(label, annotated, predicted)


def _warnings(story: ModelStory, seen: Sequence[SeenCase], compared: Sequence[SeenCase]) -> list[str]:
    found = [
        "No segmentation here may be used before a person has looked at it. Verdicts are hints, not checks."
    ]
    if not compared:
        found.append(
            "Nothing here was compared with an annotation that the model has not learned from, so nothing says how "
            "good it is on other patients."
            if story.dice is None
            else "No Dice was measured after the training. The figure of the training itself is below, with its cases."
        )
    else:
        few = "; so few cases say little about other patients" if len(compared) < FEW_CASES else ""
        found.append(
            f"Dice is over {_count(len(compared))} whose annotation the model has not learned from{few}. An "
            "annotation that began as the model's own prediction flatters it."
        )
    known = sum("known to the model" in one.card.state for one in seen)
    if known:
        found.append(
            f"The model has learned from {_count(known)}, and looks better on these than on new ones."
        )
    missing = sum(not one.predicted for one in seen)
    if missing:
        found.append(f"This model has not segmented {_count(missing)}.")
    unread = sum(bool(one.card.note) for one in seen)
    if unread:
        found.append(f"The files of {_count(unread)} could not be read; the cards say why.")
    return found


def _count(cases: int) -> str:
    return "1 case" if cases == 1 else f"{cases} cases"

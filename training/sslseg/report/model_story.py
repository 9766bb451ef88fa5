"""Where a model of a cohort came from: its method and settings, its curves, the rounds before it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sslseg.bundle.metadata import INTENDED_USE, ModelRecord
from sslseg.bundle.model_folder import WEIGHTS, read_description
from sslseg.bundle.rounds import Round, history
from sslseg.contract.choices import read_choices
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job
from sslseg.contract.settings import TrainSettings
from sslseg.contract.words import duration
from sslseg.report.content import MethodResult, RoundRow

_NOT_SETTINGS = frozenset({"method", "model", "start_from", "method_settings"})


@dataclass(frozen=True)
class ModelStory:
    """What a report tells of a model.

    Attributes:
        model: its name.
        organs: names of those that it segments.
        method: how it was trained, with its curves; nothing of what it achieved.
        rounds: the models of the cohort.
        cleaning: what is done to its predictions.
        provenance: by name.
        dice: mean over the organs as measured in the training, or None.
    """

    model: str
    organs: frozenset[str]
    method: MethodResult
    rounds: Sequence[RoundRow]
    cleaning: Sequence[str]
    provenance: dict[str, Any]
    dice: float | None


def tell_story(cohort: Cohort, model: str) -> ModelStory:
    """Gather what is known of a model of the cohort.

    Raises:
        SSLSegError: there is no such model, or its description is damaged.
    """
    if model not in cohort.models():
        raise SSLSegError(
            f"The cohort has no model '{model}'",
            file=cohort.folder,
            remedy=f"It has: {', '.join(cohort.models()) or 'none yet; train one first'}.",
        )
    folder = cohort.model_folder(model)
    description = read_description(folder)
    record = description.record
    measured = [value for value in record.dice.values() if value is not None]
    return ModelStory(
        model=model,
        organs=frozenset(label.name for label in description.plan.labels),
        method=_method(cohort, model, record),
        rounds=[_row(entry, model) for entry in history(cohort)],
        cleaning=[rule.in_words() for rule in description.rules],
        provenance=_provenance(folder, record, [spec.name for spec in description.networks]),
        dice=fmean(measured) if measured else None,
    )


def _method(cohort: Cohort, model: str, record: ModelRecord) -> MethodResult:
    try:
        described = read_choices().method(record.method)
        title, summary = described.title, described.summary
    except SSLSegError:
        # A method that this version of the program does not have.
        title, summary = record.method, ""
    settings = {n: v for n, v in record.settings.items() if n not in _NOT_SETTINGS and v is not None}
    validation: dict[str, list[tuple[float, float]]] = {}
    for point in record.validation if not record.leave_one_out else ():
        for organ, value in point.dice.items():
            validation.setdefault(organ, []).append(
                (float(point.step), float("nan") if value is None else value)
            )
    return MethodResult(
        name=title,
        description=summary,
        settings=settings | dict(record.settings.get("method_settings") or {}),
        seconds=record.seconds,
        loss=_losses(cohort, model),
        val_dice=validation,
    )


def _losses(cohort: Cohort, model: str) -> list[tuple[float, float]]:
    """The total loss by step; empty where the job is gone. Only of the last of several trainings in one job."""
    losses: dict[int, float] = {}
    last = -1
    for job in Job.all(cohort.folder):
        if not isinstance(job.settings, TrainSettings) or job.settings.model != model:
            continue
        for event in read_events(job.events_path):
            fields = event.fields
            if event.event != "progress" or fields.get("part", 1) != fields.get("parts", 1):
                continue
            total = (fields.get("losses") or {}).get("total")
            if total is not None:
                # A resumed run takes some steps again; what counts is the last time.
                if last >= fields["step"]:
                    losses = {step: loss for step, loss in losses.items() if step < fields["step"]}
                last = fields["step"]
                losses[last] = total
    return [(float(step), loss) for step, loss in losses.items()]


def _row(entry: Round, model: str) -> RoundRow:
    changes = []
    if entry.added:
        changes.append(f"{len(entry.added)} added")
    if entry.corrected:
        changes.append(f"{len(entry.corrected)} corrected")
    return RoundRow(
        model=entry.model,
        current=entry.model == model,
        came_from=entry.started_from or "",
        method=entry.method,
        when=_when(entry.finished),
        annotated=sum(case.use == "training" for case in entry.annotated),
        measured_on=sum(case.use == "validation" for case in entry.annotated),
        change=", ".join(changes),
        dice=entry.dice,
    )


def _provenance(folder: Path, record: ModelRecord, networks: list[str]) -> dict[str, Any]:
    facts = {
        "Intended use": INTENDED_USE,
        "Network": " and ".join(networks),
        "Steps": record.steps,
        "Random seed": record.seed,
        "Learned from": f"{record.labelled} annotated and {record.unlabelled} unannotated cases",
        "Measured on": _measured_on(record),
        "Began with": record.started_from,
        "Trained": _when(record.finished) or None,
        "Training took": duration(record.seconds),
        "Trained on": record.device,
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "SHA-256 of the weights": _digest(folder / WEIGHTS),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _measured_on(record: ModelRecord) -> str:
    if not record.validation_cases:
        return "no case was held back"
    how = "left out in turn" if record.leave_one_out else "held back"
    return f"{record.validation_cases} annotated cases, {how}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""

"""The rounds of a cohort: which model came from which annotations, so that a result can be explained and repeated.

Every model keeps its own round in its record. Cases are named there by a digest of their id, so that a model that
is passed on names nobody; within the cohort the digests lead back to the cases. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from sslseg.bundle.metadata import Annotation, ModelRecord
from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.models import case_digest
from sslseg.contract.strict import from_json
from sslseg.data.cache import ContentKeys


@dataclass(frozen=True)
class AnnotatedCase:
    """An annotated case of a round.

    Attributes:
        case: its id, or None where the cohort has it no longer.
        use: trained on or measured on.
        changed: whether its annotation is another one by now.
    """

    case: str | None
    use: Literal["training", "validation"]
    changed: bool


@dataclass(frozen=True)
class Round:
    """One trained model of a cohort.

    Attributes:
        model: its name.
        started_from: the model it began with, or None.
        method: how it was trained.
        finished: when, in seconds since the epoch; 0 where the model does not say.
        dice: mean Dice over the organs that were measured, or None.
        annotated: its annotated cases.
        added: cases that the round it started from did not have.
        corrected: cases whose annotation differs from that of the round it started from.
        settings: every setting of the run.
    """

    model: str
    started_from: str | None
    method: str
    finished: float
    dice: float | None
    annotated: list[AnnotatedCase]
    added: list[str] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def annotations_of(
    cohort: Cohort, uses: Sequence[tuple[str, Literal["training", "validation"]]]
) -> list[Annotation]:
    """The annotations of cases as they are now.

    Args:
        cohort: the cohort.
        uses: ids of annotated cases and what each is used for.

    Raises:
        SSLSegError: a label map cannot be read.
    """
    with ContentKeys(cohort) as keys:
        return [
            Annotation(case_digest(case_id), keys.annotation(cohort.case(case_id)), use)
            for case_id, use in uses
        ]


def history(cohort: Cohort) -> list[Round]:
    """The rounds of a cohort, oldest first; a model whose description cannot be read is left out."""
    records = {name: record for name in cohort.models() if (record := read_model_record(cohort, name))}
    cases = {case_digest(case.id): case for case in cohort.cases}
    with ContentKeys(cohort) as keys:
        now = {digest: _content(keys, case) for digest, case in cases.items()}
    rounds = [_round(name, records, cases, now) for name in records]
    return sorted(rounds, key=lambda entry: (entry.finished, entry.model))


def read_model_record(cohort: Cohort, model: str) -> ModelRecord | None:
    """The record of a model of the cohort without its weights; None where it cannot be read."""
    path = cohort.model_folder(model) / "sslseg.json"
    try:
        data = read_json(path)
        return from_json(ModelRecord, data.get("record") if isinstance(data, dict) else None, file=path)
    except SSLSegError:
        return None


def _round(
    name: str, records: dict[str, ModelRecord], cases: dict[str, Case], now: dict[str, str | None]
) -> Round:
    record = records[name]
    measured = [value for value in record.dice.values() if value is not None]
    annotated = [
        AnnotatedCase(
            cases[entry.case].id if entry.case in cases else None,
            entry.use,
            entry.case in cases and now[entry.case] != entry.content,
        )
        for entry in record.annotations
    ]
    before = records.get(record.started_from or "")
    then = {} if before is None else {entry.case: entry.content for entry in before.annotations}
    known = [entry for entry in record.annotations if before is not None and entry.case in cases]
    return Round(
        model=name,
        started_from=record.started_from,
        method=record.method,
        finished=record.finished,
        dice=round(fmean(measured), 4) if measured else None,
        annotated=annotated,
        added=[cases[entry.case].id for entry in known if entry.case not in then],
        corrected=[cases[e.case].id for e in known if then.get(e.case, e.content) != e.content],
        settings=record.settings,
    )


def _content(keys: ContentKeys, case: Case) -> str | None:
    if not case.is_annotated:
        return None
    try:
        return keys.annotation(case)
    except SSLSegError:
        return None

"""What the folder of a model tells about how it came about, for whoever cannot load it."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from typing import Any

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.strict import from_json


@dataclass(frozen=True)
class ModelOrigin:
    """How a model came about.

    Attributes:
        method: name of the training method.
        settings: every setting of the run.
        organs: names of the organs it segments.
        cases: digests of the annotated cases that it was trained on or measured on.
        learned: digests of those whose labels are in its weights, also through the model that it started from.
        finished: when, in seconds since the epoch; 0 where the model does not say.
        device: what it was trained on, such as "cpu (2 threads)".
        seconds_per_step: of its training; 0 where the model does not say.
    """

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    organs: tuple[str, ...] = ()
    cases: frozenset[str] = frozenset()
    learned: frozenset[str] = frozenset()
    finished: float = 0.0
    device: str = ""
    seconds_per_step: float = 0.0


def case_digest(case_id: str) -> str:
    """What the record of a model calls a case: a name that leads nowhere without the cohort."""
    return hashlib.sha256(case_id.encode()).hexdigest()[:16]


def read_origin(cohort: Cohort, model: str) -> ModelOrigin | None:
    """How a model of the cohort came about; None where that cannot be read."""
    path = cohort.model_folder(model) / "sslseg.json"
    try:
        content = read_json(path)
        told = from_json(_Record, _known(content, "record", _Record), file=path)
        plan = from_json(_Plan, _known(content, "plan", _Plan), file=path)
    except SSLSegError:
        return None
    organs = tuple(str(label.get("name")) for label in plan.labels)
    cases = frozenset(str(entry.get("case")) for entry in told.annotations)
    learned = {str(entry.get("case")) for entry in told.annotations if entry.get("use") != "validation"}
    return ModelOrigin(
        told.method,
        told.settings,
        organs,
        cases,
        frozenset(learned | set(told.learned_before)),
        told.finished,
        told.device,
        told.seconds_per_step,
    )


@dataclass(frozen=True)
class _Record:
    """The part of a model's record that is of use without the model."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    learned_before: list[str] = field(default_factory=list)
    finished: float = 0.0
    device: str = ""
    seconds_per_step: float = 0.0


@dataclass(frozen=True)
class _Plan:
    """The part of a model's plan that is of use without the model."""

    labels: list[dict[str, Any]]


def _known(content: Any, name: str, kind: type) -> Any:
    """The fields that `kind` has of the part `name`; anything that is no object is left to `from_json`."""
    part = content.get(name) if isinstance(content, dict) else None
    if not isinstance(part, dict):
        return part
    fields = {field.name for field in dataclasses.fields(kind)}
    return {key: value for key, value in part.items() if key in fields}

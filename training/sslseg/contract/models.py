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
        cases: digests of the annotated cases that it was trained on or measured on.
        finished: when, in seconds since the epoch; 0 where the model does not say.
    """

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    cases: frozenset[str] = frozenset()
    finished: float = 0.0


def case_digest(case_id: str) -> str:
    """What the record of a model calls a case: a name that leads nowhere without the cohort."""
    return hashlib.sha256(case_id.encode()).hexdigest()[:16]


def read_origin(cohort: Cohort, model: str) -> ModelOrigin | None:
    """How a model of the cohort came about; None where that cannot be read."""
    path = cohort.model_folder(model) / "sslseg.json"
    fields = {field.name for field in dataclasses.fields(_Record)}
    try:
        content = read_json(path)
        record = content.get("record") if isinstance(content, dict) else None
        if isinstance(record, dict):
            record = {name: value for name, value in record.items() if name in fields}
        told = from_json(_Record, record, file=path)
    except SSLSegError:
        return None
    cases = frozenset(str(entry.get("case")) for entry in told.annotations)
    return ModelOrigin(told.method, told.settings, cases, told.finished)


@dataclass(frozen=True)
class _Record:
    """The part of a model's record that is of use without the model."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    finished: float = 0.0

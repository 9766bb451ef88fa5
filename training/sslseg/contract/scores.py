"""How well a model did on the cases where that can be told: `predictions/<model>/dice.json`.

It can be told where a person has annotated a case and the model has not learned from that annotation: in cases for
validation and testing, and in those that were annotated or corrected after the training.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from sslseg.contract.cohort import Case, Cohort, Use, check_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import locked, read_json, write_json
from sslseg.contract.models import ModelOrigin, case_digest
from sslseg.contract.strict import from_json, to_json

VERSION = 1
REMEDY = "Remove the file; it is made again."


@dataclass(frozen=True)
class CaseDice:
    """How well the prediction of a case agrees with its annotation.

    Attributes:
        organs: Dice of each annotated organ, 0..1; an organ that is in neither is left out.
        files: size and time of change of the label map and of the prediction that were compared.
    """

    organs: dict[str, float]
    files: list[list[int]]

    @property
    def mean(self) -> float | None:
        """Mean over the organs."""
        return statistics.fmean(self.organs.values()) if self.organs else None


@dataclass(frozen=True)
class Scores:
    """What is known of one model, by the ids of the cases."""

    model: str
    cases: dict[str, CaseDice] = field(default_factory=dict)
    version: int = VERSION


def scores_path(cohort: Cohort, model: str) -> Path:
    """Where the scores of a model lie."""
    return cohort.folder / "predictions" / check_name(model, "model name") / "dice.json"


def read_scores(cohort: Cohort, model: str) -> Scores:
    """The scores of a model; empty where there are none.

    Raises:
        SSLSegError: the file is damaged or of an unknown version.
    """
    path = scores_path(cohort, model)
    if not path.exists():
        return Scores(model)
    data = read_json(path, remedy=REMEDY)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise SSLSegError("The file is damaged or of another version", file=path, remedy=REMEDY)
    return from_json(Scores, data, file=path)


def add_scores(cohort: Cohort, model: str, cases: dict[str, CaseDice]) -> None:
    """Add scores to those of a model, or renew them; several programs may do so at once."""
    path = scores_path(cohort, model)
    with locked(path.with_name(".dice.lock")):
        known = read_scores(cohort, model)
        write_json(path, to_json(Scores(model, {**known.cases, **cases})))


def can_be_scored(case: Case, origin: ModelOrigin | None) -> bool:
    """Whether agreement with the annotation says something: the model must not have learned from it.

    Args:
        case: of the cohort.
        origin: how the model came about; None where that is not known.
    """
    if not case.is_annotated:
        return False
    if case.use is not Use.TRAIN:
        return True
    return origin is not None and bool(origin.cases) and case_digest(case.id) not in origin.learned


def compared_files(cohort: Cohort, model: str, case: Case) -> list[list[int]] | None:
    """Size and time of change of the label map and the prediction of a case; None if either is missing.

    Scores count only as long as these are the same.
    """
    label = cohort.label_path(case)
    if label is None:
        return None
    try:
        states = [path.stat() for path in (label, cohort.prediction_path(model, case.id))]
    except OSError:
        return None
    return [[state.st_size, state.st_mtime_ns] for state in states]

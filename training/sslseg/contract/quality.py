"""What is known about a prediction without knowing the truth, and what to look at next.

`predictions/<model>/quality/<case>.json` holds a quality card per case, written with the prediction;
`predictions/<model>/ranking.json` the order in which cases are worth a person's time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from sslseg.contract.cohort import Cohort, check_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.strict import from_json, to_json

VERSION = 1


class Verdict(enum.Enum):
    """What a person should think of a prediction before looking at it; in rising order of concern."""

    FINE = "fine"
    LOOK = "look"
    LIKELY_WRONG = "likely wrong"


@dataclass(frozen=True)
class OrganQuality:
    """One organ of one predicted case.

    Attributes:
        organ: its name in the cohort.
        verdict: fine, look, likely wrong.
        reasons: why, each a short clause that a clinician understands; empty when fine.
        volume_ml: volume of the prediction.
        components: number of connected components (26 neighbours).
        largest_share: share of the organ's voxels in its largest component, 0 to 1; 0 when there are none.
        touches_edge: whether it reaches the edge of the volume.
        uncertainty: mean entropy over the organ's voxels, as a share of the largest possible, 0 to 1.
        disagreement: share of the organ's border where the parts of the model disagree, 0 to 1; 0 where the model has
            only one.
        expected_dice: what the Dice is expected to be, 0 to 1; None where nothing allows to tell.
        centre: of the organ in the patient, LPS mm; None where there is none of it.
        evidence: what the networks gave away, by name, 0 to 1, so that the card can be judged anew without them.
    """

    organ: str
    verdict: Verdict
    reasons: list[str]
    volume_ml: float
    components: int
    largest_share: float
    touches_edge: bool
    uncertainty: float
    disagreement: float
    expected_dice: float | None = None
    centre: tuple[float, float, float] | None = None
    evidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseQuality:
    """The quality card of one predicted case.

    Attributes:
        case: id of the case.
        model: name of the model.
        verdict: the worst of the organs'.
        reasons: what concerns the case as a whole, such as left and right swapped.
        organs: a card per organ that the model knows.
        uncertainty: of the case, 0 to 1.
        features: what the network saw in the case, a vector of unit length; alike cases have alike vectors.
        calibrated_on: annotated cases that the expected Dice was fitted to; 0 where it is the networks' own word.
        version: of this format.
    """

    case: str
    model: str
    verdict: Verdict
    reasons: list[str]
    organs: list[OrganQuality]
    uncertainty: float
    features: list[float] = field(default_factory=list)
    calibrated_on: int = 0
    version: int = VERSION


@dataclass(frozen=True)
class RankedCase:
    """One line of the list of what to do next.

    Attributes:
        case: id of the case.
        priority: expected gain, 0 to 1; the list is sorted by it, largest first.
        purpose: whether a fresh annotation or a look at the prediction is worth most.
        reason: in words, such as "pancreas: the two networks disagree on 31 % of its border".
        uncertainty: the part of the priority that comes from uncertainty, 0 to 1.
        diversity: the part that comes from being unlike the annotated cases, 0 to 1.
    """

    case: str
    priority: float
    purpose: Literal["annotate", "review"]
    reason: str
    uncertainty: float
    diversity: float


@dataclass(frozen=True)
class Ranking:
    """The order in which the cases of a cohort are worth a person's time, for one model."""

    model: str
    cases: list[RankedCase]
    version: int = VERSION


def quality_path(cohort: Cohort, model: str, case_id: str) -> Path:
    """Where the quality card of a case lies."""
    return _folder(cohort, model) / "quality" / f"{case_id}.json"


def ranking_path(cohort: Cohort, model: str) -> Path:
    """Where the ranking by a model lies."""
    return _folder(cohort, model) / "ranking.json"


def write_quality(cohort: Cohort, quality: CaseQuality) -> None:
    """Write a quality card, atomically."""
    write_json(quality_path(cohort, quality.model, quality.case), to_json(quality))


def read_quality(cohort: Cohort, model: str, case_id: str) -> CaseQuality | None:
    """The quality card of a case, or None if there is none.

    Raises:
        SSLSegError: the file is damaged or of an unknown version.
    """
    return _read(CaseQuality, quality_path(cohort, model, case_id), "Predict the case again.")


def write_ranking(cohort: Cohort, ranking: Ranking) -> None:
    """Write a ranking, atomically."""
    write_json(ranking_path(cohort, ranking.model), to_json(ranking))


def read_ranking(cohort: Cohort, model: str) -> Ranking | None:
    """The ranking by a model, or None if there is none.

    Raises:
        SSLSegError: the file is damaged or of an unknown version.
    """
    return _read(Ranking, ranking_path(cohort, model), "Rank the cases again with 'sslseg rank'.")


def _folder(cohort: Cohort, model: str) -> Path:
    return cohort.folder / "predictions" / check_name(model, "model name")


T = TypeVar("T")


def _read(kind: type[T], path: Path, remedy: str) -> T | None:
    if not path.exists():
        return None
    data = read_json(path, remedy=remedy)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise SSLSegError("The file is damaged or of another version", file=path, remedy=remedy)
    return from_json(kind, data, file=path)

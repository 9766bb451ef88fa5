"""The scores of an evaluation: one row for each case and organ, their summary, and the files they go to."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json, write_text
from sslseg.contract.strict import from_json, to_json
from sslseg.evaluate.surface import Definition

SCHEMA = "sslseg.evaluation"
VERSION = 1
METRICS = ("dice", "hd95_mm", "hd95_voxels", "assd_mm", "surface_dice")
OVERALL = "overall"


@dataclass(frozen=True)
class CaseOrganScore:
    """The scores of one organ in one case.

    All five scores are None where there is nothing to score: the organ is in neither label map, or it was not
    annotated in this case (`reference_ml` is then None too).

    Attributes:
        case: name of the case.
        organ: name of the organ.
        dice: 0..1.
        hd95_mm: 95 % Hausdorff distance in mm.
        hd95_voxels: the same measured in voxels, as if the spacing were 1.
        assd_mm: average symmetric surface distance in mm.
        surface_dice: share of the surface within the tolerance, 0..1.
        reference_ml: volume in the reference.
        prediction_ml: volume in the prediction.
        empty_prediction: the organ is in the reference and the prediction has none of it. Dice and surface
            Dice are then 0 and the distances are the diagonal of the reference volume.
    """

    case: str
    organ: str
    dice: float | None
    hd95_mm: float | None
    hd95_voxels: float | None
    assd_mm: float | None
    surface_dice: float | None
    reference_ml: float | None
    prediction_ml: float
    empty_prediction: bool

    @property
    def scored(self) -> bool:
        return self.dice is not None


@dataclass(frozen=True)
class Statistic:
    """Mean, sample standard deviation (n - 1) and count; what a count of 0 or 1 does not define is None."""

    mean: float | None
    std: float | None
    count: int


@dataclass(frozen=True)
class GroupSummary:
    """Statistics of one organ over its cases, or of the cases over all organs.

    Attributes:
        scores: a statistic for each of `METRICS`.
        empty_predictions: how many of the scored rows were empty predictions.
    """

    scores: dict[str, Statistic]
    empty_predictions: int


@dataclass(frozen=True)
class Summary:
    """Statistics of an evaluation.

    Attributes:
        organs: by organ, over the cases in which it was scored.
        overall: over the cases, each counted with the mean over the organs scored in it. The count is one of
            cases; a case in which no organ could be scored is not among them.
    """

    organs: dict[str, GroupSummary]
    overall: GroupSummary


@dataclass(frozen=True)
class Evaluation:
    """The scores of a set of cases.

    Attributes:
        rows: one for each case and organ, in the order they were scored.
        tolerance_mm: tolerance of the surface Dice.
        definition: definition of the 95 % Hausdorff distance.
        missing_predictions: cases without a prediction file, scored as empty predictions.
        without_reference: cases with a prediction file that nothing could be compared with.
    """

    rows: tuple[CaseOrganScore, ...]
    tolerance_mm: float
    definition: Definition
    missing_predictions: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """Mean, standard deviation and count by organ and over all."""
        scored = [row for row in self.rows if row.scored]
        organs = {
            organ: GroupSummary(
                scores={metric: _statistic(values) for metric, values in _columns(rows).items()},
                empty_predictions=sum(row.empty_prediction for row in rows),
            )
            for organ in dict.fromkeys(row.organ for row in self.rows)
            for rows in [[row for row in scored if row.organ == organ]]
        }
        by_case: dict[str, list[CaseOrganScore]] = {}
        for row in scored:
            by_case.setdefault(row.case, []).append(row)
        case_columns = [_columns(rows) for rows in by_case.values()]
        overall = GroupSummary(
            scores={
                metric: _statistic([statistics.fmean(columns[metric]) for columns in case_columns])
                for metric in METRICS
            },
            empty_predictions=sum(row.empty_prediction for row in scored),
        )
        return Summary(organs=organs, overall=overall)

    def write_csv(self, path: str | Path) -> None:
        """Write the rows as CSV; a score that was not made is a blank."""
        fields = list(CaseOrganScore.__dataclass_fields__)
        header = [*fields, "surface_dice_tolerance_mm", "hd95_definition"]
        settings = [_cell(self.tolerance_mm), self.definition]
        lines = [[_cell(getattr(row, name)) for name in fields] + settings for row in self.rows]
        write_text(path, _csv(header, lines))

    def write_summary_csv(self, path: str | Path) -> None:
        """Write the summary as CSV: one line for each organ, then one called `overall`."""
        header = ["organ", "count"]
        header += [f"{metric}_{name}" for metric in METRICS for name in ("mean", "std")]
        header += ["empty_predictions", "surface_dice_tolerance_mm", "hd95_definition"]
        summary = self.summary()
        lines = []
        for name, group in [*summary.organs.items(), (OVERALL, summary.overall)]:
            numbers = [value for m in METRICS for value in (group.scores[m].mean, group.scores[m].std)]
            settings = [str(group.empty_predictions), _cell(self.tolerance_mm), self.definition]
            lines.append([name, str(group.scores["dice"].count), *map(_cell, numbers), *settings])
        write_text(path, _csv(header, lines))

    def write_json(self, path: str | Path) -> None:
        """Write rows and summary as JSON."""
        document = {"schema": SCHEMA, "version": VERSION, **to_json(self), "summary": to_json(self.summary())}
        write_json(path, document)

    @classmethod
    def read_json(cls, path: str | Path) -> Evaluation:
        """Read what `write_json` wrote; the summary is made anew from the rows.

        Raises:
            SSLSegError: the file is missing or is no evaluation of this version.
        """
        path = Path(path)
        data: Any = read_json(path, remedy="Run `sslseg evaluate` first.")
        if not isinstance(data, dict) or (data.get("schema"), data.get("version")) != (SCHEMA, VERSION):
            raise SSLSegError(
                f"The file is no evaluation of version {VERSION}",
                file=path,
                remedy="Run `sslseg evaluate` again with this version.",
            )
        fields = {key: value for key, value in data.items() if key not in ("schema", "version", "summary")}
        return from_json(cls, fields, file=path)


def check_definition(definition: str) -> None:
    """Raise ValueError for an unknown definition of the 95 % Hausdorff distance."""
    if definition not in get_args(Definition):
        raise ValueError(f"definition must be one of {get_args(Definition)}, not {definition!r}")


def _columns(rows: Iterable[CaseOrganScore]) -> dict[str, list[float]]:
    rows = list(rows)
    return {metric: [getattr(row, metric) for row in rows] for metric in METRICS}


def _statistic(values: Sequence[float]) -> Statistic:
    return Statistic(
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        count=len(values),
    )


def _cell(value: str | bool | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.6g}" if isinstance(value, float | int) else value


def _csv(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()

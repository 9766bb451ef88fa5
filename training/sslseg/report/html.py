"""One HTML file that holds the whole report, pictures and styles included; it needs nothing else."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from sslseg.contract.files import write_text
from sslseg.contract.labels import Label
from sslseg.contract.words import duration
from sslseg.report.content import (
    MISSING,
    CaseCard,
    MethodResult,
    OrganVolumes,
    ReportCase,
    ReportInput,
    Statistic,
    readable,
)
from sslseg.report.figures import DARK, LIGHT, Theme, bar_figure, loss_figure, png_bytes, validation_figure
from sslseg.report.overlays import BACKDROP, case_figure
from sslseg.report.volume_plots import volumes_figure

TEMPLATES = Path(__file__).parent / "templates"
VERDICTS = ("likely wrong", "look", "fine")
"""In the order of concern, as `sslseg.contract.quality.Verdict` spells them."""


@dataclass(frozen=True)
class Metric:
    """A column of the results: its key in `MethodResult.summary` and how it is written."""

    key: str
    title: str
    unit: str
    digits: int


DICE = Metric("dice", "Dice", "", 3)
SURFACE = (
    Metric("hd95", "Largest error", "HD95, mm", 1),
    Metric("assd", "Average error", "ASSD, mm", 2),
    Metric("surface_dice", "Outline within tolerance", "surface Dice", 3),
)


def write_report(report: ReportInput, path: str | Path) -> None:
    """Write the report as one HTML file, atomically.

    Raises:
        SSLSegError: the file cannot be written.
    """
    write_text(path, render_report(report))


def render_report(report: ReportInput) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "readable": readable, "plain": plain, "hex": _hex, "duration": duration, "jpeg": _jpeg_uri, "ml": _ml,
    }  # fmt: skip
    return environment.get_template("report.html.j2").render(
        report=report,
        backdrop=BACKDROP,
        overall=[_overall(method, report.labels) for method in report.methods],
        charts=_charts(report),
        dice=DICE,
        surface=[
            m for m in SURFACE if any(_statistic(x, o, m) for x in report.methods for o in report.labels)
        ],
        statistic=_statistic,
        spread=_spread,
        counted=_counted(report),
        cases=[_case(case, report.labels) for case in report.cases],
        verdicts={v: sum(card.verdict == v for card in report.cards) for v in VERDICTS},
        organ_rows=[_organ_row(organ, report.cards) for organ in report.volumes],
    )


@dataclass(frozen=True)
class Overall:
    """The mean of a method's organ means; `organs` of the organs could be measured."""

    method: MethodResult
    dice: float | None
    organs: int


def _overall(method: MethodResult, labels: Sequence[Label]) -> Overall:
    measured = [s.mean for label in labels if (s := _statistic(method, label, DICE)) is not None]
    return Overall(method, sum(measured) / len(measured) if measured else None, len(measured))


def _statistic(method: MethodResult, label: Label, metric: Metric) -> Statistic | None:
    statistic = method.summary.get(label.name, {}).get(metric.key)
    return statistic if statistic is not None and statistic.measured else None


def _spread(statistic: Statistic, metric: Metric) -> str:
    """'0.873 ± 0.041'; a single case has no spread."""
    text = f"{statistic.mean:.{metric.digits}f}"
    return text if statistic.spread is None else f"{text} ± {statistic.spread:.{metric.digits}f}"


def _counted(report: ReportInput) -> int | None:
    """The number of cases behind every Dice of the report; None if it is not the same everywhere."""
    found = [_statistic(method, label, DICE) for method in report.methods for label in report.labels]
    counts = {statistic.count for statistic in found if statistic is not None}
    return counts.pop() if len(counts) == 1 else None


def _charts(report: ReportInput) -> dict[str, Markup]:
    """The charts; an empty one has nothing to show."""
    methods, labels = report.methods, report.labels
    charts = dict.fromkeys(("dice", "loss", "validation", "volumes"), Markup(""))
    if report.volumes:
        charts["volumes"] = _picture(
            lambda t: volumes_figure(report.volumes, t),
            "Volume of every organ in the predicted cases, against the range of the annotated ones",
        )
    if any(_statistic(method, label, DICE) for method in methods for label in labels):
        charts["dice"] = _picture(
            lambda t: bar_figure(methods, labels, t), "Mean Dice of every organ by method"
        )
    if any(len(method.loss) for method in methods):
        charts["loss"] = _picture(lambda t: loss_figure(methods, t), "Training loss against training steps")
    if any(len(points) for method in methods for points in method.val_dice.values()):
        charts["validation"] = _picture(
            lambda t: validation_figure(methods, labels, t),
            "Dice on the validation cases against training steps",
        )
    return charts


def _picture(draw: Callable[[Theme], Figure], text: str) -> Markup:
    """A chart in light and dark; the reader's browser chooses, and paper is light."""
    return Markup(
        '<picture><source media="screen and (prefers-color-scheme: dark)" srcset="{}">'
        '<img src="{}" alt="{}"></picture>'
    ).format(_data_uri(draw(DARK), 130), _data_uri(draw(LIGHT), 130), text)


def _data_uri(figure: Figure, dpi: int) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(figure, dpi=dpi)).decode("ascii")


def _case(case: ReportCase, labels: Sequence[Label]) -> dict[str, Any]:
    known = [value for label in labels if (value := _score(case, label)) is not None]
    rows = []
    for label in labels:
        drawn, expert = case.volume_ml(label), case.volume_ml(label, reference=True)
        rows.append({"label": label, "dice": _score(case, label), "drawn": _ml(drawn), "expert": _ml(expert)})
    return {
        "name": case.case,
        "note": case.note,
        "figure": _data_uri(case_figure(case, labels), 115),
        "mean": sum(known) / len(known) if known else None,
        "scored": len(known),
        "rows": rows,
        "has_reference": case.reference is not None,
        "has_uncertainty": case.uncertainty is not None,
    }


def _organ_row(organ: OrganVolumes, cards: Sequence[CaseCard]) -> dict[str, Any]:
    """An organ over the cohort: its verdicts, its volumes, its agreement with annotations."""
    found = [entry for card in cards for entry in card.organs if entry.label.name == organ.label.name]
    predicted = [volume for volume, _ in organ.predicted]
    return {
        "label": organ.label,
        "verdicts": {v: sum(entry.verdict == v for entry in found) for v in VERDICTS},
        "annotated": (min(organ.annotated), max(organ.annotated)) if organ.annotated else None,
        "annotated_cases": len(organ.annotated),
        "median": statistics.median(predicted) if predicted else None,
        "predicted_cases": len(predicted),
    }


def _score(case: ReportCase, label: Label) -> float | None:
    value = case.scores.get(label.name)
    return value if value is not None and math.isfinite(value) else None


def _jpeg_uri(picture: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")


def _ml(value: float | None) -> str:
    if value is None:
        return MISSING
    if value == 0:
        return "none"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def plain(value: Any) -> str:
    """A setting or a fact as a reader would write it."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{readable(str(k))}: {plain(v)}" for k, v in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(plain(v) for v in value)
    return str(value)


def _hex(label: Label) -> str:
    return "#{:02x}{:02x}{:02x}".format(*label.color)

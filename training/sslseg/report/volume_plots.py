"""The volumes of every organ over a cohort: the predicted ones against the range of the annotated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sslseg.report.content import OrganVolumes, readable
from sslseg.report.figures import LIGHT, Theme, chart_figure, style_axes

COLUMNS = 4
MARKS = {
    "fine": ("o", "fine"),
    "look": ("^", "look"),
    "likely wrong": ("X", "likely wrong"),
    None: (".", "no verdict"),
}
"""Marker and name of each verdict: told apart without colour too."""


def volumes_figure(organs: Sequence[OrganVolumes], theme: Theme = LIGHT) -> Figure:
    """One small chart for each organ: a mark for each predicted case, a band from the least to the most annotated."""
    rows = -(-len(organs) // COLUMNS)
    figure = chart_figure(theme, (9.6, 1.05 * rows + 0.5))
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat[len(organs) :]:
        axes.set_visible(False)
    for axes, organ in zip(grid.flat, organs, strict=False):
        style_axes(axes, theme)
        _draw(axes, organ, theme)
    verdicts = [v for v in MARKS if any(verdict == v for organ in organs for _, verdict in organ.predicted)]
    handles: list[Patch | Line2D] = [Patch(color=theme.faint, alpha=0.28, label="annotated, least to most")]
    for verdict in verdicts:
        marker, name = MARKS[verdict]
        handles.append(
            Line2D(
                [], [], color=_color(verdict, theme), marker=marker, ls="", ms=5.5, label=f"predicted: {name}"
            )
        )
    figure.legend(
        handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=8.5,
        labelcolor=theme.ink, handletextpad=0.5, columnspacing=1.4,
    )  # fmt: skip
    return figure


def _draw(axes: Axes, organ: OrganVolumes, theme: Theme) -> None:
    if organ.annotated:
        low, high = min(organ.annotated), max(organ.annotated)
        axes.axvspan(low, high, color=theme.faint, alpha=0.28, lw=0)
        axes.axvline(float(np.median(organ.annotated)), color=theme.faint, lw=1.2)
    # Spread over the height so that cases of one volume do not hide each other; the same on every run.
    heights = np.random.default_rng(0).uniform(0.12, 0.88, len(organ.predicted))
    for verdict, (marker, _) in MARKS.items():
        chosen = [(v, h) for (v, found), h in zip(organ.predicted, heights, strict=True) if found == verdict]
        if chosen:
            volumes, places = zip(*chosen, strict=True)
            axes.scatter(
                volumes,
                places,
                s=17,
                marker=marker,
                color=_color(verdict, theme),
                lw=0,
                alpha=0.85,
                zorder=3,
            )
    axes.set_title(f"{readable(organ.label.name)}, ml", loc="left", size=9, color=theme.ink, pad=3)
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.margins(x=0.06)
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _color(verdict: str | None, theme: Theme) -> str:
    return {"fine": theme.series[3], "look": theme.series[2], "likely wrong": theme.series[5]}.get(
        verdict or "", theme.faint
    )

"""The ratios of the table as a bar chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sslseg.bench.speed.table import Row, number
from sslseg.report.figures import LIGHT, Theme, save_figure


def save_speed_plot(rows: Sequence[Row], path: Path) -> None:
    """Write `speed_figure` as a PNG."""
    save_figure(speed_figure(rows), path)


def speed_figure(rows: Sequence[Row], theme: Theme = LIGHT) -> Figure:
    """How many times the peers take our time: a bar for each comparison, a colour for each group.

    The thin line spans the rounds; the short stroke is the target.
    """
    compared = [row for row in rows if row.ratio is not None]
    groups = list(dict.fromkeys(row.group for row in compared))
    figure = Figure(
        figsize=(9.6, 0.8 + 0.3 * len(compared)),
        facecolor=theme.background,
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1),
    )
    axes = figure.subplots()
    axes.set_facecolor(theme.background)
    axes.spines[:].set_visible(False)
    for place, row in enumerate(compared):
        assert row.ratio is not None
        color = theme.series[(1 + groups.index(row.group)) % len(theme.series)]
        axes.barh(place, row.ratio.median - 1, left=1, height=0.62, color=color, zorder=2)
        axes.plot((row.ratio.low, row.ratio.high), (place, place), color=theme.ink, lw=0.9, zorder=3)
        axes.text(
            max(row.ratio.high, 1) * 1.06, place, f"{number(row.ratio.median)}x", va="center", size=8.5,
            color=theme.ink,
        )  # fmt: skip
        if row.target is not None and row.target.at_least:
            axes.plot(
                (row.target.value,) * 2, (place - 0.42, place + 0.42), color=theme.ink, lw=1.6, zorder=4
            )
    names = [f"{row.work}  vs {row.peer}" for row in compared]
    axes.set_yticks(range(len(compared)), names, size=8.5, color=theme.ink)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=2.0 * max(row.ratio.high for row in compared if row.ratio is not None))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.axvline(1, color=theme.faint, lw=1)
    axes.grid(visible=True, axis="x", color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.faint, labelsize=8.5, length=0)
    axes.tick_params(axis="y", labelcolor=theme.ink)
    axes.set_xlabel("times the peer takes our time; the stroke is the target", size=9, color=theme.faint)
    return figure

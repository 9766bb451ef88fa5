"""Charts: training curves, Dice by organ, and accuracy against training steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from sslseg.contract.files import atomic_path
from sslseg.contract.labels import Label
from sslseg.report.content import MISSING, MethodResult, Points, readable


@dataclass(frozen=True)
class Theme:
    """Colours of a chart; the background is the page's own."""

    background: str
    ink: str
    faint: str
    grid: str
    series: tuple[str, ...]


LIGHT = Theme(
    "#ffffff",
    "#1b2430",
    "#5d6878",
    "#e3e7ed",
    ("#7d8896", "#1769aa", "#d9730d", "#2a8c6a", "#8250b4", "#b4374e"),
)
DARK = Theme(
    "#171b22",
    "#e3e8ef",
    "#98a3b3",
    "#2d3440",
    ("#98a3b3", "#58a6e8", "#f0984a", "#54bf98", "#b08ae0", "#e5707f"),
)
"""The first series is grey: the first method is the one that the others are compared with."""


def loss_figure(methods: Sequence[MethodResult], theme: Theme = LIGHT) -> Figure:
    """Training loss against steps, with the running mean in front of the single steps."""
    figure, axes = _chart(theme, (9.6, 2.7))
    for method, color in zip(methods, _colors(theme, len(methods)), strict=True):
        steps, values = _arrays(method.loss)
        if not len(steps):
            continue
        axes.plot(steps, values, color=color, lw=0.7, alpha=0.22)
        axes.plot(
            steps, _running_mean(values, max(1, len(values) // 25)), color=color, lw=1.9, label=method.name
        )
    axes.set_ylim(bottom=0)
    _label_steps(axes, "training loss")
    _legend(axes, theme)
    return figure


def validation_figure(
    methods: Sequence[MethodResult], labels: Sequence[Label], theme: Theme = LIGHT
) -> Figure:
    """Dice of every organ on the validation cases against steps: one small chart for each organ."""
    columns = min(6, len(labels))
    rows = -(-len(labels) // columns)
    figure = chart_figure(theme, (9.6, 1.75 * rows + 0.7))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    for axes, label in zip(grid.flat, labels, strict=False):
        style_axes(axes, theme)
        for method, color in zip(methods, _colors(theme, len(methods)), strict=True):
            steps, values = _arrays(method.val_dice.get(label.name, ()))
            axes.plot(steps, values, color=color, lw=1.8, marker="o", ms=2.6, label=method.name)
        axes.set_title(readable(label.name), loc="left", size=9.5, color=theme.ink, pad=5)
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
    figure.supxlabel("training steps", size=9, color=theme.faint)
    figure.supylabel("Dice", size=9, color=theme.faint)
    if len(methods) > 1:
        handles, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(
            handles, names, loc="outside upper right", ncols=len(methods), frameon=False, fontsize=9,
            labelcolor=theme.ink, handlelength=1.4,
        )  # fmt: skip
    return figure


def bar_figure(methods: Sequence[MethodResult], labels: Sequence[Label], theme: Theme = LIGHT) -> Figure:
    """Mean Dice of every organ by method; the thin line spans a standard deviation of the cases each way."""
    many = len(labels) > 8
    figure, axes = _chart(theme, (9.6, 3.8 if many else 3.2))
    width = 0.78 / max(1, len(methods))
    for place, (method, color) in enumerate(zip(methods, _colors(theme, len(methods)), strict=True)):
        for organ, label in enumerate(labels):
            x = organ + (place - (len(methods) - 1) / 2) * width
            dice = method.summary.get(label.name, {}).get("dice")
            name = method.name if organ == 0 else ""
            if dice is None or not dice.measured:
                axes.bar(x, 0, width * 0.88, color=color, label=name)
                axes.text(x, 0.015, MISSING, color=theme.faint, ha="center", va="bottom", size=9)
                continue
            axes.bar(x, dice.mean, width * 0.88, color=color, label=name, zorder=2)
            spread = dice.spread or 0.0
            low, high = max(0.0, dice.mean - spread), min(1.0, dice.mean + spread)
            axes.plot((x, x), (low, high), color=theme.ink, lw=0.9, alpha=0.65, zorder=3)
            if len(labels) * len(methods) <= 20:
                number = f"{dice.mean:.2f}"
                axes.text(
                    x, high + 0.015, number, color=theme.ink, ha="center", va="bottom", size=8.5, zorder=4
                )
    names = [readable(label.name) for label in labels]
    axes.set_xticks(range(len(labels)), names, size=9.5, color=theme.ink)
    if many:
        axes.tick_params(axis="x", pad=6)
        for text in axes.get_xticklabels():
            text.set(rotation=32, ha="right", va="center", rotation_mode="anchor")
    axes.set_xlim(-0.55, len(labels) - 0.45)
    axes.set_ylim(0, 1.12)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.set_ylabel("Dice", color=theme.faint, size=9)
    if len(methods) > 1:
        figure.legend(
            loc="outside upper right", ncols=len(methods), frameon=False, fontsize=9, labelcolor=theme.ink,
            handlelength=0.9, handleheight=0.9,
        )  # fmt: skip
    return figure


def dice_vs_steps_figure(
    runs: Mapping[str, Sequence[Points]], *, title: str = "", ylabel: str = "mean Dice", theme: Theme = LIGHT
) -> Figure:
    """Accuracy against training steps: every method's mean over its runs, in a band from lowest to highest.

    Args:
        runs: of every method, the curve of each of its seeds.
        title: above the chart.
        ylabel: what the curves tell.
        theme: the colours.
    """
    figure, axes = _chart(theme, (7.2, 4.0))
    for (name, curves), color in zip(runs.items(), _colors(theme, len(runs)), strict=True):
        steps = np.unique(np.concatenate([_arrays(curve)[0] for curve in curves])) if curves else np.array([])
        if not len(steps):
            continue
        values = np.stack([_at(steps, *_arrays(curve)) for curve in curves])
        counts = np.isfinite(values).sum(axis=0)
        # Where one run stopped early the mean would jump to that of the others: only common steps are drawn.
        whole = counts == len(curves)
        steps, values = steps[whole], values[:, whole]
        if len(curves) > 1:
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.16, lw=0)
        seeds = f"  ({len(curves)} seeds)" if len(curves) > 1 else ""
        axes.plot(steps, values.mean(axis=0), color=color, lw=2.0, marker="o", ms=3, label=f"{name}{seeds}")
    if title:
        axes.set_title(title, loc="left", size=11, color=theme.ink, weight="bold", pad=10)
    low, high = axes.get_ylim()
    # Methods that all work lie close together: from 0 to 1 they would be one line.
    axes.set_ylim(max(0.0, low - 0.05), min(1.0, high + 0.05))
    _label_steps(axes, ylabel)
    _legend(axes, theme, loc="lower right")
    return figure


def save_dice_vs_steps_plot(
    runs: Mapping[str, Sequence[Points]], path: str | Path, *, title: str = "", ylabel: str = "mean Dice"
) -> None:
    """Write `dice_vs_steps_figure` as a PNG."""
    save_figure(dice_vs_steps_figure(runs, title=title, ylabel=ylabel), path)


def save_bar_comparison(methods: Sequence[MethodResult], labels: Sequence[Label], path: str | Path) -> None:
    """Write `bar_figure` as a PNG."""
    save_figure(bar_figure(methods, labels), path)


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 160) -> None:
    """Write a figure as a PNG.

    Raises:
        SSLSegError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def png_bytes(figure: Figure, *, dpi: int = 130) -> bytes:
    """The figure as the bytes of a PNG."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _chart(theme: Theme, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = chart_figure(theme, size)
    axes = figure.subplots()
    style_axes(axes, theme)
    return figure, axes


def chart_figure(theme: Theme, size: tuple[float, float]) -> Figure:
    """An empty figure of `size` inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=size, facecolor=theme.background, layout=layout)


def style_axes(axes: Axes, theme: Theme) -> None:
    """Take away what a small chart can do without."""
    axes.set_facecolor(theme.background)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.grid)
    axes.grid(visible=True, axis="y", color=theme.grid, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.faint, labelsize=8.5, length=0)


def _label_steps(axes: Axes, ylabel: str) -> None:
    faint = axes.yaxis.get_ticklabels()[0].get_color()
    axes.set_xlabel("training steps", size=9, color=faint)
    axes.set_ylabel(ylabel, size=9, color=faint)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _legend(axes: Axes, theme: Theme, loc: str = "best") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=theme.ink, loc=loc, handlelength=1.4)


def _colors(theme: Theme, count: int) -> list[str]:
    """A single method is drawn in colour; among several the first is the grey one."""
    start = 1 if count == 1 else 0
    return [theme.series[(start + i) % len(theme.series)] for i in range(count)]


def _arrays(points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.asarray(points, np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _at(
    steps: NDArray[np.float64], known: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values of a curve at `steps`, interpolated; nan outside of it."""
    if not len(known):
        return np.full(len(steps), np.nan)
    return np.interp(steps, known, values, left=np.nan, right=np.nan)


def _running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over the last `window` values, over fewer at the start."""
    finite = np.isfinite(values)
    total = np.cumsum(np.where(finite, values, 0))
    count = np.cumsum(finite)
    total[window:], count[window:] = total[window:] - total[:-window], count[window:] - count[:-window]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _short(value: float, _: int | None = None) -> str:
    """12000 as 12k."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"

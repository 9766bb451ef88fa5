"""Slices of a volume with organs drawn over them, turned as a radiologist expects them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, zoom

from sslseg.contract.files import atomic_path
from sslseg.contract.labels import Label
from sslseg.report.content import ReportCase, readable

Array = NDArray[Any]

BACKDROP = "#0b0d11"
INK = "#d7dce4"
FAINT = "#8d96a5"
EXPERT = "expert's outline"
MARGIN = 45.0
"""mm shown around the organs."""
PIXEL = 1.0
"""mm; the outlines are computed on this grid, so that they are smooth at any voxel size."""


@dataclass(frozen=True)
class Plane:
    """How one of the three standard planes is cut from (z, y, x) and shown.

    Attributes:
        axis: of the volume, across the plane.
        letters: left, right, top, bottom of the picture.
        flip: the picture's rows run against the array's.
    """

    name: str
    axis: int
    letters: tuple[str, str, str, str]
    flip: bool


PLANES = (
    Plane("Axial", 0, ("R", "L", "A", "P"), flip=False),
    Plane("Coronal", 1, ("R", "L", "S", "I"), flip=True),
    Plane("Sagittal", 2, ("A", "P", "S", "I"), flip=True),
)


def case_figure(case: ReportCase, labels: Sequence[Label]) -> Figure:
    """Three planes through the most telling slices, a map of the uncertainty if there is one, a legend."""
    box = _view_box(case, labels)
    planes = [(plane, telling_slice(case, labels, plane.axis), False) for plane in PLANES]
    if case.uncertainty is not None:
        planes.append((*planes[0][:2], True))
    window = intensity_window(case.image)
    sizes = [_size_mm(plane, box, case.spacing) for plane, _, _ in planes]
    height = max(h for _, h in sizes)
    gap, inches = 10.0, 13.0 / (sum(w for w, _ in sizes) + 10.0 * (len(sizes) - 1))
    total = sum(w for w, _ in sizes) + gap * (len(sizes) - 1)
    columns = _legend_columns(case, labels)
    head, foot = 0.38, 0.2 + 0.26 * -(-(len(labels) + 1) // columns)
    figure = Figure(figsize=(13.0, height * inches + head + foot), facecolor=BACKDROP)
    left = 0.0
    for (plane, index, heat), (w, h) in zip(planes, sizes, strict=True):
        bottom = (foot + (height - h) * inches / 2) / figure.get_figheight()
        axes = figure.add_axes((left / total, bottom, w / total, h * inches / figure.get_figheight()))
        left += w + gap
        _draw_plane(axes, case, labels, plane, index, box, window, heat=heat)
        where = (
            "Uncertainty" if heat else f"{plane.name}  ·  slice {index + 1} of {case.image.shape[plane.axis]}"
        )
        middle = axes.get_position()
        y = 1 - 0.5 * head / figure.get_figheight()
        figure.text((middle.x0 + middle.x1) / 2, y, where, color=FAINT, size=11, ha="center", va="center")
    _draw_legend(figure, case, labels, columns)
    if case.uncertainty is not None:
        _draw_scale(figure, figure.axes[-1])
    return figure


def save_case_figure(case: ReportCase, labels: Sequence[Label], path: str | Path, *, dpi: int = 130) -> None:
    """Write `case_figure` as a PNG.

    Raises:
        SSLSegError: the file cannot be written.
    """
    figure = case_figure(case, labels)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def telling_slice(case: ReportCase, labels: Sequence[Label], axis: int) -> int:
    """The slice across `axis` that shows as much as possible of as many organs as possible.

    Every organ counts by the share of its own widest section: a large one does not outvote a small one.
    Without any organ it is the middle slice.
    """
    score = np.zeros(case.image.shape[axis])
    other = tuple(a for a in range(3) if a != axis)
    volumes = [volume for volume in (case.prediction, case.reference) if volume is not None]
    for volume in volumes:
        for label in labels:
            area = (volume == label.value).sum(axis=other)
            if area.max() > 0:
                score += area / area.max()
    return int(score.argmax()) if score.any() else case.image.shape[axis] // 2


def intensity_window(image: Array) -> tuple[float, float]:
    """Darkest and brightest intensity shown: soft tissue for CT, else all but the outermost percent.

    An image is taken for CT where it holds air, below -500.
    """
    if float(image.min()) < -500:
        return -150.0, 250.0
    foreground = image[image > np.percentile(image, 20)]
    values = foreground if foreground.size else image
    low, high = (float(v) for v in np.percentile(values, (1, 99.5)))
    return (low, high) if high > low else (low, low + 1.0)


def _view_box(case: ReportCase, labels: Sequence[Label]) -> tuple[slice, ...]:
    """The part of the patient that is shown: the organs with a wide margin, all of it if there is none."""
    patient = _body_box(case.image)
    values = [label.value for label in labels]
    organs = np.isin(case.prediction, values)
    if case.reference is not None:
        organs |= np.isin(case.reference, values)
    if not organs.any():
        return patient
    box = []
    for axis, (body, step) in enumerate(zip(patient, case.spacing, strict=True)):
        used = np.flatnonzero(organs.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(used[0]), int(used[-1]) + 1
        margin = round(MARGIN / step)
        # Organs that were found outside of the patient must not be hidden.
        box.append(
            slice(min(first, max(body.start, first - margin)), max(last, min(body.stop, last + margin)))
        )
    return tuple(box)


def _body_box(image: Array) -> tuple[slice, ...]:
    """The part of the volume that holds the patient, with a small margin."""
    threshold = -350.0 if float(image.min()) < -500 else float(np.percentile(image, 99)) * 0.06
    body = binary_fill_holes(image > threshold)
    if not body.any():
        return tuple(slice(0, n) for n in image.shape)
    box = []
    for axis, n in enumerate(image.shape):
        filled = body.mean(axis=tuple(a for a in range(3) if a != axis))
        used = np.flatnonzero(filled > 0.01 * filled.max())
        box.append(slice(max(int(used[0]) - 2, 0), min(int(used[-1]) + 3, n)))
    return tuple(box)


def _cut(volume: Array, plane: Plane, index: int, box: tuple[slice, ...]) -> Array:
    """The picture of a plane, (rows, columns) from the top left."""
    picture = np.take(volume, index, axis=plane.axis)[tuple(b for a, b in enumerate(box) if a != plane.axis)]
    return picture[::-1] if plane.flip else picture


def _size_mm(plane: Plane, box: tuple[slice, ...], spacing: Sequence[float]) -> tuple[float, float]:
    rows, columns = (
        (b.stop - b.start) * step
        for axis, (b, step) in enumerate(zip(box, spacing, strict=True))
        if axis != plane.axis
    )
    return columns, rows


def _draw_plane(
    axes: Axes,
    case: ReportCase,
    labels: Sequence[Label],
    plane: Plane,
    index: int,
    box: tuple[slice, ...],
    window: tuple[float, float],
    *,
    heat: bool,
) -> None:
    width, height = _size_mm(plane, box, case.spacing)
    extent = (0.0, width, height, 0.0)
    axes.set_axis_off()
    axes.imshow(
        _cut(case.image, plane, index, box).astype(np.float32),
        cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bicubic",
    )  # fmt: skip
    prediction = _cut(case.prediction, plane, index, box)
    if heat and case.uncertainty is not None:
        values = _cut(case.uncertainty, plane, index, box).astype(np.float32)
        axes.imshow(
            values, cmap="inferno", vmin=0, vmax=1, extent=extent, interpolation="bilinear",
            alpha=np.clip(values * 2.5, 0, 0.9),
        )  # fmt: skip
    for label in labels:
        color = tuple(channel / 255 for channel in label.color)
        outline = _contour(prediction == label.value, extent)
        if outline is not None:
            if heat:
                axes.contour(*outline, levels=[0.5], colors=["#ffffff"], linewidths=0.6, alpha=0.55)
            else:
                axes.contourf(*outline, levels=[0.5, 2], colors=[color], alpha=0.38)
                axes.contour(*outline, levels=[0.5], colors=[color], linewidths=1.4)
    if case.reference is not None and not heat:
        reference = _cut(case.reference, plane, index, box)
        for label in labels:
            outline = _contour(reference == label.value, extent)
            if outline is not None:
                axes.contour(
                    *outline, levels=[0.5], colors=["white"], linewidths=1.0, linestyles=[(0, (3, 2.2))]
                )
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    places = ((0.012, 0.5, "left", "center"), (0.988, 0.5, "right", "center"), (0.5, 0.985, "center", "top"),
              (0.5, 0.015, "center", "bottom"))  # fmt: skip
    for letter, (x, y, ha, va) in zip(plane.letters, places, strict=True):
        axes.text(x, y, letter, transform=axes.transAxes, color=INK, size=10.5, weight="bold", ha=ha, va=va,
                  path_effects=[withStroke(linewidth=2.5, foreground=BACKDROP)])  # fmt: skip


def _contour(mask: Array, extent: tuple[float, float, float, float]) -> tuple[Array, Array, Array] | None:
    """x, y in mm and the smooth height of a mask whose outline is at 0.5; None for an empty mask."""
    if not mask.any():
        return None
    _, width, height, _ = extent
    padded = np.pad(mask.astype(np.float32), 1)
    steps = (height / mask.shape[0], width / mask.shape[1])
    smooth = zoom(padded, [max(1.0, step / PIXEL) for step in steps], order=3, mode="nearest", grid_mode=True)
    rows, columns = (
        (np.arange(n) + 0.5) * (m * step / n) - step
        for n, m, step in zip(smooth.shape, padded.shape, steps, strict=True)
    )
    return columns, rows, np.clip(smooth, 0, 1)


def _legend_columns(case: ReportCase, labels: Sequence[Label]) -> int:
    """As many columns as fit beside the scale of the uncertainty; the legend fills one after the other."""
    letters = [len(label.name) for label in labels] + [len(EXPERT)]
    room = 9.6 if case.uncertainty is not None else 12.8
    for columns in range(len(letters), 1, -1):
        rows = -(-len(letters) // columns)
        if sum(0.5 + 0.08 * max(letters[i : i + rows]) for i in range(0, len(letters), rows)) <= room:
            return columns
    return 1


def _draw_legend(figure: Figure, case: ReportCase, labels: Sequence[Label], columns: int) -> None:
    handles: list[Any] = []
    for label in labels:
        color = tuple(channel / 255 for channel in label.color)
        handles.append(
            Patch(facecolor=(*color, 0.45), edgecolor=color, linewidth=1.2, label=readable(label.name))
        )
    if case.reference is not None:
        handles.append(Line2D([], [], color="white", lw=1.1, ls=(0, (3, 2.2)), label=EXPERT))
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.004, 0.0), ncols=columns, frameon=False,
        fontsize=10.5, labelcolor=INK, handlelength=1.3, handleheight=0.9, columnspacing=1.3, borderpad=0.4,
    )  # fmt: skip


def _draw_scale(figure: Figure, axes: Axes) -> None:
    """The colours of the uncertainty, below its panel."""
    place = axes.get_position()
    inch = 1 / figure.get_figheight()
    width = 0.44 * (place.x1 - place.x0)
    middle = (place.x0 + place.x1) / 2
    bar = figure.add_axes((middle - width / 2, 0.19 * inch, width, 0.07 * inch))
    bar.imshow(np.linspace(0, 1, 128)[None], aspect="auto", cmap="inferno")
    bar.set_axis_off()
    bar.text(-0.05, 0.5, "sure", transform=bar.transAxes, color=FAINT, size=10.5, ha="right", va="center")
    bar.text(1.05, 0.5, "unsure", transform=bar.transAxes, color=FAINT, size=10.5, ha="left", va="center")

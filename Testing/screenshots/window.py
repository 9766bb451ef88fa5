"""Panel and views side by side, as they are in Slicer's window."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import slicer
from PySide6 import QtCore, QtGui
from standin import rendering

PANEL_WIDTH, VIEWS_WIDTH, HEIGHT = 400, 660, 800
"""Pixels, of the panel and of the views beside it."""
GAP = 4
BAR_HEIGHT = 20
AZIMUTH, ELEVATION = 30.0, 10.0
"""Of the 3D view, from in front: towards the patient's left, and up, degrees."""
COLORS, GREYS = 256, 64
"""Of a picture file; the greys are a part of them."""
LEAST_COLOR = 8
"""Difference of the channels, 0 to 255, from which on a pixel is no grey."""
VIEW_COLORS = {"Red": "#f34a33", "Green": "#6eb04b", "Yellow": "#edd54c", "3D": "#7477bd"}
EDGES = {"Red": "RLAP", "Green": "RLSI", "Yellow": "APSI"}
"""Letters on the left, right, upper and lower edge of a slice view."""


def view_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height of what one of the four views shows, where all of them fill `size`."""
    return (size[0] - GAP) // 2, (size[1] - GAP) // 2 - BAR_HEIGHT


def four_up(size: tuple[int, int]) -> QtGui.QImage:
    """Slicer's views as they are: axial and 3D above coronal and sagittal."""
    width, height = view_size(size)
    height += BAR_HEIGHT
    image = _canvas(size, QtGui.QColor("#101010"))
    painter = QtGui.QPainter(image)
    view = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
    view.SetBackgroundColor(0, 0, 0)
    view.SetBackgroundColor2(0, 0, 0)
    for name, x, y in (
        ("Red", 0, 0),
        ("3D", width + GAP, 0),
        ("Green", 0, height + GAP),
        ("Yellow", width + GAP, height + GAP),
    ):
        painter.drawImage(x, y, _view(name, (width, height)))
    painter.end()
    return image


def side_by_side(*images: QtGui.QImage) -> QtGui.QImage:
    """Pictures beside each other, aligned at the top."""
    height = max(image.height() for image in images)
    width = sum(image.width() for image in images) + GAP * (len(images) - 1)
    canvas = _canvas((width, height), QtGui.QColor("#808080"))
    painter = QtGui.QPainter(canvas)
    x = 0
    for image in images:
        painter.drawImage(x, 0, image)
        x += image.width() + GAP
    painter.end()
    return canvas


def save(image: QtGui.QImage, path: Path) -> None:
    """Write a picture as a PNG file with a palette, which makes it a third as large."""
    buffer = QtCore.QBuffer()
    buffer.open(QtCore.QIODevice.OpenModeFlag.ReadWrite)
    image.save(buffer, "PNG")
    picture = PIL.Image.open(io.BytesIO(bytes(buffer.data().data()))).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(palette=_palette(picture), dither=PIL.Image.Dither.NONE).save(path, optimize=True)


def _palette(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Greys for the scans, and the other colours spread evenly, however few pixels an organ has."""
    pixels = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    colored = pixels[np.ptp(pixels, axis=1) >= LEAST_COLOR]
    greys = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None], 3, axis=1)
    spread = PIL.Image.fromarray(colored[None]).quantize(
        COLORS - GREYS, method=PIL.Image.Quantize.MAXCOVERAGE, kmeans=3
    )
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette([*greys.ravel().tolist(), *(spread.getpalette() or [])[: 3 * (COLORS - GREYS)]])
    return palette


def _view(name: str, size: tuple[int, int]) -> QtGui.QImage:
    width, height = size
    inner = (width, height - BAR_HEIGHT)
    if name == "3D":
        pixels = rendering.render3D(size=inner, fill=True, azimuth=AZIMUTH, elevation=ELEVATION)
        text = "1"
    else:
        pixels = rendering.renderSlice(name, size=inner, fit=False)
        text = f"{name[0]}    {_offset(name)}"
    image = _canvas(size, QtGui.QColor(VIEW_COLORS[name]))
    painter = QtGui.QPainter(image)
    painter.drawImage(0, BAR_HEIGHT, _image(pixels))
    painter.setPen(QtGui.QColor("black" if name in ("Yellow", "Green") else "white"))
    painter.drawText(QtCore.QRect(8, 0, width, BAR_HEIGHT), QtCore.Qt.AlignmentFlag.AlignVCenter, text)
    if name in EDGES:
        _letters(painter, QtCore.QRect(0, BAR_HEIGHT, width, height - BAR_HEIGHT), EDGES[name])
    painter.end()
    return image


def _offset(name: str) -> str:
    node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
    axis = {"Red": "S", "Green": "A", "Yellow": "R"}[name]
    offset = node.GetSliceOffset()
    opposite = {"S": "I", "A": "P", "R": "L"}[axis]
    return f"{axis if offset >= 0 else opposite}: {abs(offset):.1f} mm"


def _letters(painter: QtGui.QPainter, frame: QtCore.QRect, letters: str) -> None:
    flag = QtCore.Qt.AlignmentFlag
    middle = (flag.AlignVCenter, flag.AlignVCenter, flag.AlignHCenter, flag.AlignHCenter)
    ends = (flag.AlignLeft, flag.AlignRight, flag.AlignTop, flag.AlignBottom)
    painter.setPen(QtGui.QColor("#c8c8c8"))
    for letter, end, center in zip(letters, ends, middle, strict=True):
        painter.drawText(frame.adjusted(6, 4, -6, -4), end | center, letter)


def _image(pixels: np.ndarray[Any, Any]) -> QtGui.QImage:
    packed = np.ascontiguousarray(pixels)
    height, width, _ = packed.shape
    return QtGui.QImage(packed.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()


def _canvas(size: tuple[int, int], color: QtGui.QColor) -> QtGui.QImage:
    image = QtGui.QImage(*size, QtGui.QImage.Format.Format_RGB888)
    image.fill(color)
    return image

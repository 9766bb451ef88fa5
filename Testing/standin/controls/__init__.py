"""Doubles of the ctk and qMRML widgets, as PySide6 classes; `pythonqt` shows them to Python as PythonQt would.

They have the properties, methods and signals that Slicer modules use of the real ones, by the same names, and look
enough like them for a picture.
"""

from __future__ import annotations

from PySide6 import QtWidgets

from . import boxes, inputs, plots, segmentation, selectors, views

CTK: dict[str, type[QtWidgets.QWidget]] = {
    kind.__name__: kind
    for module in (boxes, inputs)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__name__.startswith("ctk")
}
QMRML: dict[str, type[QtWidgets.QWidget]] = {
    kind.__name__: kind
    for module in (selectors, segmentation, plots, views)
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__name__.startswith(("qMRML", "qSlicer"))
}

"""Reading `.ui` files, with the doubles of ctk and qMRML widgets where a file asks for the real ones."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from ..controls import CTK, QMRML
from ..pythonqt.values import toPython


class _Loader(QtUiTools.QUiLoader):
    def createWidget(
        self, className: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        kind = CTK.get(className) or QMRML.get(className)
        if kind is None:
            if className.startswith(("ctk", "qMRML", "qSlicer")):
                raise RuntimeError(f"The stand-in has no double of {className}: add one to standin/controls")
            return super().createWidget(className, parent, name)
        widget = kind()
        widget.setParent(parent)
        widget.setObjectName(name)
        return widget


def loadPanel(path: str) -> Any:
    file = QtCore.QFile(path)
    if not file.exists():
        raise RuntimeError(f"Could not load UI file: file not found {path}\n\n")
    file.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
    try:
        widget = _Loader().load(file)
    finally:
        file.close()
    if widget is None:
        raise RuntimeError(f"Could not load UI file: {path}\n\n")
    return toPython(widget)

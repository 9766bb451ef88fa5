"""How widgets show and change parameters. As in Slicer, a connector goes by the exact class of a widget."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer


class Connector:
    """Reads and writes one attribute of a widget, and listens to one signal."""

    def __init__(
        self, widget: Any, attribute: str, signal: str, convert: Callable[[Any], Any] = lambda v: v
    ) -> None:
        self.widget = widget
        self._attribute = attribute
        self._signal = signal
        self._convert = convert
        self._callback: Callable[..., Any] | None = None

    def read(self) -> Any:
        return self._convert(getattr(self.widget, self._attribute))

    def write(self, value: Any) -> None:
        if self.read() != value:
            setattr(self.widget, self._attribute, str(value) if isinstance(value, pathlib.Path) else value)

    def start(self, changed: Callable[[], Any]) -> None:
        self._callback = lambda *_: changed()
        if not self.widget.connect(self._signal, self._callback):
            raise RuntimeError(f"{self.widget.className()} has no signal {self._signal}")

    def stop(self) -> None:
        self.widget.disconnect(self._signal, self._callback)


class _ComboConnector(Connector):
    """A combo box with an entry for each choice."""

    def __init__(self, widget: Any, choices: list[Any], labels: list[str]) -> None:
        super().__init__(widget, "currentIndex", "currentIndexChanged(int)")
        self._choices = choices
        widget.clear()
        for label in labels:
            widget.addItem(label)

    def read(self) -> Any:
        return self._choices[self.widget.currentIndex]

    def write(self, value: Any) -> None:
        self.widget.currentIndex = self._choices.index(value)


class _NodeConnector(Connector):
    """A node selector."""

    def __init__(self, widget: Any, kind: type) -> None:
        super().__init__(widget, "currentNode", "currentNodeChanged(vtkMRMLNode*)")
        widget.nodeTypes = [kind.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


class _PlainTextConnector(Connector):
    """A plain text edit."""

    def write(self, value: Any) -> None:
        if self.read() != value:
            self.widget.setPlainText(value)


def _simple() -> dict[tuple[type, type], tuple[str, str]]:
    """(class of the widget, type of the parameter) -> attribute and signal."""
    return {
        (qt.QCheckBox, bool): ("checked", "toggled(bool)"),
        (qt.QPushButton, bool): ("checked", "toggled(bool)"),
        (qt.QSpinBox, int): ("value", "valueChanged(int)"),
        (qt.QSlider, int): ("value", "valueChanged(int)"),
        (qt.QDoubleSpinBox, float): ("value", "valueChanged(double)"),
        (ctk.ctkSliderWidget, float): ("value", "valueChanged(double)"),
        (ctk.ctkDoubleSpinBox, float): ("value", "valueChanged(double)"),
        (qt.QLineEdit, str): ("text", "textChanged(QString)"),
        (ctk.ctkPathLineEdit, str): ("currentPath", "currentPathChanged(QString)"),
        (ctk.ctkPathLineEdit, pathlib.Path): ("currentPath", "currentPathChanged(QString)"),
        (ctk.ctkDirectoryButton, pathlib.Path): ("directory", "directoryChanged(QString)"),
        (ctk.ctkCollapsibleButton, bool): ("collapsed", "contentsCollapsed(bool)"),
    }


def connector(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> Connector:
    """The connector for a widget and the type of a parameter; raises RuntimeError where Slicer has none either."""
    if type(widget) is qt.QComboBox:
        choice = next((a.choices for a in annotations if hasattr(a, "choices")), None)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            label = getattr(kind, "label", lambda member: member.name)
            return _ComboConnector(widget, list(kind), [label(member) for member in kind])
        if choice is not None:
            return _ComboConnector(widget, choice, [str(c) for c in choice])
    if type(widget) is slicer.qMRMLNodeComboBox:
        return _NodeConnector(widget, kind)
    if kind is str and type(widget) in (qt.QTextEdit, qt.QPlainTextEdit):
        return _PlainTextConnector(widget, "plainText", "textChanged()")
    known = _simple().get((type(widget), kind))
    if known is None:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{kind}' to widget type '{type(widget)}'"
        )
    if type(widget) is qt.QPushButton:
        widget.checkable = True
    _limit(widget, kind, annotations)
    return Connector(widget, *known, convert=pathlib.Path if kind is pathlib.Path else lambda value: value)


def _limit(widget: Any, kind: Any, annotations: tuple[Any, ...]) -> None:
    """Spin boxes and sliders take the range of the parameter; without one they are as wide as their type."""
    if kind not in (int, float):
        return
    low = next((a.minimum for a in annotations if hasattr(a, "minimum")), None)
    high = next((a.maximum for a in annotations if hasattr(a, "maximum")), None)
    if (low is None or high is None) and type(widget) in (qt.QSlider, ctk.ctkSliderWidget):
        raise RuntimeError("Cannot have a connection to a slider whose type is unbounded.")
    widest = 2**31 - 1 if kind is int else 1.7976931348623157e308
    widget.setMinimum(low if low is not None else -widest)
    widget.setMaximum(high if high is not None else widest)

"""The module `qt`: everything of QtCore, QtGui and QtWidgets in one flat name space, as in Slicer."""

from __future__ import annotations

import enum
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtUiTools, QtWidgets
from shiboken6 import Shiboken

from .classes import classOf
from .enums import enumType
from .methods import builtin_qt_slot

_MODULES = (QtCore, QtGui, QtWidgets, QtUiTools, QtNetwork)
_HIDDEN = {"Signal", "Slot", "Property", "SIGNAL", "SLOT", "QEnum", "QFlag", "ClassInfo"}
"""Names that are PySide6's own, not Qt's."""


class Signal:
    """PythonQt's `qt.Signal` exists, but what is declared with it does not work reliably; here it does nothing."""

    def __init__(self, *types: Any, name: str = "") -> None:
        self._types = types

    def __repr__(self) -> str:
        return "Signal"


class QtModule(types.ModuleType):
    """Classes are wrapped when they are first asked for."""

    def __init__(self, name: str = "qt") -> None:
        super().__init__(name, "PythonQt on top of PySide6")
        self.Signal = Signal

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name not in _HIDDEN:
            for module in _MODULES:
                value = getattr(module, name, None)
                if value is not None:
                    shown = self._show(value, name)
                    setattr(self, name, shown)
                    return shown
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")

    @staticmethod
    def _show(value: Any, name: str) -> Any:
        if isinstance(value, type) and issubclass(value, enum.Enum):
            return enumType(value)
        if isinstance(value, type) and (issubclass(value, Shiboken.Object) or value is QtCore.Qt):
            return classOf(value)
        return builtin_qt_slot(value, name) if callable(value) else value

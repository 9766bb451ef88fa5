"""What a name means on a Qt class: the order in which PythonQt looks is property, method, signal, enumerator."""

from __future__ import annotations

import enum
import types
from typing import Any, NamedTuple

from PySide6 import QtCore

PROPERTY = "Property"
SLOT = "Slot"
SIGNAL = "Signal"
ENUM_VALUE = "EnumValue"
ENUM = "Enum"
NESTED_CLASS = "Nested class"
FIELD = "Field"
NOT_FOUND = "NotFound"


class Member(NamedTuple):
    """`value` is the attribute of the PySide6 class, or the `QMetaProperty`."""

    kind: str
    value: Any = None


_NOTHING = Member(NOT_FOUND)
_members: dict[tuple[type, str], Member] = {}


def member(nativeClass: type, name: str) -> Member:
    key = (nativeClass, name)
    known = _members.get(key)
    if known is None:
        known = _members[key] = _find(nativeClass, name)
    return known


_NEWER: dict[str, set[str]] = {
    "QCheckBox": {"checkStateChanged"},
    "QPalette": {"Accent"},
    "QPixmap": {"deviceIndependentSize"},
    "QImage": {"deviceIndependentSize"},
    "QSinglePointEvent": {"position", "scenePosition", "globalPosition"},
    "QStyleHints": {
        "colorScheme",
        "setColorScheme",
        "unsetColorScheme",
        "colorSchemeChanged",
        "accessibility",
    },
}
"""What Qt 6 has and Qt 5 has not: Slicer is built with either, so code that runs here must do without."""


def _find(nativeClass: type, name: str) -> Member:
    if name.startswith("_") or any(name in _NEWER.get(kind.__name__, ()) for kind in nativeClass.__mro__):
        return _NOTHING
    meta = getattr(nativeClass, "staticMetaObject", None)
    index = meta.indexOfProperty(name) if meta is not None else -1
    if index >= 0:
        return Member(PROPERTY, meta.property(index))
    value = getattr(nativeClass, name, _NOTHING)
    return _NOTHING if value is _NOTHING else Member(_kindOf(value), value)


def _kindOf(value: Any) -> str:
    if isinstance(value, QtCore.Signal):
        return SIGNAL
    if isinstance(value, (types.GetSetDescriptorType, types.MemberDescriptorType, property)):
        return FIELD
    if isinstance(value, type):
        return ENUM if issubclass(value, enum.Enum) else NESTED_CLASS
    return SLOT if callable(value) and not isinstance(value, enum.Enum) else ENUM_VALUE

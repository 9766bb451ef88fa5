"""What a name means on a Qt class: the order in which PythonQt looks is property, method, signal, enumerator."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

from PySide6 import QtCore

PROPERTY = "Property"
SLOT = "Slot"
SIGNAL = "Signal"
ENUM_VALUE = "EnumValue"
ENUM = "Enum"
NESTED_CLASS = "Nested class"
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


def _find(nativeClass: type, name: str) -> Member:
    if name.startswith("_"):
        return _NOTHING
    meta = getattr(nativeClass, "staticMetaObject", None)
    if meta is not None:
        index = meta.indexOfProperty(name)
        if index >= 0:
            return Member(PROPERTY, meta.property(index))
    value = getattr(nativeClass, name, _NOTHING)
    if value is _NOTHING:
        return _NOTHING
    if isinstance(value, QtCore.Signal):
        return Member(SIGNAL, value)
    if isinstance(value, enum.Enum):
        return Member(ENUM_VALUE, value)
    if isinstance(value, type):
        return Member(ENUM if issubclass(value, enum.Enum) else NESTED_CLASS, value)
    if callable(value):
        return Member(SLOT, value)
    return Member(ENUM_VALUE, value)

"""What happens to a value on its way from Python to Qt and back."""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore
from shiboken6 import Shiboken

from .enums import EnumValue, enumValue

PLAIN = (str, int, float, bool, bytes, type(None))

_factory: list[Callable[[Any], Any]] = []


def setFactory(factory: Callable[[Any], Any]) -> None:
    """`classes`, which knows the classes, says how the wrapper of a native object is made."""
    _factory[:] = [factory]


_WRAPPER = "_standinWrapper"


def remember(native: Any, wrapper: Any, *, strongly: bool = False) -> None:
    """Let `toPython` find the wrapper of a native object again while it is alive."""
    setattr(native, _WRAPPER, (lambda: wrapper) if strongly else weakref.ref(wrapper))


def wrapperOf(native: Any) -> Any | None:
    """The living wrapper of a native object, if there is one."""
    reference = native.__dict__.get(_WRAPPER) if hasattr(native, "__dict__") else None
    return reference() if reference is not None else None


def toPython(value: Any) -> Any:
    """A value that Qt returned, as PythonQt would show it: wrappers, integers for enumerators, tuples for lists."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Shiboken.Object):
        if isinstance(value, QtCore.QMetaObject.Connection):
            return bool(value)
        known = wrapperOf(value)
        return known if known is not None else _factory[0](value)
    if isinstance(value, enum.Enum):
        value = enumValue(value)
    elif isinstance(value, (list, tuple)):
        value = tuple(toPython(item) for item in value)
    elif isinstance(value, dict):
        value = {key: toPython(item) for key, item in value.items()}
    return value


def toQt(value: Any) -> Any:
    """A value given from Python, as PySide6 wants it."""
    if type(value) in PLAIN:
        return value
    if getattr(type(value), "_isStandinWrapper", False):
        value = value._native
    elif isinstance(value, EnumValue):
        value = value.toNative()
    elif isinstance(value, type):
        value = getattr(value, "_nativeClass", value)
    elif isinstance(value, (list, tuple)):
        value = [toQt(item) for item in value]
    elif isinstance(value, dict):
        value = {key: toQt(item) for key, item in value.items()}
    return value

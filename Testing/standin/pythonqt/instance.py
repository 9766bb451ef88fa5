"""The wrapper of one Qt object: how its attributes are read and set."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore
from shiboken6 import Shiboken

from . import signals
from .enums import enumType, enumValue
from .members import ENUM, ENUM_VALUE, FIELD, NESTED_CLASS, NOT_FOUND, PROPERTY, SIGNAL, SLOT, member
from .methods import builtin_qt_slot
from .values import toPython, toQt


class InstanceWrapper:
    """Base of all wrappers; the classes of `qt` differ in `_nativeClass` only.

    Python's own attributes come first, then the property, method, signal or enumerator of that name, then a dynamic
    property, then a child of that object name.
    """

    _isStandinWrapper = True
    _nativeClass: type
    _native: Any
    _isDerived = False
    """Whether this is a Python class derived from a class of Qt: only its objects take new attributes."""

    def __getattr__(self, name: str) -> Any:
        native = self.__dict__.get("_native")
        if native is None:
            raise AttributeError(f"{type(self).__name__} was used before its __init__ was called: {name}")
        found = member(type(native), name)
        read = _READERS.get(found.kind)
        if read is not None:
            return read(self, native, name, found.value)
        if isinstance(native, QtCore.QObject) and not name.startswith("__"):
            dynamic = self._dynamicAttribute(name)
            if dynamic is not None:
                return dynamic
        raise AttributeError(f"{self._nativeClass.__name__} has no attribute named '{name}'")

    def _readProperty(self, name: str) -> Any:
        if not Shiboken.isValid(self._native):
            raise ValueError(
                f"Trying to read property '{name}' from a destroyed {self._nativeClass.__name__} object"
            )
        return toPython(self._native.property(name))

    def _dynamicAttribute(self, name: str) -> Any:
        if name == "name":
            return self._native.objectName()
        if name == "destroyed":
            return signals.builtin_qt_signal(self._native, name)
        if name.encode() in [bytes(known.data()) for known in self._native.dynamicPropertyNames()]:
            return toPython(self._native.property(name))
        for child in self._native.children():
            if child.objectName() == name:
                return toPython(child)
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        native = self.__dict__.get("_native")
        if native is None or name == "_native":
            object.__setattr__(self, name, value)
            return
        found = member(type(native), name)
        if found.kind == PROPERTY:
            self._writeProperty(name, found.value, value)
        elif found.kind == FIELD:
            setattr(native, name, toQt(value))
        elif found.kind != NOT_FOUND:
            raise AttributeError(
                f"{found.kind} '{name}' can not be overwritten on {type(self).__name__} object"
            )
        elif name == "name" and isinstance(native, QtCore.QObject):
            native.setObjectName(value)
        elif isinstance(native, QtCore.QObject) and native.property(name) is not None:
            native.setProperty(name, toQt(value))
        elif self._isDerived:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {type(self).__name__} and creating new attributes on C++ objects is"
                " not allowed"
            )

    def _writeProperty(self, name: str, meta: QtCore.QMetaProperty, value: Any) -> None:
        kind = type(self).__name__
        if not Shiboken.isValid(self._native):
            raise AttributeError(f"Trying to set property '{name}' on a destroyed {kind} object")
        if not meta.isWritable():
            raise AttributeError(f"Property '{name}' of {kind} object is not writable")
        given = int(value) if meta.isEnumType() and isinstance(value, int) else toQt(value)
        if not self._native.setProperty(name, given):
            raise AttributeError(
                f"Property '{name}' of type '{meta.typeName()}' does not accept an object of type"
                f" {type(value).__name__} ({value!r})"
            )

    def className(self) -> str:
        return type(self).__name__

    def inherits(self, name: str) -> bool:
        return any(known.__name__ == name for known in type(self._native).__mro__)

    def delete(self) -> None:
        Shiboken.delete(self._native)

    def connect(self, signal: str, *target: Any) -> bool:
        return signals.connect(self._native, signal, *target)

    def disconnect(self, signal: str, *target: Any) -> bool:
        return signals.disconnect(self._native, signal, *target)

    def __bool__(self) -> bool:
        return Shiboken.isValid(self._native)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InstanceWrapper):
            return False
        if isinstance(self._native, QtCore.QObject):
            return self._native is other._native
        return bool(self._native == other._native)

    def __hash__(self) -> int:
        return (
            hash(Shiboken.getCppPointer(self._native)[0])
            if Shiboken.isValid(self._native)
            else id(self._native)
        )

    def __repr__(self) -> str:
        valid, kind = Shiboken.isValid(self._native), type(self).__name__
        if valid and isinstance(self._native, QtCore.QByteArray):
            return repr(bytes(self._native.data()))
        address = Shiboken.getCppPointer(self._native)[0] if valid else 0
        if not isinstance(self._native, QtCore.QObject):
            return f"{kind} (C++ object at: {address:#x})"
        if self._isDerived or not valid:
            return f"{kind} ({self._nativeClass.__name__} at: {address:#x})"
        name = self._native.objectName()
        return f'{kind}({address:#x}, name = "{name}") ' if name else f"{kind}({address:#x}) "


_READERS: dict[str, Callable[[InstanceWrapper, Any, str, Any], Any]] = {
    PROPERTY: lambda self, native, name, value: self._readProperty(name),
    SLOT: lambda self, native, name, value: (
        _special(native, name) or builtin_qt_slot(getattr(native, name), name, native)
    ),
    SIGNAL: lambda self, native, name, value: signals.builtin_qt_signal(native, name),
    ENUM_VALUE: lambda self, native, name, value: enumValue(value),
    ENUM: lambda self, native, name, value: enumType(value),
    FIELD: lambda self, native, name, value: toPython(getattr(native, name)),
    NESTED_CLASS: lambda self, native, name, value: toPython(value),
}
"""How a member of a Qt class becomes the value of an attribute."""


def _special(native: Any, name: str) -> Any | None:
    """The methods that PythonQt answers itself."""
    if name == "findChild":
        return lambda kind, objectName=None: toPython(_firstBelow(native, kind, objectName))
    if name == "findChildren":
        return lambda kind, objectName=None: toPython(_allBelow(native, kind, objectName))
    if name == "exec_":  # what Python 2 could not say has an underscore to this day
        return builtin_qt_slot(native.exec, name, native)
    return None


def _firstBelow(native: QtCore.QObject, kind: Any, objectName: str | None) -> QtCore.QObject | None:
    """A child of a class (a derived one too), given as class or by name; the nearer children first."""
    for child in native.children():
        if objectName in (None, child.objectName()) and _isA(child, kind):
            return child
    for child in native.children():
        found = _firstBelow(child, kind, objectName)
        if found is not None:
            return found
    return None


def _allBelow(native: QtCore.QObject, kind: Any, objectName: str | None) -> list[QtCore.QObject]:
    """All children of a class. With a name PythonQt does not look below a child that is called otherwise."""
    found = []
    for child in native.children():
        if objectName not in (None, child.objectName()):
            continue
        if _isA(child, kind):
            found.append(child)
        found += _allBelow(child, kind, objectName)
    return found


def _isA(native: QtCore.QObject, kind: Any) -> bool:
    if isinstance(kind, str):
        return native.inherits(kind) or any(known.__name__ == kind for known in type(native).__mro__)
    return isinstance(native, toQt(kind))


def _operator(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def method(self: InstanceWrapper, other: Any) -> Any:
        try:
            return toPython(function(self._native, toQt(other)))
        except TypeError:
            return NotImplemented

    return method


for _name in ("add", "sub", "mul", "truediv", "and_", "or_", "xor", "lt", "le", "gt", "ge"):
    setattr(InstanceWrapper, f"__{_name.rstrip('_')}__", _operator(getattr(operator, _name)))

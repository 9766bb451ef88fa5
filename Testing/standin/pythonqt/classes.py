"""The wrapper of one Qt class, and Python classes derived from it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import signals
from .enums import enumType, enumValue
from .instance import InstanceWrapper
from .members import ENUM, ENUM_VALUE, NESTED_CLASS, NOT_FOUND, member
from .methods import builtin_qt_slot, call, fitResult, noKeywords
from .values import remember, setFactory, toPython, toQt, wrapperOf


class ClassWrapper(type):
    """Type of the classes of `qt`: answers enumerators, static methods and unbound methods.

    All classes of Qt have one base, `InstanceWrapper`: as in PythonQt, `isinstance(button, qt.QWidget)` is False.
    """

    _nativeClass: type

    def __getattr__(cls, name: str) -> Any:
        native = cls.__dict__.get("_nativeClass") or next(
            (base.__dict__["_nativeClass"] for base in cls.__mro__ if "_nativeClass" in base.__dict__), None
        )
        if native is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        found = member(native, name)
        if found.kind == ENUM_VALUE:
            return enumValue(found.value)
        if found.kind == ENUM:
            return enumType(found.value)
        if found.kind == NESTED_CLASS:
            return classOf(found.value)
        if native is QtCore.QTimer and name == "singleShot":
            return _singleShot
        if found.kind != NOT_FOUND or hasattr(native, name):
            return builtin_qt_slot(_answering(native, name), name)
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class QtObject(InstanceWrapper, metaclass=ClassWrapper):
    """What every class of `qt` is made from."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        if keywords:
            raise ValueError(noKeywords(type(self).__name__))
        native = _construct(type(self), arguments)
        object.__setattr__(self, "_native", native)
        # PythonQt keeps the Python side of a derived object alive while a parent in C++ owns it.
        owned = self._isDerived and isinstance(native, QtCore.QObject) and native.parent() is not None
        remember(native, self, strongly=owned)

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "_nativeClass" not in cls.__dict__:
            cls._isDerived = True


_classes: dict[type, type[QtObject]] = {}
_shells: dict[type[QtObject], type] = {}


def classOf(native: type) -> type[QtObject]:
    """The class of `qt` for a PySide6 class."""
    known = _classes.get(native)
    if known is None:
        module = native.__module__.replace("PySide6", "PythonQt")
        known = ClassWrapper(native.__name__, (QtObject,), {"_nativeClass": native, "__module__": module})
        _classes[native] = known
    return known


def _wrap(native: Any) -> QtObject:
    kind = type(native)
    shown = classOf(kind._standinBase) if hasattr(kind, "_standinBase") else classOf(kind)
    wrapper = shown.__new__(shown)
    object.__setattr__(wrapper, "_native", native)
    remember(native, wrapper)
    return wrapper


setFactory(_wrap)


def _answering(native: type, name: str) -> Callable[..., Any]:
    """A static method; what a dialog was answered comes alone, where PySide6 adds whether it was, or by what filter."""
    method: Callable[..., Any] = getattr(native, name)
    if not (name.startswith("get") and issubclass(native, (QtWidgets.QFileDialog, QtWidgets.QInputDialog))):
        return method

    def alone(*arguments: Any) -> Any:
        answer = call(method, name, arguments)
        return answer[0] if isinstance(answer, tuple) else answer

    return alone


def _construct(cls: type[QtObject], arguments: tuple[Any, ...]) -> Any:
    native = cls._nativeClass
    if issubclass(native, QtCore.QCoreApplication) and QtCore.QCoreApplication.instance() is not None:
        return QtCore.QCoreApplication.instance()
    if cls._isDerived:
        native = _shellOf(cls)
    return call(native, cls.__name__, arguments)


def _shellOf(cls: type[QtObject]) -> type:
    """The PySide6 class behind a Python class derived from one of `qt`: hands virtual methods to the Python class."""
    known = _shells.get(cls)
    if known is None:
        base = cls._nativeClass
        overrides = {}
        for python in cls.__mro__:
            if "_nativeClass" in python.__dict__:
                break
            for name, value in vars(python).items():
                if isinstance(value, types.FunctionType) and not name.startswith("_") and hasattr(base, name):
                    overrides.setdefault(name, _override(base, name))
        known = _shells[cls] = type(cls.__name__, (base,), {"_standinBase": base, **overrides})
    return known


def _override(base: type, name: str) -> Callable[..., Any]:
    """A virtual method that calls the Python class; without it, or after an exception, what Qt itself does."""
    inherited = getattr(base, name)

    def method(native: Any, *arguments: Any) -> Any:
        wrapper = wrapperOf(native)
        if wrapper is None:
            return inherited(native, *arguments)
        try:
            result = getattr(wrapper, name)(*(toPython(argument) for argument in arguments))
            return fitResult(inherited, toQt(result))
        except Exception:
            signals.noteError()
            return inherited(native, *arguments)

    return method


def _singleShot(milliseconds: int, *target: Any) -> None:
    """`QTimer.singleShot(ms, callable)` or `(ms, receiver, slot)`."""
    if len(target) == 1:
        QtCore.QTimer.singleShot(milliseconds, signals.relay(target[0]))
    else:
        QtCore.QTimer.singleShot(milliseconds, toQt(target[0]), QtCore.SLOT(target[1]))

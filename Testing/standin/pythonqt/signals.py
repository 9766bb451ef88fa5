"""Connecting Python callables to signals as PythonQt does: by signature, arguments cut to what a callable takes."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from .values import toPython, toQt

errors: list[str] = []
"""Tracebacks of exceptions in Python code that Qt called. PythonQt prints them and goes on; so does the stand-in, and
it keeps them here, so that a test can see that there were none."""

_HANDLERS = "_standinHandlers"
_VTK_POINTER = re.compile(r"\bvtk\w*\s*\*")


def noteError() -> None:
    errors.append(traceback.format_exc())
    traceback.print_exc()


def signatureOf(native: QtCore.QObject, signal: str) -> str | None:
    """The signature as the meta object knows it, or None where there is no such signal.

    Signals of the doubles carry VTK objects as Python objects, where the C++ widgets name the class.
    """
    text = signal[1:] if signal[:1] == "2" else signal
    for candidate in (text, _VTK_POINTER.sub("PyObject", text)):
        normal = bytes(QtCore.QMetaObject.normalizedSignature(candidate).data()).decode()
        if type(native).staticMetaObject.indexOfSignal(normal) >= 0:
            return normal
    return None


def firstSignature(native: QtCore.QObject, name: str) -> str:
    """The signature of the first overload of a signal, which is the one that the signal attribute means."""
    meta = type(native).staticMetaObject
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if (
            method.methodType() == QtCore.QMetaMethod.MethodType.Signal
            and bytes(method.name().data()).decode() == name
        ):
            return bytes(method.methodSignature().data()).decode()
    raise AttributeError(name)


def acceptedArguments(function: Callable[..., Any]) -> int | None:
    """How many arguments PythonQt passes: fixed for functions and bound methods, everything (None) for the rest.

    Default values count: a `lambda value=3: …` connected to `clicked(bool)` receives the bool.
    """
    plain, bound = function, 0
    if isinstance(function, types.MethodType):
        plain, bound = function.__func__, 1
    if not isinstance(plain, types.FunctionType) or plain.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return plain.__code__.co_argcount - bound


def relay(function: Callable[..., Any]) -> Callable[..., None]:
    """What is really connected: converts and cuts the arguments, and keeps an exception from Qt."""
    accepted = acceptedArguments(function)

    def slot(*arguments: Any) -> None:
        try:
            function(*(toPython(argument) for argument in arguments[:accepted]))
        except Exception:
            noteError()

    return slot


def connect(native: QtCore.QObject, signal: str, *target: Any) -> bool:
    """`connect(signal, callable)` or `connect(signal, receiver, slot)`; False where there is no such signal or slot."""
    signature = signatureOf(native, signal)
    if signature is None:
        kind = type(native).__name__
        print(f"PythonQt: QObject::connect() signal '{signal}' does not exist on {kind}", file=sys.stderr)
        return False
    if len(target) == 1 and callable(target[0]):
        slot = relay(target[0])
        QtCore.QObject.connect(native, QtCore.SIGNAL(signature), slot)
        _handlers(native).append((signature, target[0], slot))
        return True
    receiver, name = toQt(target[0]), target[1]
    slotName = name[1:] if name[:1] in "12" else name
    normal = bytes(QtCore.QMetaObject.normalizedSignature(slotName).data()).decode()
    if type(receiver).staticMetaObject.indexOfMethod(normal) < 0:
        return False
    return bool(QtCore.QObject.connect(native, QtCore.SIGNAL(signature), receiver, QtCore.SLOT(normal)))


def disconnect(native: QtCore.QObject, signal: str, *target: Any) -> bool:
    """Undo one `connect`; without a target, all callables of that signal. True if there was something to undo."""
    signature = signatureOf(native, signal)
    if signature is None:
        return False
    if len(target) == 2:
        name = target[1][1:] if target[1][:1] in "12" else target[1]
        return bool(
            QtCore.QObject.disconnect(native, QtCore.SIGNAL(signature), toQt(target[0]), QtCore.SLOT(name))
        )
    handlers = _handlers(native)
    fitting = [h for h in handlers if h[0] == signature and (not target or h[1] == target[0])]
    gone = fitting[:1] if target else fitting
    for handler in gone:
        QtCore.QObject.disconnect(native, QtCore.SIGNAL(signature), handler[2])
        handlers.remove(handler)
    return bool(gone)


def _handlers(native: QtCore.QObject) -> list[tuple[str, Any, Any]]:
    if not hasattr(native, _HANDLERS):
        setattr(native, _HANDLERS, [])
    return getattr(native, _HANDLERS)


class builtin_qt_signal:
    """The attribute `button.clicked`: connects to the first overload, and emits when called."""

    def __init__(self, native: QtCore.QObject, name: str) -> None:
        self._native = native
        self._name = name
        self._signature = firstSignature(native, name)

    def connect(self, function: Callable[..., Any]) -> bool:
        return connect(self._native, self._signature, function)

    def disconnect(self, *function: Callable[..., Any]) -> bool:
        return disconnect(self._native, self._signature, *function)

    def emit(self, *arguments: Any) -> None:
        getattr(self._native, self._name).emit(*(toQt(argument) for argument in arguments))

    __call__ = emit


builtin_qt_signal.__module__ = "builtins"

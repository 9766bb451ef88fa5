"""Calling a Qt method from Python: converted arguments, overloads, and PythonQt's errors."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any

from shiboken6 import Shiboken
from shibokensupport.signature import get_signature

from .values import toPython, toQt


class builtin_qt_slot:
    """A method bound to its object, or reached through its class."""

    __slots__ = ("_function", "_name", "_owner")

    def __init__(self, function: Callable[..., Any], name: str, owner: Any = None) -> None:
        self._function = function
        self._name = name
        self._owner = owner

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if keywords:
            raise ValueError(noKeywords(self._name))
        if self._owner is not None and not Shiboken.isValid(self._owner):
            raise ValueError(
                f"Trying to call '{self._name}' on a destroyed {type(self._owner).__name__} object"
            )
        return toPython(call(self._function, self._name, arguments))

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, builtin_qt_slot) and other._name == self._name
        return same and other._owner is self._owner

    def __hash__(self) -> int:
        return hash((self._name, id(self._owner)))

    def __repr__(self) -> str:
        owner = "" if self._owner is None else f" of {type(self._owner).__name__} object"
        return f"<built-in qt slot {self._name}{owner}>"


builtin_qt_slot.__module__ = "builtins"


def noKeywords(name: str) -> str:
    return f"Called {name}() with keyword arguments, but called slot does not support kwargs."


def call(function: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> Any:
    """Call a PySide6 function with arguments from Python; the result is not yet converted.

    PythonQt takes integers where an enumeration or a set of flags is due; PySide6 does not, so a call that it refuses
    is tried again along the signatures of the function.
    """
    given = [toQt(argument) for argument in arguments]
    if isinstance(
        function, (types.FunctionType, types.MethodType)
    ):  # of a double, which takes what it is given
        return function(*given)
    try:
        return function(*given)
    except (TypeError, AttributeError) as refused:
        for signature in _signatures(function):
            fitted = _fit(signature, given)
            if fitted is None:
                continue
            try:
                return function(*fitted)
            except (TypeError, AttributeError):
                continue
        shown = ", ".join(repr(argument) for argument in arguments)
        raise ValueError(
            f"Could not find matching overload for given arguments: {name}({shown})\n{refused}"
        ) from None


def _signatures(function: Callable[..., Any]) -> list[Any]:
    """All signatures of a PySide6 function; those of an inherited method are known in the class that has it only."""
    name = getattr(function, "__name__", "")
    kinds = type(getattr(function, "__self__", None)).__mro__
    for candidate in (function, *(vars(kind)[name] for kind in kinds if name in vars(kind))):
        try:
            found = get_signature(candidate)
        except (TypeError, ValueError, AttributeError):
            continue
        if found is not None:
            return list(found) if isinstance(found, (list, tuple)) else [found]
    return []


def _fit(signature: Any, given: list[Any]) -> list[Any] | None:
    """The arguments with integers turned into the enumerations that the signature asks for; None if none is due."""
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    if len(given) > len(parameters):
        return None
    fitted, changed = [], False
    for value, parameter in zip(given, parameters, strict=False):
        new = _fitValue(value, parameter.annotation)
        changed = changed or new is not value
        fitted.append(new)
    return fitted if changed else None


def _fitValue(value: Any, annotation: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, enum.Enum)):
        return value
    for wanted in _alternatives(annotation):
        if wanted is int and isinstance(value, enum.Enum):
            return value.value
        if isinstance(wanted, type) and issubclass(wanted, enum.Enum) and not isinstance(value, wanted):
            number = value.value if isinstance(value, enum.Enum) else value
            if _isOf(wanted, number):
                return wanted(number)
    return value


def _isOf(kind: type[enum.Enum], number: int) -> bool:
    """Whether a number is an enumerator, or made of flags that exist."""
    known = [member.value for member in kind]
    if not issubclass(kind, enum.Flag) or number in known:
        return number in known
    flags = 0
    for value in known:
        flags |= value
    return number & ~flags == 0


def fitResult(function: Callable[..., Any], value: Any) -> Any:
    """What a virtual method written in Python returned, as the enumeration that Qt expects where it does."""
    if isinstance(value, int) and not isinstance(value, bool):
        for signature in _signatures(function):
            value = _fitValue(value, signature.return_annotation)
    return value


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)

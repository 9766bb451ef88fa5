"""Enumerators as PythonQt shows them: integers whose type carries the name of the enumeration."""

from __future__ import annotations

import enum


class EnumValue(int):
    """Base of the integer types that stand for a Qt enumeration.

    Arithmetic gives plain integers, as in PythonQt: `qt.Qt.AlignLeft | qt.Qt.AlignTop` is 33.
    """

    native: type[enum.Enum]

    def toNative(self) -> object:
        try:
            return self.native(int(self))
        except ValueError:
            return int(self)


_types: dict[type[enum.Enum], type[EnumValue]] = {}


def enumType(native: type[enum.Enum]) -> type[EnumValue]:
    """The integer type of a PySide6 enumeration."""
    known = _types.get(native)
    if known is None:
        module = native.__module__.replace("PySide6", "PythonQt")
        known = type(native.__name__, (EnumValue,), {"native": native, "__module__": module})
        _types[native] = known
    return known


def enumValue(member: enum.Enum | int) -> int:
    """An enumerator as an integer; those of the doubles of ctk are plain integers already."""
    if not isinstance(member, enum.Enum):
        return member
    return enumType(type(member))(member.value)

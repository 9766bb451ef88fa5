"""Settings of a method: typed, bounded, each with the source of its default; a form can be made of them."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sslseg.contract.choices import SettingDescription, Source
from sslseg.contract.errors import SSLSegError
from sslseg.contract.strict import from_json

S = TypeVar("S", bound="MethodSettings")


def setting(
    default: Any, help: str, source: Source, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """A field of a settings dataclass.

    Args:
        default: its default.
        help: what it does, in one clause.
        source: where the default comes from: the paper, its released code, the field's habit, this project.
        minimum: smallest allowed value.
        maximum: largest allowed value.
    """
    metadata = {"help": help, "source": source, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class MethodSettings:
    """Base of the settings of every method; checks the bounds given to `setting`."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, low, high = getattr(self, field.name), field.metadata["minimum"], field.metadata["maximum"]
            if (low is not None and value < low) or (high is not None and value > high):
                raise ValueError(f"{field.name} must lie {_range(low, high)}, not {value}")


def describe_settings(cls: type[MethodSettings]) -> list[SettingDescription]:
    """The settings of a method in their declared order."""
    hints = typing.get_type_hints(cls)
    return [
        SettingDescription(
            name=field.name,
            kind=_kind(hints[field.name]),
            default=field.default,
            choices=typing.get_args(hints[field.name]) if _kind(hints[field.name]) == "choice" else (),
            **field.metadata,
        )
        for field in dataclasses.fields(cls)
    ]


def parse_settings(cls: type[S], values: Mapping[str, Any]) -> S:
    """Settings from names and values; a value may be the text that was typed on a command line.

    Raises:
        SSLSegError: a name is unknown, or a value of the wrong type or out of bounds.
    """
    hints = typing.get_type_hints(cls)
    typed = {name: _untyped(value) if hints.get(name) is not str else value for name, value in values.items()}
    try:
        return from_json(cls, typed, where="the settings of the method")
    except SSLSegError as error:
        raise SSLSegError(error.what, remedy=error.remedy or "See 'sslseg methods'.") from error


def _untyped(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "choice"
    return {bool: "switch", int: "whole number", float: "number", str: "text"}.get(hint, str(hint))


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at or below {high}"
    return f"at or above {low}" if high is None else f"between {low} and {high}"

"""Strict reading of JSON into dataclasses: what does not fit is named in a sentence, never guessed."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from sslseg.contract.errors import SSLSegError

T = TypeVar("T")

_PLAIN = frozenset({str, int, float, bool})


def from_json(cls: type[T], value: Any, *, file: Path | None = None, where: str = "") -> T:
    """Build the dataclass `cls` from JSON data.

    Args:
        cls: a dataclass whose fields are plain values, enums, lists, tuples, dicts, dataclasses, or None.
        value: what `json.loads` gave.
        file: the file it came from, for the message.
        where: the place within the file, for the message.

    Raises:
        SSLSegError: a field is missing, unknown or of the wrong type.
    """
    if not isinstance(value, dict):
        raise SSLSegError(f"{where or 'the content'} must be an object, not {_kind(value)}", file=file)
    hints, fields = _shape(cls)  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise SSLSegError(
            f"{_place(where, unknown[0])} is not a known field",
            file=file,
            remedy=f"Known are: {', '.join(sorted(fields))}.",
        )
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], file, _place(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SSLSegError(
                f"{_place(where, name)} is missing", file=file, remedy=f"Add the field '{name}'."
            )
    try:
        return cls(**arguments)
    except (ValueError, SSLSegError) as error:
        what, remedy = (error.what, error.remedy) if isinstance(error, SSLSegError) else (str(error), "")
        raise SSLSegError(f"{where + ': ' if where else ''}{what}", file=file, remedy=remedy) from error


def to_json(value: Any) -> Any:
    """The inverse of `from_json`: dataclasses, enums, paths, tuples and dicts to plain JSON data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


@functools.cache
def _shape(cls: type) -> tuple[dict[str, Any], dict[str, dataclasses.Field[Any]]]:
    """Types and fields of a dataclass. Looked up once: a cohort has hundreds of cases and is read at every change."""
    return typing.get_type_hints(cls), {field.name: field for field in dataclasses.fields(cls) if field.init}


def _convert(hint: Any, value: Any, file: Path | None, where: str) -> Any:  # noqa: PLR0911 - one return a kind
    if hint is Any or (hint in _PLAIN and type(value) is hint):
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, file, where)
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise _wrong(file, where, " or ".join(repr(a) for a in arguments), value)
    if origin in (list, tuple):
        return _convert_sequence(origin, arguments, value, file, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(file, where, "an object", value)
        return {k: _convert(arguments[1], v, file, _place(where, k)) for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        known = [member.value for member in hint]
        if value not in known:
            raise _wrong(file, where, " or ".join(repr(k) for k in known), value)
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, file=file, where=where)
    return _convert_plain(hint, value, file, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, file: Path | None, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    options = [argument for argument in arguments if argument is not type(None)]
    for option in options[:-1]:
        try:
            return _convert(option, value, file, where)
        except SSLSegError:
            continue
    return _convert(options[-1], value, file, where)


def _convert_sequence(
    origin: type, arguments: tuple[Any, ...], value: Any, file: Path | None, where: str
) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(file, where, "a list", value)
    fixed = origin is tuple and Ellipsis not in arguments
    if fixed and len(value) != len(arguments):
        raise _wrong(file, where, f"a list of {len(arguments)} values", value)
    hints = arguments if fixed else [arguments[0]] * len(value)
    items = [_convert(h, v, file, f"{where}[{i}]") for i, (h, v) in enumerate(zip(hints, value, strict=True))]
    return tuple(items) if origin is tuple else items


def _convert_plain(hint: Any, value: Any, file: Path | None, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    raise _wrong(file, where, names.get(hint, str(hint)), value)


def _wrong(file: Path | None, where: str, wanted: str, value: Any) -> SSLSegError:
    return SSLSegError(f"{where} must be {wanted}, not {_kind(value)}", file=file)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} values"
    return "nothing" if value is None else repr(value)


def _place(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name

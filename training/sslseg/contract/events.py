"""The story of a job: one JSON object a line in `events.jsonl`, tailed by whoever watches."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import append_line

FIELDS: dict[str, frozenset[str]] = {
    "started": frozenset({"command", "device"}),
    "progress": frozenset({"step", "steps", "seconds_left"}),
    "validation": frozenset({"step", "dice", "cases"}),
    "warning": frozenset({"message"}),
    "artifact": frozenset({"path", "kind"}),
    "finished": frozenset(),
    "cancelled": frozenset({"step"}),
    "failed": frozenset({"message"}),
}
"""The fields every event must have beside `time` and `event`; it may have more."""

ENDINGS = frozenset({"finished", "cancelled", "failed"})


@dataclass(frozen=True)
class Event:
    """One line: seconds since the epoch, the kind of event, its fields."""

    time: float
    event: str
    fields: dict[str, Any]


class EventSink(Protocol):
    """Whatever takes the events of a running job."""

    def write(self, event: str, **fields: Any) -> None: ...


class EventWriter:
    """Appends events to a file; each is one write of one whole line, so that readers see whole events."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, event: str, **fields: Any) -> None:
        """Append one event.

        Raises:
            ValueError: the kind of event is unknown or lacks a field.
        """
        missing = FIELDS.get(event, frozenset({event})) - set(fields)
        if missing:
            raise ValueError(f"the event '{event}' is unknown or lacks {', '.join(sorted(missing))}")
        entry = {"time": round(time.time(), 3), "event": event, **_finite(fields)}
        append_line(self.path, json.dumps(entry, ensure_ascii=False, allow_nan=False))


class EventReader:
    """Reads the events that were added since the last call; cheap enough for a GUI timer.

    Args:
        path: events.jsonl, which need not be there yet.
        offset: byte to start at; a line that begins before it is skipped.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset

    def read(self, most_bytes: int | None = None) -> Iterator[Event]:
        """The new whole events. A line that a crash cut off is skipped.

        Args:
            most_bytes: how much of the file to read at once, so that a long story can be read in slices; a line
                that is longer is read whole. None reads to the end.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(-1 if most_bytes is None else most_bytes)
                if b"\n" not in data:
                    data += file.readline()
        except (FileNotFoundError, NotADirectoryError):
            return
        whole = data.rfind(b"\n") + 1
        self.offset += whole
        for line in data[:whole].splitlines():
            event = _parse(line)
            if event is not None:
                yield event


def read_events(path: Path) -> list[Event]:
    """All whole events of a file, oldest first; none if there is no file."""
    return list(EventReader(path).read())


def _parse(line: bytes) -> Event | None:
    try:
        entry = json.loads(line)
        return Event(float(entry.pop("time")), str(entry.pop("event")), entry)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def failure_message(error: BaseException) -> str:
    """What a clinician reads when a job fails; the traceback goes into the log."""
    if isinstance(error, SSLSegError):
        return str(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The computer ran out of memory. Close other programs, or choose a smaller patch or batch."
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"A file could not be read or written ({os.strerror(error.errno)}). Check the disk and try again."
        )
    return f"The program failed unexpectedly ({type(error).__name__}). The log of the job has the details."

"""Shows the events of a running job: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from sslseg.contract.words import duration

PLAIN_LINE_SECONDS = 15.0

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class EventConsole:
    """An event sink that prints.

    Args:
        title: what is going on, in a few words.
        console: where to print.
    """

    def __init__(self, title: str, console: Console = out) -> None:
        self._title = title
        self._console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = -PLAIN_LINE_SECONDS

    @contextmanager
    def shown(self) -> Iterator[EventConsole]:
        """Keep the progress bar on the screen while the block runs."""
        if not self._console.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("[dim]{task.fields[detail]}"),
        )
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            self._task = self._progress.add_task(self._title, total=None, left="", detail="")
            yield self
        self._progress = None

    def write(self, event: str, **fields: Any) -> None:
        """Print one event."""
        show = getattr(self, f"_show_{event}", None)
        if show is not None:
            show(fields)

    def _show_started(self, fields: dict[str, Any]) -> None:
        resumed = f", from step {fields['step']}" if fields.get("step") else ""
        self._console.print(f"{self._title} on {fields['device']}{resumed}")

    def _show_progress(self, fields: dict[str, Any]) -> None:
        left = f"{duration(fields['seconds_left'])} left" if fields.get("seconds_left") is not None else ""
        detail = _detail(fields)
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=fields["step"], total=fields["steps"], left=left, detail=escape(detail)
            )
            return
        now = time.monotonic()
        if now - self._last_line >= PLAIN_LINE_SECONDS or fields["step"] == fields["steps"]:
            self._last_line = now
            parts = filter(None, (f"  {fields['step']}/{fields['steps']}", left, detail))
            self._console.print(escape("  ".join(parts)))

    def _show_validation(self, fields: dict[str, Any]) -> None:
        organs = "  ".join(
            f"{name} {value:.2f}" for name, value in fields["dice"].items() if value is not None
        )
        cases = fields["cases"]
        behind = f"{cases} held-back case{'s' if cases != 1 else ''}"
        self._console.print(escape(f"  step {fields['step']}: Dice on {behind}: {organs}"))

    def _show_warning(self, fields: dict[str, Any]) -> None:
        self._console.print(f"[yellow]  note: {escape(fields['message'])}[/]")

    def _show_artifact(self, fields: dict[str, Any]) -> None:
        if fields["kind"] not in ("prediction", "cases"):
            self._console.print(f"  {escape(fields['kind'])}: {escape(str(fields['path']))}")

    def _show_cancelled(self, fields: dict[str, Any]) -> None:
        kept = fields.get("message") or f"Stopped at step {fields['step']}; the work so far is kept."
        self._console.print(f"[yellow]{escape(kept)}[/]")

    def _show_failed(self, fields: dict[str, Any]) -> None:
        err.print(f"[red]{escape(fields['message'])}[/]")


def _detail(fields: dict[str, Any]) -> str:
    if fields.get("case"):
        return str(fields["case"])
    total = (fields.get("losses") or {}).get("total")
    return "" if total is None else f"loss {total:.3f}"

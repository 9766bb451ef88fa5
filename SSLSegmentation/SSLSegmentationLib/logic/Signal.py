"""Who wants to know: plain Python callbacks, because signals of Qt cannot be declared from Python in Slicer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """A list of functions that are called one after the other.

    ```
    changed = Signal()
    changed.connect(self.refresh)
    changed.emit()
    ```
    A function that is connected twice is called once. What a function raises reaches whoever emits, after all the
    others were called.
    """

    def __init__(self) -> None:
        self._receivers: list[Callable[..., Any]] = []

    def connect(self, receiver: Callable[..., Any]) -> None:
        """Call `receiver` with the arguments of every `emit` from now on."""
        if receiver not in self._receivers:
            self._receivers.append(receiver)

    def disconnect(self, receiver: Callable[..., Any]) -> None:
        """Call `receiver` no more; nothing happens if it was not connected."""
        if receiver in self._receivers:
            self._receivers.remove(receiver)

    def emit(self, *arguments: Any) -> None:
        """Call every receiver that is connected now and still connected when its turn comes."""
        failure: Exception | None = None
        for receiver in list(self._receivers):
            if receiver not in self._receivers:
                continue
            try:
                receiver(*arguments)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

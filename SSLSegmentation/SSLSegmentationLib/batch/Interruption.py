"""Ctrl-C: the first one asks for a clean end, the second one ends everything at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

import slicer

from sslseg.contract.exit_codes import STOPPED
from SSLSegmentationLib.logic.ProcessLauncher import Process

PAUSE_SECONDS = 0.05
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Also what a closed terminal and a computer that shuts down send."""


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """A person wants no more."""


class Interruption:
    """Whether a person wants no more.

    ```
    with Interruption() as interruption:
        while process.poll() is None:
            interruption.pause()
            if interruption.isAsked: ...
    ```

    Attributes:
        isAsked: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.isAsked = False
        self._processes: list[Process] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # What is ignored shall stay so: nohup ignores a terminal that closes.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._onSignal)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            # None: it was set by no Python, and cannot be set again from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def endsToo(self, process: Process) -> None:
        """A process that the second Ctrl-C ends as well."""
        self._processes = [one for one in self._processes if one.poll() is None] + [process]

    def check(self) -> None:
        """Raises Interrupted once Ctrl-C was pressed."""
        if self.isAsked:
            raise Interrupted

    def pause(self) -> None:
        """Let Slicer do what it has to do, and wait a moment."""
        slicer.app.processEvents()
        time.sleep(PAUSE_SECONDS)

    def _onSignal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.isAsked:
            self.isAsked = True
            return
        for process in self._processes:
            process.kill()
        os._exit(STOPPED)

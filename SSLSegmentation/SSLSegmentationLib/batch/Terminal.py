"""What a batch says: lines for whoever reads them later, one line that counts on for whoever watches."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Protocol

PLAIN_SECONDS = 15.0
"""Time between two lines of progress where nobody watches."""
_TO_LINE_START = "\r\x1b[K"


class Stream(Protocol):
    """`sys.stdout`, or what takes its place in Slicer and in tests."""

    def write(self, text: str) -> object: ...
    def flush(self) -> object: ...


class Terminal:
    """Prints.

    Slicer collects what is printed and passes it on line by line (CTK's ctkErrorLogFDMessageHandler), so that even in a
    terminal there are plain lines, unless Slicer is started with `--disable-message-handlers`.

    Args:
        out: takes the lines; None takes `sys.stdout` as it is at that moment.
        err: takes what went wrong; None takes `sys.stderr`.
        interactive: whether `out` is a terminal; None finds out.
        clock: seconds that only ever grow.

    Attributes:
        isInteractive: whether somebody watches.
    """

    def __init__(
        self,
        out: Stream | None = None,
        err: Stream | None = None,
        interactive: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._err = err
        self.isInteractive = (out is None and _isTerminal()) if interactive is None else interactive
        self._clock = clock
        self._counting = ""
        self._lastLine = -PLAIN_SECONDS

    def say(self, line: str) -> None:
        """Print a line."""
        self.endProgress()
        _write(self._out or sys.stdout, f"{line}\n")

    def passOn(self, text: str) -> None:
        """Print what another program has printed, as it is."""
        if text:
            self.endProgress()
            _write(self._out or sys.stdout, text)

    def complain(self, sentence: str) -> None:
        """Print what went wrong."""
        self.endProgress()
        _write(self._err or sys.stderr, f"{sentence}\n")

    def progress(self, sentence: str) -> None:
        """Say how far it is: in place of what was said before, or as a line now and then."""
        if sentence == self._counting:
            return
        if self.isInteractive:
            self._counting = sentence
            width = shutil.get_terminal_size().columns - 1
            self._writeInPlace(_TO_LINE_START + sentence[:width])
        elif self._clock() - self._lastLine >= PLAIN_SECONDS:
            self._counting = sentence
            self._lastLine = self._clock()
            _write(self._out or sys.stdout, f"{sentence}\n")

    def endProgress(self) -> None:
        """Wipe away the line that counts on."""
        if self._counting and self.isInteractive:
            self._writeInPlace(_TO_LINE_START)
            self._counting = ""

    def _writeInPlace(self, text: str) -> None:
        if self._out is not None:
            _write(self._out, text)
            return
        # What takes the place of sys.stdout in Slicer may keep back a line that has not ended.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            os.write(1, text.encode("utf-8", errors="replace"))


def _write(stream: Stream, text: str) -> None:
    # The terminal may have been closed; the work goes on.
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def _isTerminal() -> bool:
    try:
        return os.isatty(1)
    except OSError:
        return False

"""Messages to the user: recorded instead of shown, as Slicer does not show them in testing mode."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple


class Message(NamedTuple):
    """`kind` is error, warning, info, status, confirm or box."""

    kind: str
    text: str


messages: list[Message] = []
"""Everything that was said, oldest first; only the stand-in has this."""


def clearMessages() -> None:
    messages.clear()


def errorDisplay(text: str, windowTitle: str | None = None, **_: Any) -> None:
    logging.error(text)
    messages.append(Message("error", text))


def warningDisplay(text: str, windowTitle: str | None = None, **_: Any) -> None:
    logging.warning(text)
    messages.append(Message("warning", text))


def infoDisplay(text: str, windowTitle: str | None = None, **_: Any) -> None:
    messages.append(Message("info", text))


def confirmOkCancelDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **_: Any) -> bool:
    """True, as in testing mode."""
    messages.append(Message("confirm", text))
    return True


def confirmYesNoDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **_: Any) -> bool:
    """True, as in testing mode."""
    messages.append(Message("confirm", text))
    return True


def confirmRetryCloseDisplay(text: str, windowTitle: str | None = None, parent: Any = None, **_: Any) -> bool:
    """False, as in testing mode."""
    messages.append(Message("confirm", text))
    return False


def messageBox(text: str, parent: Any = None, **_: Any) -> bool:
    messages.append(Message("box", text))
    return True


def showStatusMessage(message: str, duration: int = 0) -> bool:
    """False: there is no main window to show it."""
    messages.append(Message("status", message))
    return False


def delayDisplay(message: str, autoCloseMsec: int = 1000, **_: Any) -> None:
    messages.append(Message("info", message))


@contextlib.contextmanager
def tryWithErrorDisplay(
    message: str | None = None, show: bool = True, waitCursor: bool = False, showMessageDetails: bool = True
) -> Iterator[None]:
    """Shows what went wrong and goes on raising it, as Slicer does."""
    try:
        yield
    except Exception as error:
        if show:
            errorDisplay(f"{message}\n\n{error}" if message else str(error))
        raise


@contextlib.contextmanager
def MessageDialog(text: str, show: bool = True, logLevel: Any = None) -> Iterator[None]:
    messages.append(Message("info", text))
    yield

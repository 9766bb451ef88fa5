"""For the conftest of every folder whose tests use the stand-in: importing this installs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from traceback import format_exception

import pytest

from .install import install, slotErrors

install()


@pytest.fixture(autouse=True)
def no_error_in_a_slot(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Slicer prints an exception in a slot or in an observer of a node and goes on; a test must not."""
    slotErrors()
    uncaught: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: uncaught.append("".join(format_exception(*error))))
    yield
    assert not slotErrors() + uncaught

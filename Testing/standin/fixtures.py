"""For the conftest of every folder whose tests use the stand-in: importing this installs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .install import install, slotErrors

install()


@pytest.fixture(autouse=True)
def no_error_in_a_slot() -> Iterator[None]:
    """Slicer prints an exception in a slot and goes on; a test must not."""
    slotErrors()
    yield
    assert not slotErrors()

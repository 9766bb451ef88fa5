"""Before a test of this folder imports slicer, qt or ctk, the stand-in is put in their place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import standin

standin.install()


@pytest.fixture(autouse=True)
def _no_error_in_a_slot() -> Iterator[None]:
    """Slicer prints an exception in a slot and goes on; a test must not."""
    standin.slotErrors()
    yield
    assert not standin.slotErrors()

"""Driving the command line from tests."""

from __future__ import annotations

import os
import sys


def command_line(*arguments: object) -> list[str]:
    """The command `sslseg ARGUMENTS` of the Python that runs the tests."""
    return [sys.executable, "-m", "sslseg.cli.app", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Wide lines and no colours, so that sentences can be compared."""
    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}

"""How the application ends."""

from __future__ import annotations

EXIT_SUCCESS = 0
EXIT_FAILURE = 1


def quit() -> None:
    exit(EXIT_SUCCESS)


def exit(status: int = EXIT_SUCCESS) -> None:
    """Leave the event loop with an exit code, once what is pending is done."""
    import slicer

    slicer.app.commandOptions().runPythonAndExit = False
    slicer.app.exit(status)

"""Runs a script as `Slicer --no-splash --no-main-window --python-script FILE -- ARGS` does.

The script runs in the event loop, as `__main__` and with `sys.argv` as Slicer makes it: the name of the script, and
what none of Slicer's options has taken; the `--` is one of them. Its end does not end the program: `slicer.util.exit`
does, and an error where there is `--testing`.
"""

from __future__ import annotations

import runpy
import sys
import traceback

from standin import install

FLAGS = (
    "--testing",
    "--no-splash",
    "--no-main-window",
    "--disable-cli-modules",
    "--disable-message-handlers",
)


def main() -> int:
    install()
    import slicer
    from PySide6 import QtCore

    options = sys.argv[1:]
    script, words = _parsed(options)
    sys.argv = [script, *words]
    if "--no-main-window" in options:
        slicer.app.closeViews()
    QtCore.QTimer.singleShot(0, lambda: _run(script))
    return int(slicer.app.exec_())


def _run(script: str) -> None:
    import slicer

    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        slicer.util.exit(end.code if isinstance(end.code, int) else slicer.util.EXIT_FAILURE)
    except Exception:
        traceback.print_exc()
        if slicer.app.commandOptions().runPythonAndExit:
            slicer.util.exit(slicer.util.EXIT_FAILURE)


def _parsed(words: list[str]) -> tuple[str, list[str]]:
    """The script, and what it gets."""
    import slicer

    script, left = "", []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return script, [*left, *rest]
        if word == "--python-script":
            script = next(rest, "")
        elif word not in FLAGS:
            left.append(word)
    slicer.app.commandOptions().runPythonAndExit = "--testing" in words
    return script, left


sys.exit(main())

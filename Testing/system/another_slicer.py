"""A second Slicer with the module, in a process of its own, which does what it is told line by line.

Run by `AnotherSlicer` with `python -m standin --python-script another_slicer.py -- COHORT`. Lines of its input are
`open CASE`, `draw CASE ORGAN` and `save`; it answers each with a line of what it has to say.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class AnotherSlicer:
    """Starts it, tells it what to do, and ends it."""

    def __init__(self, folder: Path) -> None:
        paths = [str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "standin", "--python-script", str(Path(__file__)), "--", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        )

    def do(self, line: str) -> str:
        """Let it do something, and wait until it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """The end of its input ends it."""
        self._process.communicate()


def obey(panel: Any, line: str) -> str:
    """Do what a line says."""
    from SSLSegmentationLib.logic.WorkProgress import Section
    from tiny_scans import a_scan

    command, *words = line.split(" ", 2)
    if command == "open":
        panel.open_from_table(words[0])
    elif command == "draw":
        panel.paint(words[1], a_scan(int(words[0].removeprefix("case_"))).organs[words[1]])
        panel.mark(words[1], "completeButton")
    elif command == "save":
        panel.ui(Section.ANNOTATE).saveButton.click()
        panel.saved()
    said = [panel.ui(Section.ANNOTATE).noticeLabel.text, *panel.errors, *panel.questions]
    return " ".join(" ".join(said).split())


def main() -> None:
    import slicer
    from panel_driving import PanelCase

    panel = PanelCase()
    panel.setUp()
    panel.cohorts.openCohort(sys.argv[1])
    for line in sys.stdin:
        print(obey(panel, line.rstrip("\n")), flush=True)
    panel.doCleanups()
    slicer.util.exit()


if __name__ == "__main__":
    main()

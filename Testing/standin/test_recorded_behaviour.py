"""The script that was recorded on a real PythonQt, run on the stand-in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[3] / "shared" / "pythonqt"
ADDRESS = re.compile(r"0x[0-9a-f]+")
UNLIKE: dict[str, str] = {}
"""Labels of lines where Qt 6 or PySide6 cannot follow, each with the reason: there are none."""

RUN = """
import runpy, sys
from standin.pythonqt.namespace import QtModule
sys.modules["qt"] = QtModule()
runpy.run_path(sys.argv[1])
"""


@pytest.mark.shared
@pytest.mark.skipif(not RECORDED.is_dir(), reason="../shared/pythonqt is absent")
def test_the_recorded_script_prints_the_same_line_by_line(tmp_path):
    environment = dict(os.environ, QT_QPA_PLATFORM="offscreen", PYTHONPATH=str(Path(__file__).parents[1]))
    process = subprocess.run(
        [sys.executable, "-c", RUN, str(RECORDED / "behaviour.py")],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    printed = [ADDRESS.sub("ADDRESS", line) for line in process.stdout.splitlines()]
    expected = (RECORDED / "behaviour.expected.txt").read_text(encoding="utf-8").splitlines()
    assert len(printed) == len(expected)
    unlike = [e for p, e in zip(printed, expected, strict=True) if p != e and e[:58].strip() not in UNLIKE]
    assert unlike == []

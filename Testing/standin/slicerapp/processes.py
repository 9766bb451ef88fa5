"""Other processes."""

from __future__ import annotations

import os
import subprocess
from typing import Any


def startupEnvironment() -> dict[str, str]:
    """The environment as it was before Slicer changed it."""
    return dict(os.environ)


def launchConsoleProcess(
    args: list[str] | str,
    useStartupEnvironment: bool = True,
    updateEnvironment: dict[str, str] | None = None,
    cwd: str | None = None,
    blocking: bool = True,
) -> subprocess.Popen[str]:
    """Start a process whose output is read as text; `updateEnvironment` with the value None removes a variable."""
    environment = startupEnvironment() if useStartupEnvironment else dict(os.environ)
    for name, value in (updateEnvironment or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", cwd=cwd, env=environment
    )


def logProcessOutput(proc: subprocess.Popen[str]) -> None:
    """Print the output line by line until the end; an exit code other than 0 raises `CalledProcessError`."""
    assert proc.stdout is not None
    output = []
    for line in proc.stdout:
        print(line.rstrip())
        output.append(line)
    code: Any = proc.wait()
    if code:
        raise subprocess.CalledProcessError(code, proc.args, output="".join(output))

"""Starting other processes and watching them without ever waiting for them."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, Protocol

from sslseg.contract.errors import SSLSegError


class Process(Protocol):
    """A process that was started. No method waits."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code, or None while it runs; negative: the signal that ended it."""

    def kill(self) -> None:
        """End it at once, with every process it started."""

    def output(self) -> str:
        """What it has printed so far, errors included."""


class Launcher(Protocol):
    """Whatever starts processes: the real one, or one of a test."""

    def launch(
        self, command: list[str], environment: dict[str, str], output: Path | None, detached: bool = False
    ) -> Process:
        """Start `command` and return at once.

        Args:
            command: the program and its arguments.
            environment: all of its environment variables.
            output: file that what it prints is appended to; None takes a temporary file.
            detached: whether it goes on when Slicer is closed.

        Raises:
            SSLSegError: the program cannot be started, or `output` cannot be written.
        """


class RunningProcess:
    """A process of `ProcessLauncher`."""

    def __init__(self, popen: subprocess.Popen[bytes], output: Path, start: int) -> None:
        self._popen = popen
        self._output = output
        self._start = start

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        return self._popen.poll()

    def kill(self) -> None:
        # PythonSlicer is only a launcher: the interpreter is its child, so the whole group has to go.
        if self.poll() is not None:
            return
        if sys.platform == "win32":
            subprocess.Popen(
                ["taskkill", "/F", "/T", "/PID", str(self.pid)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def output(self) -> str:
        try:
            with self._output.open("rb") as file:
                file.seek(self._start)
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""


class ProcessLauncher:
    """Starts real processes.

    ```
    process = ProcessLauncher().launch([python, "--version"], dict(os.environ), None)
    # later, from a timer:
    if process.poll() == 0:
        print(process.output())
    ```
    """

    def launch(
        self, command: list[str], environment: dict[str, str], output: Path | None, detached: bool = False
    ) -> RunningProcess:
        # A file and no pipe: a pipe that nobody empties stops the process, and breaks it when Slicer is closed.
        try:
            path = output or _temporaryFile()
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise SSLSegError(
                f"The output of the program cannot be written ({error.strerror or error})",
                file=output,
                remedy="Check that the folder is writable and the disk has free space.",
            ) from error
        with file:
            start = file.tell()
            try:
                popen = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    **ownGroup(),
                )
            except (OSError, ValueError) as error:
                if output is None:
                    _remove(path)
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise SSLSegError(
                    f"The program cannot be started ({reason})",
                    file=command[0],
                    remedy="Check the path in the Setup section.",
                ) from error
        process = RunningProcess(popen, path, start)
        if output is None:
            weakref.finalize(process, _remove, path)
        if not detached:
            _attached.add(process)
        return process


_attached: weakref.WeakSet[RunningProcess] = weakref.WeakSet()


@atexit.register
def _endAttached() -> None:
    for process in list(_attached):
        process.kill()


def _temporaryFile() -> Path:
    handle, name = tempfile.mkstemp(prefix="sslseg-", suffix=".txt")
    os.close(handle)
    return Path(name)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # Windows: the process is still writing; the system clears its temporary folder
        return


def ownGroup() -> dict[str, Any]:
    """A process group of its own, so that `kill` reaches all of it and Ctrl-C in a terminal does not."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}

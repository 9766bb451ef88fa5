"""The backend's own command line, run to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.batch.Interruption import Interrupted, Interruption
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.JobLogic import Setup
from SSLSegmentationLib.logic.JobSentences import exitSentence
from SSLSegmentationLib.logic.ProcessLauncher import RunningProcess, ownGroup

FRAME = "│╭╰"
"""What stands at the beginning of a line of a box."""


class BackendCommand:
    """Runs `sslseg WORDS` in another process.

    ```
    backend = BackendCommand(setup, interruption, terminal)
    code = backend.show(["status", folder])             # what it prints is printed
    folder = backend.prepared(["train", folder])        # its job is made and not run
    ```
    """

    def __init__(self, setup: Setup, interruption: Interruption, terminal: Terminal) -> None:
        self._setup = setup
        self._interruption = interruption
        self._terminal = terminal

    def show(self, words: Sequence[str]) -> int:
        """Run a command, print what it prints, and tell its exit code.

        Raises:
            SSLSegError: it cannot be started.
            Interrupted: Ctrl-C has ended it.
        """
        # On a terminal it draws its own progress bar, which it can only do there itself.
        return self._run(words, shown=True)[0]

    def prepared(self, words: Sequence[str]) -> Path:
        """Let a command make the folder of its job, which is then to be run.

        Raises:
            SSLSegError: the command refuses what was typed.
            Interrupted: Ctrl-C has ended it.
        """
        code, printed, errors = self._run([*words, "--prepare"], shown=False)
        lines = [line for line in printed.splitlines() if line.strip()]
        if code != 0 or not lines:
            raise SSLSegError(errors or exitSentence(code, printed))
        return Path(lines[-1].partition(" ")[2]).absolute()

    def _run(self, words: Sequence[str], *, shown: bool) -> tuple[int, str, str]:
        """Exit code, what was printed unless it was shown, and what went wrong."""
        inherits = shown and self._terminal.isInteractive
        with tempfile.TemporaryDirectory(prefix="sslseg-") as folder:
            printed, errors = Path(folder) / "printed.txt", Path(folder) / "errors.txt"
            with printed.open("wb") as out, errors.open("wb") as err:
                process = self._start(words, None if inherits else out, err)
                tail = _Tail(printed)
                asked = False
                while process.poll() is None:
                    if self._interruption.isAsked and not asked:
                        asked = True
                        _interrupt(process)
                    if shown:
                        self._terminal.passOn(tail.news())
                    self._interruption.pause()
            code = process.poll() or 0
            if shown:
                self._terminal.passOn(tail.news(toEnd=True))
            said = sentenceOf(errors.read_text(encoding="utf-8", errors="replace"))
            if asked and code != 0:
                raise Interrupted
            if shown and said:
                self._terminal.complain(said)
            elif shown and code < 0:
                self._terminal.complain(exitSentence(code, ""))
            return (code if code >= 0 else 1), printed.read_text(encoding="utf-8", errors="replace"), said

    def _start(self, words: Sequence[str], out: object, err: object) -> RunningProcess:
        command = self._setup.commandLine(*words)
        try:
            popen = subprocess.Popen(
                command,
                env=self._setup.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,  # type: ignore[arg-type]
                stderr=err,  # type: ignore[arg-type]
                **ownGroup(),
            )
        except OSError as error:
            raise SSLSegError(
                _("The program cannot be started ({reason})").format(reason=error.strerror or error),
                file=command[0],
                remedy=_("Check the path of the Python."),
            ) from error
        process = RunningProcess(popen, Path(os.devnull), 0)
        self._interruption.endsToo(process)
        return process


class _Tail:
    """Reads what is added to a file, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self, *, toEnd: bool = False) -> str:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data if toEnd else data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", errors="replace")


def _interrupt(process: RunningProcess) -> None:
    """Press Ctrl-C for a process, which has a group of its own and so did not get ours."""
    if sys.platform == "win32":
        process.kill()  # without a console there is no Ctrl-C
        return
    try:
        # PythonSlicer is only a launcher: the interpreter is its child.
        os.killpg(process.pid, signal.SIGINT)
    except ProcessLookupError:
        return


def sentenceOf(errors: str) -> str:
    """What went wrong, without the usage that a parser of options prints before it."""
    if not errors.lstrip().startswith("Usage:"):
        return errors.strip()
    kept = []
    for line in errors.splitlines():
        text = line.strip(f" {FRAME}")
        if text and line[:1] not in FRAME[1:] and not text.startswith(("Usage:", "Try ")):
            kept.append(text.removeprefix("Error: "))
    return " ".join(kept)

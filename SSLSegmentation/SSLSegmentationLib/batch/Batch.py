"""A command of `sslseg`, carried out in a Slicer without a window."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.exit_codes import FAULT, MENDABLE, STOPPED
from sslseg.contract.jobs import Job
from SSLSegmentationLib.batch.Arguments import Arguments
from SSLSegmentationLib.batch.BackendCommand import BackendCommand
from SSLSegmentationLib.batch.BatchSettings import BatchSettings
from SSLSegmentationLib.batch.ImportRun import ImportRun
from SSLSegmentationLib.batch.Interruption import Interrupted, Interruption
from SSLSegmentationLib.batch.JobRun import JobRun
from SSLSegmentationLib.batch.PredictRun import PredictRun
from SSLSegmentationLib.batch.Sources import SCENES, SLICER_VOLUMES
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.CohortLogic import CohortLogic, Settings
from SSLSegmentationLib.logic.PythonFindings import findPython
from SSLSegmentationLib.logic.SetupLogic import SetupLogic, SetupState

JOBS = frozenset({"train", "predict", "export"})
"""Commands that only run a job of a cohort; `--prepare` makes it without running it."""


class Batch:
    """Carries out one command.

    ```
    code = Batch(["--python", "/opt/env", "train", "/data/abdomen", "--preset", "quick"]).run()
    ```
    The exit code is that of the command line: 0 done; 2 something a person can mend, said in a sentence; 1 a fault of
    the program; 130 stopped by Ctrl-C.

    Args:
        words: what was typed behind the name of the script.
        terminal: is told everything; None takes the process's.
        settings: holds the choice of a Python; None takes Slicer's. They are not changed.
    """

    def __init__(
        self, words: Sequence[str], terminal: Terminal | None = None, settings: Settings | None = None
    ) -> None:
        self._words = words
        self._terminal = terminal or Terminal()
        self._settings = settings
        self._interruption = Interruption()

    def run(self) -> int:
        """Carry out the command; the exit code. Nothing is raised."""
        with self._interruption:
            try:
                return self._run(Arguments(self._words))
            except SSLSegError as error:
                self._terminal.complain(str(error))
                return MENDABLE
            except Interrupted:
                self._terminal.complain(_("Stopped."))
                return STOPPED
            except Exception:
                self._terminal.complain(traceback.format_exc())
                return FAULT

    def _run(self, arguments: Arguments) -> int:
        settings = BatchSettings(_chosen(arguments.python), self._settings)
        setup = SetupLogic(settings)
        with contextlib.closing(setup):
            self._waitFor(setup)
            backend = BackendCommand(setup, self._interruption, self._terminal)
            if arguments.command == "check":
                return backend.show(arguments.words)
            if not setup.isReady:
                raise SSLSegError(
                    setup.sentence.rstrip("."),
                    remedy=_("Choose another with --python PATH, or open the module's Setup section."),
                )
            if arguments.wantsHelp:
                code = backend.show(arguments.words or ["--help"])
                self._terminal.say(_note())
                return code
            return self._carryOut(arguments, setup, settings, backend)

    def _carryOut(
        self, arguments: Arguments, setup: SetupLogic, settings: BatchSettings, backend: BackendCommand
    ) -> int:
        command = arguments.command
        cohorts = CohortLogic(settings)
        jobs = JobRun(setup, cohorts, self._interruption, self._terminal)
        importing = ImportRun(backend, jobs, cohorts, self._interruption, self._terminal)
        if "--prepare" in arguments.words:
            return backend.show(arguments.words)
        if command == "init":
            return importing.init(arguments)
        if command == "import":
            return importing.import_(arguments)
        if command == "predict" and arguments.option("--input") is not None:
            return PredictRun(backend, self._interruption, self._terminal).run(arguments)
        folder = _jobFolder(arguments)
        if command in JOBS:
            folder = backend.prepared(arguments.words)
        if folder is None:
            return backend.show(arguments.words)
        job = Job.open(folder)
        state = jobs.run(job)
        jobs.tellEnd(job)
        return jobs.exitCode(job, state)

    def _waitFor(self, setup: SetupLogic) -> None:
        """Wait until it is known what the Python has."""
        setup.check()
        while setup.state is SetupState.CHECKING:
            self._interruption.check()
            self._interruption.pause()
            setup.poll()


def _chosen(python: str | None) -> Path | None:
    return None if python is None else findPython(Path(python).expanduser().absolute())


def _jobFolder(arguments: Arguments) -> Path | None:
    """The folder of a job that `run` is to go on with, if it is one and no archive."""
    if arguments.command == "run" and len(arguments.words) == 2 and Path(arguments.words[1]).is_dir():
        return Path(arguments.words[1]).resolve()
    return None


def _note() -> str:
    return _(
        "In Slicer:\n"
        "  Slicer --no-splash --no-main-window --python-script sslseg_batch.py -- [--python PATH] COMMAND …\n"
        "  --python PATH takes the Python in this program or environment for the backend; else it is the one that was\n"
        "  chosen in the Setup section of the module, else Slicer's own.\n"
        "  init, import and predict --input also take what Slicer opens: {formats}.\n"
        "  --organs also takes a .seg.nrrd file, with its names, colours and terminology."
    ).format(formats=", ".join((*SCENES, *SLICER_VOLUMES)))

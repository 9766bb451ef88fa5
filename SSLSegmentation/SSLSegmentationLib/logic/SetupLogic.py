"""Which Python runs the backend, what it lacks, and how to get it."""

from __future__ import annotations

import enum
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.BackendInstaller import PROTECTED, Installer, SlicerInstaller
from SSLSegmentationLib.logic.BackendReport import BackendReport
from SSLSegmentationLib.logic.BackgroundCommand import BackgroundCommand, Outcome
from SSLSegmentationLib.logic.CohortLogic import Settings
from SSLSegmentationLib.logic.Paths import withBackend, withoutSlicer
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher
from SSLSegmentationLib.logic.PythonFindings import (
    PythonFindings,
    findPython,
    nameOf,
    ownPython,
    probeCommand,
)
from SSLSegmentationLib.logic.Signal import Signal

PYTHON_KEY = "SSLSegmentation/Python"
PROBE_SECONDS = 30.0
TEST_SECONDS = 180.0
"""The first import of PyTorch from a cold disk takes the most of it."""
TORCH_GB, OTHERS_GB = 0.9, 0.4
"""What PyTorch 2.13 for processors and all other packages but Slicer's own take on the disk, with what they need."""


class SetupState(enum.Enum):
    """How far the backend is set up."""

    CHECKING = "checking"
    READY = "ready"
    INCOMPLETE = "incomplete"
    UNUSABLE = "unusable"


class SetupLogic:
    """The Python that runs the backend, always in a process of its own.

    ```
    setup = SetupLogic()
    setup.changed.connect(panel.refresh)
    setup.check()
    timer.connect("timeout()", setup.poll)
    if setup.isReady:
        launcher.launch(setup.commandLine("run", job), setup.environment(), log)
    ```

    Args:
        settings: where the choice of a Python is kept; None takes Slicer's.
        launcher: starts processes.
        installer: installs packages into Slicer's own Python.
        startupEnvironment: the environment variables that Slicer was started with.
        clock: seconds that only ever grow.

    Attributes:
        changed: emitted when anything here has changed.
        findings: what the Python has; None until it has been looked at.
        report: the result of the last test of the backend; None before the first.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        launcher: Launcher | None = None,
        installer: Installer | None = None,
        startupEnvironment: Callable[[], dict[str, str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = Signal()
        self.findings: PythonFindings | None = None
        self.report: BackendReport | None = None
        self._settings = settings
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._installer: Installer = installer or SlicerInstaller()
        self._startupEnvironment = startupEnvironment or slicer.util.startupEnvironment
        self._clock = clock
        self._probe: BackgroundCommand | None = None
        self._test: BackgroundCommand | None = None

    @property
    def existingPython(self) -> Path | None:
        """The Python that a person chose; None: Slicer's own is used."""
        text = str(self._applicationSettings().value(PYTHON_KEY, "") or "")
        return Path(text) if text else None

    @property
    def python(self) -> Path:
        """The Python that runs the backend."""
        return self.existingPython or ownPython()

    def usePython(self, path: str | Path | None) -> None:
        """Choose the Python that runs the backend, and look at it; None goes back to Slicer's own.

        Raises:
            SSLSegError: there is none at that path; the choice stays as it was.
        """
        chosen = "" if path is None else str(findPython(Path(path).expanduser().absolute()))
        self._applicationSettings().setValue(PYTHON_KEY, chosen)
        self.check()

    @property
    def state(self) -> SetupState:
        if self.findings is None:
            return SetupState.CHECKING
        if self.findings.problem:
            return SetupState.UNUSABLE
        return SetupState.INCOMPLETE if self.findings.missing else SetupState.READY

    @property
    def isReady(self) -> bool:
        return self.state is SetupState.READY

    @property
    def sentence(self) -> str:
        """The state in words."""
        if self.findings is None:
            return _("Looking at {python} …").format(python=self._pythonWords())
        if self.findings.problem:
            return f"{self.python}: {self.findings.problem}"
        missing = self.findings.missing
        if not missing:
            return _("Ready: {python}, version {version}, has all that the backend needs.").format(
                python=self._pythonWords(), version=self.findings.python
            )
        return _("{python}, version {version}, lacks {packages}.").format(
            python=self._pythonWords(),
            version=self.findings.python,
            packages=_listWords([nameOf(requirement.name) for requirement in missing]),
        )

    def commandLine(self, *arguments: str) -> list[str]:
        """The command that runs `sslseg` with these arguments."""
        return [str(self.python), "-m", "sslseg.cli.app", *map(str, arguments)]

    def environment(self) -> dict[str, str]:
        """All environment variables of a process of the backend."""
        # Slicer's own Python needs the paths that Slicer set up; another one would be broken by them.
        if self.existingPython is None:
            return withBackend(os.environ)
        return withBackend(withoutSlicer(self._startupEnvironment(), Path(slicer.app.slicerHome)))

    def check(self) -> None:
        """Look at the Python again, in another process; `poll` takes the answer."""
        self.close()
        self.findings = None
        self.report = None
        try:
            self._probe = self._start(probeCommand(self.python), PROBE_SECONDS, self._onProbed)
        except SSLSegError as error:
            self.findings = PythonFindings("", (), f"{error.what}. {error.remedy}")
        self.changed.emit()

    @property
    def isTesting(self) -> bool:
        return self._test is not None

    def testBackend(self) -> None:
        """Run a job of one second, in another process; `poll` takes the report."""
        if self._test is not None:
            return
        self.report = None
        try:
            self._test = self._start(self.commandLine("check", "--json"), TEST_SECONDS, self._onTested)
        except SSLSegError as error:
            self.report = BackendReport(False, str(error))
        self.changed.emit()

    def poll(self) -> None:
        """Look whether the other processes have answered. To be called every half second."""
        for command in (self._probe, self._test):
            if command is not None:
                command.poll()

    def close(self) -> None:
        """End what is running; nothing is said any more."""
        for command in (self._probe, self._test):
            if command is not None:
                command.cancel()
        self._probe = self._test = None

    def installObstacle(self) -> str:
        """Why the missing packages cannot be installed on a click, with the remedy; empty when they can."""
        if self.findings is None or self.findings.problem or not self.findings.missing:
            return _("There is nothing to install.")
        if self.existingPython is not None:
            packages = " ".join(f'"{needed.name}{needed.specifier}"' for needed in self.findings.missing)
            return _("Only Slicer's own Python is installed into. Install there yourself: {command}").format(
                command=f'"{self.python}" -m pip install {packages}'
            )
        return self._installer.obstacle(self.findings.missing)

    def installSummary(self) -> str:
        """What a click on Install would do, for the confirmation."""
        missing = [] if self.findings is None else [requirement.name for requirement in self.findings.missing]
        size = (TORCH_GB if "torch" in missing else 0) + (OTHERS_GB if set(missing) - {"torch"} else 0)
        sentences = [
            _("These packages will be downloaded and installed into Slicer's Python: {packages}.").format(
                packages=", ".join(nameOf(name) for name in missing)
            ),
            _("They take up to {size:.1f} GB on the disk, of which {free:.0f} GB are free.").format(
                size=size, free=shutil.disk_usage(sys.prefix).free / 1e9
            ),
        ]
        if "torch" in missing:
            sentences.append(_("For an NVIDIA graphics card PyTorch takes several times as much."))
        sentences.append(
            _("{packages} stay as they are.").format(
                packages=_listWords([nameOf(name) for name in PROTECTED])
            )
        )
        return "\n\n".join(sentences)

    def install(self) -> None:
        """Install what is missing into Slicer's own Python, and look at it again.

        Raises:
            SSLSegError: it cannot be installed, or it failed.
        """
        obstacle = self.installObstacle()
        if obstacle:
            raise SSLSegError(obstacle)
        assert self.findings is not None
        try:
            self._installer.install(self.findings.missing)
        finally:
            self.check()

    def _start(
        self, command: list[str], seconds: float, ended: Callable[[Outcome], None]
    ) -> BackgroundCommand:
        return BackgroundCommand(self._launcher, command, self.environment(), seconds, ended, self._clock)

    def _onProbed(self, outcome: Outcome) -> None:
        self._probe = None
        self.findings = PythonFindings.of(outcome, PROBE_SECONDS)
        self.changed.emit()

    def _onTested(self, outcome: Outcome) -> None:
        self._test = None
        self.report = BackendReport.of(outcome, TEST_SECONDS)
        self.changed.emit()

    def _pythonWords(self) -> str:
        return _("Slicer's Python") if self.existingPython is None else str(self.python)

    def _applicationSettings(self) -> Settings:
        if self._settings is None:
            self._settings = slicer.app.userSettings()
        return self._settings


def _listWords(names: list[str]) -> str:
    """Names as people list them: a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return _("{first} and {last}").format(first=", ".join(names[:-1]), last=names[-1])

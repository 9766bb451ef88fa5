"""A cohort of phantoms to try everything on, made on this computer by the backend."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME
from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.BackgroundCommand import BackgroundCommand, Outcome
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.Paths import iconPath
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher
from SSLSegmentationLib.logic.SetupLogic import SetupLogic, SetupState
from SSLSegmentationLib.logic.Signal import Signal

CATEGORY = "SSLSegmentation"
NAME = "SSLSegmentation phantom cohort"
CASES = 12
ANNOTATED = 3
SECONDS = 600.0


def sampleFolder() -> Path:
    """Where the cohort goes: the user's documents, where it can be found, kept and removed."""
    return Path(slicer.app.defaultScenePath) / NAME


class SampleCohort:
    """Makes the cohort in another process, and opens it.

    ```
    sample = SampleCohort(setupLogic, cohortLogic)
    sample.request()
    timer.connect("timeout()", sample.poll)
    ```

    Attributes:
        changed: emitted when the sentence has changed.
        sentence: what is going on or went wrong; empty when there is nothing to say.
        isBusy: whether it is being made.
    """

    def __init__(
        self,
        setupLogic: SetupLogic,
        cohortLogic: CohortLogic,
        launcher: Launcher | None = None,
        folder: Callable[[], Path] = sampleFolder,
    ) -> None:
        self.changed = Signal()
        self.sentence = ""
        self._setup = setupLogic
        self._cohorts = cohortLogic
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._folder = folder
        self._isWaiting = False
        self._command: BackgroundCommand | None = None

    @property
    def isBusy(self) -> bool:
        return self._isWaiting or self._command is not None

    def request(self) -> None:
        """Make the cohort if it is not there yet, and open it."""
        if self.isBusy:
            return
        if (self._folder() / FILE_NAME).is_file():
            self._open()
            return
        self._isWaiting = True
        self._say(_("Making a cohort of phantoms. This takes less than a minute …"))
        self.poll()

    def poll(self) -> None:
        """Go on. To be called every half second."""
        if self._command is not None:
            self._command.poll()
        elif self._isWaiting and self._setup.state is not SetupState.CHECKING:
            self._isWaiting = False
            self._start()

    def close(self) -> None:
        """End what is running."""
        self._isWaiting = False
        if self._command is not None:
            self._command.cancel()
            self._command = None

    def _start(self) -> None:
        if not self._setup.isReady:
            self._say(
                _(
                    "The phantoms are made by the backend, which is not ready. {sentence} See the Setup section."
                ).format(sentence=self._setup.sentence)
            )
            return
        command = self._setup.commandLine(
            "phantoms", str(self._folder()), "--cases", str(CASES), "--annotated", str(ANNOTATED)
        )
        try:
            self._command = BackgroundCommand(
                self._launcher, command, self._setup.environment(), SECONDS, self._onEnded
            )
        except SSLSegError as error:
            self._say(str(error))

    def _onEnded(self, outcome: Outcome) -> None:
        self._command = None
        if outcome.exitCode == 0:
            self._open()
            return
        lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
        if outcome.exitCode is None:
            reason = _("it took longer than {minutes:.0f} minutes").format(minutes=SECONDS / 60)
        else:
            reason = lines[-1] if lines else _("exit code {code}").format(code=outcome.exitCode)
        self._say(_("The phantoms could not be made: {reason}").format(reason=reason))

    def _open(self) -> None:
        try:
            self._cohorts.openCohort(self._folder())
        except SSLSegError as error:
            self._say(str(error))
        else:
            self._say("")

    def _say(self, sentence: str) -> None:
        self.sentence = sentence
        self.changed.emit()


def registerSampleCohort(download: Callable[[object], None]) -> None:
    """Offer the cohort in the module Sample Data.

    Args:
        download: is called with the source when a person clicks on it.
    """
    logic = importlib.import_module("SampleData").SampleDataLogic
    if any(source.sampleName == NAME for source in logic.sampleDataSourcesByCategory(CATEGORY)):
        return  # the module was reloaded
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris="",
        fileNames="",
        nodeNames=NAME,
        thumbnailFileName=str(iconPath("SSLSegmentation")),
        customDownloader=download,
    )

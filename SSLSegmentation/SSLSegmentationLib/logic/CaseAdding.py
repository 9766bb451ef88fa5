"""Adding cases to the open cohort: volumes of the scene here and now, files and DICOM series as a job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.imports import Refusal, read_refusals
from sslseg.contract.jobs import JobState
from sslseg.contract.settings import ImportSettings
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.JobMonitor import JobMonitor
from SSLSegmentationLib.logic.SceneImport import Imported, importSteps
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SlicedWork import SlicedWork


@dataclass(frozen=True)
class SceneCase:
    """A volume of the scene that is to become a case.

    Attributes:
        name: of the volume, for sentences on the screen; it is written nowhere.
        volumeNode: the image.
        segmentationNode: the annotation, or None.
    """

    name: str
    volumeNode: Any
    segmentationNode: Any | None = None


class CaseAdding:
    """What is being added to the open cohort, and what could not be.

    ```
    adding = CaseAdding(cohortLogic, jobLogic)
    adding.addFromScene([SceneCase("CT", volumeNode, segmentationNode)])
    adding.addFiles(ImportSettings(paths=["/data/scans"], copy=True))
    adding.poll()    # from a timer, often while `isWorking`
    ```

    Attributes:
        changed: emitted when anything here may have changed.
        refusals: what could not be added the last time, with the reasons.
        sentence: how the last adding ended, or an empty text.
    """

    def __init__(self, cohortLogic: CohortLogic, jobLogic: JobLogic) -> None:
        self.changed = Signal()
        self.refusals: list[Refusal] = []
        self.sentence = ""
        self._cohorts = cohortLogic
        self._jobs = jobLogic
        self._waiting: list[SceneCase] = []
        self._work: SlicedWork | None = None
        self._current = ""
        self._added: list[str] = []
        self._jobs.changed.connect(self._onJobsChanged)
        self._jobs.finished.connect(self._onJobFinished)

    def close(self) -> None:
        """Drop what has not been added from the scene; an import job runs on."""
        self._jobs.changed.disconnect(self._onJobsChanged)
        self._jobs.finished.disconnect(self._onJobFinished)
        self._waiting = []
        self._endWork()

    @property
    def isWorking(self) -> bool:
        """Whether `poll` has volumes of the scene to write."""
        return self._work is not None or bool(self._waiting)

    @property
    def monitor(self) -> JobMonitor | None:
        """The import that is running, whoever started it."""
        return next((one for one in self._jobs.active if isinstance(one.job.settings, ImportSettings)), None)

    @property
    def isBusy(self) -> bool:
        return self.isWorking or self.monitor is not None

    @property
    def status(self) -> str:
        """What is being done now, or how it ended."""
        if self.isWorking:
            return _("Adding '{name}' …").format(name=self._current)
        monitor = self.monitor
        if monitor is not None and monitor.isCancelling:
            return _("The import is stopping …")
        return self.sentence if monitor is None else monitor.sentence

    @property
    def fraction(self) -> float | None:
        """How much of an import is done, 0..1; None where that is not known."""
        monitor = self.monitor
        return None if monitor is None or self.isWorking else monitor.fraction

    def addFiles(self, settings: ImportSettings) -> None:
        """Import files, folders or DICOM series in another process.

        Raises:
            SSLSegError: no cohort is open, the backend is not set up, or an import is running already.
        """
        if self.monitor is not None:
            raise SSLSegError(
                _("An import is running already"), remedy=_("Wait until it is done, or cancel it.")
            )
        self._forget()
        self._jobs.start(settings)
        self.changed.emit()

    def addFromScene(self, cases: Iterable[SceneCase]) -> None:
        """Add volumes of the scene, one after the other."""
        if not self.isWorking:
            self._forget()
        self._waiting.extend(cases)
        self._next()
        self.changed.emit()

    def cancel(self) -> None:
        """Stop: what is being written is cleared away, and an import that runs imports nothing.

        Raises:
            SSLSegError: the request to stop cannot be written.
        """
        self._waiting = []
        self._endWork()
        monitor = self.monitor
        if monitor is not None:
            self._jobs.cancel(monitor)
        self.changed.emit()

    def poll(self) -> None:
        """Go on with the volumes of the scene for some milliseconds."""
        if self._work is not None:
            self._work.poll()

    def _next(self) -> None:
        if self._work is not None or not self._waiting:
            return
        case = self._waiting.pop(0)
        self._current = case.name
        self._work = SlicedWork(
            importSteps(self._cohorts, case.volumeNode, case.segmentationNode),
            done=self._onAdded,
            failed=self._onFailed,
        )

    def _endWork(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None

    def _onAdded(self, imported: Imported) -> None:
        self._added.append(imported.caseId)
        self.refusals += [Refusal(self._current, note) for note in imported.notes]
        self._goOn()

    def _onFailed(self, error: Exception) -> None:
        if not isinstance(error, SSLSegError):
            self._work = None
            self._waiting = []
            self.changed.emit()
            raise error
        self.refusals.append(Refusal(self._current, str(error)))
        self._goOn()

    def _goOn(self) -> None:
        self._work = None
        if not self._waiting:
            self.sentence = _numberOf(len(self._added))
        self._next()
        self.changed.emit()

    def _forget(self) -> None:
        self.sentence, self.refusals, self._added = "", [], []

    def _onJobsChanged(self) -> None:
        if self.monitor is not None:
            self.changed.emit()

    def _onJobFinished(self, monitor: JobMonitor) -> None:
        if not isinstance(monitor.job.settings, ImportSettings):
            return
        cases = [case for artifact in monitor.story.artifacts for case in artifact.get("cases", ())]
        self.sentence = {
            JobState.FINISHED: _numberOf(len(cases)),
            JobState.CANCELLED: _("The import was stopped. Nothing was added."),
            JobState.INTERRUPTED: _("The import was interrupted. Nothing was added: add the files again."),
        }.get(monitor.state, monitor.sentence)
        try:
            self.refusals = read_refusals(monitor.job.folder)
        except SSLSegError as error:
            self.refusals = [Refusal("", str(error))]
        self.changed.emit()


def _numberOf(cases: int) -> str:
    if cases == 0:
        return _("Nothing was added.")
    return _("One case was added.") if cases == 1 else _("{count} cases were added.").format(count=cases)

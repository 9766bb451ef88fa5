"""The jobs of the open cohort: start, watch, cancel, resume; and what follows a training."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME as COHORT_FILE
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobSettings, JobState
from sslseg.contract.settings import TrainSettings
from SSLSegmentationLib.logic.JobChain import JobChain
from SSLSegmentationLib.logic.JobMonitor import GRACE_SECONDS, JobMonitor
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher
from SSLSegmentationLib.logic.Signal import Signal

AFTER_TRAINING = ("predict",)
"""What follows a training unless the user says otherwise; a prediction ends with a new ranking."""
POLL_SECONDS = 0.03
"""Longest time that one `poll` spends on reading; the rest waits for the next one."""
GLANCES = 8
"""How many jobs at rest one `poll` looks at, in turn: somebody else may have started them again."""
SETTLED_SECONDS = 2.0
"""A folder that was touched so recently is listed again: the clocks of some disks tick no faster."""


class Setup(Protocol):
    """What is needed of SetupLogic."""

    @property
    def isReady(self) -> bool: ...
    def commandLine(self, *arguments: str) -> list[str]: ...
    def environment(self) -> dict[str, str]: ...


class OpenCohort(Protocol):
    """What is needed of CohortLogic."""

    changed: Signal

    @property
    def folder(self) -> Path | None: ...
    def refresh(self) -> bool: ...


class JobLogic:
    """The jobs of the open cohort.

    ```
    jobs = JobLogic(setupLogic, cohortLogic)
    monitor = jobs.start(TrainSettings(method="mean_teacher", model="first"), then=AFTER_TRAINING)
    timer.connect("timeout()", jobs.poll)      # every 500 ms
    monitor.sentence, monitor.fraction; jobs.cancel(monitor); jobs.resume(monitor.job)
    ```
    Jobs run on when Slicer is closed, or another cohort is opened. When a cohort is opened its jobs are found again,
    the newest first, over the next few polls.

    Attributes:
        monitors: the jobs of the open cohort, oldest first.
        changed: emitted after a poll that brought news, and when the list changes.
        finished: emitted with the monitor when a job that was at work has ended, however it ended.
        followed: emitted with the monitor of a job that was started because another one had finished.
    """

    def __init__(
        self,
        setupLogic: Setup,
        cohortLogic: OpenCohort,
        *,
        launcher: Launcher | None = None,
        clock: Callable[[], float] = time.monotonic,
        graceSeconds: float = GRACE_SECONDS,
    ) -> None:
        self.changed = Signal()
        self.finished = Signal()
        self.followed = Signal()
        self.monitors: list[JobMonitor] = []
        self._setup = setupLogic
        self._cohort = cohortLogic
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._options: dict[str, Any] = {"clock": clock, "graceSeconds": graceSeconds}
        self._folder: Path | None = None
        self._listed: int | None = None
        self._toOpen: list[Path] = []
        self._unreadable: set[Path] = set()
        self._ofOtherCohorts: list[JobMonitor] = []
        self._chains: dict[Path, JobChain] = {}
        self._turn = 0
        cohortLogic.changed.connect(self._followCohort)
        self._followCohort()

    def close(self) -> None:
        """Watch no more; the jobs run on."""
        self._cohort.changed.disconnect(self._followCohort)
        self.monitors, self._toOpen, self._ofOtherCohorts = [], [], []

    @property
    def active(self) -> list[JobMonitor]:
        """The jobs that are at work, oldest first."""
        return [monitor for monitor in self.monitors if monitor.isActive]

    @property
    def trainings(self) -> list[JobMonitor]:
        """The trainings, oldest first."""
        return [monitor for monitor in self.monitors if isinstance(monitor.job.settings, TrainSettings)]

    def start(self, settings: JobSettings, then: Sequence[str] = ()) -> JobMonitor:
        """Make a job in the open cohort and run it.

        Args:
            settings: what to do.
            then: kinds of the jobs that follow when it has finished, such as AFTER_TRAINING.

        Raises:
            SSLSegError: no cohort is open, the backend is not set up, or the job cannot be written or started.
        """
        if self._folder is None:
            raise SSLSegError(_("No cohort is open"), remedy=_("Open or make one in the Cohort section."))
        self._checkReady(self._folder, COHORT_FILE)
        job = Job.create(self._folder, settings)
        if then:
            JobChain(job).ask(then)
        return self._run(job)

    def resume(self, job: Job) -> JobMonitor:
        """Run a job that has not begun, or that was cancelled, interrupted or failed, from what is saved.

        Raises:
            SSLSegError: it is running, the backend is not set up, or it cannot be started.
        """
        monitor = self.monitorOf(job)
        if job.is_running or (monitor is not None and (monitor.isActive or monitor.isStopping)):
            raise SSLSegError(
                _("The job is still at work"), file=job.folder, remedy=_("Wait a moment, and try again.")
            )
        self._checkReady(job.folder, "job.json")
        return self._run(job)

    def cancel(self, monitor: JobMonitor) -> None:
        """Ask a job to save what it has and to stop.

        Raises:
            SSLSegError: the request cannot be written.
        """
        monitor.cancel()
        self.changed.emit()

    def then(self, monitor: JobMonitor) -> tuple[str, ...]:
        """Kinds of the jobs that will follow."""
        return JobChain(monitor.job).then

    def setThen(self, monitor: JobMonitor, then: Sequence[str]) -> None:
        """Change what will follow a job.

        Raises:
            SSLSegError: the folder of the job cannot be written to.
        """
        JobChain(monitor.job).ask(then)

    def monitorOf(self, job: Job) -> JobMonitor | None:
        return next((monitor for monitor in self.monitors if monitor.job.folder == job.folder), None)

    def poll(self) -> None:
        """Look for news; takes milliseconds. To be called every half second."""
        deadline = time.perf_counter() + POLL_SECONDS
        changed = self._listJobs()
        changed |= self._openListed(deadline)
        for monitor in self._due():
            changed |= self._watch(monitor, max(0.0, deadline - time.perf_counter()))
        self._ofOtherCohorts = [m for m in self._ofOtherCohorts if m.poll(0.0) or m.isActive or m.isStopping]
        self._advanceChains(deadline)
        if changed:
            self.changed.emit()

    def _checkReady(self, folder: Path, name: str) -> None:
        """Refuse when `folder` is not the one that holds `name`, or the backend is not set up."""
        # Writing there would make the folder anew, beside the one that was moved.
        if not (folder / name).exists():
            raise SSLSegError(
                _("The folder is no longer there"),
                file=folder,
                remedy=_("If the cohort was moved, open it at its new place."),
            )
        if not self._setup.isReady:
            raise SSLSegError(_("The backend is not set up yet"), remedy=_("Open the Setup section."))

    def _run(self, job: Job) -> JobMonitor:
        monitor = self.monitorOf(job)
        try:
            process = self._launcher.launch(
                self._setup.commandLine("run", str(job.folder)),
                self._setup.environment(),
                job.folder / "output.txt",
                detached=True,
            )
        except SSLSegError as error:
            if monitor is None:
                with contextlib.suppress(OSError):
                    job.events.write("failed", message=str(error), kind="user")
            raise
        if monitor is None:
            monitor = JobMonitor(job, process, **self._options)
            self._add(monitor)
        else:
            monitor.launched(process)
        self.changed.emit()
        return monitor

    def _add(self, monitor: JobMonitor) -> None:
        self.monitors.append(monitor)
        self.monitors.sort(key=lambda m: m.job.number)
        if not monitor.isActive:
            self._noteChain(monitor)

    def _followCohort(self) -> None:
        folder = self._cohort.folder
        if folder == self._folder:
            return
        known = [*self._ofOtherCohorts, *self.monitors]
        ours = [monitor for monitor in known if monitor.isActive or monitor.isStopping]
        self._folder = folder
        self.monitors = [monitor for monitor in ours if self._isHere(monitor)]
        self._ofOtherCohorts = [monitor for monitor in ours if not self._isHere(monitor)]
        self._listed, self._toOpen, self._unreadable, self._chains = None, [], set(), {}
        self._listJobs()
        self._openListed(time.perf_counter() + POLL_SECONDS)
        self.changed.emit()

    def _isHere(self, monitor: JobMonitor) -> bool:
        return self._folder is not None and monitor.job.folder.parent == self._folder / "jobs"

    def _listJobs(self) -> bool:
        """Look for jobs that came or went, if the folder of the jobs was touched at all."""
        if self._folder is None:
            return False
        jobs = self._folder / "jobs"
        try:
            touched = jobs.stat().st_mtime_ns
            if touched == self._listed:
                return False
            there = {path for path in jobs.iterdir() if path.name.rpartition("-")[2].isdigit()}
        except OSError:
            return False
        # A folder that was touched just now may be touched again with the same time.
        self._listed = touched if time.time() - touched / 1e9 > SETTLED_SECONDS else None
        gone = [m for m in self.monitors if m.job.folder not in there and not m.isActive]
        for monitor in gone:
            self.monitors.remove(monitor)
            self._chains.pop(monitor.job.folder, None)
        known = {monitor.job.folder for monitor in self.monitors} | self._unreadable
        # The newest is opened first.
        self._toOpen = sorted(there - known, key=lambda path: int(path.name.rpartition("-")[2]))
        return bool(gone)

    def _openListed(self, deadline: float) -> bool:
        opened, later = False, []
        while self._toOpen and (not opened or time.perf_counter() < deadline):
            folder = self._toOpen.pop()
            if self._monitorAt(folder) is not None:
                continue
            if not (folder / "job.json").exists():
                later.append(folder)  # it is being made
                continue
            try:
                self._add(JobMonitor(Job.open(folder), **self._options))
                opened = True
            except SSLSegError:
                self._unreadable.add(folder)  # of a newer version, or damaged: not ours to judge
        self._toOpen = [*later, *self._toOpen]
        return opened

    def _monitorAt(self, folder: Path) -> JobMonitor | None:
        return next((monitor for monitor in self.monitors if monitor.job.folder == folder), None)

    def _due(self) -> list[JobMonitor]:
        """Those at work or being read, and a few of the others in turn."""
        busy = [monitor for monitor in self.monitors if monitor.needsPolling]
        idle = [monitor for monitor in self.monitors if not monitor.needsPolling]
        if not idle:
            return busy
        self._turn %= len(idle)
        turn = idle[self._turn : self._turn + GLANCES]
        self._turn += len(turn)
        return [*busy, *turn]

    def _watch(self, monitor: JobMonitor, budgetSeconds: float) -> bool:
        wasActive, before = monitor.isActive, monitor.state
        changed = monitor.poll(budgetSeconds)
        # Somebody else's job may begin and end between two looks.
        if not monitor.isActive and (wasActive or monitor.state is not before):
            self._noteChain(monitor)
            self._cohort.refresh()
            self.finished.emit(monitor)
        return changed

    def _noteChain(self, monitor: JobMonitor) -> None:
        chain = JobChain(monitor.job)
        if monitor.state is JobState.FINISHED and chain.isOpen():
            self._chains[monitor.job.folder] = chain

    def _advanceChains(self, deadline: float) -> None:
        """Carry out what follows the jobs that have finished, in turn."""
        if not self._setup.isReady:
            return
        for folder in list(self._chains):
            chain = self._chains.pop(folder)
            if not self._advance(chain):
                self._chains[folder] = chain
            if time.perf_counter() > deadline:
                return

    def _advance(self, chain: JobChain) -> bool:
        started: list[JobMonitor] = []
        try:
            done = chain.advance(lambda job: started.append(self._run(job)))
        except SSLSegError as error:
            done = True
            monitor = self.monitorOf(chain.job)
            if monitor is not None:
                monitor.warnings.append(_("What follows could not be started. {reason}").format(reason=error))
        for following in started:
            self.followed.emit(following)
        return done

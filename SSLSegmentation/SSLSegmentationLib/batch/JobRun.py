"""A job of a cohort, run in the backend's process and watched to its end."""

from __future__ import annotations

from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.events import Event, EventReader, read_events
from sslseg.contract.exit_codes import FAULT, MENDABLE, STOPPED
from sslseg.contract.jobs import Job, JobState
from SSLSegmentationLib.batch.Interruption import Interruption
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic, Setup
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, Process, ProcessLauncher

QUIET_ARTIFACTS = frozenset({"prediction", "cases"})
"""Kinds of which a job writes one for each case."""


class JobRun:
    """Runs jobs one after the other.

    ```
    jobs = JobRun(setup, cohorts, interruption, terminal)
    state = jobs.run(job)
    jobs.tellEnd(job)
    code = jobs.exitCode(job, state)
    ```
    Ctrl-C lets a job save what it has and stop; it goes on with `run JOB`.

    Args:
        setup: of the backend.
        cohorts: the cohort of the jobs is opened in it.
        interruption: tells of Ctrl-C.
        terminal: is told how the job goes.
        launcher: starts processes.
    """

    def __init__(
        self,
        setup: Setup,
        cohorts: CohortLogic,
        interruption: Interruption,
        terminal: Terminal,
        launcher: Launcher | None = None,
    ) -> None:
        self._cohorts = cohorts
        self._interruption = interruption
        self._terminal = terminal
        self._jobs = JobLogic(
            setup, cohorts, launcher=_Remembering(launcher or ProcessLauncher(), interruption)
        )

    def run(self, job: Job) -> JobState:
        """Run a job that was made, or go on with one that was stopped; how it ended.

        Raises:
            SSLSegError: it is at work already, its cohort cannot be read, or it cannot be started.
            Interrupted: Ctrl-C came before it began.
        """
        self._interruption.check()
        if self._cohorts.folder != job.cohort_folder:
            self._cohorts.openCohort(job.cohort_folder)
        news = _News(job, self._terminal)
        monitor = self._jobs.resume(job)
        isAsked = False
        while monitor.isActive or monitor.isStopping:
            if self._interruption.isAsked and not isAsked:
                isAsked = True
                self._jobs.cancel(monitor)
            monitor.poll()
            news.tell()
            if monitor.isActive:
                self._terminal.progress(monitor.sentence)
            self._interruption.pause()
        news.tell()
        self._terminal.endProgress()
        return monitor.state

    def tellEnd(self, job: Job) -> None:
        """Print how a job that was run has ended."""
        monitor = self._jobs.monitorOf(job)
        assert monitor is not None
        if monitor.state in (JobState.FINISHED, JobState.CANCELLED):
            self._terminal.say(monitor.sentence)
        else:
            self._terminal.complain(monitor.sentence)
        if monitor.state is JobState.FAILED:
            self._terminal.say(_("The log is at {path}").format(path=job.log_path))
        elif monitor.state is not JobState.FINISHED:
            self._terminal.say(_("Go on with: run {folder}").format(folder=job.folder))

    @staticmethod
    def exitCode(job: Job, state: JobState) -> int:
        """0: done; 2: a person can mend it; 1: a fault of the program; 130: stopped by a person."""
        if state is JobState.FINISHED:
            left = (event.fields.get("failed") for event in _lastRun(job) if event.event == "warning")
            return MENDABLE if any(left) else 0
        if state is JobState.CANCELLED:
            return STOPPED
        failures = [event for event in _lastRun(job) if event.event == "failed"]
        return MENDABLE if failures and failures[-1].fields.get("kind") == "user" else FAULT


class _Remembering:
    """A launcher whose processes end with the second Ctrl-C."""

    def __init__(self, launcher: Launcher, interruption: Interruption) -> None:
        self._launcher = launcher
        self._interruption = interruption

    def launch(
        self, command: list[str], environment: dict[str, str], output: Path | None, detached: bool = False
    ) -> Process:
        process = self._launcher.launch(command, environment, output, detached)
        self._interruption.endsToo(process)
        return process


class _News:
    """Prints what a job tells beside how far it is."""

    def __init__(self, job: Job, terminal: Terminal) -> None:
        told = job.events_path.stat().st_size if job.events_path.exists() else 0
        self._reader = EventReader(job.events_path, told)
        self._job = job
        self._terminal = terminal

    def tell(self) -> None:
        for event in self._reader.read():
            line = self._lineOf(event)
            if line:
                self._terminal.say(line)

    def _lineOf(self, event: Event) -> str:
        fields = event.fields
        if event.event == "started":
            return _("{job} on {device}").format(job=self._job.folder.name, device=fields["device"])
        if event.event == "warning":
            return "  " + _("note: {message}").format(message=fields["message"])
        if event.event == "validation":
            measured = ((name, dice) for name, dice in fields["dice"].items() if dice is not None)
            organs = "  ".join(f"{name} {dice:.2f}" for name, dice in measured)
            return "  " + _("step {step}: Dice {organs}").format(step=fields["step"], organs=organs)
        if event.event == "artifact" and fields["kind"] not in QUIET_ARTIFACTS:
            return f"  {fields['kind']}: {fields['path']}"
        return ""


def _lastRun(job: Job) -> list[Event]:
    """What a job has told since it was last started."""
    events = read_events(job.events_path)
    began = max((index for index, event in enumerate(events) if event.event == "started"), default=0)
    return events[began:]

"""One job of the open cohort, watched from its files: what it is doing, how far it is, how it ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import ENDINGS, EventReader
from sslseg.contract.jobs import Job, JobState
from SSLSegmentationLib.logic.JobSentences import exitSentence, jobSentence
from SSLSegmentationLib.logic.JobStory import JobStory
from SSLSegmentationLib.logic.ProcessLauncher import Process
from SSLSegmentationLib.logic.StepSeries import StepSeries

LOOK_SECONDS = 2.0
"""Time between two looks whether a job that another process started is still running."""
GRACE_SECONDS = 60.0
"""How long a job may take to save what it has when it is asked to stop."""
LINGER_SECONDS = 15.0
"""How long a process may stay after it has said how it ended."""
TAIL_BYTES = 8192
SLICE_BYTES = 1 << 18


class JobMonitor:
    """Watches a job, whoever runs it: this Slicer, another one, or a terminal.

    ```
    waiting --> running --> finished | cancelled | failed
                   |  \\--> interrupted           (its process is gone and it did not say why)
                   \\-- isCancelling              (asked to stop, still running)
    ```
    The truth is in the job's files; only a process that this Slicer started is known any better. A job that has ended
    is read once, from its end; what it told before is read when somebody asks for it with `loadHistory`.

    Args:
        job: which.
        process: what runs it, if this Slicer started it.
        clock: seconds, for the grace period.
        graceSeconds: from the request to stop to the end of a process that this Slicer started.
    """

    def __init__(
        self,
        job: Job,
        process: Process | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        graceSeconds: float = GRACE_SECONDS,
    ) -> None:
        self.job = job
        self.state = JobState.WAITING
        self._clock = clock
        self._graceSeconds = graceSeconds
        self._process: Process | None = None
        self._story = JobStory()
        self._reader = self._readerAtTail()
        self._history: tuple[EventReader, JobStory] | None = None
        self._isComplete = self._reader.offset == 0
        self._isRunningElsewhere = False
        self._lookedAt = -LOOK_SECONDS
        self._cancelledAt: float | None = None
        self._wasKilled = False
        self._endedAt: float | None = None
        self._isLost = False
        self._explanation = ""
        if process is None:
            self._lookFirst()
        else:
            self.launched(process)

    @property
    def isActive(self) -> bool:
        """Whether a process is at work on the job, or about to be."""
        return self.state is JobState.RUNNING or (
            self.state is JobState.WAITING and self._process is not None
        )

    @property
    def isCancelling(self) -> bool:
        """Whether it has been asked to stop and has not stopped yet."""
        return self.isActive and self._cancelledAt is not None

    @property
    def canResume(self) -> bool:
        """Whether it can be run now: it has not begun, or it ended before it was done."""
        return not self.isActive and self.state is not JobState.FINISHED

    @property
    def isStopping(self) -> bool:
        """Whether a process that this Slicer started has said how it ended and is still there."""
        return self._process is not None and not self.isActive

    @property
    def needsPolling(self) -> bool:
        """Whether it should be polled every time: it is at work, or its story is being read."""
        return self.isActive or self.isStopping or self._history is not None

    @property
    def sentence(self) -> str:
        """What it is doing, or how it ended."""
        if self._isLost:
            return _(
                "The folder of the job is gone: {folder}. If the cohort was moved, open it at its new place."
            ).format(folder=self.job.folder)
        text = jobSentence(
            self.job,
            self.state,
            self._story,
            started=self._process is not None,
            cancelling=self.isCancelling,
        )
        return f"{self._explanation} {text}" if self._explanation else text

    @property
    def story(self) -> JobStory:
        """All it has told: steps, losses, Dice, artifacts."""
        return self._story

    @property
    def fraction(self) -> float | None:
        """How much is done, 0 to 1; None when nothing is known."""
        return 1.0 if self.state is JobState.FINISHED else self._story.fraction

    @property
    def secondsLeft(self) -> float | None:
        return self._story.secondsLeft if self.isActive else None

    @property
    def warnings(self) -> list[str]:
        return self._story.warnings

    @property
    def losses(self) -> StepSeries:
        """The curve of each loss; whole once `loadHistory` has been asked for and read."""
        return self._story.losses

    @property
    def validation(self) -> StepSeries:
        """The curve of the Dice of each organ; whole as `losses` is."""
        return self._story.validation

    def launched(self, process: Process) -> None:
        """A process has just been started for the job."""
        self._process = process
        self._story.marker = None
        self._story.message, self._explanation = "", ""
        self._cancelledAt = self._endedAt = None
        self._wasKilled = False
        self.state = JobState.WAITING
        self.loadHistory()

    def loadHistory(self) -> None:
        """Read what the job told before it was looked at, a slice at every `poll`."""
        if not self._isComplete and self._history is None:
            self._history = (EventReader(self.job.events_path), JobStory())

    def cancel(self) -> None:
        """Ask the job to save what it has and to stop; nothing happens when it is not running.

        Raises:
            SSLSegError: the request cannot be written, and the process is not ours to end.
        """
        if not self.isActive:
            return
        if self._cancelledAt is None:
            self._cancelledAt = self._clock()
        if self._process is not None and self._story.marker is None:
            # It has done nothing yet that would have to be saved.
            self._kill()
            return
        self._requestStop()

    def poll(self, budgetSeconds: float = 0.02) -> bool:
        """Look for news, for about `budgetSeconds` at most; whether there were any."""
        # Asked before the events are read: what a process wrote before it ended is then never missed.
        exitCode = None if self._process is None else self._process.poll()
        self._lookElsewhere()
        before = (self.state, self.isCancelling, self._isLost, self._story)
        heard = self._readNews() or self._readHistory(budgetSeconds)
        self._settle(exitCode)
        if self.isCancelling:
            self._endAfterGrace()
        return heard or before != (self.state, self.isCancelling, self._isLost, self._story)

    def _lookFirst(self) -> None:
        self._readNews()
        if self._story.marker is None and not self._isComplete:
            # It began further back than was read.
            self._story.marker = "started"
        self._lookElsewhere()
        self._settle(None)
        if self.isActive:
            self.loadHistory()

    def _readerAtTail(self) -> EventReader:
        return EventReader(self.job.events_path, max(0, self._size() - TAIL_BYTES))

    def _size(self) -> int:
        try:
            return self.job.events_path.stat().st_size
        except OSError:
            return 0

    def _readNews(self) -> bool:
        if self._size() <= self._reader.offset:
            return False
        heard = False
        for event in self._reader.read(SLICE_BYTES):
            self._story.add(event)
            heard = True
            if event.event == "started":
                # It was started anew, so it does not know of a request to stop that was made before.
                self._cancelledAt = None
        if heard and self._story.marker == "started" and not self._isComplete:
            self.loadHistory()
        return heard

    def _readHistory(self, budgetSeconds: float) -> bool:
        """Read on from the beginning; once all is read that is known, it takes the place of the short story."""
        if self._history is None:
            return False
        reader, story = self._history
        deadline = time.perf_counter() + budgetSeconds
        while reader.offset < self._reader.offset:
            position = reader.offset
            for event in reader.read(min(SLICE_BYTES, self._reader.offset - position)):
                story.add(event)
            if reader.offset == position or time.perf_counter() > deadline:
                return False
        story.marker = self._story.marker
        self._story, self._history, self._isComplete = story, None, True
        return True

    def _lookElsewhere(self) -> None:
        """Whether somebody else runs it; asked seldom, because it touches the job's lock."""
        if self._process is None and self._story.marker != "started":
            self._isRunningElsewhere = False
            return
        now = self._clock()
        if now - self._lookedAt < LOOK_SECONDS:
            return
        self._lookedAt = now
        self._isLost = not self.job.folder.is_dir()
        if self._process is None:
            self._isRunningElsewhere = self.job.is_running
            if self._isRunningElsewhere and self.job.cancel_requested and self._cancelledAt is None:
                self._cancelledAt = now

    def _settle(self, exitCode: int | None) -> None:
        marker = self._story.marker
        if self._process is not None and exitCode is not None:
            self._processEnded(exitCode)
        elif marker in ENDINGS:
            self.state = JobState(marker)
            self._endLingering()
        elif self._process is not None:
            self.state = JobState.WAITING if marker is None else JobState.RUNNING
        elif marker is None:
            self.state = JobState.WAITING
        else:
            self.state = JobState.RUNNING if self._isRunningElsewhere else JobState.INTERRUPTED
        if not self.isActive:
            self._cancelledAt = None

    def _processEnded(self, exitCode: int) -> None:
        process, marker = self._process, self._story.marker
        assert process is not None
        self._process = None
        if marker in ENDINGS:
            self.state = JobState(marker)
        elif self.job.is_running:
            # Ours was refused because another one was faster; that one is watched from now on.
            self._isRunningElsewhere, self._lookedAt = True, self._clock()
            self._story.marker = "started"
            self.state = JobState.RUNNING
        elif self._wasKilled:
            self._say("cancelled", step=self._story.step)
            self.state = JobState.CANCELLED
        elif marker == "started":
            self._explanation = exitSentence(exitCode, process.output())
            self.state = JobState.INTERRUPTED
        else:
            self._story.message = _("{reason} It could not begin.").format(
                reason=exitSentence(exitCode, process.output())
            )
            self._say("failed", message=self._story.message, kind="program")
            self.state = JobState.FAILED

    def _endLingering(self) -> None:
        if self._process is None:
            return
        now = self._clock()
        if self._endedAt is None:
            self._endedAt = now
        elif now - self._endedAt > LINGER_SECONDS:
            self._process.kill()

    def _endAfterGrace(self) -> None:
        assert self._cancelledAt is not None
        if self._process is not None and self._clock() - self._cancelledAt > self._graceSeconds:
            self._kill()

    def _requestStop(self) -> None:
        try:
            self.job.request_cancel()
        except OSError as error:
            if self._process is not None:
                self._kill()
                return
            raise SSLSegError(
                f"The job cannot be asked to stop ({error.strerror or error})",
                file=self.job.folder,
                remedy="Check that the folder is writable and the disk has free space.",
            ) from error

    def _kill(self) -> None:
        if self._process is not None:
            self._wasKilled = True
            self._process.kill()

    def _say(self, event: str, **fields: Any) -> None:
        """Write the ending that the process could not write any more, so that all who watch agree."""
        self._story.marker = event
        with contextlib.suppress(OSError):
            if self.job.folder.is_dir():
                self.job.events.write(event, **fields)

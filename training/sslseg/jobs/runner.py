"""Runs a job folder to its end: `sslseg run JOB`, also what `sslseg train` and `sslseg predict` do."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink, failure_message, read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import (
    ExportSettings,
    ImportSettings,
    ModelExportSettings,
    PredictSettings,
    RankSettings,
    TrainSettings,
)

PARENT_CHECK_SECONDS = 1.0
STOP_FILE_CHECK_SECONDS = 0.25


class Tee:
    """Hands every event to several sinks: the job's file, and whoever watches in this process."""

    def __init__(self, *sinks: EventSink) -> None:
        self.sinks = sinks

    def write(self, event: str, **fields: Any) -> None:
        for sink in self.sinks:
            sink.write(event, **fields)


class CancelRequest:
    """True once somebody wants the job to stop: the stop file, a signal, or the death of the parent.

    Cheap enough to be asked at every training step: the file is looked for a few times a second.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._asked = threading.Event()
        self._next_look = 0.0

    def ask(self) -> None:
        self._asked.set()

    def __call__(self) -> bool:
        now = time.monotonic()
        if not self._asked.is_set() and now >= self._next_look:
            self._next_look = now + STOP_FILE_CHECK_SECONDS
            if self._job.cancel_requested:
                self._asked.set()
        return self._asked.is_set()


def run_job(job: Job, *, watcher: EventSink | None = None, parent: int | None = None) -> JobState:
    """Run a job until it finishes, fails or is cancelled; a training goes on from its last checkpoint.

    Args:
        job: the job folder.
        watcher: gets every event as well, as it happens.
        parent: process id; when that process is no longer this one's parent, the job cancels itself.

    Returns:
        How it ended: finished, cancelled or failed.

    Raises:
        SSLSegError: the job is running already.
    """
    with job.running():
        events: EventSink = job.events if watcher is None else Tee(job.events, watcher)
        cancel = CancelRequest(job)
        with _log_to(job), _signals(cancel), _parent_watched(parent, cancel):
            return _run(job, events, cancel)


def _run(job: Job, events: EventSink, cancel: CancelRequest) -> JobState:
    log = logging.getLogger("sslseg")
    try:
        # Others go around what is missing; a training or a prediction of half a cohort is no use.
        whole = isinstance(job.settings, TrainSettings | PredictSettings)
        cohort = Cohort.read(job.cohort_folder, check_files=whole)
        completed = _dispatch(job, cohort, events, cancel)
    except Exception as error:
        # The sentence goes to the clinician, the traceback to whoever mends the program.
        log.error("%s", traceback.format_exc())
        events.write("failed", message=failure_message(error), kind=_kind(error))
        return JobState.FAILED
    if not completed:
        return JobState.CANCELLED
    events.write("finished")
    return JobState.FINISHED


def _dispatch(job: Job, cohort: Cohort, events: EventSink, cancel: Callable[[], bool]) -> bool:
    """Do the work; False if it was cancelled before it was complete."""
    settings = job.settings
    if isinstance(settings, TrainSettings):
        from sslseg.train.training import train

        record = train(cohort, settings, events, checkpoint_path=job.checkpoint_path, cancel=cancel)
        return record is not None
    if isinstance(settings, ImportSettings):
        from sslseg.data.import_job import import_into_cohort

        completed = import_into_cohort(cohort, settings, events, cancel, job.folder)
        if completed:
            # The names of files may be those of patients, and are of no use any more.
            job.replace_settings(replace(settings, paths=[], series=[], labels=None))
        return completed
    if isinstance(settings, ExportSettings):
        from sslseg.export.cohort_export import export_cohort

        own = {
            str(event.fields["path"]) for event in read_events(job.events_path) if event.event == "artifact"
        }
        return not export_cohort(cohort, settings, events, cancel, own=frozenset(own)).cancelled
    if isinstance(settings, ModelExportSettings):
        from sslseg.export.model_export import export_model

        events.write("started", command="export-model", device="cpu", step=0)
        bundle = export_model(cohort.model_folder(settings.model), cohort.folder / settings.output)
        events.write("artifact", path=str(bundle), kind="model")
        return True
    from sslseg.predict.cohort_prediction import predict_cohort
    from sslseg.rank.cohort_ranking import rank_cohort, refresh_ranking

    if isinstance(settings, RankSettings):
        return rank_cohort(cohort, settings, events, cancel)
    summary = predict_cohort(cohort, settings, events, cancel)
    refresh_ranking(cohort, settings.model, events)
    return not summary.cancelled


def _kind(error: BaseException) -> str:
    """Whether the user can mend it (exit code 2) or the program is at fault (exit code 1)."""
    return "user" if isinstance(error, SSLSegError) else "program"


@contextlib.contextmanager
def _log_to(job: Job) -> Iterator[None]:
    """Everything that is logged or warned about goes into the job's log as well."""
    handler = logging.FileHandler(job.log_path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    own = logging.getLogger("sslseg")
    root.addHandler(handler)
    level = own.level
    own.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        own.setLevel(level)
        handler.close()


@contextlib.contextmanager
def _signals(cancel: CancelRequest) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks for a clean stop, the second ends the program at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        cancel.ask()
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _parent_watched(parent: int | None, cancel: CancelRequest) -> Iterator[None]:
    if parent is None:
        yield
        return
    done = threading.Event()

    def watch() -> None:
        # An orphan is handed to another process, so the parent's id changes when the parent dies.
        while not done.wait(PARENT_CHECK_SECONDS):
            if os.getppid() != parent:
                cancel.ask()
                return

    thread = threading.Thread(target=watch, name="parent watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

"""Job folders: `job.json` in; `events.jsonl`, `log.txt`, `checkpoints/` and results out."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import ENDINGS, EventWriter, read_events
from sslseg.contract.files import locked, read_json, write_json
from sslseg.contract.settings import PredictSettings, TrainSettings
from sslseg.contract.strict import from_json, to_json

SCHEMA = "sslseg.job"
VERSION = 1


class JobState(enum.Enum):
    """Where a job stands; derived from its events and its lock, never stored."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True)
class JobDescription:
    """job.json: what to do, and on which cohort (a path relative to the job folder, or absolute)."""

    schema: str
    version: int
    command: Literal["train", "predict"]
    cohort: str
    settings: dict[str, Any]
    created: float


class Job:
    """A job folder.

    ```
    job = Job.create(cohort.folder, TrainSettings(method="mean_teacher", model="first"))
    # `sslseg run <job.folder>` does the work, here or on another machine
    job.state(), list(EventReader(job.events_path).read()), job.request_cancel()
    ```
    """

    def __init__(
        self, folder: Path, description: JobDescription, settings: TrainSettings | PredictSettings
    ) -> None:
        self.folder = folder
        self.description = description
        self.settings = settings

    @classmethod
    def create(cls, cohort_folder: str | Path, settings: TrainSettings | PredictSettings) -> Job:
        """Make a job folder in the cohort; the job does not start by itself."""
        jobs = Path(cohort_folder) / "jobs"
        command: Literal["train", "predict"] = "train" if isinstance(settings, TrainSettings) else "predict"
        with locked(jobs / ".jobs.lock"):
            taken = [
                int(p.name.rpartition("-")[2])
                for p in jobs.glob("*-[0-9]*")
                if p.name.rpartition("-")[2].isdigit()
            ]
            folder = jobs / f"{command}-{max(taken, default=0) + 1:04d}"
            description = JobDescription(
                SCHEMA, VERSION, command, "../..", to_json(settings), round(time.time(), 3)
            )
            write_json(folder / "job.json", to_json(description))
        return cls(folder, description, settings)

    @classmethod
    def open(cls, folder: str | Path) -> Job:
        """Read a job folder strictly.

        Raises:
            SSLSegError: there is no job, or it is of an unknown version, or a setting does not fit.
        """
        folder = Path(folder)
        path = folder / "job.json"
        data = read_json(path, remedy="Give the folder of a job, such as COHORT/jobs/train-0001.")
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SSLSegError("The file is not a job", file=path)
        if data.get("version") != VERSION:
            raise SSLSegError(
                f"The job has version {data.get('version')!r}, and this program reads version {VERSION}",
                file=path,
                remedy="Update the program.",
            )
        description = from_json(JobDescription, data, file=path)
        kind: type[Any] = TrainSettings if description.command == "train" else PredictSettings
        settings: TrainSettings | PredictSettings = from_json(
            kind, description.settings, file=path, where="settings"
        )
        return cls(folder, description, settings)

    @classmethod
    def all(cls, cohort_folder: str | Path) -> list[Job]:
        """The jobs of a cohort, oldest first."""
        folders = sorted((Path(cohort_folder) / "jobs").glob("*/job.json"))
        return sorted((cls.open(path.parent) for path in folders), key=lambda job: job.description.created)

    @property
    def cohort_folder(self) -> Path:
        return (self.folder / self.description.cohort).resolve()

    @property
    def events_path(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.folder / "log.txt"

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def events(self) -> EventWriter:
        return EventWriter(self.events_path)

    def request_cancel(self) -> None:
        """Ask the job to save a checkpoint and stop."""
        (self.folder / "stop").touch()

    @property
    def cancel_requested(self) -> bool:
        return (self.folder / "stop").exists()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Mark the job as running while the block runs; the mark goes away even when the process is killed.

        Raises:
            SSLSegError: the job is running already.
        """
        try:
            with locked(self.folder / ".running.lock", timeout=0.0):
                (self.folder / "stop").unlink(missing_ok=True)
                yield
        except SSLSegError as error:
            if error.file == self.folder / ".running.lock":
                raise SSLSegError("The job is running already", file=self.folder) from error
            raise

    def state(self) -> JobState:
        """Where the job stands."""
        if self._is_locked():
            return JobState.RUNNING
        events = read_events(self.events_path)
        last = next((e.event for e in reversed(events) if e.event in ENDINGS or e.event == "started"), None)
        if last is None:
            return JobState.WAITING
        return JobState.INTERRUPTED if last == "started" else JobState(last)

    def _is_locked(self) -> bool:
        if not (self.folder / ".running.lock").exists():
            return False
        try:
            with locked(self.folder / ".running.lock", timeout=0.0):
                return False
        except SSLSegError:
            return True

"""Job folders: `job.json` in; `events.jsonl`, `log.txt`, `checkpoints/` and results out."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import ENDINGS, EventWriter, read_events
from sslseg.contract.files import is_locked, locked, read_json, write_json
from sslseg.contract.settings import (
    ExportSettings,
    ImportSettings,
    ModelExportSettings,
    PredictSettings,
    RankSettings,
    TrainSettings,
)
from sslseg.contract.strict import from_json, to_json

SCHEMA = "sslseg.job"
VERSION = 1
LOOK_SECONDS = 0.5
"""How long a starting job waits for somebody who only looks whether it runs."""

JobSettings = (
    TrainSettings | PredictSettings | RankSettings | ExportSettings | ModelExportSettings | ImportSettings
)
KINDS: dict[str, type[JobSettings]] = {
    "train": TrainSettings,
    "predict": PredictSettings,
    "rank": RankSettings,
    "export": ExportSettings,
    "export-model": ModelExportSettings,
    "import": ImportSettings,
}
"""What a job can do, by the command in its job.json and in the name of its folder."""


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
    command: str
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

    def __init__(self, folder: Path, description: JobDescription, settings: JobSettings) -> None:
        self.folder = folder
        self.description = description
        self.settings = settings

    @classmethod
    def create(cls, cohort_folder: str | Path, settings: JobSettings) -> Job:
        """Make a job folder in the cohort; the job does not start by itself."""
        jobs = Path(cohort_folder) / "jobs"
        command = next(name for name, kind in KINDS.items() if isinstance(settings, kind))
        with locked(jobs / ".jobs.lock"):
            taken = (_number(path) or 0 for path in jobs.glob("*-[0-9]*"))
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
        if description.command not in KINDS:
            raise SSLSegError(
                f"command must be one of {', '.join(KINDS)}, not {description.command!r}",
                file=path,
                remedy="Update the program.",
            )
        settings = from_json(KINDS[description.command], description.settings, file=path, where="settings")
        return cls(folder, description, settings)

    @classmethod
    def all(cls, cohort_folder: str | Path) -> list[Job]:
        """The jobs of a cohort, oldest first: in the order of their numbers, which no clock can upset."""
        folders = (path.parent for path in (Path(cohort_folder) / "jobs").glob("*-[0-9]*/job.json"))
        return [cls.open(folder) for folder in sorted(folders, key=lambda f: (_number(f) or 0, f.name))]

    def replace_settings(self, settings: JobSettings) -> None:
        """Write other settings into job.json, such as those of a finished import without its files' names."""
        self.description = replace(self.description, settings=to_json(settings))
        self.settings = settings
        write_json(self.folder / "job.json", to_json(self.description))

    @property
    def cohort_folder(self) -> Path:
        return (self.folder / self.description.cohort).resolve()

    @property
    def number(self) -> int:
        """Its place among the jobs of the cohort; a later job has a larger one."""
        return _number(self.folder) or 0

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
            # Whoever looks at the job holds the lock for a moment; only a job that runs holds it longer.
            with locked(self.folder / ".running.lock", timeout=LOOK_SECONDS):
                (self.folder / "stop").unlink(missing_ok=True)
                yield
        except SSLSegError as error:
            if error.file == self.folder / ".running.lock":
                raise SSLSegError("The job is running already", file=self.folder) from error
            raise

    def state(self) -> JobState:
        """Where the job stands."""
        if self.is_running:
            return JobState.RUNNING
        events = read_events(self.events_path)
        last = next((e.event for e in reversed(events) if e.event in ENDINGS or e.event == "started"), None)
        if last is None:
            return JobState.WAITING
        return JobState.INTERRUPTED if last == "started" else JobState(last)

    @property
    def is_running(self) -> bool:
        """Whether a process is at work on the job, this one or any other."""
        return is_locked(self.folder / ".running.lock")


def _number(folder: Path) -> int | None:
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else None

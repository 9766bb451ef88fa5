"""What the jobs of the module need around them, without the backend: a cohort, a setup, processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from SSLSegmentationLib.logic.Paths import backendFolder
from SSLSegmentationLib.logic.Signal import Signal

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.contract.labels import parse_labels

ORGANS = "liver=1,pancreas=3"


class ACohort:
    """CohortLogic, with a folder and nothing else."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.changed = Signal()
        self.refreshed = 0

    @property
    def cohort(self) -> Cohort | None:
        return None if self.folder is None else Cohort.read(self.folder, check_files=False)

    def refresh(self) -> bool:
        self.refreshed += 1
        return False

    def open(self, folder: Path | None) -> None:
        self.folder = folder
        self.changed.emit()


class ASetup:
    """SetupLogic of a backend that is ready; `script` is run instead of it when it is given."""

    def __init__(self, script: str = "") -> None:
        self.isReady = True
        self.changed = Signal()
        self.script = script

    def commandLine(self, *arguments: str) -> list[str]:
        program = ["-c", self.script] if self.script else ["-m", "sslseg.cli.app"]
        return [sys.executable, *program, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(backendFolder())}


class AProcess:
    """A process whose end the test decides on."""

    def __init__(self) -> None:
        self.pid = 4711
        self.exitCode: int | None = None
        self.printed = ""
        self.killed = False

    def poll(self) -> int | None:
        return self.exitCode

    def kill(self) -> None:
        self.killed, self.exitCode = True, -9

    def output(self) -> str:
        return self.printed


class ALauncher:
    """Starts nothing and remembers what it was asked to start."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.processes: list[AProcess] = []
        self.outputs: list[Path | None] = []
        self.detached: list[bool] = []
        self.failure: SSLSegError | None = None

    def launch(
        self, command: list[str], environment: dict[str, str], output: Path | None, detached: bool = False
    ) -> AProcess:
        if self.failure is not None:
            raise self.failure
        self.commands.append(command)
        self.outputs.append(output)
        self.detached.append(detached)
        self.processes.append(AProcess())
        return self.processes[-1]

    def launched(self) -> list[str]:
        """Names of the job folders, in the order of their launches."""
        return [Path(command[-1]).name for command in self.commands]


class AClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_cohort(folder: Path) -> Path:
    Cohort.create(folder, name="cubes", modality="CT", labels=parse_labels(ORGANS))
    return folder


def add_model(folder: Path, name: str) -> None:
    """What makes a model of the cohort to whoever only looks at the files."""
    (folder / "models" / name).mkdir(parents=True)
    (folder / "models" / name / "sslseg.json").write_text("{}")


def tell_training(
    job: Job, steps: range, of: int = 1000, *, start: bool = True, validate_every: int = 0
) -> None:
    """Write the events of a training."""
    if start:
        job.events.write("started", command="train", device="cpu (2 threads)")
    for step in steps:
        losses = {"total": 2.0 / step, "supervised": 1.0 / step}
        job.events.write("progress", step=step, steps=of, seconds_left=float(of - step), losses=losses)
        if validate_every and step % validate_every == 0:
            dice = {"liver": round(step / of, 3), "pancreas": None}
            job.events.write("validation", step=step, dice=dice, cases=1, message="Dice on one case.")


def wait_for(condition: Callable[[], bool], poll: Callable[[], None], seconds: float = 60.0) -> bool:
    """Poll until the condition holds; whether it did in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        poll()
        if condition():
            return True
        time.sleep(0.02)
    return False

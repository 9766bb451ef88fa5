"""The cohort that is pictured, as it is before, during and after a training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.files import write_text
from sslseg.contract.jobs import Job
from sslseg.contract.quality import read_ranking

PHANTOMS, ANNOTATED, STEPS = 8, 3, 120
SHARE_DONE = 0.7
"""How far the training is that is pictured while it runs."""
NOT_COPIED = shutil.ignore_patterns("cache", "checkpoints", "drafts", "export", ".*lock")


def finished_cohort(source: Path | None, folder: Path) -> Path:
    """A cohort with a model, its predictions of the cases without annotation, and their ranking.

    Args:
        source: a cohort that has at least a model; it stays as it is. None makes phantoms, and trains on them.
        folder: that is made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if source is None:
        _sslseg("phantoms", folder, "--cases", PHANTOMS, "--annotated", ANNOTATED)
        _sslseg("train", folder, "--method", "mean_teacher", "--preset", "quick", "--steps", STEPS)
    else:
        shutil.copytree(source, folder, ignore=NOT_COPIED)
    cohort = Cohort.read(folder)
    model = cohort.models()[-1]
    unlabelled = [case for case in cohort.cases if case.use is Use.TRAIN and not case.is_annotated]
    if not all(cohort.prediction_path(model, case.id).exists() for case in unlabelled):
        _sslseg("predict", folder, "--model", model, "--cases", "unlabelled", "--skip-existing")
    if read_ranking(cohort, model) is None:
        _sslseg("rank", folder, "--model", model)
    return folder


def untrained_cohort(finished: Path, folder: Path) -> Path:
    """The cohort as it was before anything was trained."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished, folder, ignore=NOT_COPIED)
    for name in ("models", "predictions", "jobs", "results"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return folder


@contextmanager
def training_cohort(finished: Path, folder: Path) -> Iterator[Path]:
    """The cohort while its last training runs: what this has told so far, and the lock that a running job holds."""
    training = [job for job in Job.all(finished) if job.description.command == "train"][-1]
    untrained_cohort(finished, folder)
    copy = folder / "jobs" / training.folder.name
    shutil.copytree(training.folder, copy, ignore=NOT_COPIED)
    write_text(copy / "events.jsonl", beginning(training.events_path.read_text(encoding="utf-8"), SHARE_DONE))
    with Job.open(copy).running():
        yield folder


def beginning(events: str, share: float) -> str:
    """The lines that a training had written when this share of its steps was done."""
    lines = events.splitlines()
    records = [json.loads(line) for line in lines]
    steps = [record.get("step", 0) if record["event"] == "progress" else 0 for record in records]
    shown = [
        number
        for number, record in enumerate(records)
        if record["event"] == "progress" and steps[number] <= share * max(steps)
    ]
    return "\n".join(lines[: shown[-1] + 1]) + "\n"


def _sslseg(*arguments: object) -> None:
    command = [sys.executable, "-m", "sslseg.cli.app", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, "NO_COLOR": "1"})

"""One model of an experiment: train, predict the cases kept apart, evaluate; what is done is not done again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslseg.bundle.model_folder import read_record
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings, TrainSettings
from sslseg.evaluate.evaluation import evaluate_pairs, kept_apart
from sslseg.evaluate.table import Evaluation
from sslseg.jobs.finishing import RunJob, finish_job


@dataclass(frozen=True)
class Result:
    """What an experiment found out about one model.

    Attributes:
        settings: how it was trained.
        record: the record of the run: seconds, steps, memory, validation curve.
        losses: total loss by step.
        evaluation: scores of the test cases.
    """

    settings: TrainSettings
    record: dict[str, Any]
    losses: list[tuple[int, float]]
    evaluation: Evaluation

    @property
    def validation(self) -> list[tuple[int, dict[str, float]]]:
        """Dice per organ on the validation cases, by step."""
        return [(entry["step"], entry["dice"]) for entry in self.record.get("validation", [])]


def run_experiment(
    cohort_folder: Path,
    settings: TrainSettings,
    run: RunJob,
    *,
    device: str = "auto",
    use: Use = Use.TEST,
    mirror: bool = False,
) -> Result:
    """Train, predict and evaluate one model; go on where an earlier call was interrupted.

    Args:
        cohort_folder: the cohort; its test cases carry labels.
        settings: how to train; the same settings with the same model name are not trained twice.
        run: runs a job to its end.
        device: where to predict.
        use: which cases to score.
        mirror: whether the prediction looks at mirrored windows as well.

    Raises:
        SSLSegError: a job failed or was cancelled, or the model was trained with other settings before.
    """
    cohort = Cohort.read(cohort_folder)
    job = _job_of(cohort, settings)
    if not (cohort.model_folder(settings.model) / "sslseg.json").exists():
        finish_job(job, run)
    pairs = kept_apart(cohort, settings.model, use)
    scores = cohort.folder / "results" / f"{settings.model}-{use.value}.json"
    if not scores.exists():
        cases = [pair.case for pair in pairs]
        finish_job(
            Job.create(
                cohort.folder,
                PredictSettings(
                    settings.model, cases=cases, device=device, skip_existing=True, mirror=mirror
                ),
            ),
            run,
        )
        known = {case.id: case.annotated for case in cohort.cases}
        organs = {label.name: label.value for label in cohort.labels}
        evaluate_pairs(pairs, organs, known=known).write_json(scores)
    progress = [event.fields for event in read_events(job.events_path) if event.event == "progress"]
    return Result(
        settings=settings,
        record=read_record(cohort.model_folder(settings.model)),
        losses=[(entry["step"], entry["losses"]["total"]) for entry in progress if entry.get("losses")],
        evaluation=Evaluation.read_json(scores),
    )


def run_apart(job: Job) -> JobState:
    """Run a job in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "sslseg.cli.app", "run", str(job.folder)]
    subprocess.run(command, check=False)
    return job.state()


def _job_of(cohort: Cohort, settings: TrainSettings) -> Job:
    for job in reversed(Job.all(cohort.folder)):
        if isinstance(job.settings, TrainSettings) and job.settings.model == settings.model:
            if job.settings != settings:
                raise SSLSegError(
                    f"The model '{settings.model}' was trained with other settings before",
                    file=job.folder / "job.json",
                    remedy="Use another output folder.",
                )
            return job
    return Job.create(cohort.folder, settings)

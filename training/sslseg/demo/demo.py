"""The main job on phantoms: make a cohort, annotate three, train, segment the rest, evaluate, report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslseg.bench.experiment import Result, run_experiment
from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.settings import TrainSettings
from sslseg.data.importing import init_from_dataset
from sslseg.evaluate import table
from sslseg.jobs.finishing import RunJob
from sslseg.methods import METHODS
from sslseg.phantoms.phantom import write_phantom_dataset
from sslseg.report.case_reading import read_report_case
from sslseg.report.content import MethodResult, ReportCase, ReportInput, Statistic
from sslseg.report.html import write_report

TRAINING_CASES = 14
VALIDATION_CASES = 2
TEST_CASES = 4
ANNOTATED = 3
STEPS = 400
BASELINE, SEMI_SUPERVISED = "supervised", "mean_teacher"
METRICS = {"dice": "dice", "hd95": "hd95_mm", "assd": "assd_mm", "surface_dice": "surface_dice"}


def run_demo(output: Path, *, device: str, seed: int, run: RunJob) -> Path:
    """Do the whole demo in `output` and return the path of the report; what is done already is not done again.

    Raises:
        SSLSegError: the folder cannot be written to, or a job failed or was stopped.
    """
    dataset, folder = output / "phantoms", output / "cohort"
    if not (dataset / "dataset.json").exists():
        write_phantom_dataset(dataset, cases=TRAINING_CASES + TEST_CASES, test=TEST_CASES, seed=seed)
    if not (folder / "cohort.json").exists():
        init_from_dataset(folder, dataset, labelled=ANNOTATED, validation=VALIDATION_CASES)
    results = [
        run_experiment(
            folder,
            TrainSettings(method=method, model=method, preset="quick", steps=STEPS, device=device, seed=seed),
            run,
            device=device,
        )
        for method in (BASELINE, SEMI_SUPERVISED)
    ]
    report = output / "report.html"
    write_report(_report(Cohort.read(folder), results), report)
    return report


def _report(cohort: Cohort, results: list[Result]) -> ReportInput:
    shown = results[-1]
    cases = [case for case in cohort.cases if case.use is Use.TEST]
    pictures = [_picture(cohort, shown, case) for case in cases]
    pictures.sort(key=lambda picture: -_doubt(picture))
    return ReportInput(
        title="Segmenting torso phantoms from three annotated scans",
        subtitle="Synthetic CT-like volumes, made on this computer. No patient was involved.",
        labels=list(cohort.labels),
        facts={
            "Volumes": len(cohort.cases),
            "Annotated": ANNOTATED,
            "Unlabelled": TRAINING_CASES - VALIDATION_CASES - ANNOTATED,
            "Measured on while training": VALIDATION_CASES,
            "Kept apart for testing": TEST_CASES,
            "Organs": len(cohort.labels),
        },
        methods=[_method(result) for result in results],
        cases=pictures,
        cases_method=shown.settings.method.replace("_", " "),
        order="least certain first",
        warnings=[
            f"Every figure is a mean over {TEST_CASES} phantoms and one training run: a rough guide.",
            "Phantoms are simpler than patients; do not carry these figures over to scans.",
        ],
    )


def _method(result: Result) -> MethodResult:
    organs = result.evaluation.summary().organs
    record = result.record
    return MethodResult(
        name=result.settings.method.replace("_", " ").capitalize(),
        description=METHODS[result.settings.method].summary,
        settings={
            "steps": record["steps"],
            "labelled scans": record["labelled"],
            "unlabelled scans": record["unlabelled"],
            "seed": result.settings.seed,
            "device": record["device"],
        },
        seconds=record["seconds"],
        loss=[(float(step), loss) for step, loss in result.losses],
        val_dice=_validation_curves(result),
        summary={
            organ: {name: _statistic(group.scores[metric]) for name, metric in METRICS.items()}
            for organ, group in organs.items()
        },
    )


def _validation_curves(result: Result) -> dict[str, list[tuple[float, float]]]:
    curves: dict[str, list[tuple[float, float]]] = {}
    for step, dice in result.validation:
        for organ, value in dice.items():
            curves.setdefault(organ, []).append((float(step), np.nan if value is None else value))
    return curves


def _statistic(statistic: table.Statistic) -> Statistic:
    nan = float("nan")
    mean = nan if statistic.mean is None else statistic.mean
    return Statistic(mean, nan if statistic.std is None else statistic.std, statistic.count)


def _picture(cohort: Cohort, result: Result, case: Case) -> ReportCase:
    scores = {row.organ: row.dice for row in result.evaluation.rows if row.case == case.id}
    return read_report_case(cohort, result.settings.model, case, scores=scores)


def _doubt(picture: ReportCase) -> float:
    """Mean uncertainty where the prediction says organ: the review order of the report."""
    if picture.uncertainty is None or not (picture.prediction > 0).any():
        return 1.0
    return float(picture.uncertainty[picture.prediction > 0].mean())

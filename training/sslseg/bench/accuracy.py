"""What a method gains: every method on the same few labels, network, patch and steps, scored on the test list."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sslseg.bench.experiment import Result, run_experiment
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.events import EventSink
from sslseg.contract.files import write_json, write_text
from sslseg.contract.settings import Preset, TrainSettings
from sslseg.evaluate.table import Summary
from sslseg.jobs.finishing import RunJob
from sslseg.report.figures import save_dice_vs_steps_plot


@dataclasses.dataclass(frozen=True)
class AccuracySettings:
    """A benchmark of methods on one data set.

    Attributes:
        dataset: folder with a dataset.json.
        labelled: the first so many training cases keep their labels.
        validation: the last so many training cases are kept apart to measure on while training; for curves.
        methods: names of the methods, the baseline first.
        seeds: each method is trained once with each.
        steps: optimiser steps of every run.
        preset: where the other settings come from, the same for every method.
        network: name of the network; None takes the preset's.
        device: where to train and predict.
        score: the cases the table is made from; validation while settings are still being chosen.
        method_settings: settings of methods by method name.
        overrides: further fields of `TrainSettings`, the same for every method.
    """

    dataset: Path
    labelled: int
    validation: int
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None
    preset: Preset = "standard"
    network: str | None = None
    device: str = "auto"
    score: Use = Use.TEST
    method_settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)


def bench_accuracy(
    settings: AccuracySettings, output: Path, run: RunJob, announce: EventSink
) -> list[Result]:
    """Train, predict and score every method with every seed; write `table.md`, `table.json` and `dice.png`.

    What was done by an earlier call is taken from the folder, so that the command can be repeated after a stop; the
    table and the plot are written anew after every run.

    Raises:
        SSLSegError: the data set cannot be read, or a job failed or was stopped.
    """
    folder = output / "cohort"
    if not (folder / "cohort.json").exists():
        from sslseg.data.importing import init_from_dataset

        init_from_dataset(
            folder, settings.dataset, labelled=settings.labelled, validation=settings.validation
        )
    Cohort.read(folder)
    results: list[Result] = []
    for seed in settings.seeds:
        for method in settings.methods:
            run_settings = TrainSettings(
                method=method,
                model=f"{method}-seed{seed}",
                preset=settings.preset,
                steps=settings.steps,
                network=settings.network,
                device=settings.device,
                seed=seed,
                method_settings=settings.method_settings.get(method, {}),
                **settings.overrides,
            )
            results.append(
                run_experiment(folder, run_settings, run, device=settings.device, use=settings.score)
            )
            _write(settings, output, results)
            announce.write("artifact", path=str(output / "table.md"), kind="table")
    return results


def _write(settings: AccuracySettings, output: Path, results: Sequence[Result]) -> None:
    write_text(output / "table.md", accuracy_table(settings, results))
    write_json(output / "table.json", [_row(result) for result in results])
    curves: dict[str, list[list[tuple[float, float]]]] = {}
    for result in results:
        points = [(float(step), _mean(dice.values())) for step, dice in result.validation]
        if points:
            curves.setdefault(result.settings.method, []).append(points)
    if curves:
        save_dice_vs_steps_plot(curves, output / "dice.png")


def accuracy_table(settings: AccuracySettings, results: Sequence[Result]) -> str:
    """A Markdown table with a line per method: means over seeds of the mean over cases, and the spread."""
    organs = list(results[0].evaluation.summary().organs)
    cases = results[0].evaluation.summary().overall.scores["dice"].count
    header = ["method", "Dice", "95HD mm", *organs, "s / step", "peak MiB", "seeds"]
    lines = [
        f"{settings.dataset.name}: {settings.labelled} labelled, {cases} {settings.score.value} cases, "
        f"{results[0].record['steps']} steps. Mean over cases ± standard deviation (between seeds where there are "
        "several, else between cases); a missed organ counts as Dice 0 and the volume's diagonal.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
    ]
    for method in settings.methods:
        runs = [result for result in results if result.settings.method == method]
        if runs:
            lines.append("| " + " | ".join(_cells(method, runs, organs)) + " |")
    return "\n".join(lines) + "\n"


def _cells(method: str, runs: Sequence[Result], organs: Sequence[str]) -> list[str]:
    summaries = [run.evaluation.summary() for run in runs]
    memory = max(run.record["peak_memory_bytes"] for run in runs) / 2**20
    return [
        method,
        _with_spread(summaries, "dice", 3),
        _with_spread(summaries, "hd95_mm", 1),
        *(f"{_mean([s.organs[organ].scores['dice'].mean for s in summaries]):.3f}" for organ in organs),
        f"{_mean([run.record['seconds_per_step'] for run in runs]):.3f}",
        f"{memory:.0f}",
        ", ".join(str(run.settings.seed) for run in runs),
    ]


def _with_spread(summaries: Sequence[Summary], metric: str, digits: int) -> str:
    means = [s.overall.scores[metric].mean or 0.0 for s in summaries]
    spread = statistics.stdev(means) if len(means) > 1 else summaries[0].overall.scores[metric].std
    return f"{_mean(means):.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _row(result: Result) -> dict[str, Any]:
    summary = result.evaluation.summary()
    return {
        "method": result.settings.method,
        "seed": result.settings.seed,
        "dice": summary.overall.scores["dice"].mean,
        "hd95_mm": summary.overall.scores["hd95_mm"].mean,
        "organs": {name: group.scores["dice"].mean for name, group in summary.organs.items()},
        "cases": summary.overall.scores["dice"].count,
        "steps": result.record["steps"],
        "seconds_per_step": result.record["seconds_per_step"],
        "peak_memory_bytes": result.record["peak_memory_bytes"],
        "validation": [
            {"step": step, "dice": _mean(dice.values())} for step, dice in result.validation if dice
        ],
    }


def _mean(values: Any) -> float:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else 0.0

"""evaluate: predictions against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from sslseg.cli.console import EventConsole, out
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import parse_labels
from sslseg.evaluate.table import Evaluation, Statistic


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(evaluate)


def evaluate(
    cohort: Annotated[
        Path | None, typer.Argument(metavar="[COHORT]", help="Evaluate a model on the cohort's test cases.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="With COHORT: the model.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Folder of reference label maps.")] = None,
    prediction: Annotated[Path | None, typer.Option(help="Folder of predicted label maps.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="FILE.csv or FILE.json; both are written, side by side.")
    ] = None,
    organs: Annotated[
        str | None, typer.Option(metavar="FILE|NAME=VALUE,...", help="Names of the label values.")
    ] = None,
    missing: Annotated[
        Literal["skip", "error", "empty"],
        typer.Option(
            help="What a reference without a prediction is: left out, an error, or an empty prediction."
        ),
    ] = "skip",
    absent: Annotated[
        Literal["background", "unknown"],
        typer.Option(help="What an organ is that a reference does not contain: really absent, or not drawn."),
    ] = "background",
    tolerance: Annotated[float, typer.Option(min=0, help="Tolerance of the surface Dice in mm.")] = 2.0,
    definition: Annotated[
        Literal["medpy", "monai"], typer.Option(help="Whose definition of the 95 % Hausdorff distance.")
    ] = "medpy",
) -> None:
    """Score predictions: Dice, 95 % Hausdorff distance, mean surface distance and surface Dice, in mm.

    sslseg evaluate COHORT --model M

    sslseg evaluate --reference labels --prediction predictions --output scores.csv
    """
    from sslseg.evaluate.evaluation import evaluate_folders, evaluate_pairs, kept_apart

    with EventConsole("Evaluating").shown() as console:

        def progress(done: int, total: int, case: str) -> None:
            console.write("progress", step=done, steps=total, seconds_left=None, case=case)

        if cohort is not None:
            if model is None:
                raise SSLSegError("No model is given", remedy="Add --model NAME.")
            read = Cohort.read(cohort)
            evaluation = evaluate_pairs(
                kept_apart(read, model),
                {label.name: label.value for label in read.labels},
                known={case.id: case.annotated for case in read.cases},
                missing="error",
                tolerance_mm=tolerance,
                definition=definition,
                progress=progress,
            )
        elif reference is None or prediction is None:
            raise SSLSegError(
                "Nothing to evaluate is given",
                remedy="Give COHORT and --model, or --reference and --prediction.",
            )
        else:
            evaluation = evaluate_folders(
                reference,
                prediction,
                None if organs is None else {label.name: label.value for label in parse_labels(organs)},
                missing=missing,
                absent_is_unknown=absent == "unknown",
                tolerance_mm=tolerance,
                definition=definition,
                progress=progress,
            )
    print_evaluation(evaluation)
    if output is not None:
        evaluation.write_csv(output.with_suffix(".csv"))
        evaluation.write_json(output.with_suffix(".json"))
        out.print(f"written: {escape(str(output.with_suffix('.csv')))} and .json")


def print_evaluation(evaluation: Evaluation) -> None:
    """A table of means, spreads and counts, and what a reader must know beside it."""
    summary = evaluation.summary()
    table = Table("organ", "cases", "Dice", "95HD mm", "ASSD mm", "surface Dice", box=None)
    for name, group in [*summary.organs.items(), ("all organs", summary.overall)]:
        scores = group.scores
        table.add_row(
            escape(name),
            str(scores["dice"].count),
            _spread(scores["dice"], 3),
            _spread(scores["hd95_mm"], 1),
            _spread(scores["assd_mm"], 2),
            _spread(scores["surface_dice"], 3),
        )
    out.print(table)
    empty = summary.overall.empty_predictions
    if empty:
        out.print(f"{empty} organ(s) were missed altogether; they count as Dice 0 and the volume's diagonal.")
    if evaluation.missing_predictions:
        out.print(f"{len(evaluation.missing_predictions)} reference(s) had no prediction.")


def _spread(statistic: Statistic, digits: int) -> str:
    if statistic.mean is None:
        return "-"
    spread = "" if statistic.std is None else f" ± {statistic.std:.{digits}f}"
    return f"{statistic.mean:.{digits}f}{spread}"

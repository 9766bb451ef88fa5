"""init, import, remove, status: what is in a cohort."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from sslseg.cli.console import out
from sslseg.cli.run_commands import Prepare, run_or_prepare, run_shown
from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.imports import read_refusals
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import ImportSettings

CohortFolder = Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of the cohort.")]
Absent = Annotated[
    Literal["unknown", "background"],
    typer.Option(
        help="What an organ is that a label map does not contain: unknown, since nobody may have drawn it, "
        "or really background."
    ),
]
KeepNames = Annotated[
    bool,
    typer.Option("--keep-names", help="Name cases after their files. Only for de-identified file names."),
]
Copy = Annotated[
    bool, typer.Option("--copy", help="Copy the volumes into the cohort instead of referring to them.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(init)
    app.command(name="import")(import_)
    app.command()(remove)
    app.command()(status)


def init(
    cohort: CohortFolder,
    images: Annotated[Path | None, typer.Option(help="Folder of volumes.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps named like their volumes.")
    ] = None,
    organs: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME=VALUE,...", help="The organs and their values in label maps."),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Instead: a data set with a dataset.json (Decathlon, nnU-Net raw, or with train.txt)."
        ),
    ] = None,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="With --dataset: how many training cases keep their labels.")
    ] = None,
    validation: Annotated[
        int,
        typer.Option(
            min=0, help="With --dataset: so many from the end of the list are measured on while training."
        ),
    ] = 0,
    modality: Annotated[
        Literal["CT", "MR"] | None, typer.Option(help="CT or MR; guessed from the intensities if not given.")
    ] = None,
    absent: Absent = "unknown",
    keep_names: KeepNames = False,
    copy: Copy = False,
) -> None:
    """Make a cohort from a folder of volumes, or from a data set.

    sslseg init liver --images scans --labels drawn --organs liver=1,spleen=2

    sslseg init liver --dataset Task09_Spleen --labelled 4
    """
    from sslseg.data.importing import init_from_dataset, init_from_folder

    if dataset is not None:
        if labelled is None:
            raise SSLSegError("--dataset needs --labelled N", remedy="Say how many cases keep their labels.")
        made = init_from_dataset(
            cohort,
            dataset,
            labelled=labelled,
            validation=validation,
            modality=modality,
            absent=absent,
            copy=copy,
        )
    elif images is None or organs is None:
        raise SSLSegError(
            "A cohort is made from --images with --organs, or from --dataset",
            remedy="For example: sslseg init COHORT --images DIR --organs liver=1,spleen=2.",
        )
    else:
        made = init_from_folder(
            cohort,
            images=images,
            labels=labels,
            labels_table=parse_labels(organs),
            modality=modality,
            copy=copy,
            keep_names=keep_names,
            absent=absent,
        )
    _print_import(made.cohort, made.imported, [reason for _, reason in made.refused], made.notes)


def import_(
    cohort: CohortFolder,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Volumes, or folders of any nesting.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="Folder of label maps named like their volumes.")
    ] = None,
    absent: Absent = "unknown",
    keep_names: KeepNames = False,
    copy: Copy = False,
    prepare: Prepare = False,
) -> None:
    """Add volumes to a cohort: NIfTI, NRRD, MHA, folders of DICOM series.

    What cannot be imported is listed with its reason; everything else is.
    """
    Cohort.read(cohort, check_files=False)
    settings = ImportSettings(
        paths=[str(path.absolute()) for path in paths],
        labels=None if labels is None else str(labels.absolute()),
        copy=copy,
        keep_names=keep_names,
        absent=absent,
    )
    job = Job.create(cohort, settings)
    if prepare:
        run_or_prepare(job, prepare)
        return
    state = run_shown(job)
    if state is JobState.CANCELLED:
        raise typer.Exit(130)
    events = read_events(job.events_path)
    imported = [case for event in events if event.event == "artifact" for case in event.fields["cases"]]
    refusals = read_refusals(job.folder)
    _print_import(Cohort.read(cohort, check_files=False), imported, [refusal.reason for refusal in refusals])
    if state is JobState.FAILED:
        raise typer.Exit(2 if events[-1].fields.get("kind") == "user" else 1)


def remove(
    cohort: CohortFolder,
    cases: Annotated[list[str], typer.Argument(metavar="CASE...", help="Ids of the cases.")],
) -> None:
    """Take cases out of a cohort. Their files stay where they are."""
    with Cohort.edit(cohort) as edited:
        for case_id in cases:
            edited.cases.remove(edited.case(case_id))
    out.print(f"{len(cases)} removed; their files are untouched.")


def status(
    cohort: CohortFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show the cases, models and jobs of a cohort."""
    read = Cohort.read(cohort, check_files=False)
    facts = _facts(read)
    if as_json:
        out.print_json(json.dumps(facts))
        return
    _print_summary(read)
    table = Table("case", "use", "annotated", "review", "predicted by", box=None, header_style="bold")
    for case in facts["cases"]:
        table.add_row(
            case["id"],
            case["use"],
            escape(_annotated(case, len(read.labels))),
            case["review"].replace("_", " "),
            ", ".join(case["predictions"]) or "-",
            style="red" if case["missing"] else None,
        )
    out.print(table)
    for path in read.missing_files():
        out.print(f"[red]missing: {escape(str(path))}[/]")
    if facts["rounds"]:
        _print_rounds(facts["rounds"])
    for job in facts["jobs"]:
        out.print(f"job {job['id']}: {job['state']}")


def _print_rounds(rounds: list[dict[str, Any]]) -> None:
    """How each model came about, oldest first."""
    table = Table("model", "started from", "annotated", "Dice", "since then", box=None, header_style="bold")
    for entry in rounds:
        new = [f"{len(entry[what])} {what}" for what in ("added", "corrected") if entry[what]]
        trained = sum(case["use"] == "training" for case in entry["annotated"])
        changed = sum(case["changed"] for case in entry["annotated"])
        table.add_row(
            escape(entry["model"]),
            escape(entry["started_from"] or "-"),
            f"{trained}" + (f" ({', '.join(new)})" if new else ""),
            "-" if entry["dice"] is None else f"{entry['dice']:.3f}",
            f"{changed} annotation{'s' if changed != 1 else ''} changed" if changed else "",
        )
    out.print(table)


def _facts(cohort: Cohort) -> dict[str, Any]:
    from sslseg.bundle.rounds import history
    from sslseg.contract.strict import to_json

    models = cohort.models()
    return {
        "name": cohort.name,
        "modality": cohort.modality,
        "organs": {label.name: label.value for label in cohort.labels},
        "cases": [_case_facts(cohort, case, models) for case in cohort.cases],
        "models": models,
        "rounds": to_json(history(cohort)),
        "jobs": [{"id": job.folder.name, "state": job.state().value} for job in Job.all(cohort.folder)],
    }


def _case_facts(cohort: Cohort, case: Case, models: list[str]) -> dict[str, Any]:
    label = cohort.label_path(case)
    return {
        "id": case.id,
        "use": case.use.value,
        "annotated": case.annotated,
        "review": case.review.value,
        "predictions": [model for model in models if cohort.prediction_path(model, case.id).exists()],
        "missing": not cohort.image_path(case).exists() or (label is not None and not label.exists()),
    }


def _annotated(case: dict[str, Any], organs: int) -> str:
    if not case["annotated"]:
        return "-"
    return "all organs" if len(case["annotated"]) == organs else ", ".join(case["annotated"])


def _print_import(
    cohort: Cohort, imported: Sequence[str], refused: Sequence[str], notes: Sequence[str] = ()
) -> None:
    """What came in, what did not and why; leaves with exit code 2 if anything was refused."""
    out.print(f"[green]{len(imported)} imported[/] into {escape(str(cohort.folder))}")
    _print_summary(cohort)
    for note in notes:
        out.print(escape(note))
    for reason in refused:
        out.print(f"[red]not imported:[/] {escape(reason)}")
    if refused:
        raise typer.Exit(2)


def _print_summary(cohort: Cohort) -> None:
    training = [case for case in cohort.cases if case.use is Use.TRAIN]
    annotated = sum(case.is_annotated for case in training)
    test = len(cohort.cases) - len(training)
    out.print(
        f"[bold]{escape(cohort.name)}[/]: {len(training)} {cohort.modality} volumes, {annotated} annotated, "
        f"{len(training) - annotated} unlabelled" + (f"; {test} more kept apart for testing" if test else "")
    )
    out.print(f"organs: {escape(', '.join(f'{label.name} ({label.value})' for label in cohort.labels))}")

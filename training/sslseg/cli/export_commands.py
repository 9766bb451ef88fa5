"""export, export-model: what leaves the cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from sslseg.cli.console import out
from sslseg.cli.run_commands import CohortFolder, Prepare, checked, chosen_cases, run_or_prepare
from sslseg.contract.cohort import Cohort
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job
from sslseg.contract.settings import ExportFormat, ExportSettings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(export)
    app.command()(export_model)


def export(
    cohort: CohortFolder,
    format_: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="seg.nrrd for Slicer; nifti: label maps and a table of what the values mean; dicom-seg: DICOM "
            "segmentations, which name the patient as their series does.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the files; nothing in it is overwritten.")],
    model: Annotated[
        str | None, typer.Option(help="Take this model's prediction where nothing was accepted.")
    ] = None,
    cases: Annotated[
        str | None, typer.Option(help="Case ids with commas between them, or: all, test, unlabelled.")
    ] = None,
    source: Annotated[
        Literal["accepted", "best"] | None,
        typer.Option(
            help="accepted: only what a person drew or accepted; best: a prediction elsewhere. By default best "
            "with a model, accepted without one."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    prepare: Prepare = False,
) -> None:
    """Write the segmentations of a cohort for others, and volumes.csv with the millilitres of each organ.

    A case that cannot be exported is listed with its reason, and the exit code is then 2; the others are exported.
    """
    read = Cohort.read(cohort, check_files=False)
    settings = checked(
        ExportSettings,
        format=format_,
        output=str(output.resolve()),
        model=model,
        cases=chosen_cases(read, cases),
        source=source or ("accepted" if model is None else "best"),
        overwrite=overwrite,
    )
    job = Job.create(read.folder, settings)
    run_or_prepare(job, prepare)
    events = read_events(job.events_path)
    if any(event.fields.get("failed") for event in events if event.event == "warning"):
        raise typer.Exit(2)


def export_model(
    cohort: Annotated[Path | None, typer.Argument(metavar="[COHORT]", help="Folder of the cohort.")] = None,
    *,
    model: Annotated[str, typer.Option(help="Name of a model of the cohort, or the path of a model folder.")],
    output: Annotated[Path, typer.Option(help="The folder that becomes the bundle.")],
) -> None:
    """Write a model as a MONAI bundle: `python -m monai.bundle run` predicts with it, without this program.

    It holds weights, the code of a prediction, what the model is for and how it came about; no case of the cohort.
    """
    from sslseg.export.model_export import export_model as write_bundle

    folder = Path(model) if cohort is None else Cohort.read(cohort, check_files=False).model_folder(model)
    bundle = write_bundle(folder, output)
    out.print(f"[green]Exported[/] {escape(folder.name)} to {escape(str(bundle))}")
    out.print("docs/README.md says what it is for and how MONAI runs it.")

"""train, predict, run, methods: the commands that start work, each as a job of the cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from sslseg.cli.console import EventConsole, out
from sslseg.contract.cohort import Cohort, Use, check_name, free_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.exit_codes import code_of_failed_studies
from sslseg.contract.jobs import Job, JobSettings, JobState
from sslseg.contract.settings import (
    ExportSettings,
    ImportSettings,
    ModelExportSettings,
    PredictionFormat,
    PredictSettings,
    Preset,
    RankSettings,
    TrainSettings,
)
from sslseg.contract.words import duration

CohortFolder = Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of the cohort.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Arithmetic of the convolutions; auto takes bfloat16 where the device gains from it."),
]

Prepare = Annotated[
    bool, typer.Option("--prepare", help="Only make the job's folder; 'sslseg run' or 'job pack' takes it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (train, predict, run, methods):
        app.command()(command)


def train(
    cohort: CohortFolder,
    method: Annotated[str, typer.Option(help="How to learn; 'sslseg methods' lists them.")] = "mean_teacher",
    name: Annotated[
        str | None, typer.Option(help="Name of the model; by default that of the method.")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="How long to train, and with which network.")] = "standard",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, instead of the preset's.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="vnet, resnet34_vnet, unet, dynunet or segresnet, instead of the preset's."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    seed: Annotated[int, typer.Option(help="Every random number follows from it.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A setting of the method; may be given several times."
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-6, help="Initial learning rate.")] = None,
    labelled_batch: Annotated[int | None, typer.Option(min=1, help="Labelled patches in a step.")] = None,
    unlabelled_batch: Annotated[int | None, typer.Option(min=1, help="Unlabelled patches in a step.")] = None,
    patch_size: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Voxels of a training patch.")
    ] = None,
    validation_cases: Annotated[
        int | None, typer.Option(min=0, help="Annotated cases held back to measure; 0 trains on all of them.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Model of the cohort whose weights the training begins with."),
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="Measure on each annotated case with a model trained without it, before training on all.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last unfinished training.")
    ] = False,
    prepare: Prepare = False,
) -> None:
    """Train a model from the annotated and the unlabelled cases of a cohort.

    The training runs as a job in COHORT/jobs: stop it with Ctrl-C and go on later with --resume. The model is
    written to COHORT/models/NAME.
    """
    read = Cohort.read(cohort)
    if resume:
        run_or_prepare(_unfinished_training(read.folder, name), prepare)
        return
    settings = checked(
        TrainSettings,
        method=method,
        model=_model_name(read, method, name),
        preset=preset,
        steps=steps,
        network=network,
        device=device,
        precision=precision,
        seed=seed,
        learning_rate=learning_rate,
        labelled_batch=labelled_batch,
        unlabelled_batch=unlabelled_batch,
        patch_size=parse_size(patch_size),
        validation_cases=validation_cases,
        start_from=start_from,
        leave_one_out=leave_one_out,
        method_settings=dict(parse_setting(text) for text in set_ or []),
    )
    run_or_prepare(Job.create(read.folder, settings), prepare)


def predict(
    cohort: Annotated[Path | None, typer.Argument(metavar="[COHORT]", help="Folder of the cohort.")] = None,
    model: Annotated[
        str, typer.Option(help="Name of a model of the cohort, or the path of a model folder.")
    ] = "",
    cases: Annotated[
        str | None, typer.Option(help="Case ids with commas between them, or: all, test, unlabelled.")
    ] = None,
    input_: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", help="Without a cohort: a volume, or a folder of volumes; may be given several times."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Without a cohort: where the label maps go.")] = None,
    overlap: Annotated[float, typer.Option(min=0, max=0.9, help="Overlap of neighbouring windows.")] = 0.5,
    device: Device = "auto",
    precision: Precision = "auto",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave predicted cases alone.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Without a cohort: replace files that this command did not write."),
    ] = False,
    postprocess: Annotated[
        bool,
        typer.Option(
            "--postprocess/--no-postprocess",
            help="Clean label maps up as the model's rules say, or leave each voxel its most probable organ.",
        ),
    ] = True,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Look at every window mirrored too: a second opinion, in twice the time."
        ),
    ] = False,
    format_: Annotated[
        PredictionFormat,
        typer.Option(
            "--format",
            help="Without a cohort: nifti, or seg.nrrd with the organs' names, colours and terminology.",
        ),
    ] = "nifti",
    prepare: Prepare = False,
) -> None:
    """Segment the cases of a cohort, or any volumes.

    In a cohort, label maps and uncertainty maps are written to COHORT/predictions/MODEL.

    Without a cohort, give --input, a volume or a folder of any nesting, and --output. summary.csv and report.html
    list every study. The same command goes on after any end and does nothing twice. Studies that fail do not stop the
    others; the exit code is then 10 and their number, at most 110.
    """
    if not model:
        raise SSLSegError(
            "No model is given", remedy="Add --model NAME; 'sslseg status COHORT' lists the models."
        )
    if cohort is None:
        if not input_ or output is None:
            raise SSLSegError("Nothing to predict is given", remedy="Give a COHORT, or --input and --output.")
        _predict_volumes(
            Path(model),
            input_,
            output,
            overlap=overlap,
            device=device,
            precision=precision,
            skip_existing=skip_existing,
            overwrite=overwrite,
            postprocess=postprocess,
            file_format=format_,
        )
        return
    if input_ or output is not None:
        raise SSLSegError("--input and --output go without a COHORT", remedy="Leave out one or the other.")
    if format_ != "nifti":
        raise SSLSegError(
            "The predictions in a cohort are always NIfTI",
            remedy=f"Write them as {format_} with 'sslseg export COHORT --format {format_}'.",
        )
    read = Cohort.read(cohort)
    settings = checked(
        PredictSettings,
        model=model,
        cases=chosen_cases(read, cases),
        overlap=overlap,
        device=device,
        precision=precision,
        skip_existing=skip_existing,
        postprocess=postprocess,
        mirror=mirror,
    )
    if not read.model_folder(model).exists():
        raise SSLSegError(
            f"The cohort has no model '{model}'",
            file=read.folder,
            remedy=f"It has: {', '.join(read.models()) or 'none yet; train one first'}.",
        )
    run_or_prepare(Job.create(read.folder, settings), prepare)


def run(
    job: Annotated[
        Path,
        typer.Argument(metavar="JOB", help="Folder of a job, such as COHORT/jobs/train-0001, or an archive."),
    ],
    parent: Annotated[
        int | None,
        typer.Option(help="Process id of the caller: the job cancels itself when the caller dies."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="For an archive: where to unpack it; by default a folder beside it.")
    ] = None,
) -> None:
    """Run a job that was prepared, or go on with one that was cancelled or killed.

    This is what 3D Slicer starts. A training goes on from its last checkpoint. An archive from 'sslseg job pack'
    is unpacked beside itself, and what the job made is packed into ARCHIVE-result.zip.
    """
    if not job.is_file():
        run_to_end(Job.open(job), parent=parent)
        return
    from sslseg.jobs.packing import pack_result, unpack_job

    unpacked = unpack_job(job, output or job.with_suffix(""))
    if unpacked.state() is not JobState.FINISHED:
        run_to_end(unpacked, parent=parent)
    result = pack_result(unpacked, job.with_name(f"{job.stem}-result.zip"))
    out.print(f"Merge with: sslseg job merge COHORT {escape(result.name)}")


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Also list the settings of each method.")
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="After a change of the code: renew the list that the Slicer panel shows."
        ),
    ] = False,
) -> None:
    """List the methods, and when to choose which."""
    from sslseg.contract.choices import PATH
    from sslseg.contract.files import write_json
    from sslseg.contract.strict import to_json
    from sslseg.train.choices import describe_choices

    choices = describe_choices()
    if write:
        write_json(PATH, to_json(choices))
    if as_json:
        out.print_json(json.dumps(to_json(choices.methods)))
        return
    for method in choices.methods:
        out.print(f"[bold]{method.name}[/]\n  {escape(method.summary)}")
        for entry in method.settings if settings else ():
            out.print(escape(f"    {entry.name} = {entry.default}  {entry.help} ({entry.source})"))


def run_shown(job: Job, *, parent: int | None = None) -> JobState:
    """Run a job with its events on the screen."""
    from sslseg.jobs.runner import run_job

    with EventConsole(_title(job.settings)).shown() as console:
        return run_job(job, watcher=console, parent=parent)


def _title(settings: JobSettings) -> str:
    if isinstance(settings, TrainSettings):
        return f"Training {settings.model}"
    if isinstance(settings, ExportSettings):
        return f"Exporting as {settings.format}"
    if isinstance(settings, ModelExportSettings):
        return f"Exporting {settings.model}"
    if isinstance(settings, ImportSettings):
        return "Importing"
    if isinstance(settings, RankSettings):
        return f"Ranking by {settings.model}"
    return f"Predicting with {settings.model}"


def run_or_prepare(job: Job, prepare: bool) -> None:
    if prepare:
        out.print(f"Prepared {escape(str(job.folder))}")
    else:
        run_to_end(job)


def run_to_end(job: Job, *, parent: int | None = None) -> None:
    """Run a job with its events on the screen; leave with its exit code."""
    state = run_shown(job, parent=parent)
    events = read_events(job.events_path)
    if state is JobState.FAILED:
        out.print(f"The log is at {escape(str(job.log_path))}")
        raise typer.Exit(2 if events[-1].fields.get("kind") == "user" else 1)
    if state is JobState.CANCELLED:
        out.print(f"Go on with: sslseg run {escape(str(job.folder))}")
        raise typer.Exit(130)
    started = next(event.time for event in reversed(events) if event.event == "started")
    out.print(f"[green]Done[/] in {duration(events[-1].time - started)}.")


def _predict_volumes(model: Path, sources: list[Path], output: Path, **options: Any) -> None:
    from sslseg.predict.folder_prediction import predict_folder
    from sslseg.report.folder_report import write_folder_report

    with EventConsole(f"Predicting with {model.name}").shown() as console:
        summary = predict_folder(model, sources, output, events=console, **options)
    report = write_folder_report(output, model.resolve().name, summary)
    earlier = f", {len(summary.skipped)} done before" if summary.skipped else ""
    out.print(f"[green]{len(summary.done)} segmented[/]{earlier}, in {escape(str(output))}")
    if summary.done:
        out.print(f"The networks waited for the disk in {summary.waited:.0%} of the time.")
    out.print(f"Look at {escape(str(report))}")
    if summary.failed:
        table = Table("not segmented", "why", box=None)
        for name, reason in summary.failed:
            table.add_row(escape(str(name)), escape(reason))
        out.print(table)
        raise typer.Exit(code_of_failed_studies(len(summary.failed)))


def checked(kind: type[Any], **fields: Any) -> Any:
    """The settings of a job; what does not fit is said in a sentence."""
    try:
        return kind(**fields)
    except ValueError as error:
        raise SSLSegError(str(error)) from error


def _model_name(cohort: Cohort, method: str, name: str | None) -> str:
    """The name that was asked for, if it is free; else the method's, with a number if need be."""
    taken = set(cohort.models())
    if name is not None:
        if check_name(name, "model name") in taken:
            raise SSLSegError(
                f"There is a model '{name}' already",
                file=cohort.model_folder(name),
                remedy="Choose another --name; models are never overwritten.",
            )
        return name
    return free_name(method, taken)


def _unfinished_training(folder: Path, name: str | None) -> Job:
    unfinished = (JobState.INTERRUPTED, JobState.CANCELLED, JobState.FAILED)
    for job in reversed(Job.all(folder)):
        if not isinstance(job.settings, TrainSettings):
            continue
        if (name is None or job.settings.model == name) and job.state() in unfinished:
            return job
    raise SSLSegError(
        "There is no unfinished training to go on with",
        file=folder / "jobs",
        remedy="Start one with 'sslseg train' without --resume.",
    )


def chosen_cases(cohort: Cohort, text: str | None) -> list[str] | None:
    """Case ids from what was typed after --cases: all, test, unlabelled, or ids; None means all."""
    if text is None or text == "all":
        return None
    if text == "test":
        chosen = [case.id for case in cohort.cases if case.use is Use.TEST]
    elif text == "unlabelled":
        chosen = [case.id for case in cohort.cases if case.use is Use.TRAIN and not case.is_annotated]
    else:
        chosen = [cohort.case(case_id.strip()).id for case_id in text.split(",") if case_id.strip()]
    if not chosen:
        raise SSLSegError(
            f"The cohort has no case that is meant by '{text}'",
            file=cohort.folder,
            remedy="'sslseg status COHORT' lists the cases.",
        )
    return chosen


def parse_size(text: str | None) -> tuple[int, int, int] | None:
    """`64,96,96` or `64x96x96` to three numbers; None stays None."""
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise SSLSegError(
            f"'{text}' is no patch size", remedy="Write three numbers such as 64,96,96 (z,y,x)."
        )
    return int(parts[0]), int(parts[1]), int(parts[2])


def parse_setting(text: str) -> tuple[str, Any]:
    """`tau=0.9` to ("tau", 0.9): numbers and true/false as JSON writes them, anything else as text."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise SSLSegError(f"'{text}' is no setting", remedy="Write --set NAME=VALUE.")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value.strip()

"""demo, phantoms and bench: the main job on phantoms, and the measurements behind the documentation's figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markdown import Markdown
from rich.markup import escape

from sslseg.cli.console import EventConsole, out
from sslseg.cli.run_commands import Device, parse_setting, parse_size, run_shown
from sslseg.contract.cohort import Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import Preset

bench = typer.Typer(no_args_is_help=True, help="Measure accuracy, with one command for each table.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(demo)
    app.command()(phantoms)
    app.add_typer(bench, name="bench")


def demo(
    output: Annotated[Path, typer.Option(help="Where the cohort and the report go.")] = Path("sslseg-demo"),
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Another seed makes other phantoms.")] = 0,
) -> None:
    """Make a cohort of torso phantoms, annotate three, train, segment the rest, and report with pictures.

    Takes minutes on two processor cores. A demo that was stopped goes on where it was.
    """
    from sslseg.demo.demo import run_demo

    report = run_demo(output, device=device, seed=seed, run=run_shown)
    out.print(f"[green]Done.[/] Open the report: {escape(str(report))}")


def phantoms(
    output: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of the new cohort.")],
    cases: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 12,
    annotated: Annotated[int, typer.Option(min=1, help="How many of them are annotated.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed makes other phantoms.")] = 0,
) -> None:
    """Make a cohort of torso phantoms to try everything on, a few of them annotated."""
    from sslseg.phantoms.cohort import write_phantom_cohort

    made = write_phantom_cohort(output, cases=cases, annotated=annotated, seed=seed)
    out.print(f"{len(made.cases)} phantoms, {annotated} of them annotated: {escape(str(output))}")


@bench.command()
def accuracy(
    dataset: Annotated[Path, typer.Option(help="Folder with a dataset.json.")],
    labelled: Annotated[int, typer.Option(min=1, help="How many training cases keep their labels.")],
    output: Annotated[Path, typer.Option(help="Where everything goes; the same command resumes.")],
    methods: Annotated[str, typer.Option(help="Names with commas between them.")] = "supervised,mean_teacher",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of every run.")] = None,
    seeds: Annotated[str, typer.Option(help="Numbers with commas between them.")] = "0",
    validation: Annotated[
        int,
        typer.Option(min=0, help="Labelled cases from the end of the training list to measure curves on."),
    ] = 4,
    score: Annotated[
        Literal["test", "validation"], typer.Option(help="validation while settings are still being chosen.")
    ] = "test",
    preset: Annotated[Preset, typer.Option(help="Where the other settings come from.")] = "standard",
    network: Annotated[str | None, typer.Option(help="The same network for every method.")] = None,
    patch_size: Annotated[
        str | None, typer.Option(metavar="Z,Y,X", help="Voxels of a training patch.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-6, help="Initial learning rate.")] = None,
    validation_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two validations.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="METHOD.NAME=VALUE", help="A setting of one method."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Train several methods on the same few labels and compare them on the test list.

    sslseg bench accuracy --dataset DIR --labelled 4 --methods supervised,mean_teacher --seeds 0,1,2 --output out
    """
    from sslseg.bench.accuracy import AccuracySettings, bench_accuracy
    from sslseg.bench.experiment import run_apart

    method_settings: dict[str, dict[str, object]] = {}
    for text in set_ or []:
        name, value = parse_setting(text)
        method, separator, name = name.partition(".")
        if not separator:
            raise SSLSegError(f"'{text}' names no method", remedy="Write --set METHOD.NAME=VALUE.")
        method_settings.setdefault(method, {})[name] = value
    overrides = {
        "patch_size": parse_size(patch_size),
        "learning_rate": learning_rate,
        "validation_every": validation_every,
    }
    settings = AccuracySettings(
        dataset=dataset,
        labelled=labelled,
        validation=validation,
        methods=tuple(filter(None, (name.strip() for name in methods.split(",")))),
        seeds=_numbers(seeds),
        steps=steps,
        preset=preset,
        network=network,
        device=device,
        score=Use(score),
        method_settings=method_settings,
        overrides={name: value for name, value in overrides.items() if value is not None},
    )
    bench_accuracy(settings, output, run_apart, EventConsole("Accuracy"))
    out.print(Markdown((output / "table.md").read_text(encoding="utf-8")))


@bench.command()
def quality(
    dataset: Annotated[Path, typer.Option(help="Folder with a dataset.json.")],
    labelled: Annotated[int, typer.Option(min=1, help="How many training cases keep their labels.")],
    validation: Annotated[
        int, typer.Option(min=3, help="Labelled cases from the end of the training list to compare with.")
    ],
    output: Annotated[Path, typer.Option(help="Where everything goes; the same command resumes.")],
    method: Annotated[str, typer.Option(help="How to train.")] = "mean_teacher",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    preset: Annotated[Preset, typer.Option(help="Where the other settings come from.")] = "quick",
    network: Annotated[str | None, typer.Option(help="Instead of the preset's network.")] = None,
    mirror: Annotated[bool, typer.Option("--mirror", help="Look at mirrored windows as well.")] = False,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    device: Device = "auto",
) -> None:
    """Compare the Dice that quality cards expect with the true one, on cases kept apart from the training list.

    sslseg bench quality --dataset DIR --labelled 4 --validation 16 --output out
    """
    from sslseg.bench.quality import QualitySettings, bench_quality

    settings = QualitySettings(
        dataset=dataset,
        labelled=labelled,
        validation=validation,
        method=method,
        steps=steps,
        preset=preset,
        network=network,
        mirror=mirror,
        seed=seed,
        device=device,
    )
    out.print(Markdown(bench_quality(settings, output, run_shown)))


@bench.command()
def ranking(
    dataset: Annotated[Path, typer.Option(help="Folder with a dataset.json.")],
    output: Annotated[Path, typer.Option(help="Where everything goes; the same command resumes.")],
    start: Annotated[int, typer.Option(min=1, help="Cases that are annotated at first.")] = 2,
    add: Annotated[int, typer.Option(min=1, help="Cases that are annotated in each round.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="How often cases are added.")] = 4,
    seeds: Annotated[str, typer.Option(help="Numbers with commas between them.")] = "0,1,2",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of the first model.")] = 300,
    more_steps: Annotated[
        int, typer.Option(min=1, help="Steps of each later one, which starts from the one before.")
    ] = 150,
    pool: Annotated[int, typer.Option(min=2, help="Training cases to choose from.")] = 40,
    test: Annotated[int, typer.Option(min=1, help="Test cases to measure on.")] = 10,
    method: Annotated[str, typer.Option(help="How to train.")] = "supervised",
    preset: Annotated[Preset, typer.Option(help="Where the other settings come from.")] = "quick",
    network: Annotated[str | None, typer.Option(help="Instead of the preset's network.")] = None,
    device: Device = "auto",
) -> None:
    """Annotate a few cases a round as the ranking says, or by chance, and compare what the models reach.

    sslseg bench ranking --dataset DIR --seeds 0,1,2 --output out
    """
    from sslseg.bench.ranking import LoopSettings, bench_ranking
    from sslseg.jobs.runner import run_job

    settings = LoopSettings(
        dataset=dataset,
        start=start,
        add=add,
        rounds=rounds,
        seeds=_numbers(seeds),
        steps=steps,
        more_steps=more_steps,
        pool=pool,
        test=test,
        method=method,
        preset=preset,
        network=network,
        device=device,
    )
    bench_ranking(settings, output, run_job, lambda line: out.print(escape(line)))
    out.print(Markdown((output / "loop.md").read_text(encoding="utf-8")))


@bench.command()
def speed(
    output: Annotated[Path, typer.Option(help="Where the table, the plot and the raw figures go.")] = Path(
        "sslseg-speed"
    ),
    device: Device = "auto",
    rows: Annotated[
        str | None,
        typer.Option(
            help="With commas between them: training, prediction, file, patches, evaluation, growth."
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny inputs, to see that everything works on this computer.")
    ] = False,
) -> None:
    """Measure time and memory beside MONAI, nnU-Net, medpy and plain PyTorch, by turns on the same input.

    Takes a quarter of an hour on two processor cores; leave the computer alone meanwhile.
    """
    from sslseg.bench.speed.command import bench_speed
    from sslseg.networks.devices import resolve_device

    chosen = None if rows is None else [name.strip() for name in rows.split(",") if name.strip()]
    table = bench_speed(
        output,
        device=str(resolve_device(device)),
        groups=chosen,
        quick=quick,
        say=lambda line: out.print(escape(f"  {line}")),
    )
    out.print(f"[green]Done.[/] The table is {escape(str(table))}")


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise SSLSegError(f"'{text}' are no seeds", remedy="Write numbers such as 0,1,2.")
    return tuple(int(part) for part in parts)

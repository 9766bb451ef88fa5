"""loop: annotating and training in turns, by a program instead of a person."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sslseg.cli.console import out
from sslseg.cli.run_commands import CohortFolder, Device, checked, run_shown
from sslseg.contract.settings import Absent, Preset, TrainSettings


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(loop)


def loop(
    cohort: CohortFolder,
    annotator: Annotated[
        str,
        typer.Option(
            help="Program that annotates: it is called with COHORT OUTPUT CASE... and writes OUTPUT/CASE.nii.gz."
        ),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="How often cases are added.")],
    add: Annotated[int, typer.Option(min=1, help="Cases that are asked for in a round.")] = 2,
    method: Annotated[str, typer.Option(help="How to learn; 'sslseg methods' lists them.")] = "mean_teacher",
    name: Annotated[str, typer.Option(help="The models are called NAME-1, NAME-2, ...")] = "loop",
    preset: Annotated[Preset, typer.Option(help="How long to train, and with which network.")] = "quick",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of each training.")] = None,
    network: Annotated[str | None, typer.Option(help="Instead of the preset's.")] = None,
    seed: Annotated[int, typer.Option(help="Every random number follows from it.")] = 0,
    absent: Annotated[
        Absent, typer.Option(help="What an organ is that a label map of the annotator does not contain.")
    ] = "unknown",
    device: Device = "auto",
) -> None:
    """Train, rank, have the first cases annotated by a program, train on from there: for research on annotation.

    The same command goes on with a loop that was stopped. The rounds are listed in COHORT/loops/NAME.json.
    """
    from sslseg.loop.unattended import run_loop

    settings = checked(
        TrainSettings,
        method=method,
        model=name,
        preset=preset,
        steps=steps,
        network=network,
        seed=seed,
        device=device,
        validation_cases=0,
    )
    path = Path(annotator)
    command = [str(path.resolve())] if path.exists() else shlex.split(annotator)
    played = run_loop(
        cohort, settings, command, rounds=rounds, add=add, absent=absent, run=run_shown, announce=_say
    )
    out.print(f"[green]{len(played)} round(s)[/]; the last model is {escape(name)}-{len(played) + 1}.")


def _say(sentence: str) -> None:
    out.print(escape(sentence))

"""The commands of `sslseg`.

Every command is a thin layer: it reads what was typed, calls one function, and prints the answer. Heavy packages
are imported by the commands that need them, so that help and status answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from sslseg import __version__
from sslseg.cli import (
    bench_commands,
    check_command,
    cohort_commands,
    evaluate_command,
    export_commands,
    job_commands,
    loop_command,
    rank_command,
    report_command,
    run_commands,
)
from sslseg.cli.console import err, out
from sslseg.contract.errors import SSLSegError

app = typer.Typer(
    name="sslseg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="""Semi-supervised segmentation of CT and MR volumes: annotate a few, segment them all.

A [bold]cohort[/] is a folder that holds your volumes, your labels and everything made from them:

  sslseg init COHORT --images DIR --labels DIR --organs liver=1,spleen=2
  sslseg train COHORT --method mean_teacher
  sslseg predict COHORT --model mean_teacher

New here? [bold]sslseg demo[/] makes a cohort of phantoms and does all of it in minutes.""",
)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


for module in (
    check_command,
    cohort_commands,
    run_commands,
    rank_command,
    loop_command,
    job_commands,
    evaluate_command,
    report_command,
    export_commands,
    bench_commands,
):
    module.register(app)


def run() -> None:
    """Run the command that was typed: exit code 2 and one sentence for what the user can mend."""
    try:
        app()
    except SSLSegError as error:
        err.print(f"[red]{escape(str(error))}[/]")
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("Stopped.")
        sys.exit(130)

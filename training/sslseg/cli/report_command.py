"""report: one page on what a model made of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sslseg.cli.console import EventConsole, out
from sslseg.cli.run_commands import CohortFolder
from sslseg.contract.cohort import Cohort


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(report)


def report(
    cohort: CohortFolder,
    model: Annotated[str, typer.Option(help="Name of a model of the cohort.")],
    output: Annotated[
        Path | None, typer.Option(help="The HTML file; by default COHORT/reports/MODEL.html.")
    ] = None,
    large: Annotated[int, typer.Option(min=0, help="Cases that are shown large as well.")] = 6,
) -> None:
    """Write one HTML page on a cohort and a model: every case with its organs, verdicts, volumes, curves, provenance.

    The page needs nothing else and can be filed; cases are named by their ids alone. It is written anew each time.
    """
    from sslseg.report.cohort_report import write_cohort_report

    read = Cohort.read(cohort, check_files=False)
    path = output or read.folder / "reports" / f"{model}.html"
    with EventConsole("Reporting").shown() as console:

        def progress(done: int, total: int) -> None:
            console.write("progress", step=done, steps=total, seconds_left=None)

        written = write_cohort_report(read, model, path, large=large, progress=progress)
    megabytes = written.bytes / 1e6
    out.print(f"[green]Written[/]: {escape(str(written.path))}, {written.cases} cases, {megabytes:.1f} MB")

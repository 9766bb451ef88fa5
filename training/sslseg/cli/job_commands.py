"""job pack, job merge: a job that runs on another computer, without a server between the two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sslseg.cli.console import out
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job

job = typer.Typer(no_args_is_help=True, help="Take a job to another computer and bring its result home.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(job, name="job")


@job.command()
def pack(
    folder: Annotated[
        Path, typer.Argument(metavar="JOB", help="Folder of a job, such as COHORT/jobs/train-0001.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The archive; by default JOB.zip in the current folder.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an archive that is there.")] = False,
) -> None:
    """Pack a job that has not finished, with the volumes, labels and models that it needs, into one archive.

    'sslseg train' and 'sslseg predict' make such a job with --prepare. The archive holds your volumes as they
    are: treat it like them. On the other computer: sslseg run ARCHIVE.
    """
    from sslseg.jobs.packing import pack_job

    opened = Job.open(folder)
    target = output or Path(f"{opened.folder.resolve().name}.zip")
    if target.exists() and not overwrite:
        raise SSLSegError(
            "There is a file here already", file=target, remedy="Give another --output, or add --overwrite."
        )
    pack_job(opened, target)
    size = target.stat().st_size / 2**20
    out.print(f"[green]Packed[/] {size:.1f} MiB into {escape(str(target))}")
    out.print(f"On the other computer: sslseg run {escape(target.name)}")


@job.command()
def merge(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="The cohort that the job came from.")],
    archive: Annotated[Path, typer.Argument(metavar="RESULT", help="What 'sslseg run ARCHIVE' wrote.")],
) -> None:
    """Bring the result of a packed job into its cohort. Nothing that is there is replaced."""
    from sslseg.jobs.merging import merge_result

    report = merge_result(cohort, archive)
    out.print(f"[green]{len(report.added)} file(s) merged[/] from {escape(report.job)}")
    if report.present:
        out.print(f"{len(report.present)} were there already.")
    for note in report.notes:
        out.print(f"[yellow]{escape(note)}[/]")

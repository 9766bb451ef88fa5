"""rank: which case to annotate or to look at next."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from sslseg.cli.console import out
from sslseg.cli.run_commands import CohortFolder, Device, Precision, checked, run_to_end
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.quality import Ranking, read_quality, read_ranking
from sslseg.contract.settings import RankSettings
from sslseg.contract.strict import to_json


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(rank)


def rank(
    cohort: CohortFolder,
    model: Annotated[str, typer.Option(help="Name of a model of the cohort.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    top: Annotated[int | None, typer.Option(min=1, help="Show so many cases only.")] = None,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="For cases still to be predicted: a second opinion, in twice the time."
        ),
    ] = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """List the cases by what annotating or checking them is expected to gain, with the reason.

    Cases that the model has not predicted yet are predicted first. Predicting a cohort ranks it as well; after
    annotating, this command brings the order up to date.
    """
    read = Cohort.read(cohort)
    if model not in read.models():
        raise SSLSegError(
            f"The cohort has no model '{model}'",
            file=read.folder,
            remedy=f"It has: {', '.join(read.models()) or 'none yet; train one first'}.",
        )
    settings = checked(RankSettings, model=model, device=device, precision=precision, mirror=mirror)
    job = Job.create(read.folder, settings)
    if as_json:
        _run_silently(job)
    else:
        run_to_end(job)
    ranking = read_ranking(read, model)
    assert ranking is not None
    shown = Ranking(model, ranking.cases[:top])
    if as_json:
        out.print_json(json.dumps(to_json(shown)))
    else:
        _print(read, shown, len(ranking.cases))


def _run_silently(job: Job) -> None:
    from sslseg.contract.events import read_events
    from sslseg.jobs.runner import run_job

    if run_job(job) is not JobState.FINISHED:
        last = read_events(job.events_path)[-1]
        raise SSLSegError(last.fields.get("message", "The ranking was stopped"), file=job.folder)


def _print(cohort: Cohort, ranking: Ranking, total: int) -> None:
    if not ranking.cases:
        out.print("Every training case is annotated: there is nothing left to rank.")
        return
    table = Table("", "case", "do", "gain", "verdict", "because", box=None, header_style="bold")
    for number, entry in enumerate(ranking.cases, start=1):
        card = read_quality(cohort, ranking.model, entry.case)
        table.add_row(
            str(number),
            entry.case,
            entry.purpose,
            f"{entry.priority:.2f}",
            "-" if card is None else card.verdict.value,
            escape(entry.reason),
        )
    out.print(table)
    if total > len(ranking.cases):
        out.print(f"and {total - len(ranking.cases)} more")

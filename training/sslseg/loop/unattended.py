"""`sslseg loop`: train, rank, have the first cases annotated by a program, train on; for research on annotation.

The annotator is a program of the user's: `ANNOTATOR COHORT OUTPUT CASE...` writes a label map `OUTPUT/CASE.nii.gz` (or
`CASE.seg.nrrd`) for each case that it can annotate. What was done is read off the cohort, so that a loop that was
stopped goes on with the same command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.jobs import Job
from sslseg.contract.quality import read_ranking
from sslseg.contract.settings import Absent, RankSettings, TrainSettings
from sslseg.contract.strict import from_json, to_json
from sslseg.data.annotating import annotate
from sslseg.jobs.finishing import RunJob, finish_job

_ENDINGS = (".nii.gz", ".seg.nrrd")


@dataclass(frozen=True)
class Round:
    """One round of a loop, as it stands in `loops/<model>.json`.

    Attributes:
        model: what was trained, `<name>-<number>`.
        asked: cases that the annotator was asked for after it, in the order of the ranking.
        annotated: those that it annotated.
        refused: each of the others and the reason.
    """

    model: str
    asked: list[str]
    annotated: list[str]
    refused: dict[str, str]


def run_loop(
    cohort_folder: Path,
    settings: TrainSettings,
    annotator: Sequence[str],
    *,
    rounds: int,
    add: int,
    absent: Absent = "unknown",
    run: RunJob,
    announce: Callable[[str], None] = lambda sentence: None,
) -> list[Round]:
    """Train a first model; then, round by round, have cases annotated and train on from the model before.

    Args:
        cohort_folder: with at least one annotated case.
        settings: of every training; `model` is the stem of the models' names.
        annotator: the program and its first arguments.
        rounds: how often cases are added.
        add: cases that the annotator is asked for in a round.
        absent: what a declared organ is that does not occur in a label map of the annotator.
        run: runs a job to its end.
        announce: is told what is done, in sentences.

    Returns:
        The rounds; the last model has learned from all of them.

    Raises:
        SSLSegError: a job failed or was stopped, no case is left, or the annotator failed or annotated nothing.
    """
    record = Cohort.read(cohort_folder).folder / "loops" / f"{settings.model}.json"
    played = _read(record)
    model = _train(cohort_folder, settings, 1, None, run)
    for number in range(1, rounds + 1):
        if number > len(played):
            played.append(_annotate(cohort_folder, model, annotator, add, absent, run))
            write_json(record, to_json([to_json(entry) for entry in played]))
        now = played[number - 1]
        announce(f"Round {number}: {', '.join(now.annotated)} annotated.")
        for name, reason in now.refused.items():
            announce(f"Round {number}: {name} was not annotated. {reason}")
        model = _train(cohort_folder, settings, number + 1, model, run)
    return played


def _train(folder: Path, settings: TrainSettings, number: int, before: str | None, run: RunJob) -> str:
    """The model of a round: trained, gone on with, or there already."""
    cohort = Cohort.read(folder)
    start_from = settings.start_from if before is None else before
    wanted = replace(settings, model=f"{settings.model}-{number}", start_from=start_from)
    if wanted.model in cohort.models():
        return wanted.model
    begun = [job for job in Job.all(folder) if job.settings == wanted]
    finish_job(begun[-1] if begun else Job.create(folder, wanted), run)
    return wanted.model


def _annotate(
    folder: Path, model: str, annotator: Sequence[str], add: int, absent: Absent, run: RunJob
) -> Round:
    finish_job(Job.create(folder, RankSettings(model)), run)
    cohort = Cohort.read(folder)
    ranking = read_ranking(cohort, model)
    assert ranking is not None
    asked = [one.case for one in ranking.cases if not cohort.case(one.case).is_annotated][:add]
    if not asked:
        raise SSLSegError("Every case is annotated", file=folder, remedy="Ask for fewer rounds.")
    with tempfile.TemporaryDirectory(prefix="sslseg-loop-") as name:
        output = Path(name)
        _call([*annotator, str(folder), str(output), *asked])
        drawn = {case: path for case in asked if (path := _drawn(output, case)) is not None}
        refused = dict.fromkeys((case for case in asked if case not in drawn), "No label map was written.")
        refused |= dict(annotate(folder, drawn, absent=absent))
    annotated = [case for case in asked if case not in refused]
    if not annotated:
        first = next(iter(refused.items()))
        raise SSLSegError(f"The annotator annotated none of {len(asked)} case(s). {first[0]}: {first[1]}")
    return Round(model, asked, annotated, refused)


def _call(command: Sequence[str]) -> None:
    # A Python file needs no leave to be executed, and runs in the environment of this program.
    first = [sys.executable, command[0]] if command[0].endswith(".py") else [command[0]]
    try:
        done = subprocess.run([*first, *command[1:]], check=False)
    except OSError as error:
        raise SSLSegError(
            f"The annotator cannot be started ({error.strerror})", file=command[0], remedy="Check the path."
        ) from error
    if done.returncode != 0:
        raise SSLSegError(
            f"The annotator ended with exit code {done.returncode}",
            file=command[0],
            remedy="The same command goes on from here.",
        )


def _drawn(folder: Path, case: str) -> Path | None:
    return next((path for ending in _ENDINGS if (path := folder / f"{case}{ending}").exists()), None)


def _read(record: Path) -> list[Round]:
    if not record.exists():
        return []
    content: Any = read_json(record, remedy="Remove it to begin the loop anew.")
    if not isinstance(content, list):
        raise SSLSegError("The file is no record of a loop", file=record, remedy="Remove it to begin anew.")
    return [from_json(Round, entry, file=record) for entry in content]

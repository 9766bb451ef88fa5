"""The result of a job that ran on another computer, brought into the cohort that packed it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from sslseg import __version__
from sslseg.contract.cohort import FILE_NAME, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.jobs.archive import Archive


@dataclass
class MergeReport:
    """What a merge did: files brought in, files that were there already, and what a person should know."""

    job: str
    added: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge_result(cohort_folder: Path, path: Path) -> MergeReport:
    """Bring the result of a packed job home.

    Everything is unpacked and checked beside the cohort first; nothing that is there already is replaced. The
    same result may be merged twice: the second time changes nothing.

    Raises:
        SSLSegError: the archive is not to be trusted, belongs to another job, or would replace something.
    """
    cohort = Cohort.read(cohort_folder, check_files=False)
    with Archive.open(path, "result") as archive:
        job = _own_job(cohort, archive)
        report = MergeReport(job.folder.name, notes=_notes(cohort, archive))
        cohort.cache_folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".merging-", dir=cohort.cache_folder) as name:
            staged = Path(name)
            for file in archive.manifest.files:
                archive.extract(file, staged / file)
            with job.running():
                _move_in(cohort, job, staged, archive, report)
    return report


def _own_job(cohort: Cohort, archive: Archive) -> Job:
    name = archive.manifest.job
    description = f"jobs/{name}/job.json"
    places = ("models/", "predictions/", f"jobs/{name}/")
    strange = [file for file in archive.manifest.files if not file.startswith(places)]
    if strange or description not in archive.manifest.files:
        raise SSLSegError("The archive holds what no result holds", file=archive.path)
    folder = cohort.jobs_folder / name
    if not (folder / "job.json").exists():
        raise SSLSegError(
            f"The result belongs to the job '{name}', which this cohort does not have",
            file=archive.path,
            remedy="Merge it into the cohort that the job was packed from.",
        )
    if (folder / "job.json").read_bytes() != archive.read(description):
        raise SSLSegError(
            f"The result belongs to another job that is called '{name}', too",
            file=archive.path,
            remedy="Merge it into the cohort that the job was packed from.",
        )
    return Job.open(folder)


def _notes(cohort: Cohort, archive: Archive) -> list[str]:
    """What changed here since the job was packed; none of it makes the result wrong."""
    notes = []
    known = {case.id: case for case in cohort.cases}
    changed = 0
    for name, digest in archive.manifest.inputs.items():
        if not name.startswith("labels/"):
            continue
        case = known.get(Path(name).name.split(".")[0])
        label = None if case is None else cohort.label_path(case)
        if label is None or not label.exists() or _digest(label) != digest:
            changed += 1
    if changed:
        notes.append(f"The annotation of {changed} case(s) changed after the job was packed.")
    if archive.manifest.program != __version__:
        notes.append(f"The job ran with version {archive.manifest.program}; this is {__version__}.")
    return notes


def _move_in(cohort: Cohort, job: Job, staged: Path, archive: Archive, report: MergeReport) -> None:
    """Models and predictions first, the events last: they make the job a finished one."""
    own = f"jobs/{job.folder.name}/"
    events = f"{own}events.jsonl"
    _check_events(job, staged / events, archive.path)
    names = sorted(archive.manifest.files, key=lambda name: (name == events, name.startswith(own), name))
    for name in names:
        target = cohort.folder / name
        if target.exists() and not name.startswith(own) and _digest(target) != _digest(staged / name):
            raise SSLSegError(
                f"'{name}' is there already and is not the same",
                file=cohort.folder / FILE_NAME,
                remedy="Move it away first: a merge replaces nothing.",
            )
    models = sorted({"/".join(name.split("/")[:2]) for name in names if name.startswith("models/")})
    for model in models:
        if not (cohort.folder / model).exists():
            (cohort.folder / "models").mkdir(exist_ok=True)
            # A model must be there whole or not at all.
            shutil.move(staged / model, cohort.folder / model)
            report.added += [name for name in names if name.startswith(f"{model}/")]
    for name in names:
        target = cohort.folder / name
        if name in report.added:
            continue
        if target.exists() and _digest(target) == _digest(staged / name):
            report.present.append(name)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged / name).replace(target)
        report.added.append(name)


def _check_events(job: Job, staged: Path, archive: Path) -> None:
    """What happened here must be the beginning of what happened there: else the job went on in two places."""
    here = job.events_path.read_bytes() if job.events_path.exists() else b""
    there = staged.read_bytes() if staged.exists() else b""
    if not there.startswith(here):
        raise SSLSegError(
            "The job ran on this computer as well after it was packed",
            file=archive,
            remedy="Keep the result of this computer, or start a new job and pack that.",
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A job that travels: packed with what it needs, run on another computer, its result brought home.

```
sslseg job pack COHORT/jobs/train-0001 --output job.zip
sslseg run job.zip                      # elsewhere: writes job-result.zip
sslseg job merge COHORT job-result.zip
```

The archive holds a small cohort of its own: only the cases, labels and models the job needs, images included.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sslseg.contract.cohort import FILE_NAME, Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings, TrainSettings
from sslseg.data.volume_files import volume_files
from sslseg.jobs.archive import Archive, write_archive

_UNFINISHED = {JobState.WAITING, JobState.INTERRUPTED, JobState.CANCELLED, JobState.FAILED}
_PACKED_FROM = "packed.json"
"""In an unpacked cohort: what the job was given, which its result must tell."""


def pack_job(job: Job, output: Path) -> Path:
    """Write a job that is not finished, and what it needs, into one archive.

    A training that had begun goes on elsewhere from its last checkpoint.

    Args:
        job: a training or a prediction.
        output: the archive.

    Returns:
        The archive.

    Raises:
        SSLSegError: the job runs or is finished, is of another kind, or a file of its cases is missing.
    """
    _check_packable(job)
    cohort = Cohort.read(job.cohort_folder)
    files: dict[str, Path | bytes] = {}
    cases = []
    for case in _needed_cases(cohort, job):
        moved = _packed_images(cohort, case, files)
        if (label := cohort.label_path(case)) is not None:
            moved = dataclasses.replace(moved, label=f"labels/{case.id}{_suffix(label)}")
            files[moved.label or ""] = label
        cases.append(moved)
    if (model := _needed_model(job)) is not None:
        _add_folder(files, cohort.folder, cohort.model_folder(model))
    _add_folder(files, cohort.folder, job.folder)
    smaller = Cohort(cohort.folder, cohort.name, cohort.modality, cohort.labels, cases)
    files[FILE_NAME] = json.dumps(smaller.to_json(), indent=1).encode()
    write_archive(output, "job", job.folder.name, files)
    return output


def unpack_job(path: Path, folder: Path) -> Job:
    """Unpack an archive to run its job; a folder it was unpacked to before is gone on with.

    Args:
        path: from `pack_job`.
        folder: is made, or holds the same archive already.

    Raises:
        SSLSegError: the archive is not to be trusted, or the folder holds something else.
    """
    with Archive.open(path, "job") as archive:
        manifest = archive.manifest
        inputs = {name: entry.sha256 for name, entry in manifest.files.items()}
        mark = folder / _PACKED_FROM
        if mark.exists() and read_json(mark) == inputs:
            return Job.open(folder / "jobs" / manifest.job)
        if folder.exists() and any(folder.iterdir()):
            raise SSLSegError(
                "The folder to unpack to holds something else",
                file=folder,
                remedy="Remove it, or give another folder with --output.",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as staging:
            # The folder appears whole or not at all.
            staged = Path(staging) / "cohort"
            for name in manifest.files:
                archive.extract(name, staged / name)
            write_json(staged / _PACKED_FROM, inputs)
            staged.replace(folder)
    return Job.open(folder / "jobs" / manifest.job)


def is_unpacked(job: Job) -> bool:
    """Whether the job came out of an archive, so that its result is wanted as one."""
    return (job.cohort_folder / _PACKED_FROM).exists()


def pack_result(job: Job, output: Path) -> Path:
    """Write what a finished job made into one archive.

    Args:
        job: from `unpack_job`, finished.
        output: the archive.

    Raises:
        SSLSegError: the job is not finished, or did not come out of an archive.
    """
    settings = job.settings
    if (
        not isinstance(settings, TrainSettings | PredictSettings)
        or not is_unpacked(job)
        or job.state() is not JobState.FINISHED
    ):
        raise SSLSegError(
            "There is no result to pack", file=job.folder, remedy="Run an unpacked job to its end first."
        )
    root = job.cohort_folder
    inputs = read_json(root / _PACKED_FROM)
    files: dict[str, Path | bytes] = {}
    place = "models" if isinstance(settings, TrainSettings) else "predictions"
    _add_folder(files, root, root / place / settings.model)
    for path in (job.folder / "job.json", job.events_path, job.log_path):
        if path.exists():
            files[path.relative_to(root).as_posix()] = path
    write_archive(output, "result", job.folder.name, files, inputs)
    return output


def _check_packable(job: Job) -> None:
    if not isinstance(job.settings, TrainSettings | PredictSettings):
        raise SSLSegError(
            f"A job of the kind '{job.description.command}' does not travel",
            file=job.folder,
            remedy="Only trainings and predictions do.",
        )
    state = job.state()
    if state not in _UNFINISHED:
        raise SSLSegError(
            f"The job is {state.value}",
            file=job.folder,
            remedy="Cancel it first." if state is JobState.RUNNING else "There is nothing left to run.",
        )


def _needed_cases(cohort: Cohort, job: Job) -> list[Case]:
    """For a training all cases but the test cases; for a prediction the chosen ones and the annotated ones."""
    if isinstance(job.settings, PredictSettings):
        chosen = job.settings.cases
        names = {case.id for case in cohort.cases} if chosen is None else set(chosen)
        return [c for c in cohort.cases if c.id in names or (c.use is not Use.TEST and c.is_annotated)]
    return [case for case in cohort.cases if case.use is not Use.TEST]


def _needed_model(job: Job) -> str | None:
    if isinstance(job.settings, PredictSettings):
        return job.settings.model
    return job.settings.start_from if isinstance(job.settings, TrainSettings) else None


def _packed_images(cohort: Cohort, case: Case, files: dict[str, Path | bytes]) -> Case:
    """Add the files of a case's image under neutral names; the case as it stands in the archive."""
    path = cohort.image_path(case)
    parts = volume_files(path)
    if path.is_dir():
        for number, part in enumerate(parts):
            files[f"images/{case.id}/{number:05d}.dcm"] = part
        return dataclasses.replace(case, image=f"images/{case.id}")
    if len(parts) == 1:
        name = f"images/{case.id}{_suffix(path)}"
        files[name] = path
        return dataclasses.replace(case, image=name)
    # The header names its file of voxels, so these keep their names.
    for part in parts:
        files[f"images/{case.id}/{part.name}"] = part
    return dataclasses.replace(case, image=f"images/{case.id}/{path.name}")


def _suffix(path: Path) -> str:
    match = re.search(r"(\.seg)?\.[A-Za-z0-9]+(\.gz)?$", path.name)
    return match[0] if match else ""


def _add_folder(files: dict[str, Path | bytes], root: Path, folder: Path) -> None:
    for path in _files_below(folder):
        files[path.relative_to(root).as_posix()] = path


def _files_below(folder: Path) -> Iterator[Path]:
    """Files that mean something elsewhere: no locks, no half-written ones, no request to stop."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not hidden and path.name != "stop":
            yield path

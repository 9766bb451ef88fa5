"""Importing as a job: what it tells, that it can be stopped, and that nothing of it is half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_slices import SERIES_A, write_stack

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.files import read_json
from sslseg.contract.imports import read_refusals
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import DicomSeries, ImportSettings
from sslseg.data.importing import import_paths
from sslseg.jobs.runner import run_job

PATIENT = "DOE^JOHN"


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return Cohort.create(
        tmp_path / "cohort", name="c", modality="CT", labels=parse_labels("liver=3,spleen=7")
    )


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two good volumes and a damaged one, in files that are named after a patient."""
    folder = tmp_path / PATIENT
    folder.mkdir()
    for seed, name in enumerate(("one", "two", "damaged")):
        voxels = np.random.default_rng(seed).integers(-1000, 800, (6, 8, 10)).astype(np.int16)
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(folder / f"{PATIENT} {name}.nii.gz"))
    damaged = folder / f"{PATIENT} damaged.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    return folder


def run(cohort: Cohort, **settings: Any) -> Job:
    job = Job.create(cohort.folder, ImportSettings(**settings))
    run_job(job)
    return job


def files_of(folder: Path) -> set[str]:
    """Files of a cohort apart from those of its jobs and its locks."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {file.as_posix() for file in files if file.parts[0] != "jobs" and not file.name.startswith(".")}


def test_progress_and_what_was_refused_are_told(cohort: Cohort, scans: Path) -> None:
    job = run(cohort, paths=[str(scans)])
    assert job.state() is JobState.FINISHED
    events = {event.event: event.fields for event in read_events(job.events_path)}
    assert (events["progress"]["step"], events["progress"]["steps"]) == (3, 3)
    assert events["artifact"]["cases"] == ["case_0001", "case_0002"]
    assert events["warning"]["message"].startswith("1 of 3 volumes were not imported")
    refused = read_refusals(job.folder)
    assert [Path(refusal.file).name for refusal in refused] == [f"{PATIENT} damaged.nii.gz"]
    assert "cut short" in refused[0].reason


def test_a_finished_import_that_copies_leaves_no_name_of_a_file_behind(cohort: Cohort, scans: Path) -> None:
    (scans / f"{PATIENT} damaged.nii.gz").unlink()
    job = run(cohort, paths=[str(scans)], copy=True)
    assert job.state() is JobState.FINISHED and len(Cohort.read(cohort.folder).cases) == 2
    written = [path.read_bytes() for path in cohort.folder.rglob("*") if path.is_file()]
    assert not any(PATIENT.encode() in content for content in written)


def test_neither_events_nor_the_log_name_a_refused_file(cohort: Cohort, scans: Path) -> None:
    for folder in (scans, scans / f"{PATIENT} damaged.nii.gz", scans / "not there"):
        job = run(cohort, paths=[str(folder)], labels=str(scans / "no labels"))
        assert read_refusals(job.folder)
        assert PATIENT not in job.events_path.read_text() + job.log_path.read_text()


def test_an_import_of_nothing_good_fails_with_a_sentence(cohort: Cohort, scans: Path, tmp_path: Path) -> None:
    job = run(cohort, paths=[str(scans / f"{PATIENT} damaged.nii.gz")])
    assert job.state() is JobState.FAILED
    event = read_events(job.events_path)[-1]
    assert event.fields["message"] == "None of the 1 volume(s) was imported; the list says why."
    assert event.fields["kind"] == "user"
    (tmp_path / "empty").mkdir()
    job = run(cohort, paths=[str(tmp_path / "empty")])
    assert "No volume was found" in read_events(job.events_path)[-1].fields["message"]


def test_a_cancelled_import_imports_nothing_and_can_be_run_again(cohort: Cohort, scans: Path) -> None:
    job = Job.create(cohort.folder, ImportSettings(paths=[str(scans)], copy=True))

    class StopAtOnce:
        def write(self, event: str, **fields: Any) -> None:
            if event == "started":
                job.request_cancel()

    before = files_of(cohort.folder)
    assert run_job(job, watcher=StopAtOnce()) is JobState.CANCELLED
    assert files_of(cohort.folder) == before and not Cohort.read(cohort.folder).cases
    assert run_job(Job.open(job.folder)) is JobState.FINISHED
    assert len(Cohort.read(cohort.folder).cases) == 2


def test_a_full_disk_leaves_the_cohort_as_it_was(
    cohort: Cohort, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(cohort.folder)

    def full(self: Cohort) -> None:
        raise SSLSegError("The file cannot be written (No space left on device)", file=self.folder)

    monkeypatch.setattr(Cohort, "_write", full)
    job = run(cohort, paths=[str(scans)], copy=True)
    assert "No space left" in read_events(job.events_path)[-1].fields["message"]
    assert files_of(cohort.folder) == before


def test_cases_whose_files_are_missing_do_not_keep_others_out(cohort: Cohort, scans: Path) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.cases.append(Case("gone", "images/gone.nrrd"))
    assert run(cohort, paths=[str(scans)]).state() is JobState.FINISHED


def test_a_series_of_a_database_is_copied_wherever_its_files_lie(cohort: Cohort, tmp_path: Path) -> None:
    moved = []
    for number, file in enumerate(sorted(write_stack(tmp_path / "one").iterdir())):
        place = tmp_path / "database" / str(number % 2) / f"{number}.dcm"
        place.parent.mkdir(parents=True, exist_ok=True)
        moved.append(str(file.rename(place)))
    job = run(cohort, series=[DicomSeries(SERIES_A, moved)])
    assert job.state() is JobState.FINISHED
    case = Cohort.read(cohort.folder).cases[0]
    assert case.image == "images/case_0001.nrrd" and case.series is None
    assert sitk.ReadImage(str(cohort.folder / case.image)).GetSize()[2] == len(moved)
    assert read_json(job.folder / "job.json")["settings"]["series"] == []


def test_a_removed_cases_image_is_neither_overwritten_nor_lost(cohort: Cohort, scans: Path) -> None:
    first = import_paths(cohort.folder, [scans / f"{PATIENT} one.nii.gz"], copy=True).imported
    kept = cohort.folder / "images" / "case_0001.nrrd"
    content = kept.read_bytes()
    with Cohort.edit(cohort.folder) as edited:
        edited.cases.clear()
    second = import_paths(cohort.folder, [scans / f"{PATIENT} two.nii.gz"], copy=True).imported
    assert (first, second) == (["case_0001"], ["case_0002"]) and kept.read_bytes() == content
    again = import_paths(cohort.folder, [cohort.folder / "images"])
    assert again.imported == ["case_0001"]
    assert again.cohort.case("case_0001").image == "images/case_0001.nrrd"

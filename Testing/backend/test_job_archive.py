"""Jobs that run on another computer: packed, run, merged, and refused where they are not to be trusted."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_training import make_cohort, tiny_settings

from sslseg.bundle.model_folder import load_model
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings
from sslseg.jobs.archive import MANIFEST, Archive, is_safe_name, write_archive
from sslseg.jobs.merging import merge_result
from sslseg.jobs.packing import pack_job, pack_result, unpack_job
from sslseg.jobs.runner import run_job


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A cohort, the archive of its training, and the archive of what that made on another computer."""
    home, away = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("away")
    cohort = make_cohort(home / "cohort", annotated=2, unlabelled=2)
    with Cohort.edit(cohort.folder) as edited:
        edited.cases[3].use = Use.TEST
        # One volume lies outside the cohort, under a name that says who it is.
        cohort.image_path(edited.cases[2]).rename(home / "Jane_Doe.nii.gz")
        edited.cases[2].image = str(home / "Jane_Doe.nii.gz")
    job = Job.create(cohort.folder, tiny_settings())
    packed = pack_job(job, home / "job.zip")
    elsewhere = unpack_job(packed, away / "job")
    assert run_job(elsewhere) is JobState.FINISHED
    return cohort.folder, packed, pack_result(elsewhere, away / "result.zip")


@pytest.fixture
def home(trained: tuple[Path, Path, Path], tmp_path: Path) -> Cohort:
    """A fresh cohort with the same job, waiting."""
    folder = tmp_path / "cohort"
    (folder / "jobs" / "train-0001").mkdir(parents=True)
    for name in ("cohort.json", "jobs/train-0001/job.json"):
        (folder / name).write_bytes((trained[0] / name).read_bytes())
    (folder / "labels").mkdir()
    for path in (trained[0] / "labels").iterdir():
        (folder / "labels" / path.name).write_bytes(path.read_bytes())
    return Cohort.read(folder, check_files=False)


def test_a_training_runs_elsewhere_and_comes_home(trained: tuple[Path, Path, Path], home: Cohort) -> None:
    report = merge_result(home.folder, trained[2])
    assert report.notes == []
    assert load_model(home.model_folder("cubes")).record.labelled == 2
    assert Job.open(home.jobs_folder / "train-0001").state() is JobState.FINISHED
    again = merge_result(home.folder, trained[2])
    assert again.added == []
    assert sorted(again.present) == sorted(report.added + report.present)
    assert not list(home.cache_folder.glob(".merging-*"))


def test_only_what_the_job_needs_travels_under_neutral_names(trained: tuple[Path, Path, Path]) -> None:
    with zipfile.ZipFile(trained[1]) as archive:
        names = set(archive.namelist())
    assert names == {
        MANIFEST, "cohort.json", "jobs/train-0001/job.json", "labels/case_0.nii.gz", "labels/case_1.nii.gz",
        "images/case_0.nii.gz", "images/case_1.nii.gz", "images/case_2.nii.gz",
    }  # fmt: skip
    assert b"Jane" not in trained[1].read_bytes()


def test_a_prediction_takes_its_model_along(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder = trained[0]
    if not (folder / "models").exists():
        merge_result(folder, trained[2])
    job = Job.create(folder, PredictSettings(model="cubes", cases=["case_3"], device="cpu"))
    elsewhere = unpack_job(pack_job(job, tmp_path / "job.zip"), tmp_path / "away")
    assert {case.id for case in Cohort.read(elsewhere.cohort_folder).cases} == {"case_0", "case_1", "case_3"}
    assert run_job(elsewhere) is JobState.FINISHED
    result = pack_result(elsewhere, tmp_path / "result.zip")
    merge_result(folder, result)
    predicted = Cohort.read(folder).prediction_path("cubes", "case_3")
    assert (
        predicted.read_bytes()
        == (elsewhere.cohort_folder / "predictions" / "cubes" / "case_3.nii.gz").read_bytes()
    )
    # What is there and differs is never replaced, and then nothing at all is merged.
    predicted.write_bytes(b"drawn over")
    with pytest.raises(SSLSegError, match="is there already and is not the same"):
        merge_result(folder, result)
    assert predicted.read_bytes() == b"drawn over"


def test_an_archive_is_gone_on_with_where_it_was_unpacked_before(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first = unpack_job(trained[1], tmp_path / "job")
    (first.folder / "note").write_text("kept")
    assert (unpack_job(trained[1], tmp_path / "job").folder / "note").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(SSLSegError, match="holds something else"):
        unpack_job(trained[1], tmp_path / "mine")


def test_annotations_that_changed_meanwhile_are_told_of(
    trained: tuple[Path, Path, Path], home: Cohort
) -> None:
    (home.folder / "labels" / "case_1.nii.gz").write_bytes(b"drawn on")
    assert merge_result(home.folder, trained[2]).notes == [
        "The annotation of 1 case(s) changed after the job was packed."
    ]


def test_a_job_that_ran_here_as_well_is_not_merged_over(
    trained: tuple[Path, Path, Path], home: Cohort
) -> None:
    job = Job.open(home.jobs_folder / "train-0001")
    job.events.write("started", command="train", device="cpu")
    with pytest.raises(SSLSegError, match="ran on this computer as well"):
        merge_result(home.folder, trained[2])
    assert not (home.folder / "models").exists()


def test_the_result_of_another_job_is_refused(trained: tuple[Path, Path, Path], home: Cohort) -> None:
    path = home.jobs_folder / "train-0001" / "job.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(SSLSegError, match="another job that is called 'train-0001'"):
        merge_result(home.folder, trained[2])
    path.unlink()
    with pytest.raises(SSLSegError, match="which this cohort does not have"):
        merge_result(home.folder, trained[2])


def test_a_job_is_no_result_and_a_result_no_job(
    trained: tuple[Path, Path, Path], home: Cohort, tmp_path: Path
) -> None:
    with pytest.raises(SSLSegError, match="holds a job, not a result"):
        merge_result(home.folder, trained[1])
    with pytest.raises(SSLSegError, match="holds a result, not a job"):
        unpack_job(trained[2], tmp_path / "new")


def test_a_finished_or_running_job_is_not_packed(trained: tuple[Path, Path, Path], home: Cohort) -> None:
    job = Job.open(home.jobs_folder / "train-0001")
    with job.running(), pytest.raises(SSLSegError, match="Cancel it first"):
        pack_job(job, home.folder / "x.zip")
    merge_result(home.folder, trained[2])
    with pytest.raises(SSLSegError, match="nothing left to run"):
        pack_job(job, home.folder / "x.zip")


def _rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target


def _declare(files: dict[str, bytes], name: str) -> None:
    manifest = json.loads(files[MANIFEST])
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    files[MANIFEST] = json.dumps(manifest).encode()
    files[name] = b"x"


def _manifest(files: dict[str, bytes], **changes: object) -> None:
    files[MANIFEST] = json.dumps(json.loads(files[MANIFEST]) | changes).encode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files.update({"extra": b"x"}), "just the files that it declares"),
        (lambda files: files.pop("labels/case_0.nii.gz"), "just the files that it declares"),
        (lambda files: _declare(files, "../outside"), "leads out of it"),
        (lambda files: _declare(files, "/etc/x"), "leads out of it"),
        (lambda files: _declare(files, "a\\..\\b"), "leads out of it"),
        (lambda files: files.update({"cohort.json": b"{}"}), "was changed after it was packed"),
        (
            lambda files: files.update({"cohort.json": files["cohort.json"].replace(b"cubes", b"cakes")}),
            "was changed after it was packed",
        ),
        (lambda files: _manifest(files, version=9), "version 9"),
        (lambda files: _manifest(files, job="../x"), "no name of a job"),
        (lambda files: files.pop(MANIFEST), "not packed by this program"),
    ],
)
def test_an_archive_that_was_tampered_with_leaves_nothing(
    trained: tuple[Path, Path, Path],
    tmp_path: Path,
    change: Callable[[dict[str, bytes]], None],
    sentence: str,
) -> None:
    path = _rewritten(trained[1], tmp_path / "changed.zip", change)
    with pytest.raises(SSLSegError, match=sentence):
        unpack_job(path, tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["changed.zip"]


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.zip"
    write_archive(path, "job", "train-0001", {"a": b"/etc/passwd"})
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "a" else 0o100644) << 16
            archive.writestr(info, content)
    with pytest.raises(SSLSegError, match="leads out of it"), Archive.open(path, "job"):
        pass


def test_what_is_no_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(SSLSegError, match=r"x\.zip.*Copy the archive again"):
        unpack_job(tmp_path / "x.zip", tmp_path / "folder")
    with pytest.raises(SSLSegError, match="does not exist"):
        unpack_job(tmp_path / "y.zip", tmp_path / "folder")


@pytest.mark.parametrize("name", ["a/b.nii.gz", "jobs/train-0001/job.json"])
def test_plain_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "C:/a", "a\\b", "a\0b"])
def test_names_that_lead_elsewhere_are_not_safe(name: str) -> None:
    assert not is_safe_name(name)


def test_a_checkpoint_travels_with_a_training_that_had_begun(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    cohort = make_cohort(tmp_path / "cohort", annotated=1, unlabelled=1)
    job = Job.create(cohort.folder, dataclasses.replace(tiny_settings(), model="later"))
    job.checkpoint_path.parent.mkdir()
    job.checkpoint_path.write_bytes(b"state")
    job.events.write("started", command="train", device="cpu")
    job.request_cancel()
    elsewhere = unpack_job(pack_job(job, tmp_path / "job.zip"), tmp_path / "away")
    assert elsewhere.checkpoint_path.read_bytes() == b"state"
    assert not elsewhere.cancel_requested

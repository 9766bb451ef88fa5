"""A model is exported as a job: what the panel starts."""

from __future__ import annotations

from tiny_model import add_model

from sslseg.contract.cohort import Cohort
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import ModelExportSettings
from sslseg.jobs.runner import run_job


def _job(tmp_path, output="bundle") -> Job:
    labels = parse_labels("liver=1,spleen=2")
    Cohort.create(tmp_path / "cohort", name="abdomen", modality="CT", labels=labels)
    add_model(Cohort.read(tmp_path / "cohort"), "first", tuple(labels))
    return Job.create(tmp_path / "cohort", ModelExportSettings("first", str(tmp_path / output)))


def test_the_job_writes_the_bundle_and_names_it(tmp_path):
    job = _job(tmp_path)
    assert job.folder.name == "export-model-0001"
    assert run_job(Job.open(job.folder)) is JobState.FINISHED
    (artifact,) = [event.fields for event in read_events(job.events_path) if event.event == "artifact"]
    assert artifact["path"] == str(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "configs" / "inference.json").is_file()


def test_a_folder_that_holds_something_is_refused_in_a_sentence(tmp_path):
    job = _job(tmp_path)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "notes.txt").write_text("mine")
    assert run_job(job) is JobState.FAILED
    assert "bundle" in read_events(job.events_path)[-1].fields["message"]
    assert (tmp_path / "bundle" / "notes.txt").read_text() == "mine"

"""Jobs and events: what Slicer and a terminal see of a running job."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventReader, EventWriter, failure_message, read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings, TrainSettings


def test_a_job_is_read_as_it_was_made_and_numbers_go_up(tmp_path: Path) -> None:
    settings = TrainSettings(
        method="supervised", model="first", patch_size=(16, 32, 32), method_settings={"a": 0.5}
    )
    job = Job.create(tmp_path, settings)
    assert (job.folder.name, Job.open(job.folder).settings) == ("train-0001", settings)
    assert Job.create(tmp_path, settings).folder.name == "train-0002"
    assert Job.create(tmp_path, PredictSettings(model="first")).folder.name == "predict-0003"
    assert [j.folder.name for j in Job.all(tmp_path)] == ["train-0001", "train-0002", "predict-0003"]
    assert job.cohort_folder == tmp_path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "version 2.*Update"),
        ({"schema": "x"}, "not a job"),
        ({"command": "dance"}, "command must be one of train, predict"),
        ({"settings": {"method": "supervised"}}, r"settings\.model is missing"),
        ({"settings": {"method": "supervised", "model": "m", "steps": 0}}, "steps must be at least 1"),
        (
            {"settings": {"method": "supervised", "model": "m", "speed": 3}},
            r"settings\.speed is not a known field",
        ),
        ({"settings": {"method": "supervised", "model": "../m"}}, "cannot be a model name"),
        ({"settings": {"method": "supervised", "model": "m", "seed": 1.5}}, "seed must be a whole number"),
    ],
)
def test_a_job_that_does_not_fit_is_refused(tmp_path: Path, changes: dict, sentence: str) -> None:
    job = Job.create(tmp_path, TrainSettings(method="supervised", model="m"))
    path = job.folder / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SSLSegError, match=sentence):
        Job.open(job.folder)


def test_the_state_follows_the_events_and_the_life_of_the_process(tmp_path: Path) -> None:
    job = Job.create(tmp_path, PredictSettings(model="m"))
    assert job.state() is JobState.WAITING
    script = (
        "import sys; from sslseg.contract.jobs import Job; job = Job.open(sys.argv[1])\n"
        "with job.running():\n"
        "    job.events.write('started', command='predict', device='cpu'); print('on', flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(job.folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"on\n"
    assert job.state() is JobState.RUNNING
    with pytest.raises(SSLSegError, match="running already"), job.running():
        pass
    process.kill()
    process.wait()
    assert job.state() is JobState.INTERRUPTED
    for ending in ("failed", "cancelled", "finished"):
        job.events.write(ending, message="m", step=1)
        assert job.state() is JobState(ending)


def test_a_cancel_request_is_seen_and_forgotten_at_the_next_start(tmp_path: Path) -> None:
    job = Job.create(tmp_path, PredictSettings(model="m"))
    job.request_cancel()
    assert job.cancel_requested
    with job.running():
        assert not job.cancel_requested


def test_a_reader_gets_each_event_once_and_never_half_of_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer, reader = EventWriter(path), EventReader(path)
    assert list(reader.read()) == []
    writer.write("progress", step=1, steps=2, seconds_left=float("nan"))
    assert [e.fields for e in reader.read()] == [{"step": 1, "steps": 2, "seconds_left": None}]
    with path.open("a") as file:
        file.write('{"time": 1, "event": "warn')
    assert list(reader.read()) == []
    writer.write("warning", message="after a crash")
    assert [e.fields["message"] for e in reader.read()] == ["after a crash"]
    assert [e.event for e in read_events(path)] == ["progress", "warning"]


def test_an_unknown_or_incomplete_event_is_a_programming_error(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "events.jsonl")
    with pytest.raises(ValueError, match="unknown"):
        writer.write("party")
    with pytest.raises(ValueError, match="lacks seconds_left"):
        writer.write("progress", step=1, steps=2)
    assert not (tmp_path / "events.jsonl").exists()


def test_failures_are_sentences_without_a_traceback() -> None:
    assert failure_message(SSLSegError("The file is cut off", file="a.nii", remedy="Export it again.")) == (
        "a.nii: The file is cut off. Export it again."
    )
    assert "out of memory" in failure_message(MemoryError())
    assert "No space left" in failure_message(OSError(28, "x"))
    assert "KeyError" in failure_message(KeyError("x"))


def test_a_long_story_is_read_in_slices_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writer, reader = EventWriter(path), EventReader(path)
    for number in range(20):
        writer.write("warning", message=f"{number} " + "x" * 5 * number)
    slices = []
    while events := list(reader.read(100)):
        slices.append([int(event.fields["message"].split()[0]) for event in events])
    assert len(slices) > 5 and [n for part in slices for n in part] == list(range(20))


def test_looking_at_a_job_does_not_keep_it_from_starting_even_in_a_folder_that_is_read_only(
    tmp_path: Path,
) -> None:
    job = Job.create(tmp_path, PredictSettings(model="m"))
    assert not job.is_running and not (job.folder / ".running.lock").exists()
    with job.running():
        assert job.is_running
    (job.folder / ".running.lock").chmod(0o444)
    assert not job.is_running
    script = (
        "import sys, time; from sslseg.contract.files import locked\n"
        "with locked(sys.argv[1]): print('on', flush=True); time.sleep(0.05)"
    )
    lock = job.folder / ".running.lock"
    lock.chmod(0o644)
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE) as looker:
        assert looker.stdout is not None and looker.stdout.readline() == b"on\n"
        with job.running():
            assert job.is_running

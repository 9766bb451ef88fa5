"""Running a job: how it ends, what it says, and that it does not outlive its parent unwatched."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import TrainSettings
from sslseg.jobs.runner import run_job


@pytest.fixture
def a_job(tmp_path: Path) -> Job:
    Cohort.create(tmp_path / "cohort", name="c", modality="CT", labels=parse_labels("liver=1"))
    return Job.create(tmp_path / "cohort", TrainSettings(method="supervised", model="m"))


def _train_that(monkeypatch: pytest.MonkeyPatch, does: Any) -> None:
    monkeypatch.setattr("sslseg.train.training.train", does)


def test_a_job_that_ends_well_says_so(a_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    _train_that(monkeypatch, lambda *_, **__: "record")
    assert run_job(a_job) is JobState.FINISHED
    assert [event.event for event in read_events(a_job.events_path)] == ["finished"]


def test_a_cancelled_job_does_not_claim_to_be_finished(a_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    _train_that(monkeypatch, lambda *_, **__: None)
    assert run_job(a_job) is JobState.CANCELLED
    assert "finished" not in [event.event for event in read_events(a_job.events_path)]


def test_a_request_to_cancel_reaches_the_work(a_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def work(cohort: Cohort, settings: TrainSettings, events: Any, *, cancel: Any, **_: Any) -> None:
        asked.append(cancel())
        a_job.request_cancel()
        time.sleep(0.3)
        asked.append(cancel())

    _train_that(monkeypatch, work)
    run_job(a_job)
    assert asked == [False, True]


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            SSLSegError("The scan is cut off", remedy="Copy it again."),
            "user",
            "The scan is cut off. Copy it again.",
        ),
        (KeyError("surprise"), "program", "The program failed unexpectedly (KeyError)."),
    ],
)
def test_a_failure_is_a_sentence_and_its_traceback_is_in_the_log(
    a_job: Job, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str, sentence: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    _train_that(monkeypatch, fail)
    assert run_job(a_job) is JobState.FAILED
    event = read_events(a_job.events_path)[-1]
    assert (event.event, event.fields["kind"]) == ("failed", kind)
    assert event.fields["message"].startswith(sentence)
    assert "Traceback" in a_job.log_path.read_text() and "Traceback" not in event.fields["message"]


def test_a_job_whose_parent_dies_cancels_itself(a_job: Job) -> None:
    work = textwrap.dedent(
        f"""
        import os, sys, time
        import sslseg.train.training as training
        from sslseg.contract.jobs import Job
        from sslseg.jobs.runner import run_job

        def work(cohort, settings, events, *, cancel, **_):
            events.write("progress", step=1, steps=2, seconds_left=None)
            while not cancel():
                time.sleep(0.05)
            events.write("cancelled", step=1)

        training.train = work
        run_job(Job.open({str(a_job.folder)!r}), parent=int(sys.argv[1]))
        """
    )
    parent = textwrap.dedent(
        f"""
        import os, subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", {work!r}, str(os.getpid())])
        time.sleep(60)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    _wait_until(lambda: any(event.event == "progress" for event in read_events(a_job.events_path)))
    process.kill()
    process.wait()
    _wait_until(lambda: read_events(a_job.events_path)[-1].event == "cancelled")


def _wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)

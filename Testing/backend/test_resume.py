"""A run that was stopped or killed, and then resumed, ends with the very weights of one that never was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import Events, make_cohort, tiny_settings
from torch import Tensor

from sslseg.bundle.model_folder import load_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.events import EventWriter, read_events
from sslseg.contract.settings import TrainSettings
from sslseg.train.training import train

STEPS = 8

# What a job's process does; it must live in a process of its own to be killed.
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_resume import interruptible
interruptible(Path(sys.argv[2]), Path(sys.argv[3]), pause=0.05)
"""


def run_settings(model: str) -> TrainSettings:
    # Dropout, a teacher, momentum, validation and both halves of the batch: all that has a state.
    return tiny_settings(
        method="mean_teacher", model=model, steps=STEPS, validation_cases=1, validation_every=3, seed=5
    )


def interruptible(cohort_folder: Path, job: Path, *, pause: float = 0.0) -> None:
    """Train with a checkpoint at every step, and some seconds of rest after each."""
    train(
        Cohort.read(cohort_folder),
        run_settings("killed"),
        EventWriter(job / "events.jsonl"),
        checkpoint_path=job / "last.ckpt",
        cancel=lambda: bool(time.sleep(pause)),
        checkpoint_seconds=0.0,
    )


def weights(cohort: Cohort, model: str) -> dict[str, Tensor]:
    return load_model(cohort.model_folder(model)).networks[0].state_dict()


def assert_bit_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


@pytest.fixture(scope="module")
def a_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    cohort = make_cohort(tmp_path_factory.mktemp("cohort"), annotated=3, unlabelled=2)
    folder = tmp_path_factory.mktemp("job")
    assert train(cohort, run_settings("undisturbed"), Events(), checkpoint_path=folder / "last.ckpt")
    return cohort


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_cancelled_run_resumes_bit_equal(a_cohort: Cohort, tmp_path: Path, stop_at: int) -> None:
    checkpoint = tmp_path / "last.ckpt"
    settings = run_settings(f"resumed-{stop_at}")
    asked = []

    def cancel() -> bool:
        asked.append(True)
        return len(asked) == stop_at + preparations

    # The preparation asks too, once a case: count how often, on a run of its own.
    counting: list[bool] = []
    train(
        a_cohort,
        settings,
        Events(),
        checkpoint_path=tmp_path / "counting" / "last.ckpt",
        cancel=lambda: bool(counting.append(True)),
    )
    preparations = len(counting) - STEPS
    assert train(a_cohort, settings, Events(), checkpoint_path=checkpoint, cancel=cancel) is None
    assert torch.load(checkpoint, weights_only=True)["global_step"] == stop_at

    events = Events()
    record = train(a_cohort, settings, events, checkpoint_path=checkpoint)
    assert record is not None and [point.step for point in record.validation] == [3, 6, 8]
    assert events.of("progress")[-1]["step"] == STEPS
    assert_bit_equal(weights(a_cohort, settings.model), weights(a_cohort, "undisturbed"))


def test_a_killed_run_resumes_bit_equal(a_cohort: Cohort, tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", CHILD, here, str(a_cohort.folder), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, env=environment) as child:
        _wait_for((tmp_path / "last.ckpt").exists, child)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    reached = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert 1 <= reached < STEPS
    assert not any(event.event == "artifact" for event in read_events(tmp_path / "events.jsonl"))

    interruptible(a_cohort.folder, tmp_path)
    assert_bit_equal(weights(a_cohort, "killed"), weights(a_cohort, "undisturbed"))


def test_a_run_that_was_killed_after_its_last_step_still_writes_its_model(
    a_cohort: Cohort, tmp_path: Path
) -> None:
    settings = run_settings("late")
    first = train(a_cohort, settings, Events(), checkpoint_path=tmp_path / "last.ckpt")
    shutil.rmtree(a_cohort.model_folder("late"))
    events = Events()
    second = train(a_cohort, settings, events, checkpoint_path=tmp_path / "last.ckpt")
    assert first is not None and second is not None and second.validation == first.validation
    assert all(fields["step"] == 0 for fields in events.of("progress"))
    assert_bit_equal(weights(a_cohort, "late"), weights(a_cohort, "undisturbed"))


def test_a_resumed_run_keeps_the_cases_it_began_with(a_cohort: Cohort, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    settings = run_settings("grown")
    events = Events()
    stop = lambda: bool(events.of("progress")) and events.of("progress")[-1]["step"] >= 1  # noqa: E731
    assert train(a_cohort, settings, events, checkpoint_path=checkpoint, cancel=stop) is None

    grown = Cohort.read(a_cohort.folder)
    grown.cases[3].label, grown.cases[3].annotated = "labels/case_3.nii.gz", grown.labels.names
    record = train(grown, settings, Events(), checkpoint_path=checkpoint)
    assert record is not None and (record.labelled, record.unlabelled) == (2, 2)
    assert_bit_equal(weights(a_cohort, "grown"), weights(a_cohort, "undisturbed"))


def test_without_resume_a_run_starts_anew(a_cohort: Cohort, tmp_path: Path) -> None:
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"of an older run")
    settings = run_settings("anew")
    assert train(a_cohort, settings, Events(), checkpoint_path=checkpoint, resume=False)
    assert_bit_equal(weights(a_cohort, "anew"), weights(a_cohort, "undisturbed"))


def _wait_for(condition: Any, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert child.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)

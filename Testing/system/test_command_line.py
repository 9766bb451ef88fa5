"""The command line as a user drives it: the whole loop, and what goes wrong on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from driving import command_line, environment

from sslseg.cli.app import main
from sslseg.contract.events import read_events

Run = Callable[..., subprocess.CompletedProcess[str]]
PRESETS = Path(__file__).parents[2] / "Resources" / "OrganPresets"
TINY = ("--preset", "quick", "--network", "unet", "--device", "cpu", "--patch-size", "16,32,32")


@pytest.fixture(scope="module")
def a_trained_cohort(a_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cohort = tmp_path_factory.mktemp("system") / "cohort"
    for arguments in (
        ("init", cohort, "--dataset", a_dataset, "--labelled", 3),
        ("train", cohort, "--method", "mean_teacher", "--name", "first", "--steps", 60, *TINY),
    ):
        subprocess.run(command_line(*arguments), check=True, capture_output=True, env=environment())
    return cohort


def test_the_whole_loop_from_a_data_set_to_scores(
    a_trained_cohort: Path, sslseg: Run, tmp_path: Path
) -> None:
    sslseg("predict", a_trained_cohort, "--model", "first", "--cases", "test", "--device", "cpu")
    shown = sslseg("evaluate", a_trained_cohort, "--model", "first", "--output", tmp_path / "scores.csv")
    assert "large" in shown.stdout
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert {(row["case"], row["organ"]) for row in rows} == {
        (f"ball_{number}", organ) for number in (7, 8) for organ in ("large", "small")
    }
    large = [float(row["dice"]) for row in rows if row["organ"] == "large"]
    assert min(large) > 0.5
    assert json.loads((tmp_path / "scores.json").read_text())["rows"]


def test_predictions_lie_on_the_grid_of_their_image(a_trained_cohort: Path, sslseg: Run) -> None:
    sslseg("predict", a_trained_cohort, "--model", "first", "--cases", "ball_4", "--device", "cpu")
    folder = a_trained_cohort / "predictions/first"
    for path in (folder / "ball_4.nii.gz", folder / "uncertainty/ball_4.nii.gz"):
        image = sitk.ReadImage(str(path))
        assert image.GetSize() == (32, 40, 24)
        assert image.GetSpacing() == pytest.approx((1.5, 1.5, 2.5), abs=1e-4)
        assert image.GetOrigin() == pytest.approx((-31.25, 12.5, 7.75), abs=1e-4)
    values = np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "ball_4.nii.gz"))))
    assert set(values) <= {0, 1, 2}


def test_a_model_segments_volumes_outside_the_cohort(
    a_trained_cohort: Path, a_dataset: Path, sslseg: Run, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("ball_7", "ball_8"):
        (scans / f"{name}.nii.gz").write_bytes((a_dataset / f"images/{name}.nii.gz").read_bytes())
    (scans / "broken.nii.gz").write_bytes(b"no volume")
    model = a_trained_cohort / "models/first"
    process = sslseg("predict", "--model", model, "--input", scans, "--output", tmp_path / "out", check=False)
    # Ten and the number of studies that failed.
    assert process.returncode == 11
    assert "broken.nii.gz" in process.stdout
    assert (tmp_path / "out" / "report.html").exists()
    assert {path.name for path in (tmp_path / "out").glob("*.nii.gz")} >= {"ball_7.nii.gz", "ball_8.nii.gz"}
    sslseg("evaluate", "--reference", a_dataset / "labels", "--prediction", tmp_path / "out",
           "--output", tmp_path / "s.json", "--organs", "large=1,small=2")  # fmt: skip
    assert len(json.loads((tmp_path / "s.json").read_text())["rows"]) == 4


def test_volumes_are_added_with_their_label_maps_and_those_refused_are_named(
    a_dataset: Path, sslseg: Run, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(a_dataset / "images/ball_0.nii.gz", scans)
    sslseg("init", tmp_path / "c", "--images", scans, "--organs", PRESETS / "AbdomenCT.json")
    shutil.copy(a_dataset / "images/ball_1.nii.gz", scans)
    (scans / "broken.nii.gz").write_bytes(b"no volume")
    process = sslseg("import", tmp_path / "c", scans, "--labels", a_dataset / "labels", "--copy", check=False)
    assert process.returncode == 2 and "1 imported" in process.stdout
    refused = [line for line in process.stdout.splitlines() if line.startswith("not imported: ")]
    assert any("broken.nii.gz" in line for line in refused)
    assert any("already, as case_0001" in line for line in refused)
    cases = json.loads(sslseg("status", tmp_path / "c", "--json").stdout)["cases"]
    assert [case["annotated"] for case in cases] == [[], ["spleen", "right kidney"]]
    assert (tmp_path / "c/images/case_0002.nrrd").exists()


def test_status_is_readable_by_people_and_machines(a_trained_cohort: Path, sslseg: Run) -> None:
    facts = json.loads(sslseg("status", a_trained_cohort, "--json").stdout)
    assert facts["organs"] == {"large": 1, "small": 2}
    assert facts["models"] == ["first"]
    assert [case["annotated"] != [] for case in facts["cases"] if case["use"] == "train"] == [True] * 3 + [
        False
    ] * 4
    assert (
        "7 CT volumes, 3 annotated, 4 unlabelled; 2 more kept apart"
        in sslseg("status", a_trained_cohort).stdout
    )


def test_methods_are_listed_with_when_to_choose_them(sslseg: Run) -> None:
    listed = {entry["name"]: entry for entry in json.loads(sslseg("methods", "--json").stdout)}
    assert {"supervised", "mean_teacher"} <= set(listed)
    assert all(len(entry["summary"]) > 40 for entry in listed.values())


def test_a_killed_training_goes_on_and_equals_one_that_was_not(
    a_dataset: Path, sslseg: Run, tmp_path: Path
) -> None:
    arguments = ("--method", "mean_teacher", "--name", "m", "--steps", 40, *TINY)
    for cohort in (tmp_path / "killed", tmp_path / "whole"):
        sslseg("init", cohort, "--dataset", a_dataset, "--labelled", 3)
    sslseg("train", tmp_path / "whole", *arguments)

    job = tmp_path / "killed/jobs/train-0001"
    process = subprocess.Popen(
        command_line("train", tmp_path / "killed", *arguments),
        stdout=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    _wait_until(
        lambda: any(
            e.event == "progress" and e.fields["step"] >= 7 for e in read_events(job / "events.jsonl")
        )
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed/models/m").exists()
    assert (
        json.loads(sslseg("status", tmp_path / "killed", "--json").stdout)["jobs"][0]["state"]
        == "interrupted"
    )

    sslseg("train", tmp_path / "killed", "--resume")
    weights = [
        torch.load(tmp_path / name / "models/m/models/model.pt", weights_only=True)
        for name in ("killed", "whole")
    ]
    flat = [dict(_tensors(w)) for w in weights]
    assert flat[0].keys() == flat[1].keys()
    assert all(torch.equal(flat[0][key], flat[1][key]) for key in flat[0])


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_work_and_says_how_to_go_on(
    a_dataset: Path, sslseg: Run, tmp_path: Path, asked: signal.Signals
) -> None:
    cohort = tmp_path / "cohort"
    sslseg("init", cohort, "--dataset", a_dataset, "--labelled", 2)
    process = subprocess.Popen(
        command_line("train", cohort, "--method", "supervised", "--steps", 5000, *TINY),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
        start_new_session=True,
    )
    events = cohort / "jobs/train-0001/events.jsonl"
    _wait_until(lambda: any(e.event == "progress" and e.fields["step"] > 0 for e in read_events(events)))
    process.send_signal(asked)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on with: sslseg run" in output
    assert read_events(events)[-1].event == "cancelled"
    assert (cohort / "jobs/train-0001/checkpoints/last.ckpt").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("status", "{tmp}/nowhere"), "There is no cohort in this folder"),
        (("train", "{cohort}", "--method", "magic"), "magic"),
        (("train", "{cohort}", "--method", "supervised", "--network", "transformer"), "transformer"),
        (
            ("train", "{cohort}", "--method", "supervised", "--name", "first"),
            "There is a model 'first' already",
        ),
        (("train", "{cohort}", "--method", "mean_teacher", "--set", "charm=1"), "charm"),
        (("train", "{cohort}", "--method", "supervised", "--device", "abacus"), "abacus"),
        (("train", "{cohort}", "--patch-size", "7"), "no patch size"),
        (
            ("train", "{cohort}", "--method", "supervised", "--resume", "--name", "first"),
            "no unfinished training",
        ),
        (("predict", "{cohort}", "--model", "second"), "no model 'second'.*It has: first"),
        (("predict", "{cohort}", "--model", "first", "--cases", "ball_99"), "no case 'ball_99'"),
        (("predict", "--model", "{cohort}/models/first"), "Nothing to predict is given"),
        (("predict", "--model", "{tmp}", "--input", "{tmp}", "--output", "{tmp}/o"), "{tmp}"),
        (("evaluate", "--reference", "{tmp}/nowhere", "--prediction", "{tmp}"), "does not exist"),
        (("init", "{tmp}/new", "--images", "{tmp}", "--organs", "a=1"), "holds no volume"),
        (("init", "{tmp}/new", "--images", "{tmp}", "--organs", "a"), "does not declare an organ"),
        (("init", "{tmp}/new"), "made from --images with --organs, or from --dataset"),
        (("run", "{tmp}"), "does not exist"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(
    a_trained_cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    places = {"tmp": tmp_path, "cohort": a_trained_cohort}
    monkeypatch.setattr(sys, "argv", ["sslseg", *(argument.format(**places) for argument in arguments)])
    with pytest.raises(SystemExit) as leaving:
        main()
    said = capsys.readouterr()
    assert leaving.value.code == 2, said
    assert "Traceback" not in said.out + said.err
    assert re.search(sentence.format(**places), said.err), said


def _tensors(value: object, prefix: str = "") -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(prefix, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    return [pair for key, item in items for pair in _tensors(item, f"{prefix}/{key}")]


def _wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)

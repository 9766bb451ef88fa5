"""Folders of studies: what is done is not done again, bad studies stop nothing, and one page shows it all."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_model import a_network, a_plan, a_record
from tiny_training import ORGANS, write_volumes

from sslseg.bundle.model_folder import save_model
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.predict.folder_prediction import predict_folder
from sslseg.predict.ledger import FILE_NAME, LedgerEntry
from sslseg.predict.pipeline import PredictionSummary
from sslseg.predict.studies import FolderSummary
from sslseg.report.folder_report import write_folder_report


@pytest.fixture
def model(tmp_path: Path) -> Path:
    labels = tuple(ORGANS)
    networks = [a_network(len(labels) + 1)]
    save_model(tmp_path / "model", networks=networks, plan=a_plan(labels), record=a_record())
    return tmp_path / "model"


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Three volumes in folders of their own, and a file that is none."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number, name in enumerate(("a", "b", "c")):
        write_volumes(folder, name, number)
    for path in list((folder / "images").iterdir()):
        place = tmp_path / "in" / path.name[0] / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no volume")
    return tmp_path / "in"


def _predict(model: Path, studies: Path, **options: Any) -> FolderSummary:
    return predict_folder(model, studies, studies.parent / "out", device="cpu", **options)


def test_what_was_done_is_not_done_again(model: Path, studies: Path) -> None:
    first = _predict(model, studies)
    names = ["a/a.nii.gz", "b/b.nii.gz", "c/c.nii.gz"]
    assert (sorted(first.done), [name for name, _ in first.failed]) == (names, ["bad.nii.gz"])
    again = _predict(model, studies)
    assert (sorted(again.skipped), again.done) == (names, [])
    assert again.entries == first.entries


def test_another_overlap_or_new_voxels_are_predicted_again(model: Path, studies: Path) -> None:
    _predict(model, studies)
    assert len(_predict(model, studies, overlap=0.25).done) == 3
    (studies / "a" / "a.nii.gz").write_bytes((studies / "b" / "b.nii.gz").read_bytes())
    assert _predict(model, studies, overlap=0.25).done == ["a/a.nii.gz"]


def test_files_of_others_are_never_replaced_unasked(model: Path, studies: Path) -> None:
    mine = studies.parent / "out" / "a" / "a.nii.gz"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"drawn by hand")
    summary = _predict(model, studies)
    assert [name for name, _ in summary.failed] == ["a/a.nii.gz", "bad.nii.gz"]
    assert mine.read_bytes() == b"drawn by hand"
    assert "not made by this command" in summary.failed[0][1]
    assert _predict(model, studies, skip_existing=True).skipped == ["a/a.nii.gz", "b/b.nii.gz", "c/c.nii.gz"]
    assert _predict(model, studies, overwrite=True).done == ["a/a.nii.gz"]
    assert mine.read_bytes() != b"drawn by hand"


def test_nothing_but_files_of_others_is_an_error(model: Path, studies: Path) -> None:
    out = studies.parent / "out"
    out.mkdir()
    (out / "a.nii.gz").write_bytes(b"mine")
    with pytest.raises(SSLSegError, match="not made by this command"):
        predict_folder(model, studies / "a" / "a.nii.gz", out, device="cpu")


def test_several_folders_share_one_output_and_one_table(model: Path, studies: Path) -> None:
    out = studies.parent / "out"
    summary = predict_folder(model, [studies / "a", studies / "b"], out, device="cpu")
    assert sorted(summary.done) == ["a.nii.gz", "b.nii.gz"]
    assert len((out / "summary.csv").read_text().splitlines()) == 3
    same = studies.parent / "same" / "a.nii.gz"
    same.parent.mkdir()
    same.write_bytes((studies / "a" / "a.nii.gz").read_bytes())
    with pytest.raises(SSLSegError, match="would both become"):
        predict_folder(model, [studies / "a", same], out, device="cpu")


def test_a_table_lists_every_study(model: Path, studies: Path) -> None:
    summary = _predict(model, studies)
    with (studies.parent / "out" / "summary.csv").open(newline="") as file:
        rows = {row["study"]: row for row in csv.DictReader(file)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "a/a.nii.gz": "done", "b/b.nii.gz": "done", "c/c.nii.gz": "done", "bad.nii.gz": "failed",
    }  # fmt: skip
    entry = summary.entries["a/a.nii.gz"]
    for label in summary.labels:
        assert float(rows["a/a.nii.gz"][f"{label.name}_ml"]) == entry.volumes_ml[label.name]
    assert rows["bad.nii.gz"]["reason"]


def test_a_page_shows_every_study(model: Path, studies: Path) -> None:
    summary = _predict(model, studies)
    text = write_folder_report(studies.parent / "out", "tiny", summary).read_text()
    for name in (*summary.done, "bad.nii.gz"):
        assert name in text
    assert text.count("data:image/jpeg") == 3


def test_a_volume_far_from_the_others_is_to_be_looked_at(tmp_path: Path) -> None:
    labels = [Label("liver", 1, (200, 80, 80))]
    entries = {
        f"s{number}": LedgerEntry(f"s{number}", "r", 1, "", "", "", 1.0, {"liver": volume})
        for number, volume in enumerate((1500.0, 1600.0, 1550.0, 1450.0, 1700.0, 1400.0, 1520.0, 120.0, 0.0))
    }
    summary = FolderSummary(done=list(entries), entries=entries, labels=labels)
    text = write_folder_report(tmp_path, "m", summary).read_text()
    told = "120 ml, where the middle study has 1500 ml"
    assert 0 < text.count(told) == text.count("where the middle study has")
    assert "not found" in text


def test_the_share_of_waiting_is_that_of_the_time_beside_the_networks() -> None:
    assert PredictionSummary(network_seconds=9.0, waited_seconds=1.0).waited == pytest.approx(0.1)
    assert PredictionSummary().waited == 0.0


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a signal of Unix")
def test_a_run_that_was_killed_goes_on_where_it_was(model: Path, studies: Path) -> None:
    out = studies.parent / "out"
    code = (
        "import sys, time\n"
        "from sslseg.predict import folder_prediction, studies\n"
        "finished = studies.Studies.finished\n"
        "def slow(*arguments):\n"
        "    finished(*arguments)\n"
        "    time.sleep(60)\n"
        "studies.Studies.finished = slow\n"
        "folder_prediction.predict_folder(*sys.argv[1:], device='cpu')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(model), str(studies), str(out)])
    deadline = time.monotonic() + 90
    while '"name"' not in _text(out / FILE_NAME) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # The next result was being written when the process died.
    summary = _predict(model, studies)
    assert len(summary.skipped) == 1
    assert len(summary.done) == 2
    assert [name for name, _ in summary.failed] == ["bad.nii.gz"]
    assert not list(out.rglob(".writing-*"))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""

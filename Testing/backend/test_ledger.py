"""What a prediction of a folder remembers between two runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sslseg.contract.errors import SSLSegError
from sslseg.predict.ledger import FILE_NAME, Ledger, LedgerEntry, content_of, model_digest, stamp_of


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"voxels")
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    (folder / ".sslseg").mkdir(parents=True)
    (folder / "a.nii.gz").write_bytes(b"labels")
    return folder


def _entry(image: Path, model: str = "m") -> LedgerEntry:
    return LedgerEntry("a", "a.nii.gz", 6, stamp_of(image), content_of(image), model, 1.5, {"liver": 12.0})


def test_a_study_that_is_done_is_known_in_the_next_run(image: Path, output: Path) -> None:
    Ledger(output, "m").add(_entry(image))
    assert Ledger(output, "m").entry_of("a", image) == _entry(image)
    assert Ledger(output, "m").entry_of("b", image) is None


def test_another_model_starts_anew(image: Path, output: Path) -> None:
    Ledger(output, "m").add(_entry(image))
    assert Ledger(output, "other").entry_of("a", image) is None


def test_new_voxels_under_an_old_name_are_predicted_again(image: Path, output: Path) -> None:
    Ledger(output, "m").add(_entry(image))
    image.write_bytes(b"VOXELS")
    assert Ledger(output, "m").entry_of("a", image) is None


def test_a_touched_file_of_the_same_content_is_done(image: Path, output: Path) -> None:
    Ledger(output, "m").add(_entry(image))
    os.utime(image, (1, 1))
    assert Ledger(output, "m").entry_of("a", image) is not None


@pytest.mark.parametrize("content", [None, b"half"])
def test_a_result_that_is_gone_or_cut_is_made_again(image: Path, output: Path, content: bytes | None) -> None:
    Ledger(output, "m").add(_entry(image))
    (output / "a.nii.gz").unlink()
    if content is not None:
        (output / "a.nii.gz").write_bytes(content)
    assert Ledger(output, "m").entry_of("a", image) is None


def test_half_a_line_of_a_killed_run_costs_that_study_alone(image: Path, output: Path) -> None:
    Ledger(output, "m").add(_entry(image))
    with (output / FILE_NAME).open("a") as file:
        file.write('{"name": "b", "resu')
    (output / "c.nii.gz").write_bytes(b"labels")
    third = LedgerEntry("c", "c.nii.gz", 6, stamp_of(image), content_of(image), "m", 1.0, {})
    Ledger(output, "m").add(third)
    read = Ledger(output, "m")
    assert read.entry_of("a", image) is not None
    assert read.entry_of("b", image) is None
    assert read.entry_of("c", image) == third


def test_only_what_was_announced_may_be_replaced(output: Path) -> None:
    ledger = Ledger(output, "m")
    assert not ledger.owns("a.nii.gz")
    ledger.announce("a.nii.gz")
    ledger.announce("a.nii.gz")
    assert Ledger(output, "another model").owns("a.nii.gz")
    assert len((output / FILE_NAME).read_text().splitlines()) == 1


def test_the_digest_of_a_model_follows_its_files_and_settings(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "sslseg.json").write_text("{}")
    (tmp_path / "models" / "model.pt").write_bytes(b"weights")
    first = model_digest(tmp_path, overlap=0.5)
    assert model_digest(tmp_path, overlap=0.5) == first
    assert model_digest(tmp_path, overlap=0.25) != first
    (tmp_path / "models" / "model.pt").write_bytes(b"WEIGHTS")
    assert model_digest(tmp_path, overlap=0.5) != first


def test_a_missing_study_is_told_of(output: Path, tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match=r"gone\.nii"):
        stamp_of(tmp_path / "gone.nii")

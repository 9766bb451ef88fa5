"""Volumes laid out for Slicer: content, keys, and what Python is needed for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_slices import write_stack

from sslseg.contract.errors import SSLSegError
from sslseg.contract.staging import IGNORED, VOXELS, StageRequest, read_entry
from sslseg.contract.strict import to_json
from sslseg.data import staging
from sslseg.data.staging import main, stage, tidy_staged
from sslseg.data.volumes import read_volume

SHAPE = (6, 9, 11)
DECLARED = [3, 200]


def write(path: Path, voxels: np.ndarray, spacing: tuple[float, ...] = (0.7, 0.8, 2.5)) -> str:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin((-12.5, 30.25, 101.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return str(path)


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


@pytest.fixture
def drawn() -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:3, 2:5, 4:8], voxels[4, 6, 2], voxels[5, 8, 10] = 3, 200, 255
    return voxels


def stored(folder: Path) -> np.ndarray:
    entry = read_entry(folder)
    assert entry is not None
    return np.fromfile(folder / VOXELS, entry.pixel_type).reshape(entry.shape)


@pytest.mark.parametrize(
    ("kind", "expected"), [(np.int16, "<i2"), (np.uint8, "|u1"), (np.float32, "<f4"), (np.float64, "<f4")]
)
def test_an_image_keeps_its_voxels_and_its_place(
    kind: type, expected: str, scan: np.ndarray, tmp_path: Path
) -> None:
    voxels = scan.astype(kind)
    folder = stage(tmp_path, StageRequest(write(tmp_path / "a.nrrd", voxels)))
    entry = read_entry(folder)
    assert entry is not None
    assert (entry.size, entry.shape, entry.pixel_type) == (SHAPE[::-1], SHAPE, expected)
    assert entry.spacing == (0.7, 0.8, 2.5) and entry.origin == (-12.5, 30.25, 101.0)
    assert entry.direction == (0, 1, 0, -1, 0, 0, 0, 0, 1)
    np.testing.assert_array_equal(stored(folder), voxels)
    assert voxels.min() <= entry.window[0] < entry.window[1] <= voxels.max()


def test_a_dicom_series_is_laid_out_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    write_stack(folder)
    request = StageRequest(str(folder))
    np.testing.assert_array_equal(
        stored(stage(tmp_path, request)), sitk.GetArrayFromImage(read_volume(folder))
    )
    before = request.folder(tmp_path)
    next(folder.iterdir()).touch()
    assert request.folder(tmp_path) != before


def test_a_label_map_is_cut_to_what_is_drawn_and_what_nobody_annotated_is_kept_apart(
    scan: np.ndarray, drawn: np.ndarray, tmp_path: Path
) -> None:
    image, labels = write(tmp_path / "a.nrrd", scan), write(tmp_path / "l.nii.gz", drawn)
    folder = stage(tmp_path, StageRequest(image, labels=labels, declared=DECLARED))
    entry = read_entry(folder)
    assert entry is not None
    assert entry.box == ((2, 8), (2, 7), (1, 5))
    assert entry.voxels == {"3": 24, "200": 1}
    expected = np.where(drawn == 255, 0, drawn)[1:5, 2:7, 2:8]
    np.testing.assert_array_equal(stored(folder), expected)
    bits = np.fromfile(folder / IGNORED, np.uint8).reshape(SHAPE[0], -1)
    ignored = np.unpackbits(bits, axis=1, count=SHAPE[1] * SHAPE[2]).reshape(SHAPE)
    np.testing.assert_array_equal(ignored == 1, drawn == 255)


def test_nothing_drawn_is_one_empty_voxel(scan: np.ndarray, tmp_path: Path) -> None:
    image, labels = write(tmp_path / "a.nrrd", scan), write(tmp_path / "l.nii.gz", np.zeros(SHAPE, np.uint8))
    entry = read_entry(stage(tmp_path, StageRequest(image, labels=labels, declared=DECLARED)))
    assert entry is not None and not entry.ignored
    assert entry.shape == (1, 1, 1) and set(entry.voxels.values()) == {0}


def test_of_two_label_maps_the_kept_organs_are_the_drawn_ones(
    scan: np.ndarray, drawn: np.ndarray, tmp_path: Path
) -> None:
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[0], predicted[2:4] = 3, 200
    request = StageRequest(
        write(tmp_path / "a.nrrd", scan),
        labels=write(tmp_path / "l.nii.gz", drawn),
        prediction=write(tmp_path / "p.nii.gz", predicted),
        kept=[3],
        declared=DECLARED,
    )
    folder = stage(tmp_path, request)
    entry = read_entry(folder)
    assert entry is not None and entry.ignored
    whole = np.zeros(SHAPE, np.uint8)
    (left, right), (front, back), (low, high) = entry.box
    whole[low:high, front:back, left:right] = stored(folder)
    np.testing.assert_array_equal(whole == 3, drawn == 3)
    np.testing.assert_array_equal(whole == 200, (predicted == 200) & (drawn != 3))


def test_a_file_that_changes_has_another_entry(scan: np.ndarray, tmp_path: Path) -> None:
    request = StageRequest(write(tmp_path / "a.nrrd", scan))
    folder = stage(tmp_path, request)
    before = (folder / VOXELS).stat().st_mtime_ns
    assert stage(tmp_path, request) == folder
    assert (folder / VOXELS).stat().st_mtime_ns == before
    write(tmp_path / "a.nrrd", scan + 1)
    assert stage(tmp_path, request) != folder


def test_a_damaged_entry_is_made_again(scan: np.ndarray, tmp_path: Path) -> None:
    request = StageRequest(write(tmp_path / "a.nrrd", scan))
    folder = stage(tmp_path, request)
    (folder / VOXELS).write_bytes(b"half")
    assert read_entry(folder) is None
    np.testing.assert_array_equal(stored(stage(tmp_path, request)), scan)


def test_entries_used_last_stay_and_older_ones_go_when_room_is_short(
    scan: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = []
    for number in range(5):
        folders.append(stage(tmp_path, StageRequest(write(tmp_path / f"{number}.nrrd", scan + number))))
        os.utime(folders[-1], (number, number))
    monkeypatch.setattr(staging, "KEPT_ENTRIES", 2)
    tidy_staged(tmp_path)
    assert all(folder.exists() for folder in folders)
    read_entry(folders[0])
    monkeypatch.setattr(staging, "KEPT_BYTES", 1)
    tidy_staged(tmp_path)
    assert [folder.exists() for folder in folders] == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.full(SHAPE, 9, np.uint8), "values that are not declared: 9"),
        (np.zeros((6, 9, 10), np.uint8), "6 x 9 x 11|11 x 9 x 6"),
        (None, "cannot be read"),
    ],
)
def test_a_label_map_that_does_not_fit_is_refused_with_its_name(
    content: np.ndarray | None, sentence: str, scan: np.ndarray, tmp_path: Path
) -> None:
    labels = tmp_path / "l.nii.gz"
    if content is not None:
        write(labels, content)
    request = StageRequest(write(tmp_path / "a.nrrd", scan), labels=str(labels), declared=DECLARED)
    with pytest.raises(SSLSegError, match=rf"l\.nii\.gz.*({sentence})"):
        stage(tmp_path, request)


def test_nothing_is_made_where_a_cohort_was_that_was_moved(scan: np.ndarray, tmp_path: Path) -> None:
    request = StageRequest(write(tmp_path / "a.nrrd", scan))
    with pytest.raises(SSLSegError, match=r"cohort: The folder is no longer there.*open it at its new place"):
        stage(tmp_path / "cohort" / "cache", request)
    assert not (tmp_path / "cohort").exists()


def test_the_process_says_what_is_wrong_as_json(
    scan: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.nrrd").write_text("NRRD0004")
    good = json.dumps(to_json(StageRequest(write(tmp_path / "a.nrrd", scan))))
    bad = json.dumps(to_json(StageRequest(str(tmp_path / "b.nrrd"))))
    assert main([str(tmp_path), good]) == 0
    assert main([str(tmp_path), good, bad]) == 2
    assert "b.nrrd" in json.loads(capsys.readouterr().out)["error"]


def test_slicers_own_python_is_enough(scan: np.ndarray, drawn: np.ndarray, tmp_path: Path) -> None:
    """It has numpy, SimpleITK and pydicom; every other package of the backend may still be missing."""
    script = (
        "import sys\n"
        "class OnlyThese:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        root = name.partition('.')[0]\n"
        "        known = sys.stdlib_module_names | {'sslseg', 'numpy', 'SimpleITK', 'pydicom'}\n"
        "        if root not in known and not root.startswith('_'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, OnlyThese())\n"
        "from sslseg.data.staging import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    requests = [StageRequest(write(tmp_path / f"a{suffix}", scan)) for suffix in (".nrrd", ".mha", ".nii.gz")]
    requests.append(
        StageRequest(requests[0].image, labels=write(tmp_path / "l.nii.gz", drawn), declared=DECLARED)
    )
    texts = [json.dumps(to_json(request)) for request in requests]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), *texts], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(read_entry(request.folder(tmp_path)) is not None for request in requests)

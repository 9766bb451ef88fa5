from __future__ import annotations

import contextlib
import os
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, LabelTable
from sslseg.data import preprocess
from sslseg.data.fingerprint import fingerprint_cohort
from sslseg.data.plan import IntensityMapping, Plan, make_plan
from sslseg.data.store import FOREGROUND_POINTS, StoredCase, open_store, write_entry

LABELS = [Label("liver", 7, (200, 10, 10)), Label("spleen", 2, (10, 200, 10))]


@pytest.fixture
def a_cohort(tmp_path: Path) -> Cohort:
    """Two annotated cases and one without annotation, 21 x 34 x 40 voxels of 1 mm."""
    cohort = Cohort.create(tmp_path / "cohort", name="c", modality="CT", labels=LabelTable(LABELS))
    generator = np.random.default_rng(0)
    for number in range(3):
        voxels = generator.integers(-100, 300, (21, 34, 40)).astype(np.int16)
        drawn = np.zeros(voxels.shape, np.uint8)
        drawn[3:9, 10:20, 5:25], drawn[12:15, 3:9, 2:6] = 7, 2
        sitk.WriteImage(sitk.GetImageFromArray(voxels), cohort.folder / f"image{number}.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(drawn), cohort.folder / f"label{number}.nii.gz")
        case = Case(f"c{number}", f"image{number}.nii.gz")
        if number < 2:
            case.label, case.annotated = f"label{number}.nii.gz", ["liver", "spleen"]
        cohort.cases.append(case)
    return cohort


@pytest.fixture
def a_plan(a_cohort: Cohort) -> Plan:
    return make_plan(fingerprint_cohort(a_cohort))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Sizes of the images that were preprocessed."""
    sizes: list[tuple[int, ...]] = []
    original = preprocess.prepare_image

    def counted(image: sitk.Image, plan: Plan) -> preprocess.Prepared:
        sizes.append(image.GetSize())
        return original(image, plan)

    monkeypatch.setattr(preprocess, "prepare_image", counted)
    yield sizes


def written(folder: Path, image: np.ndarray, label: np.ndarray | None) -> StoredCase:
    """A stored case of the given voxels."""
    from sslseg.data import store

    manifest = write_entry(folder, image, label)
    points = store.ForegroundPoints(folder / "foreground.bin", manifest.foreground)
    return StoredCase("case", manifest.shape, label is not None, np.ones(3, np.bool_), points, folder)


@pytest.mark.parametrize("shape", [(50, 33, 64), (5, 90, 7), (1, 1, 1), (16, 16, 16)])
def test_a_patch_is_what_a_slice_of_the_padded_volume_would_be(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    generator = np.random.default_rng(1)
    image = generator.integers(0, 32767, shape).astype(np.int16)
    label = generator.integers(0, 3, shape).astype(np.uint8)
    case = written(tmp_path / "entry", image, label)
    padded_image, padded_label = np.pad(image, 60), np.pad(label, 60, constant_values=255)
    for _ in range(80):
        size = generator.integers(1, 50, 3)
        start = [int(generator.integers(-side, n + 5)) for side, n in zip(size, shape, strict=True)]
        found_image, found_label = case.read(start, size)
        where = tuple(slice(s + 60, s + 60 + n) for s, n in zip(start, size, strict=True))
        np.testing.assert_array_equal(found_image, padded_image[where])
        np.testing.assert_array_equal(found_label, padded_label[where])
        assert found_image.dtype == np.int16
        assert found_image.flags.writeable
    np.testing.assert_array_equal(case.read_all()[0], image)
    np.testing.assert_array_equal(case.read_all()[1], label)


def test_stores_image_label_and_what_is_known(a_cohort: Cohort, a_plan: Plan) -> None:
    a_cohort.cases[1].annotated = ["spleen"]
    first, second, third = open_store(a_cohort, a_plan, a_cohort.cases)
    assert [case.id for case in (first, second, third)] == ["c0", "c1", "c2"]
    assert first.known.tolist() == [True, True, True]
    assert second.known.tolist() == [True, False, True]
    assert third.known.tolist() == [True, False, False]
    assert (first.has_label, third.has_label) == (True, False)
    image, label = first.read_all()
    assert label is not None
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(a_cohort.folder / "image0.nii.gz"))
    np.testing.assert_allclose(image, a_plan.intensity.apply(voxels) * 32767, atol=1)
    assert np.bincount(label.ravel()).tolist() == [21 * 34 * 40 - 1272, 1200, 72]
    assert third.read((0, 0, 0), (4, 4, 4))[1] is None
    assert sorted(second.foreground) == [2]


def test_foreground_points_lie_in_their_class_and_are_always_the_same(tmp_path: Path) -> None:
    label = np.zeros((40, 40, 40), np.uint8)
    label[5:35, 5:35, 5:35], label[0, 0, :7], label[1, 1, 1] = 1, 2, 255
    first, second = (written(tmp_path / name, label.astype(np.int16), label) for name in "ab")
    assert set(first.foreground) == {1, 2}
    for index, count in ((1, FOREGROUND_POINTS), (2, 7)):
        points = first.foreground[index]
        assert len(np.unique(points, axis=0)) == count
        assert (label[tuple(points.T)] == index).all()
        np.testing.assert_array_equal(points, second.foreground[index])
    spread = first.foreground[1].mean(axis=0)
    np.testing.assert_allclose(spread, 19.5, atol=0.5)


def test_an_entry_is_built_once(a_cohort: Cohort, a_plan: Plan, built: list[tuple[int, ...]]) -> None:
    steps: list[tuple[int, int]] = []
    open_store(a_cohort, a_plan, a_cohort.cases, progress=lambda done, of: steps.append((done, of)))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert len(built) == 3
    open_store(a_cohort, a_plan, a_cohort.cases)
    (a_cohort.folder / "image0.nii.gz").rename(a_cohort.folder / "moved.nii.gz")
    a_cohort.cases[0].image = "moved.nii.gz"
    (a_cohort.cache_folder / "hashes.json").unlink()
    open_store(a_cohort, a_plan, a_cohort.cases)
    assert len(built) == 3


@pytest.mark.parametrize("change", ["voxels", "label", "organs", "slices", "intensity", "spacing"])
def test_an_entry_is_built_anew_when_its_content_changes(
    change: str, a_cohort: Cohort, a_plan: Plan, built: list[tuple[int, ...]]
) -> None:
    import dataclasses

    case = a_cohort.cases[0]
    open_store(a_cohort, a_plan, [case])
    if change in ("voxels", "label"):
        path = a_cohort.folder / ("image0.nii.gz" if change == "voxels" else "label0.nii.gz")
        image = sitk.ReadImage(path)
        image[3, 3, 3] = 2
        sitk.WriteImage(image, path)
    elif change == "organs":
        case.annotated = ["liver"]
    elif change == "slices":
        case.slices = {"liver": AnnotatedSlices("k", [4])}
    elif change == "intensity":
        a_plan = dataclasses.replace(a_plan, intensity=IntensityMapping("fixed", 0.0, 80.0))
    else:
        a_plan = dataclasses.replace(a_plan, spacing=(1.0, 1.0, 2.0))
    open_store(a_cohort, a_plan, [case])
    assert len(built) == 2


@pytest.mark.parametrize("damage", ["shorter", "no manifest", "half a manifest", "no label"])
def test_a_damaged_entry_is_built_again(
    damage: str, a_cohort: Cohort, a_plan: Plan, built: list[tuple[int, ...]]
) -> None:
    case = open_store(a_cohort, a_plan, a_cohort.cases[:1])[0]
    expected = case.read_all()
    if damage == "shorter":
        os.truncate(case.folder / "image.bin", 1000)
    elif damage == "no label":
        (case.folder / "label.bin").unlink()
    elif damage == "no manifest":
        (case.folder / "manifest.json").unlink()
    else:
        os.truncate(case.folder / "manifest.json", 20)
    again = open_store(a_cohort, a_plan, a_cohort.cases[:1])[0]
    assert len(built) == 2
    for one, other in zip(expected, again.read_all(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("damage", ["deleted", "shorter"])
def test_says_so_when_an_entry_vanishes_in_use(damage: str, a_cohort: Cohort, a_plan: Plan) -> None:
    case = open_store(a_cohort, a_plan, a_cohort.cases[:1])[0]
    if damage == "deleted":
        shutil.rmtree(a_cohort.cache_folder)
    else:
        os.truncate(case.folder / "image.bin", 100)
        os.truncate(case.folder / "foreground.bin", 100)
    with pytest.raises(SSLSegError, match="deleted or damaged while it was in use"):
        case.read((0, 0, 0), (21, 34, 40))
    with pytest.raises(SSLSegError, match="deleted or damaged while it was in use"):
        case.foreground[1]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing beyond `size` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_sentence_and_leaves_nothing_behind(a_cohort: Cohort, a_plan: Plan) -> None:
    with files_of_at_most(20_000), pytest.raises(SSLSegError, match="cache cannot be written"):
        open_store(a_cohort, a_plan, a_cohort.cases)
    assert list((a_cohort.cache_folder / "volumes").iterdir()) == []
    assert len(open_store(a_cohort, a_plan, a_cohort.cases)) == 3


def test_cleans_up_after_a_crash_and_after_a_month(a_cohort: Cohort, a_plan: Plan) -> None:
    folder = a_cohort.cache_folder / "volumes"
    used = open_store(a_cohort, a_plan, a_cohort.cases[:1])[0].folder
    ages = {".building-old": 2 * 3600, ".building-new": 60, "unused": 31 * 86400, "rested": 29 * 86400}
    for name, seconds in ages.items():
        (folder / name).mkdir()
        (folder / name / "image.bin").write_bytes(b"half")
        os.utime(folder / name, (time.time() - seconds,) * 2)
    os.utime(used, (time.time() - 29 * 86400,) * 2)
    open_store(a_cohort, a_plan, a_cohort.cases[:1])
    assert {entry.name for entry in folder.iterdir()} == {".building-new", "rested", used.name}
    assert time.time() - used.stat().st_mtime < 60


def test_two_cases_of_one_content_share_an_entry(a_cohort: Cohort, a_plan: Plan) -> None:
    shutil.copy(a_cohort.folder / "image2.nii.gz", a_cohort.folder / "again.nii.gz")
    a_cohort.cases.append(Case("twin", "again.nii.gz"))
    cases = open_store(a_cohort, a_plan, a_cohort.cases[2:])
    assert cases[0].folder == cases[1].folder
    assert len(list((a_cohort.cache_folder / "volumes").iterdir())) == 1


def test_an_unreadable_case_is_named(a_cohort: Cohort, a_plan: Plan) -> None:
    (a_cohort.folder / "image1.nii.gz").write_bytes(b"nothing")
    with pytest.raises(SSLSegError, match=r"image1\.nii\.gz"):
        open_store(a_cohort, a_plan, a_cohort.cases)
    (a_cohort.folder / "image1.nii.gz").unlink()
    with pytest.raises(SSLSegError, match=r"image1\.nii\.gz: The file cannot be read"):
        open_store(a_cohort, a_plan, a_cohort.cases)


def test_an_error_in_the_progress_ends_the_work(a_cohort: Cohort, a_plan: Plan) -> None:
    def cancelled(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(a_cohort, a_plan, a_cohort.cases, progress=cancelled)


def test_a_stored_case_travels_to_another_process(a_cohort: Cohort, a_plan: Plan) -> None:
    case = open_store(a_cohort, a_plan, a_cohort.cases[:1])[0]
    twin = pickle.loads(pickle.dumps(case))
    np.testing.assert_array_equal(twin.read_all()[0], case.read_all()[0])
    assert len(pickle.dumps(case)) < 2000


def test_a_prepared_cohort_opens_without_simpleitk_and_torch(a_cohort: Cohort, a_plan: Plan) -> None:
    a_cohort._write()
    open_store(a_cohort, a_plan, a_cohort.cases)
    script = """
import sys
sys.modules.update({"SimpleITK": None, "torch": None, "monai": None, "scipy": None})
from sslseg.contract.cohort import Cohort
from sslseg.data.fingerprint import fingerprint_cohort
from sslseg.data.plan import make_plan
from sslseg.data.store import open_store
cohort = Cohort.read(sys.argv[1])
cases = open_store(cohort, make_plan(fingerprint_cohort(cohort)), cohort.cases)
print(cases[0].read((0, 0, 0), (9, 9, 9))[0].shape)
"""
    answer = subprocess.run(
        [sys.executable, "-c", script, str(a_cohort.folder)], capture_output=True, text=True, check=False
    )
    assert answer.stdout == "(9, 9, 9)\n", answer.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_number_of_cases(tmp_path: Path) -> None:
    """Peak memory of a process that draws patches from 2 and from 40 volumes of 1 MB."""
    volume = np.random.default_rng(0).integers(0, 32767, (60, 90, 90)).astype(np.int16)
    for number in range(40):
        write_entry(tmp_path / str(number), volume, (volume > 16000).astype(np.uint8))
    script = """
import sys
from pathlib import Path
import numpy as np
from sslseg.contract.files import read_json
from sslseg.data.store import ForegroundPoints, StoredCase
folders = [Path(sys.argv[1]) / str(n) for n in range(int(sys.argv[2]))]
cases = []
for folder in folders:
    manifest = read_json(folder / "manifest.json")
    points = ForegroundPoints(folder / "foreground.bin", manifest["foreground"])
    cases.append(StoredCase("c", tuple(manifest["shape"]), True, np.ones(2, bool), points, folder))
for draw in range(120):
    case = cases[draw % len(cases)]
    case.read(case.foreground[1][draw] - 16, (32, 32, 32))
    if draw < len(cases):
        case.read_all()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", script, str(tmp_path), str(count)]))
        for count in (2, 40)
    ]
    assert peaks[1] - peaks[0] < 8 * 1024, f"{peaks} KiB"

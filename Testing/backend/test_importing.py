"""How volumes come into a cohort."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import LabelTable, parse_labels
from sslseg.data.dataset_folder import find_candidates, read_dataset
from sslseg.data.importing import import_paths, init_from_dataset, init_from_folder
from sslseg.data.segmentation_file import write_segmentation

SHARED = Path(__file__).parents[3] / "shared" / "data"
SIZE = (6, 8, 10)


def save(path: Path, array: np.ndarray, origin: tuple[float, float, float] = (5, -7, 11)) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.5, 3.0))
    image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def save_image(path: Path, seed: int, lowest: int = -1000) -> Path:
    random = np.random.default_rng(seed)
    return save(path, random.integers(lowest, 800, SIZE).astype(np.int16))


def label_array(*values: int) -> np.ndarray:
    array = np.zeros(SIZE, dtype=np.uint8)
    for index, value in enumerate(values):
        array[index + 1, 2:6, 2:6] = value
    return array


def voxels(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def organs() -> LabelTable:
    return parse_labels("liver=3,spleen=7")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two scans in folders and one DICOM-like file name that nobody should see again."""
    folder = tmp_path / "scans"
    save_image(folder / "DOE^JOHN.nii.gz", 1)
    save_image(folder / "deep" / "er" / "second.nrrd", 2)
    save_image(folder / "third.mha", 3)
    return folder


def test_a_folder_becomes_a_cohort_by_reference(scans: Path, tmp_path: Path, organs: LabelTable) -> None:
    save(tmp_path / "drawn" / "third-label.nrrd", label_array(3))
    report = init_from_folder(
        tmp_path / "cohort", images=scans, labels=tmp_path / "drawn", labels_table=organs, modality="CT"
    )
    cohort = Cohort.read(tmp_path / "cohort")
    assert report.imported == ["case_0001", "case_0002", "case_0003"] and not report.refused
    assert cohort.modality == "CT" and cohort.labels == organs
    case = cohort.case("case_0003")
    assert cohort.image_path(case) == scans / "third.mha"
    assert case.label == "labels/case_0003.nii.gz" and case.annotated == ["liver"]
    np.testing.assert_array_equal(voxels(cohort.folder / case.label), label_array(3))
    assert cohort.case("case_0001").label is None
    assert not (cohort.folder / "images").exists()
    assert sorted(path.name for path in (cohort.folder / "cache").iterdir()) == ["thumbnails"]


def test_file_names_do_not_become_case_ids(scans: Path, tmp_path: Path, organs: LabelTable) -> None:
    cohort = tmp_path / "cohort"
    init_from_folder(cohort, images=scans, labels=None, labels_table=organs, modality="CT", copy=True)
    assert not [path for path in cohort.rglob("*") if "DOE" in path.name]
    assert "DOE" not in (cohort / "cohort.json").read_text()


def test_keeps_names_that_can_be_ids(scans: Path, tmp_path: Path, organs: LabelTable) -> None:
    report = init_from_folder(
        tmp_path / "cohort", images=scans, labels=None, labels_table=organs, modality="CT", keep_names=True
    )
    assert report.imported == ["case_0001", "second", "third"]


def test_a_copy_keeps_voxels_and_geometry_but_no_header_texts(tmp_path: Path, organs: LabelTable) -> None:
    path = save_image(tmp_path / "scans" / "a.nrrd", 1)
    image = sitk.ReadImage(str(path))
    image.SetMetaData("PatientName", "Doe")
    sitk.WriteImage(image, str(path))
    init_from_folder(
        tmp_path / "cohort", images=tmp_path / "scans", labels=None, labels_table=organs, copy=True
    )
    copied = sitk.ReadImage(str(tmp_path / "cohort" / "images" / "case_0001.nrrd"))
    assert "PatientName" not in copied.GetMetaDataKeys()
    assert copied.GetOrigin() == image.GetOrigin() and copied.GetSpacing() == image.GetSpacing()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(copied), sitk.GetArrayFromImage(image))


@pytest.mark.parametrize(("lowest", "modality"), [(-1000, "CT"), (0, "MR")])
def test_guesses_the_modality_and_says_so(
    tmp_path: Path, organs: LabelTable, lowest: int, modality: str
) -> None:
    for seed in range(3):
        save_image(tmp_path / "scans" / f"{seed}.nii.gz", seed, lowest)
    report = init_from_folder(
        tmp_path / "cohort", images=tmp_path / "scans", labels=None, labels_table=organs
    )
    assert report.cohort.modality == modality
    assert len(report.notes) == 1 and f"Taken as {modality}" in report.notes[0]


def test_an_absent_organ_is_unknown_unless_told_otherwise(tmp_path: Path, organs: LabelTable) -> None:
    save_image(tmp_path / "scans" / "a.nii.gz", 1)
    save(tmp_path / "drawn" / "a.nii.gz", label_array(7))
    annotated = {}
    for absent in ("unknown", "background"):
        report = init_from_folder(
            tmp_path / absent,
            images=tmp_path / "scans",
            labels=tmp_path / "drawn",
            labels_table=organs,
            absent=absent,  # type: ignore[arg-type]
        )
        annotated[absent] = report.cohort.cases[0].annotated
    assert annotated == {"unknown": ["spleen"], "background": ["liver", "spleen"]}


def test_an_empty_label_map_counts_as_no_annotation(tmp_path: Path, organs: LabelTable) -> None:
    save_image(tmp_path / "scans" / "a.nii.gz", 1)
    save(tmp_path / "drawn" / "a.nii.gz", label_array())
    report = init_from_folder(
        tmp_path / "cohort",
        images=tmp_path / "scans",
        labels=tmp_path / "drawn",
        labels_table=organs,
        modality="CT",
    )
    assert not report.cohort.cases[0].is_annotated and "holds no organ" in report.notes[0]


def test_refuses_a_label_map_without_an_image(scans: Path, tmp_path: Path, organs: LabelTable) -> None:
    stray = save(tmp_path / "drawn" / "nobody.nii.gz", label_array(3))
    with pytest.raises(SSLSegError, match="no image of the same name") as error:
        init_from_folder(
            tmp_path / "cohort", images=scans, labels=tmp_path / "drawn", labels_table=organs, modality="CT"
        )
    assert error.value.file == stray and not (tmp_path / "cohort").exists()


@pytest.mark.parametrize(
    ("array", "origin", "reason"),
    [
        (label_array(3, 9), (5, -7, 11), "not declared: 9"),
        (label_array(3), (5, -7, 20), "does not lie on its image"),
        (label_array(3)[:5], (5, -7, 11), "voxels instead of"),
    ],
)
def test_a_bad_label_map_leaves_no_cohort_behind(
    tmp_path: Path, organs: LabelTable, array: np.ndarray, origin: tuple[float, float, float], reason: str
) -> None:
    save_image(tmp_path / "scans" / "a.nii.gz", 1)
    save(tmp_path / "drawn" / "a.nii.gz", array, origin)
    with pytest.raises(SSLSegError, match=reason):
        init_from_folder(
            tmp_path / "cohort",
            images=tmp_path / "scans",
            labels=tmp_path / "drawn",
            labels_table=organs,
        )
    assert not (tmp_path / "cohort").exists()


def test_refuses_to_overwrite_a_cohort(scans: Path, tmp_path: Path, organs: LabelTable) -> None:
    init_from_folder(tmp_path / "cohort", images=scans, labels=None, labels_table=organs)
    before = (tmp_path / "cohort" / "cohort.json").read_text()
    with pytest.raises(SSLSegError, match="already"):
        init_from_folder(tmp_path / "cohort", images=scans, labels=None, labels_table=organs)
    assert (tmp_path / "cohort" / "cohort.json").read_text() == before


@pytest.fixture
def cohort(tmp_path: Path, organs: LabelTable) -> Cohort:
    return Cohort.create(tmp_path / "cohort", name="test", modality="CT", labels=organs)


def test_imports_the_good_and_lists_the_bad(scans: Path, cohort: Cohort) -> None:
    damaged = scans / "damaged.nii.gz"
    damaged.write_bytes((scans / "DOE^JOHN.nii.gz").read_bytes()[:-200])
    flat = save(scans / "flat.nrrd", np.zeros((1, 8, 8), dtype=np.int16))
    seen: list[tuple[int, int]] = []
    report = import_paths(cohort.folder, [scans], progress=lambda done, of: seen.append((done, of)))
    assert report.imported == ["case_0001", "case_0002", "case_0003"]
    assert {path for path, _ in report.refused} == {damaged, flat}
    assert all(str(path) in sentence for path, sentence in report.refused)
    assert seen[-1] == (5, 5) and len(Cohort.read(cohort.folder).cases) == 3


def test_numbers_go_on_after_the_last_case(scans: Path, cohort: Cohort) -> None:
    import_paths(cohort.folder, [scans / "third.mha"])
    report = import_paths(cohort.folder, [scans / "deep"])
    assert report.imported == ["case_0002"]


def test_refuses_a_volume_that_is_there_already_even_in_another_format(scans: Path, cohort: Cohort) -> None:
    import_paths(cohort.folder, [scans / "third.mha"], copy=True)
    twin = scans.parent / "twin.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(scans / "third.mha")), str(twin))
    report = import_paths(cohort.folder, [twin])
    assert not report.imported and "already, as case_0001" in report.refused[0][1]


def test_a_file_that_does_not_exist_is_refused_with_a_sentence(cohort: Cohort) -> None:
    report = import_paths(cohort.folder, [cohort.folder / "nothing.nii.gz"])
    assert not report.imported and "does not exist" in report.refused[0][1]


def test_converts_a_segmentation_by_the_names_of_its_segments(
    scans: Path, cohort: Cohort, organs: LabelTable
) -> None:
    image = sitk.ReadImage(str(scans / "third.mha"))
    drawn = sitk.GetImageFromArray(label_array(1, 2))
    drawn.CopyInformation(image)
    write_segmentation(drawn, list(parse_labels("Spleen=1,LIVER=2")), scans / "third.seg.nrrd")
    report = import_paths(cohort.folder, [scans])
    case = report.cohort.case("case_0003")
    assert case.annotated == ["liver", "spleen"] and case.label is not None
    np.testing.assert_array_equal(voxels(cohort.folder / case.label), label_array(7, 3))


def test_lists_a_segmentation_without_its_image(scans: Path, cohort: Cohort) -> None:
    drawn = sitk.GetImageFromArray(label_array(3))
    write_segmentation(drawn, list(cohort.labels)[:1], scans / "else.seg.nrrd")
    report = import_paths(cohort.folder, [scans])
    assert len(report.imported) == 3
    assert [path.name for path, _ in report.refused] == ["else.seg.nrrd"]


def test_volumes_inside_the_cohort_are_stored_relative_to_it(cohort: Cohort) -> None:
    save_image(cohort.folder / "images" / "mine.nrrd", 5)
    save(cohort.folder / "labels" / "mine.nii.gz", label_array(3))
    report = import_paths(cohort.folder, [cohort.folder])
    assert [case.image for case in report.cohort.cases] == ["images/mine.nrrd"]


def test_pairs_by_place_where_names_repeat(tmp_path: Path) -> None:
    for person in ("p1", "p2"):
        save_image(tmp_path / "scans" / person / "ct.nii.gz", 1)
        save(tmp_path / "drawn" / person / "ct_seg.nii.gz", label_array(3))
    found, strays = find_candidates([tmp_path / "scans"], tmp_path / "drawn", outside=tmp_path / "cohort")
    assert not strays and [c.label is not None and c.label.parent.name for c in found] == ["p1", "p2"]


def test_finds_label_maps_among_the_images(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    save_image(folder / "a_0000.nii.gz", 1)
    save_image(folder / "b.nrrd", 2)
    for name in ("a.seg.nrrd", "b-label.nrrd"):
        save(folder / name, label_array(3))
    for labels in (None, folder):
        found, strays = find_candidates([folder], labels, outside=tmp_path / "cohort")
        assert [(c.name, c.label and c.label.name) for c in found] == [
            ("a", "a.seg.nrrd"),
            ("b", "b-label.nrrd"),
        ]
        assert not strays


def test_leaves_a_label_folder_inside_the_images_alone(tmp_path: Path) -> None:
    save_image(tmp_path / "all" / "a.nii.gz", 1)
    save(tmp_path / "all" / "labels" / "a.nii.gz", label_array(3))
    found, strays = find_candidates([tmp_path / "all"], tmp_path / "all" / "labels", outside=tmp_path / "c")
    assert len(found) == 1 and found[0].label is not None and not strays


def test_refuses_two_label_maps_of_one_image(tmp_path: Path) -> None:
    save_image(tmp_path / "scans" / "a.nii.gz", 1)
    for name in ("a.nii.gz", "a-label.nrrd"):
        save(tmp_path / "drawn" / name, label_array(3))
    with pytest.raises(SSLSegError, match="two label maps"):
        find_candidates([tmp_path / "scans"], tmp_path / "drawn", outside=tmp_path / "cohort")


LABELS = {"0": "background", "1": "liver", "2": "spleen"}


def listed_dataset(folder: Path) -> dict[str, object]:
    for number in range(5):
        save_image(folder / "images" / f"scan_{number}.nii.gz", number)
        save(folder / "labels" / f"scan_{number}.nii.gz", label_array(1, 2))
    (folder / "train.txt").write_text("scan_3\nscan_1\nscan_0\n")
    (folder / "test.txt").write_text("scan_2\nscan_4\n")
    return {"name": "Listed", "modality": "CT (HU)", "labels": LABELS}


def decathlon(folder: Path) -> dict[str, object]:
    for number in range(5):
        part = "Tr" if number not in (2, 4) else "Ts"
        save_image(folder / f"images{part}" / f"scan_{number}.nii.gz", number)
        save(folder / f"labels{part}" / f"scan_{number}.nii.gz", label_array(1, 2))
    training = [
        {"image": f"./imagesTr/scan_{n}.nii.gz", "label": f"./labelsTr/scan_{n}.nii.gz"} for n in (3, 1, 0)
    ]
    test = ["./imagesTs/scan_2.nii.gz", "./imagesTs/scan_4.nii.gz"]
    return {"modality": {"0": "CT"}, "labels": LABELS, "training": training, "test": test}


def nnunet(folder: Path) -> dict[str, object]:
    for number in range(5):
        part = "Tr" if number not in (2, 4) else "Ts"
        save_image(folder / f"images{part}" / f"scan_{number}_0000.nii.gz", number)
        save(folder / f"labels{part}" / f"scan_{number}.nii.gz", label_array(1, 2))
    labels = {"background": 0, "liver": 1, "spleen": 2}
    return {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}


@pytest.mark.parametrize("layout", [listed_dataset, decathlon, nnunet])
def test_a_dataset_keeps_the_first_labels_of_its_list(layout, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(layout(folder)))
    report = init_from_dataset(tmp_path / "cohort", folder, labelled=2)
    cases = report.cohort.cases
    order = ["scan_3", "scan_1", "scan_0"] if layout is not nnunet else ["scan_0", "scan_1", "scan_3"]
    assert [case.id for case in cases] == [*order, "scan_2", "scan_4"]
    assert [case.is_annotated for case in cases[:3]] == [True, True, False]
    assert [case.use for case in cases] == [Use.TRAIN] * 3 + [Use.TEST] * 2
    assert [case.label is not None for case in cases[3:]] == [layout is not decathlon] * 2
    assert report.cohort.labels.values == [1, 2] and report.cohort.modality == "CT" and not report.refused


def test_a_dataset_of_several_channels_is_refused(tmp_path: Path) -> None:
    description = {"modality": {"0": "FLAIR", "1": "T1w"}, "labels": LABELS, "training": []}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(SSLSegError, match=r"2 channels \(FLAIR, T1w\)"):
        read_dataset(tmp_path, 1)


def test_more_labelled_cases_than_there_are_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(listed_dataset(tmp_path)))
    with pytest.raises(SSLSegError, match="4 labelled cases were asked for"):
        read_dataset(tmp_path, 4)


def test_a_missing_file_of_a_dataset_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(listed_dataset(tmp_path)))
    (tmp_path / "images" / "scan_1.nii.gz").unlink()
    with pytest.raises(SSLSegError, match="missing") as error:
        read_dataset(tmp_path, 1)
    assert error.value.file == tmp_path / "images" / "scan_1.nii.gz"


def test_nnunets_ignore_label_becomes_255(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    description = nnunet(folder)
    description["labels"] = {"background": 0, "liver": 1, "ignore": 2}
    (folder / "dataset.json").write_text(json.dumps(description))
    report = init_from_dataset(tmp_path / "cohort", folder)
    case = report.cohort.cases[0]
    assert report.cohort.labels.names == ["liver"] and case.label is not None
    np.testing.assert_array_equal(voxels(report.cohort.folder / case.label), label_array(1, 255))


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "chaos_t2_half").is_dir(), reason="needs ../shared/data")
def test_imports_a_real_dataset(tmp_path: Path) -> None:
    report = init_from_dataset(tmp_path / "cohort", SHARED / "chaos_t2_half", labelled=3)
    assert len(report.cohort.cases) == 17 and not report.refused and report.cohort.modality == "MR"
    annotated = [case for case in report.cohort.cases if case.is_annotated and case.use is Use.TRAIN]
    assert [case.id for case in annotated] == ["chaos_t2_02", "chaos_t2_03", "chaos_t2_13"]


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "dicom_series").is_dir(), reason="needs ../shared/data")
def test_imports_dicom_folders(tmp_path: Path, cohort: Cohort) -> None:
    report = import_paths(cohort.folder, [SHARED / "dicom_series"], copy=True)
    assert report.imported, report.refused
    for case in report.cohort.cases:
        assert sitk.ReadImage(str(report.cohort.image_path(case))).GetDimension() == 3


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "dicom_series").is_dir(), reason="needs ../shared/data")
def test_takes_one_series_of_a_folder_that_holds_several(tmp_path: Path, cohort: Cohort) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("ct_siemens_body_j2k", "mr_hippocrop"):
        for file in (SHARED / "dicom_series" / name).glob("*.dcm"):
            (mixed / f"{name}_{file.name}").symlink_to(file)
    refused = import_paths(cohort.folder, [mixed]).refused
    assert len(refused) == 1 and "holds 2 series" in refused[0][1]
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(next(mixed.glob("ct_*.dcm"))))
    reader.ReadImageInformation()
    uid = reader.GetMetaData("0020|000e")
    report = import_paths(cohort.folder, [mixed], series=uid)
    assert [case.series for case in report.cohort.cases] == [uid]


def test_a_new_case_never_inherits_the_files_of_a_removed_one(scans: Path, cohort: Cohort) -> None:
    removed = import_paths(cohort.folder, [scans / "third.mha"]).imported[0]
    stale = cohort.prediction_path("first", removed)
    stale.parent.mkdir(parents=True)
    stale.touch()
    with Cohort.edit(cohort.folder) as edited:
        edited.cases.pop()
    report = import_paths(cohort.folder, [save_image(scans.parent / "new" / "one.nii.gz", 99)])
    assert report.imported and report.imported[0] != removed

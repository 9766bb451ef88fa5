"""DICOM segmentations: the same voxels at the same places, in the patient's study, with coded organs."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_slices import SERIES_A, write_slice, write_stack
from pydicom.uid import generate_uid
from tiny_model import add_model, write_prediction
from tiny_training import Events

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.settings import ExportSettings
from sslseg.data.geometry import Geometry
from sslseg.data.importing import import_paths
from sslseg.data.segmentation_file import Segment, layered, write_layers
from sslseg.data.volumes import read_volume, write_label_map
from sslseg.export.cohort_export import ExportSummary, export_cohort

hd = pytest.importorskip("highdicom", reason="highdicom is not installed")

SHARED = Path(__file__).parents[3] / "shared" / "data" / "dicom_series"
KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
MASS = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^49755003^Morphologically Altered Structure"
    "~SCT^4147007^Mass~^^~Anatomic codes - DICOM master list~SCT^23451007^Adrenal gland~SCT^24028007^Right"
)
LABELS = LabelTable(
    [
        Label("kidney", 7, (185, 102, 83), KIDNEY),
        Label("mass", 3, (10, 200, 30), MASS),
        Label("odd", 9, (1, 2, 3)),
    ]
)
OBLIQUE = (0.8, 0.6, 0.0, -0.48, 0.64, 0.6)
HEIGHTS = (0, 2.5, 5, 7.5, 10)


def write_series(folder: Path, *, oblique: bool = True) -> Path:
    """A series as a scanner writes it: with a patient, a study and a frame of reference."""
    study, frame = generate_uid(), generate_uid()
    axes = OBLIQUE if oblique else (1, 0, 0, 0, 1, 0)
    normal = np.cross(axes[:3], axes[3:])
    for index, height in enumerate(HEIGHTS):
        write_slice(
            folder / f"{99 - index}.dcm",
            np.array([-10, -20, 30]) + height * normal,
            axes=axes,
            pixels=np.full((5, 6), 10 * index, np.int16),
            PatientName="Doe^Jane", PatientID="17", PatientBirthDate="19700101", PatientSex="F",
            StudyInstanceUID=study, StudyDate="20200101", StudyTime="120000", StudyID="1", AccessionNumber="",
            ReferringPhysicianName="", FrameOfReferenceUID=frame, PositionReferenceIndicator="",
            SliceThickness="2.5", InstanceNumber=str(index + 1), SeriesNumber="1", Manufacturer="x",
        )  # fmt: skip
    return folder


def make_cohort(folder: Path, series: Path) -> tuple[Cohort, str]:
    Cohort.create(folder, name="dicom", modality="CT", labels=LABELS)
    report = import_paths(folder, [series])
    assert report.imported, report.refused
    return report.cohort, report.imported[0]


def annotate(cohort: Cohort, case_id: str, voxels: np.ndarray, organs: list[str]) -> None:
    labels = sitk.GetImageFromArray(voxels.astype(np.uint8))
    case = cohort.case(case_id)
    labels.CopyInformation(read_volume(cohort.image_path(case), series_uid=case.series))
    write_label_map(labels, cohort.folder / f"labels/{case_id}.nii.gz")
    with Cohort.edit(cohort.folder) as edited:
        edited.case(case_id).label = f"labels/{case_id}.nii.gz"
        edited.case(case_id).annotated = organs


def export(cohort: Cohort, output: Path, **changes) -> tuple[ExportSummary, Events]:
    events = Events()
    fields = {"format": "dicom-seg", "output": str(output)}
    return export_cohort(Cohort.read(cohort.folder), ExportSettings(**fields | changes), events), events


def masks_by_place(path: Path, image: sitk.Image) -> dict[str, np.ndarray]:
    """Masks (z, y, x) on the grid of `image`, each frame put where its own position says it lies."""
    found = pydicom.dcmread(path)
    pixels = np.atleast_3d(found.pixel_array.T).T
    names = {item.SegmentNumber: item.SegmentLabel for item in found.SegmentSequence}
    masks = {name: np.zeros(image.GetSize()[::-1], bool) for name in names.values()}
    shared = found.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    assert [float(v) for v in reversed(measures.PixelSpacing)] == pytest.approx(image.GetSpacing()[:2])
    axes = np.reshape(image.GetDirection(), (3, 3))
    given = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    np.testing.assert_allclose(given, axes.T[:2], atol=1e-6)
    for frame, groups in zip(pixels, found.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        position = [float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]
        index = image.TransformPhysicalPointToContinuousIndex(position)
        np.testing.assert_allclose(index, [0, 0, round(index[2])], atol=1e-3)
        masks[names[number]][round(index[2])] = frame > 0
    return masks


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Cohort, str]:
    return make_cohort(tmp_path / "cohort", write_series(tmp_path / "series"))


def some_voxels() -> np.ndarray:
    voxels = np.zeros((len(HEIGHTS), 5, 6), np.uint8)
    voxels[1:3, 1:3, 1:5] = 7
    voxels[3, 4, 2:4] = 3
    voxels[0, 0, 0] = 3
    return voxels


def test_voxels_come_back_at_their_places_in_the_patient(cohort, tmp_path: Path) -> None:
    read, case = cohort
    annotate(read, case, some_voxels(), ["kidney", "mass", "odd"])
    summary, events = export(read, tmp_path / "out")
    assert summary.done == [case]
    image = read_volume(read.image_path(read.case(case)))
    found = masks_by_place(tmp_path / f"out/{case}.dcm", image)
    assert set(found) == {"kidney", "mass"}  # of the third organ there is no voxel
    for name, value in (("kidney", 7), ("mass", 3)):
        np.testing.assert_array_equal(found[name], some_voxels() == value)
    assert "No terminology says what is meant by odd" in events.of("warning")[0]["message"]


def test_the_object_belongs_to_the_study_and_refers_to_the_slices(cohort, tmp_path: Path) -> None:
    read, case = cohort
    annotate(read, case, some_voxels(), ["kidney", "mass"])
    export(read, tmp_path / "out")
    found = hd.seg.segread(tmp_path / f"out/{case}.dcm")
    source = pydicom.dcmread(next((tmp_path / "series").glob("*.dcm")))
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert found[name].value == source[name].value
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert found.Modality == "SEG"
    referred = {uid for _, series, uid in found.get_source_image_uids() if series == SERIES_A}
    assert referred == {pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / "series").glob("*.dcm")}


def test_organs_carry_the_codes_and_colours_of_the_cohort(cohort, tmp_path: Path) -> None:
    read, case = cohort
    voxels = some_voxels()
    voxels[4, 0, 0] = 9
    annotate(read, case, voxels, ["kidney", "mass", "odd"])
    export(read, tmp_path / "out")
    kidney, mass, odd = (
        hd.seg.segread(tmp_path / f"out/{case}.dcm").get_segment_description(n) for n in (1, 2, 3)
    )
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("64033007", "SCT", "Kidney")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert kidney.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "123037004"
    assert mass.AnatomicRegionSequence[0].CodeValue == "23451007"
    assert mass.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue == "24028007"
    private = odd.SegmentedPropertyTypeCodeSequence[0]
    assert (private.CodingSchemeDesignator, private.CodeValue, private.CodeMeaning) == (
        "99SSLSEG",
        "9",
        "odd",
    )
    color = hd.color.CIELabColor.from_dicom_value(kidney.RecommendedDisplayCIELabValue)
    assert np.abs(np.subtract(color.to_rgb(), (185, 102, 83))).max() <= 1


def test_what_a_model_predicted_is_marked_as_automatic(cohort, tmp_path: Path) -> None:
    read, case = cohort
    annotate(read, case, some_voxels(), ["kidney"])
    add_model(read, "first", tuple(LABELS))
    predicted = np.full_like(some_voxels(), 3)
    write_prediction(read, "first", case, predicted)
    export(read, tmp_path / "out", source="best", model="first")
    found = hd.seg.segread(tmp_path / f"out/{case}.dcm")
    kidney, mass = (found.get_segment_description(number) for number in (1, 2))
    assert (kidney.SegmentAlgorithmType, mass.SegmentAlgorithmType) == ("SEMIAUTOMATIC", "AUTOMATIC")
    assert "first" in mass.SegmentAlgorithmName


def test_overlapping_organs_keep_all_their_voxels(tmp_path: Path) -> None:
    series = write_series(tmp_path / "both/series")
    image = read_volume(series)
    masks = {"kidney": np.zeros((5, 5, 6), bool), "mass": np.zeros((5, 5, 6), bool)}
    masks["kidney"][1:4, 1:4, 1:5] = True
    masks["mass"][2:5, 2:5, 2:6] = True
    organs = [(Segment(label.name, label.value, 0), masks[label.name]) for label in list(LABELS)[:2]]
    write_layers(layered(organs, Geometry.of(image)), tmp_path / "both/series.seg.nrrd")
    read, case = make_cohort(tmp_path / "cohort", tmp_path / "both")
    export(read, tmp_path / "out")
    found = masks_by_place(tmp_path / f"out/{case}.dcm", image)
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask)


def test_a_series_with_another_grid_is_refused(cohort, tmp_path: Path) -> None:
    read, case = cohort
    annotate(read, case, some_voxels(), ["kidney"])
    (tmp_path / "series/95.dcm").unlink()
    with pytest.raises(SSLSegError, match="6 x 5 x 5 voxels instead of 6 x 5 x 4"):
        export(read, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_series_without_a_study_is_refused_in_a_sentence(tmp_path: Path) -> None:
    read, case = make_cohort(tmp_path / "cohort", write_stack(tmp_path / "bare", heights=HEIGHTS))
    annotate(read, case, some_voxels(), ["kidney"])
    with pytest.raises(SSLSegError, match="have no StudyInstanceUID, FrameOfReferenceUID, to which"):
        export(read, tmp_path / "out")


def test_a_case_without_a_voxel_is_refused(cohort, tmp_path: Path) -> None:
    read, case = cohort
    annotate(read, case, np.zeros((5, 5, 6)), ["kidney"])
    with pytest.raises(SSLSegError, match="there is no segment to write"):
        export(read, tmp_path / "out")


def test_a_missing_package_is_said_before_anything_is_done(
    cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, case = cohort
    annotate(read, case, some_voxels(), ["kidney"])
    real = builtins.__import__

    def without(name: str, *arguments, **options):
        if name.startswith("highdicom"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SSLSegError, match=r"need the package 'highdicom'.*pip install 'sslseg\[dicom\]'"):
        export(read, tmp_path / "out")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize("name", ["ct_siemens_body_j2k", "mr_hippocrop"])
def test_a_real_series_gets_its_segmentation(name: str, tmp_path: Path) -> None:
    series = tmp_path / name
    series.mkdir()
    for file in (SHARED / name).glob("*.dcm"):
        header = pydicom.dcmread(file)
        # The CT was de-identified so far that it belongs to no study and has no identity.
        header.StudyInstanceUID = header.StudyInstanceUID or "1.2.826.0.1.3680043.8.498.7"
        header.SeriesInstanceUID = header.SeriesInstanceUID or "1.2.826.0.1.3680043.8.498.8"
        header.SOPInstanceUID = header.SOPInstanceUID or generate_uid()
        header.save_as(series / file.name)
    read, case = make_cohort(tmp_path / "cohort", series)
    image = read_volume(series)
    size = image.GetSize()[::-1]
    middle = tuple(slice(side // 3, 2 * side // 3) for side in size)
    voxels = np.zeros(size, np.uint8)
    voxels[middle] = np.where(np.random.default_rng(0).random(voxels[middle].shape) < 0.5, 7, 3)
    annotate(read, case, voxels, ["kidney", "mass"])
    assert export(read, tmp_path / "out")[0].done == [case]
    found = masks_by_place(tmp_path / f"out/{case}.dcm", image)
    for organ, value in (("kidney", 7), ("mass", 3)):
        np.testing.assert_array_equal(found[organ], voxels == value)

"""Segmentations leave the cohort as they are: voxels, names, values, overlaps, and who stands for them."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tiny_model import add_model, write_prediction
from tiny_training import Events, write_volumes

from sslseg.cli.app import main
from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort, ReviewState
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import Label, LabelTable, read_labels
from sslseg.contract.quality import CaseQuality, OrganQuality, Verdict, write_quality
from sslseg.contract.settings import ExportSettings
from sslseg.data.geometry import Geometry
from sslseg.data.importing import import_paths
from sslseg.data.segmentation_file import Segment, layered, read_segmentation, write_layers
from sslseg.data.volumes import read_label_map, read_volume, write_label_map
from sslseg.export.cohort_export import export_cohort
from sslseg.jobs import runner
from sslseg.jobs.runner import run_job

KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
LIVER, SPLEEN = Label("liver", 1, (200, 80, 80)), Label("spleen", 7, (80, 80, 200))
KIDNEY_LABEL = Label("left kidney", 3, (90, 200, 90), KIDNEY)
LABELS = LabelTable([LIVER, SPLEEN, KIDNEY_LABEL])
SHAPE = (24, 24, 24)


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """case_0: liver and spleen annotated; case_1: liver only; case_2: nothing. A model that knows no kidney."""
    folder = tmp_path / "cohort"
    Cohort.create(folder, name="cubes", modality="CT", labels=LABELS)
    with Cohort.edit(folder) as edited:
        for number, annotated in enumerate((["liver", "spleen"], ["liver"], [])):
            name = f"case_{number}"
            write_volumes(folder, name, number)
            label = f"labels/{name}.nii.gz" if annotated else None
            edited.cases.append(Case(name, f"images/{name}.nii.gz", label, annotated))
        add_model(edited, "first", (LIVER, SPLEEN))
    return Cohort.read(folder)


def drawn(cohort: Cohort, case_id: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.folder / f"labels/{case_id}.nii.gz")))


def run(cohort: Cohort, output: Path, **changes) -> tuple[Events, object]:
    events = Events()
    fields = {"format": "seg.nrrd", "output": str(output)}
    return events, export_cohort(Cohort.read(cohort.folder), ExportSettings(**fields | changes), events)


def volumes(output: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (output / "volumes.csv").open(newline="") as file:
        return {(row["case"], row["organ"]): row for row in csv.DictReader(file)}


def card(case: str, **verdicts: Verdict) -> CaseQuality:
    organs = [
        OrganQuality(name, verdict, [], 1.0, 1, 1.0, False, 0.1, 0.1) for name, verdict in verdicts.items()
    ]
    return CaseQuality(case, "first", Verdict.LOOK, [], organs, 0.2)


def test_only_what_a_person_accepted_is_exported_unless_a_model_is_named(
    cohort: Cohort, tmp_path: Path
) -> None:
    write_prediction(cohort, "first", "case_2", np.ones(SHAPE))
    events, summary = run(cohort, tmp_path / "out")
    assert (summary.done, summary.empty, summary.failed) == (["case_0", "case_1"], ["case_2"], [])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "case_0.seg.nrrd", "case_1.seg.nrrd", "volumes.csv",
    ]  # fmt: skip
    first = read_segmentation(tmp_path / "out/case_0.seg.nrrd")
    assert [(s.name, s.value, s.color, s.status) for s in first.segments] == [
        ("liver", 1, (200, 80, 80), "completed"),
        ("spleen", 7, (80, 80, 200), "completed"),
    ]
    np.testing.assert_array_equal(first.layers, drawn(cohort, "case_0")[np.newaxis])
    # The second case has a spleen in its label map, which nobody said was finished.
    second = read_segmentation(tmp_path / "out/case_1.seg.nrrd")
    assert [s.name for s in second.segments] == ["liver"]
    assert set(np.unique(second.layers)) == {0, 1}
    assert events.of("warning")[-1]["message"] == "1 case(s) have nothing accepted yet and were left out."


def test_the_table_of_volumes_counts_millilitres(cohort: Cohort, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out")
    found = volumes(tmp_path / "out")
    voxel_ml = 4.0**3 / 1000
    assert set(found) == {("case_0", "liver"), ("case_0", "spleen"), ("case_1", "liver")}
    assert float(found["case_0", "liver"]["volume_ml"]) == pytest.approx(
        (drawn(cohort, "case_0") == 1).sum() * voxel_ml, abs=1e-3
    )
    assert found["case_0", "liver"]["source"] == "accepted"
    assert found["case_0", "spleen"]["value"] == "7"


def test_the_best_there_is_takes_each_organ_from_a_person_or_from_the_model(
    cohort: Cohort, tmp_path: Path
) -> None:
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[:, :, :12], predicted[:, :, 12:] = 1, 7
    for case in ("case_0", "case_1", "case_2"):
        write_prediction(cohort, "first", case, predicted)
    write_quality(cohort, card("case_1", liver=Verdict.LIKELY_WRONG, spleen=Verdict.LIKELY_WRONG))
    write_quality(cohort, card("case_2", liver=Verdict.LOOK, spleen=Verdict.FINE))
    run(cohort, tmp_path / "out", source="best", model="first")
    found = volumes(tmp_path / "out")
    told = {key: (row["source"], row["verdict"], row["status"]) for key, row in found.items()}
    assert told == {
        ("case_0", "liver"): ("accepted", "", "completed"),
        ("case_0", "spleen"): ("accepted", "", "completed"),
        ("case_1", "liver"): ("accepted", "", "completed"),
        ("case_1", "spleen"): ("predicted", "likely wrong", "flagged"),
        ("case_2", "liver"): ("predicted", "look", "notstarted"),
        ("case_2", "spleen"): ("predicted", "fine", "notstarted"),
    }
    mixed = read_segmentation(tmp_path / "out/case_1.seg.nrrd").layers[0]
    liver = drawn(cohort, "case_1") == 1
    np.testing.assert_array_equal(mixed == 1, liver)
    np.testing.assert_array_equal(mixed == 7, (predicted == 7) & ~liver)


def test_the_state_of_the_review_is_that_of_the_segment(cohort: Cohort, tmp_path: Path) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.case("case_0").organ_review = {"spleen": ReviewState.FLAGGED}
        edited.case("case_0").review = ReviewState.IN_PROGRESS
    run(cohort, tmp_path / "out", cases=["case_0"])
    status = {s.name: s.status for s in read_segmentation(tmp_path / "out/case_0.seg.nrrd").segments}
    assert status == {"liver": "inprogress", "spleen": "flagged"}


def test_a_prediction_that_was_rejected_is_flagged_and_one_that_was_not_looked_at_is_not(
    cohort: Cohort, tmp_path: Path
) -> None:
    write_prediction(cohort, "first", "case_2", np.full(SHAPE, 7, np.uint8))
    with Cohort.edit(cohort.folder) as edited:
        edited.case("case_2").review = ReviewState.FLAGGED
        edited.case("case_2").organ_review = {"liver": ReviewState.NOT_STARTED}
    run(cohort, tmp_path / "out", cases=["case_2"], source="best", model="first")
    status = {s.name: s.status for s in read_segmentation(tmp_path / "out/case_2.seg.nrrd").segments}
    assert status == {"liver": "notstarted", "spleen": "flagged"}


def test_an_organ_that_was_drawn_on_some_slices_is_no_organ(cohort: Cohort, tmp_path: Path) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.case("case_0").slices = {"spleen": AnnotatedSlices("k", [3])}
    events, _ = run(cohort, tmp_path / "out", cases=["case_0"])
    assert set(volumes(tmp_path / "out")) == {("case_0", "liver")}
    assert "spleen was drawn on some slices only" in events.of("warning")[0]["message"]


@pytest.fixture
def overlapping(cohort: Cohort, tmp_path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """A case imported from a file in which the spleen covers a part of the liver and all of the kidney."""
    write_volumes(tmp_path, "scan", 9)
    image = read_volume(tmp_path / "images/scan.nii.gz")
    masks = {name: np.zeros(SHAPE, bool) for name in LABELS.names}
    masks["liver"][4:12, 4:12, 4:12] = True
    masks["spleen"][8:16, 8:16, 8:16] = True
    masks["left kidney"][9:11, 13:15, 9:15] = True
    organs = [(Segment(label.name, label.value, 0, label.color), masks[label.name]) for label in LABELS]
    folder = tmp_path / "drawn in slicer"
    folder.mkdir()
    # Declared later wins in a label map; here the kidney has to lie under the spleen.
    with Cohort.edit(cohort.folder) as edited:
        edited.labels = LabelTable([LIVER, KIDNEY_LABEL, SPLEEN])
    write_layers(layered(organs, Geometry.of(image)), folder / "scan.seg.nrrd")
    sitk.WriteImage(image, str(folder / "scan.nii.gz"))
    return import_paths(cohort.folder, [folder]).imported[0], masks


def exported_masks(path: Path) -> dict[str, np.ndarray]:
    segmentation = read_segmentation(path)
    return {segment.name: segmentation.mask(segment) for segment in segmentation.segments}


def test_overlapping_organs_survive_from_import_to_export(
    cohort: Cohort, overlapping, tmp_path: Path
) -> None:
    case, masks = overlapping
    flat = drawn(cohort, case)
    assert (flat == 1).sum() < masks["liver"].sum()
    assert not (flat == 3).any()
    run(cohort, tmp_path / "out", cases=[case])
    found = exported_masks(tmp_path / f"out/{case}.seg.nrrd")
    assert set(found) == set(masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)
    assert float(volumes(tmp_path / "out")[case, "liver"]["volume_ml"]) == pytest.approx(
        masks["liver"].sum() * 0.064, abs=1e-3
    )


def test_an_organ_that_was_edited_since_is_exported_as_it_is_now(
    cohort: Cohort, overlapping, tmp_path: Path
) -> None:
    case, masks = overlapping
    voxels = drawn(cohort, case)
    voxels[0:2, 0:2, 0:2] = 1
    labels = sitk.GetImageFromArray(voxels)
    labels.CopyInformation(sitk.ReadImage(str(cohort.folder / f"labels/{case}.nii.gz")))
    write_label_map(labels, cohort.folder / f"labels/{case}.nii.gz")
    run(cohort, tmp_path / "out", cases=[case])
    found = exported_masks(tmp_path / f"out/{case}.seg.nrrd")
    np.testing.assert_array_equal(found["liver"], voxels == 1)
    np.testing.assert_array_equal(found["left kidney"], masks["left kidney"])


def test_a_label_map_says_that_overlaps_are_lost_in_it(cohort: Cohort, overlapping, tmp_path: Path) -> None:
    case, _ = overlapping
    events, _ = run(cohort, tmp_path / "out", cases=[case], format="nifti")
    assert "organs overlap" in events.of("warning")[0]["message"]
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out/{case}.nii.gz")))
    np.testing.assert_array_equal(voxels, drawn(cohort, case))


def test_label_maps_keep_values_and_grid_and_say_what_they_mean(cohort: Cohort, tmp_path: Path) -> None:
    run(cohort, tmp_path / "out", format="nifti")
    image = read_volume(cohort.image_path(cohort.case("case_0")))
    labels = read_label_map(tmp_path / "out/case_0.nii.gz", allowed=LABELS.values)
    assert Geometry.of(labels).mismatch(Geometry.of(image)) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), drawn(cohort, "case_0"))
    assert read_labels(tmp_path / "out/labels.json") == LABELS
    with (tmp_path / "out/labels.csv").open(newline="") as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    kidney = rows["left kidney"]
    assert (kidney["LabelValue"], kidney["Color_G"], kidney["Type_CodeValue"]) == ("3", "200", "64033007")
    assert kidney["TypeModifier_CodeMeaning"] == "Left"
    assert rows["liver"]["Type_CodingScheme"] == "99SSLSEG"


def test_nothing_is_overwritten_unless_that_is_wanted(cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(cohort, out, cases=["case_0"])
    before = (out / "volumes.csv").read_bytes()
    with pytest.raises(SSLSegError, match=r"volumes\.csv: There is a file of this name already"):
        run(cohort, out)
    assert (out / "volumes.csv").read_bytes() == before
    (out / "volumes.csv").unlink()
    _, summary = run(cohort, out)
    assert summary.done == ["case_1"]
    assert "case_0.seg.nrrd: There is a file of this name already" in summary.failed[0][1]
    assert run(cohort, out, overwrite=True)[1].done == ["case_0", "case_1"]


@pytest.mark.parametrize("folder", [".", "labels", "predictions/first"])
def test_nothing_is_exported_over_the_cohort_itself(cohort: Cohort, folder: str) -> None:
    before = (cohort.folder / "labels/case_0.nii.gz").read_bytes()
    with pytest.raises(SSLSegError, match="This folder is the cohort's own"):
        run(cohort, cohort.folder / folder, format="nifti", overwrite=True)
    assert (cohort.folder / "labels/case_0.nii.gz").read_bytes() == before


def test_a_bad_case_does_not_stop_the_others(cohort: Cohort, tmp_path: Path) -> None:
    write_prediction(cohort, "first", "case_1", np.ones(SHAPE))
    other = sitk.Image(8, 8, 8, sitk.sitkUInt8)
    write_label_map(other, cohort.prediction_path("first", "case_2"))
    labels = cohort.folder / "labels/case_0.nii.gz"
    labels.write_bytes(labels.read_bytes()[:100])
    events, summary = run(cohort, tmp_path / "out", source="best", model="first")
    assert summary.done == ["case_1"]
    reasons = dict(summary.failed)
    assert set(reasons) == {"case_0", "case_2"}
    assert "case_0.nii.gz" in reasons["case_0"]
    assert "8 x 8 x 8 voxels instead of 24 x 24 x 24" in reasons["case_2"]
    assert events.of("warning")[-1]["message"] == "2 case(s) could not be exported: case_0, case_2."
    assert not (tmp_path / "out/case_0.seg.nrrd").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": "second"}, "no model 'second'. It has: first"),
        ({"cases": ["case_9"]}, "no case 'case_9'"),
        ({"cases": ["case_2"]}, "Nothing of these cases is accepted yet"),
        ({"cases": ["case_2"], "source": "best", "model": "first"}, "accepted or predicted yet"),
        ({"cases": ["case_0"], "format": "dicom-seg"}, "was not imported from a DICOM series"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_sentence(
    cohort: Cohort, tmp_path: Path, changes, sentence: str
) -> None:
    with pytest.raises(SSLSegError, match=sentence):
        run(cohort, tmp_path / "out", **changes)
    assert not (tmp_path / "out/volumes.csv").exists()


def test_settings_without_a_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a model"):
        ExportSettings("nifti", "out", source="best")
    with pytest.raises(ValueError, match="name a folder"):
        ExportSettings("nifti", " ")


def test_a_stopped_export_goes_on_over_its_own_files_only(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STOP_FILE_CHECK_SECONDS", 0.0)
    job = Job.create(cohort.folder, ExportSettings("seg.nrrd", str(tmp_path / "out")))

    class StopAfterOne:
        """Asks the job to stop once a case is through."""

        def write(self, event: str, **fields) -> None:
            if event == "progress":
                job.request_cancel()

    assert run_job(job, watcher=StopAfterOne()) is JobState.CANCELLED
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["case_0.seg.nrrd"]
    assert run_job(Job.open(job.folder)) is JobState.FINISHED
    assert len(volumes(tmp_path / "out")) == 3


def test_a_missing_image_is_told_with_its_case(cohort: Cohort, tmp_path: Path) -> None:
    cohort.image_path(cohort.case("case_1")).unlink()
    job = Job.create(cohort.folder, ExportSettings("nifti", "exported"))
    assert run_job(job) is JobState.FINISHED
    assert (cohort.folder / "exported/case_0.nii.gz").exists()
    assert set(volumes(cohort.folder / "exported")) == {("case_0", "liver"), ("case_0", "spleen")}


def test_the_command_says_which_cases_failed_and_leaves_with_2(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort.folder / "labels/case_1.nii.gz").write_bytes(b"no volume")
    command = [
        "sslseg",
        "export",
        str(cohort.folder),
        "--format",
        "seg.nrrd",
        "--output",
        str(tmp_path / "out"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 2
    said = capsys.readouterr().out
    assert "case_1 could not be exported" in said
    assert (tmp_path / "out/case_0.seg.nrrd").exists()
    monkeypatch.setattr(sys, "argv", [*command, "--overwrite", "--cases", "case_0"])
    with pytest.raises(SystemExit) as leaving:
        main()
    assert leaving.value.code == 0

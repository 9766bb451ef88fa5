"""Scores of cases and folders, and the tables they are written to."""

from __future__ import annotations

import csv
import json
import math
import statistics
from pathlib import Path

import numpy as np
import pytest

from sslseg.contract.cohort import AnnotatedSlices
from sslseg.contract.errors import SSLSegError
from sslseg.evaluate.evaluation import Pair, evaluate_folders, evaluate_pairs, score_case
from sslseg.evaluate.surface import surface_distances
from sslseg.evaluate.table import METRICS, CaseOrganScore, Evaluation

LABELS = {"liver": 1, "left kidney": 7, "spleen": 254}
SPACING = (4.0, 1.0, 2.0)
SHAPE = (10, 20, 16)
DIAGONAL_MM = math.hypot(40.0, 20.0, 32.0)
DIAGONAL_VOXELS = math.hypot(*SHAPE)


@pytest.fixture
def reference() -> np.ndarray:
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[2:7, 3:12, 2:9] = 1
    label_map[4:8, 14:18, 10:14] = 7
    label_map[1:3, 1:3, 12:15] = 254
    return label_map


@pytest.fixture
def prediction(reference: np.ndarray) -> np.ndarray:
    """One pixel off along y."""
    return np.roll(reference, 1, axis=1)


def scores_of(row: CaseOrganScore) -> list[float | None]:
    return [getattr(row, metric) for metric in METRICS]


def row_of(organ: str, *args: np.ndarray, **options: object) -> CaseOrganScore:
    rows = score_case(*args, LABELS, SPACING, case="case_1", **options)  # type: ignore[arg-type]
    return next(row for row in rows if row.organ == organ)


def test_scores_every_organ_in_mm_and_in_voxels(prediction: np.ndarray, reference: np.ndarray) -> None:
    rows = score_case(prediction, reference, LABELS, SPACING, case="case_1", tolerance_mm=0.5)
    assert [(row.case, row.organ) for row in rows] == [("case_1", organ) for organ in LABELS]
    for row, value in zip(rows, LABELS.values(), strict=True):
        predicted, referenced = prediction == value, reference == value
        in_mm = surface_distances(predicted, referenced, SPACING)
        assert row.dice == 2 * (predicted & referenced).sum() / (predicted.sum() + referenced.sum())
        assert row.hd95_mm == in_mm.hd95()
        assert row.assd_mm == in_mm.mean()
        assert row.surface_dice == in_mm.surface_dice(0.5)
        assert row.hd95_voxels == surface_distances(predicted, referenced, (1.0, 1.0, 1.0)).hd95()
        assert row.reference_ml == row.prediction_ml == pytest.approx(referenced.sum() * 8.0 / 1000)
        assert not row.empty_prediction


def test_hd95_in_voxels_is_measured_anew_and_not_divided(reference: np.ndarray) -> None:
    thicker = reference.copy()
    thicker[1:9, 3:12, 2:9] = 1
    row = row_of("liver", thicker, reference)
    assert (row.hd95_mm, row.hd95_voxels) == (8.0, 2.0)


def test_an_empty_prediction_is_the_worst_case(reference: np.ndarray) -> None:
    row = row_of("liver", np.where(reference == 1, 0, reference), reference)
    assert scores_of(row) == pytest.approx([0.0, DIAGONAL_MM, DIAGONAL_VOXELS, DIAGONAL_MM, 0.0])
    assert row.empty_prediction
    assert row.prediction_ml == 0.0


def test_an_organ_that_only_the_prediction_has_is_the_worst_case(reference: np.ndarray) -> None:
    row = row_of("liver", reference, np.where(reference == 1, 0, reference))
    assert scores_of(row) == pytest.approx([0.0, DIAGONAL_MM, DIAGONAL_VOXELS, DIAGONAL_MM, 0.0])
    assert not row.empty_prediction


def test_an_organ_in_neither_label_map_is_not_scored(reference: np.ndarray) -> None:
    without = np.where(reference == 1, 0, reference)
    row = row_of("liver", without, without)
    assert scores_of(row) == [None] * 5
    assert (row.scored, row.empty_prediction, row.reference_ml) == (False, False, 0.0)


def test_an_organ_that_was_not_annotated_is_not_scored(reference: np.ndarray) -> None:
    without = np.where(reference == 1, 0, reference)
    row = row_of("liver", reference, without, known=["spleen", "left kidney"])
    assert scores_of(row) == [None] * 5
    assert row.reference_ml is None
    assert row.prediction_ml > 0
    assert row_of("spleen", reference, without, known=["spleen"]).dice == 1.0


def test_ignored_voxels_take_part_in_nothing(reference: np.ndarray) -> None:
    prediction = reference.copy()
    prediction[:, :, 5:8] = 1
    ignoring = reference.copy()
    ignoring[:, :, 5:8] = 255
    row = row_of("liver", prediction, ignoring)
    assert scores_of(row) == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert row.prediction_ml == row.reference_ml == (ignoring == 1).sum() * 8.0 / 1000


def test_sparse_slices_score_contours_and_not_cross_sections(reference: np.ndarray) -> None:
    """Slices 3 and 6 alone were annotated; the prediction is one pixel off along y in both."""
    sparse = np.full_like(reference, 255)
    sparse[[3, 6]] = reference[[3, 6]]
    row = row_of("liver", np.roll(reference, 1, axis=1), sparse, tolerance_mm=0.0)
    # Two rectangles of 9 x 7 pixels have a contour of 28 pixels each and share 8 pixels of both long sides.
    assert row.surface_dice == pytest.approx(16 / 28)
    assert row.hd95_mm == 1.0


def test_label_values_that_are_not_asked_for_are_background(reference: np.ndarray) -> None:
    rows = score_case(reference, reference, {"liver": 1}, SPACING, case="a")
    assert [row.organ for row in rows] == ["liver"]


@pytest.mark.parametrize("known_value", [np.int16, np.uint16, np.int64])
def test_any_whole_number_type_gives_the_same_scores(
    prediction: np.ndarray, reference: np.ndarray, known_value: type
) -> None:
    expected = score_case(prediction, reference, LABELS, SPACING, case="a")
    assert score_case(prediction.astype(known_value), reference, LABELS, SPACING, case="a") == expected


def test_refuses_arguments_that_do_not_fit(reference: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        score_case(reference[1:], reference, LABELS, SPACING, case="a")
    with pytest.raises(ValueError, match="1 and 254"):
        score_case(reference, reference, {"ignore": 255}, SPACING, case="a")
    with pytest.raises(ValueError, match="spacing"):
        score_case(reference, reference, LABELS, (1.0, 0.0, 1.0), case="a")
    with pytest.raises(ValueError, match="definition"):
        score_case(reference, reference, LABELS, SPACING, case="a", definition="mine")  # type: ignore[arg-type]


def row(case: str, organ: str, dice: float | None, empty: bool = False) -> CaseOrganScore:
    distance = None if dice is None else 10 * (1 - dice)
    return CaseOrganScore(case, organ, dice, distance, distance, distance, dice, 12.5, 12.0, empty)


@pytest.fixture
def evaluation() -> Evaluation:
    rows = (
        row("a", "liver", 0.9),
        row("a", "spleen", 0.5),
        row("b", "liver", 0.8),
        row("b", "spleen", None),
        row("c", "liver", 0.0, empty=True),
        row("c", "spleen", 0.6),
        row("d", "liver", None),
        row("d", "spleen", None),
    )
    return Evaluation(rows, tolerance_mm=2.0, definition="medpy", missing_predictions=("c",))


def test_the_summary_counts_only_what_was_scored(evaluation: Evaluation) -> None:
    summary = evaluation.summary()
    liver, spleen = (summary.organs[organ].scores["dice"] for organ in ("liver", "spleen"))
    assert (liver.count, spleen.count) == (3, 2)
    assert liver.mean == pytest.approx((0.9 + 0.8 + 0.0) / 3)
    assert liver.std == pytest.approx(statistics.stdev([0.9, 0.8, 0.0]))
    assert spleen.mean == pytest.approx(0.55)
    assert summary.organs["liver"].empty_predictions == summary.overall.empty_predictions == 1
    assert summary.organs["spleen"].empty_predictions == 0


def test_the_overall_mean_is_over_cases_of_their_mean_over_organs(evaluation: Evaluation) -> None:
    overall = evaluation.summary().overall.scores["dice"]
    assert overall.count == 3
    assert overall.mean == pytest.approx((0.7 + 0.8 + 0.3) / 3)
    assert overall.std == pytest.approx(statistics.stdev([0.7, 0.8, 0.3]))


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    summary = Evaluation((row("a", "liver", 0.9), row("a", "spleen", None)), 2.0, "medpy").summary()
    liver, spleen = (summary.organs[organ].scores["dice"] for organ in ("liver", "spleen"))
    assert (liver.mean, liver.std, liver.count) == (0.9, None, 1)
    assert (spleen.mean, spleen.std, spleen.count) == (None, None, 0)


def test_csv_has_a_line_per_case_and_organ_with_blanks_where_nothing_was_scored(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    evaluation.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(evaluation.rows)
    assert [lines[0][name] for name in ("case", "organ", "dice", "empty_prediction")] == [
        "a",
        "liver",
        "0.9",
        "false",
    ]
    assert [lines[3][metric] for metric in METRICS] == [""] * 5
    assert lines[4]["empty_prediction"] == "true"
    assert {line["surface_dice_tolerance_mm"] for line in lines} == {"2"}
    assert {line["hd95_definition"] for line in lines} == {"medpy"}


def test_summary_csv_has_a_line_per_organ_and_one_over_all(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write_summary_csv(tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["organ"], line["count"], line["empty_predictions"]) for line in lines] == [
        ("liver", "3", "1"),
        ("spleen", "2", "0"),
        ("overall", "3", "1"),
    ]
    assert float(lines[2]["dice_mean"]) == pytest.approx(0.6)
    assert float(lines[0]["hd95_mm_std"]) == pytest.approx(10 * statistics.stdev([0.9, 0.8, 0.0]), rel=1e-4)


def test_json_round_trip_keeps_everything(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write_json(tmp_path / "scores.json")
    assert Evaluation.read_json(tmp_path / "scores.json") == evaluation
    document = json.loads((tmp_path / "scores.json").read_text())
    assert document["tolerance_mm"] == 2.0
    assert document["summary"]["overall"]["scores"]["dice"]["count"] == 3


def test_json_of_another_kind_or_version_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    evaluation.write_json(path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(SSLSegError, match="version 1"):
        Evaluation.read_json(path)
    path.write_text("[]")
    with pytest.raises(SSLSegError, match="no evaluation"):
        Evaluation.read_json(path)


@pytest.fixture
def folders(tmp_path: Path, prediction: np.ndarray, reference: np.ndarray) -> tuple[Path, Path]:
    """Two cases: the first predicted one pixel off, the second perfectly and in another format."""
    for name in ("reference", "prediction"):
        (tmp_path / name).mkdir()
    write(tmp_path / "reference" / "case_1.nii.gz", reference)
    write(tmp_path / "reference" / "case_2.nii.gz", reference)
    write(tmp_path / "prediction" / "case_1.nii.gz", prediction)
    write(tmp_path / "prediction" / "case_2.nrrd", reference)
    return tmp_path / "reference", tmp_path / "prediction"


def write(path: Path, label_map: np.ndarray, spacing: tuple[float, float, float] = SPACING) -> None:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(label_map)
    image.SetSpacing(spacing[::-1])
    sitk.WriteImage(image, str(path))


def test_scores_folders_by_file_name_in_the_spacing_of_the_files(
    folders: tuple[Path, Path], prediction: np.ndarray, reference: np.ndarray
) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluation = evaluate_folders(*folders, LABELS, progress=lambda *event: seen.append(event))
    expected = score_case(prediction, reference, LABELS, SPACING, case="case_1")
    expected += score_case(reference, reference, LABELS, SPACING, case="case_2")
    assert list(evaluation.rows) == expected
    assert seen == [(1, 2, "case_1"), (2, 2, "case_2")]
    assert (evaluation.tolerance_mm, evaluation.definition) == (2.0, "medpy")


def test_without_declared_labels_every_value_that_occurs_is_scored(folders: tuple[Path, Path]) -> None:
    rows = evaluate_folders(*folders, None).rows
    assert [row.organ for row in rows] == ["label 1", "label 7", "label 254"] * 2


def test_a_missing_prediction_is_an_error_that_names_it(folders: tuple[Path, Path]) -> None:
    (folders[1] / "case_2.nrrd").unlink()
    with pytest.raises(SSLSegError, match="case_2"):
        evaluate_folders(*folders, LABELS)


def test_a_missing_prediction_can_count_as_an_empty_one(folders: tuple[Path, Path]) -> None:
    (folders[1] / "case_2.nrrd").unlink()
    evaluation = evaluate_folders(*folders, LABELS, missing="empty")
    assert evaluation.missing_predictions == ("case_2",)
    missed = [row for row in evaluation.rows if row.case == "case_2"]
    assert [(row.dice, row.hd95_mm, row.empty_prediction) for row in missed] == [
        (0.0, pytest.approx(DIAGONAL_MM), True)
    ] * 3


def test_a_prediction_without_a_reference_is_told(folders: tuple[Path, Path], reference: np.ndarray) -> None:
    write(folders[1] / "case_9.nii.gz", reference)
    evaluation = evaluate_folders(*folders, LABELS)
    assert evaluation.without_reference == ("case_9",)
    assert {row.case for row in evaluation.rows} == {"case_1", "case_2"}


def test_refuses_a_prediction_on_another_grid(folders: tuple[Path, Path], prediction: np.ndarray) -> None:
    write(folders[1] / "case_1.nii.gz", prediction, spacing=(4.0, 1.0, 1.5))
    with pytest.raises(SSLSegError, match="grid") as error:
        evaluate_folders(*folders, LABELS)
    assert error.value.file == folders[1] / "case_1.nii.gz"


def test_refuses_two_files_of_one_name(folders: tuple[Path, Path], reference: np.ndarray) -> None:
    write(folders[0] / "case_1.nrrd", reference)
    with pytest.raises(SSLSegError, match="case_1"):
        evaluate_folders(*folders, LABELS)


def test_refuses_a_folder_that_is_missing_or_empty(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match="does not exist"):
        evaluate_folders(tmp_path / "nowhere", folders[1], LABELS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SSLSegError, match="no label map"):
        evaluate_folders(tmp_path / "empty", folders[1], LABELS)


def test_organs_that_were_not_annotated_in_a_case_are_not_scored(
    folders: tuple[Path, Path], reference: np.ndarray
) -> None:
    write(folders[0] / "case_1.nii.gz", np.where(reference == 7, 0, reference))
    assert evaluate_folders(*folders, LABELS).rows[1].dice == 0.0
    told = evaluate_folders(*folders, LABELS, known={"case_1": ["liver", "spleen"]})
    assumed = evaluate_folders(*folders, LABELS, absent_is_unknown=True)
    for evaluation in (told, assumed):
        assert [row.scored for row in evaluation.rows] == [True, False, True, True, True, True]


def test_an_organ_annotated_on_some_slices_is_scored_on_those_and_the_others_everywhere(
    folders: tuple[Path, Path], reference: np.ndarray
) -> None:
    predicted, drawn = reference.copy(), reference.copy()
    predicted[:, :, 0] = 254  # spleen where there is none, on every slice
    drawn[reference == 1] = 0
    drawn[3][reference[3] == 1] = 1  # the liver was drawn on slice 3 alone
    write(folders[0] / "case_1.nii.gz", drawn)
    write(folders[1] / "case_1.nii.gz", predicted)
    paths = folders[0] / "case_1.nii.gz", folders[1] / "case_1.nii.gz"
    whole = evaluate_pairs([Pair("case_1", *paths)], LABELS).rows
    some = evaluate_pairs([Pair("case_1", *paths, {"liver": AnnotatedSlices("k", [3])})], LABELS).rows
    assert [row.organ for row in some] == list(LABELS)
    dice = {row.organ: (was.dice, row.dice) for was, row in zip(whole, some, strict=True)}
    assert dice["liver"][0] < 0.9 and dice["liver"][1] == 1.0
    assert dice["spleen"][0] == dice["spleen"][1] < 1.0
    with pytest.raises(SSLSegError, match=r"case_1\.nii\.gz: The case names slice 99"):
        evaluate_pairs([Pair("case_1", *paths, {"liver": AnnotatedSlices("k", [99])})], LABELS)

"""What a list of cases shows of each: its picture, and the Dice where it can be told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.models import ModelOrigin, case_digest
from sslseg.contract.scores import can_be_scored, compared_files, read_scores, scores_path
from sslseg.contract.settings import PredictSettings
from sslseg.data.volumes import write_label_map, write_volume
from sslseg.evaluate.case_facts import draw_case, main, measure_dice
from sslseg.jobs.runner import run_job
from sslseg.predict.pipeline import PredictionSummary

SHAPE = (8, 20, 20)


def write(path: Path, array: np.ndarray) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.5, 1.5, 3.0))
    (write_label_map if array.dtype == np.uint8 else write_volume)(image, path)


def organ(value: int, columns: slice) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[2:6, 5:15, columns] = value
    return array


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    """Annotated: a test case, and two for training of which the model has learned from one; and a plain one."""
    made = Cohort.create(
        tmp_path / "cohort", name="c", modality="CT", labels=parse_labels("liver=3,spleen=7")
    )
    with Cohort.edit(made.folder) as cohort:
        for name in ("tested", "learned", "corrected", "plain"):
            case = Case(name, f"images/{name}.nrrd", use=Use.TEST if name == "tested" else Use.TRAIN)
            write(cohort.folder / case.image, np.random.default_rng(1).integers(-900, 300, SHAPE))
            write(cohort.prediction_path("first", name), organ(3, slice(5, 15)))
            if name != "plain":
                case.label, case.annotated = f"labels/{name}.nii.gz", ["liver"]
                write(cohort.folder / case.label, organ(3, slice(10, 20)))
            cohort.cases.append(case)
    content = {
        "record": {"method": "supervised", "annotations": [{"case": case_digest("learned")}]},
        "plan": {"labels": [{"name": "liver"}]},
    }
    record = made.model_folder("first") / "sslseg.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(content))
    return Cohort.read(made.folder)


def test_dice_is_measured_where_the_model_has_not_learned_from_the_annotation(cohort: Cohort) -> None:
    measure_dice(cohort, "first", cohort.cases)
    scores = read_scores(cohort, "first").cases
    assert {name: score.mean for name, score in scores.items()} == {"tested": 0.5, "corrected": 0.5}
    assert scores["tested"].organs == {"liver": 0.5}


def test_without_a_record_only_cases_that_are_kept_apart_are_measured(cohort: Cohort) -> None:
    learned = frozenset({case_digest("learned")})
    told = ModelOrigin("supervised", cases=learned | {case_digest("held_back")}, learned=learned)
    for origin, names in (
        (None, ["tested"]),
        (ModelOrigin("supervised"), ["tested"]),
        (told, ["tested", "corrected"]),
    ):
        assert [case.id for case in cohort.cases if can_be_scored(case, origin)] == names


def test_scores_of_others_stay_and_those_measured_again_are_renewed(cohort: Cohort) -> None:
    measure_dice(cohort, "first", cohort.cases)
    write(cohort.prediction_path("first", "tested"), organ(3, slice(10, 20)))
    measure_dice(cohort, "first", [cohort.case("tested")])
    scores = read_scores(cohort, "first").cases
    assert {name: score.mean for name, score in scores.items()} == {"tested": 1.0, "corrected": 0.5}


def test_scores_count_for_the_files_they_were_made_of(cohort: Cohort) -> None:
    case = cohort.case("tested")
    measure_dice(cohort, "first", [case])
    assert read_scores(cohort, "first").cases["tested"].files == compared_files(cohort, "first", case)
    label = cohort.label_path(case)
    assert label is not None
    os.utime(label, ns=(0, label.stat().st_mtime_ns + 1))
    assert read_scores(cohort, "first").cases["tested"].files != compared_files(cohort, "first", case)
    label.unlink()
    assert compared_files(cohort, "first", case) is None


def test_slices_that_nobody_annotated_do_not_count(cohort: Cohort) -> None:
    with Cohort.edit(cohort.folder) as edited:
        edited.case("tested").slices = {"liver": AnnotatedSlices("i", list(range(10, 15)))}
    cohort = Cohort.read(cohort.folder)
    measure_dice(cohort, "first", [cohort.case("tested")])
    assert read_scores(cohort, "first").cases["tested"].mean == 1.0


def test_a_damaged_file_of_scores_is_named(cohort: Cohort) -> None:
    scores_path(cohort, "first").write_text('{"version": 7}')
    with pytest.raises(SSLSegError, match="another version"):
        read_scores(cohort, "first")


def test_pictures_and_dice_are_made_in_a_process_of_its_own(cohort: Cohort) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "sslseg.evaluate.case_facts", str(cohort.folder), "first", "tested", "plain"],
        check=False,
    )
    assert process.returncode == 0
    assert list(read_scores(cohort, "first").cases) == ["tested"]
    for name in ("tested", "plain"):
        picture = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.thumbnail_path(name))))
        colour = cohort.labels.find("liver").color
        assert (picture[:, :, :3] == colour).all(axis=2).any(), name


def predicted_by_a_job(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> tuple[JobState, list[str]]:
    """How a prediction job ends whose predictions are there already, and what it warns of."""
    summary = PredictionSummary(done=done)
    monkeypatch.setattr("sslseg.predict.cohort_prediction.predict_cohort", lambda *_: summary)
    job = Job.create(cohort.folder, PredictSettings("first"))
    state = run_job(job)
    return state, [e.fields["message"] for e in read_events(job.events_path) if e.event == "warning"]


def test_a_prediction_job_keeps_the_dice_of_what_it_predicted(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predicted_by_a_job(cohort, monkeypatch, ["tested", "plain"]) == (JobState.FINISHED, [])
    assert list(read_scores(cohort, "first").cases) == ["tested", "corrected"]


def test_a_dice_that_cannot_be_measured_takes_nothing_from_the_predictions(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cohort.folder / "labels" / "tested.nii.gz").write_bytes(b"no label map")
    state, warnings = predicted_by_a_job(cohort, monkeypatch, ["tested"])
    assert state is JobState.FINISHED and "The Dice of tested is not known" in warnings[0]


def test_no_picture_is_made_where_a_cohort_was_that_was_moved(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def move(*_arguments: object) -> np.ndarray:
        cohort.folder.rename(tmp_path / "moved")
        return np.zeros((8, 8, 4), np.uint8)

    monkeypatch.setattr("sslseg.evaluate.case_facts.make_thumbnail", move)
    with pytest.raises(SSLSegError, match="no longer there"):
        draw_case(cohort, cohort.case("plain"), None)
    assert not cohort.folder.exists()


def test_a_case_that_cannot_be_read_does_not_keep_others_from_their_picture(
    cohort: Cohort, capsys: pytest.CaptureFixture[str]
) -> None:
    (cohort.folder / "images" / "tested.nrrd").unlink()
    assert main([str(cohort.folder), "-", "tested", "plain", "nobody"]) == 2
    assert "tested: " in capsys.readouterr().out
    assert cohort.thumbnail_path("plain").exists() and not cohort.thumbnail_path("tested").exists()

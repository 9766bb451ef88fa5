"""Cards and ranking of a tiny cohort, from the networks to the files and the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from tiny_training import ORGANS, Events, make_cohort, tiny_settings
from typer.testing import CliRunner

from sslseg.cli.commands import app
from sslseg.contract.cohort import Cohort
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.quality import (
    Verdict,
    quality_path,
    ranking_path,
    read_quality,
    read_ranking,
    write_quality,
)
from sslseg.contract.scores import read_scores
from sslseg.contract.settings import PredictSettings, RankSettings
from sslseg.jobs.runner import run_job
from sslseg.predict.cohort_prediction import predict_cohort
from sslseg.quality.judging import Judge
from sslseg.rank.cohort_ranking import rank_cohort
from sslseg.train.training import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two annotated cases, three more, and a model of two networks."""
    folder = tmp_path_factory.mktemp("rank")
    cohort = make_cohort(folder / "cohort", annotated=2, unlabelled=3)
    settings = tiny_settings(method="cps", model="pair", steps=2)
    train(cohort, settings, Events(), checkpoint_path=folder / "last.ckpt")
    return cohort.folder


@pytest.fixture
def cohort(trained: Path, tmp_path: Path) -> Cohort:
    """A copy to change."""
    shutil.copytree(trained, tmp_path / "cohort")
    return Cohort.read(tmp_path / "cohort")


def predict(cohort: Cohort, **changes: Any) -> Events:
    events = Events()
    predict_cohort(cohort, PredictSettings("pair", device="cpu", **changes), events)
    return events


def ranked(cohort: Cohort) -> tuple[list[str], Events]:
    events = Events()
    assert rank_cohort(cohort, RankSettings("pair", device="cpu"), events)
    ranking = read_ranking(cohort, "pair")
    assert ranking is not None
    return [entry.case for entry in ranking.cases], events


def test_every_prediction_comes_with_its_card_and_tells_of_it(cohort: Cohort) -> None:
    events = predict(cohort, cases=["case_2", "case_3"])
    for told in events.of("artifact"):
        card = read_quality(cohort, "pair", told["case"])
        assert card is not None and told["verdict"] == card.verdict.value
        assert [organ.organ for organ in card.organs] == ORGANS.names == list(told["organs"])
        assert sum(value**2 for value in card.features) == pytest.approx(1, abs=1e-3)
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.prediction_path("pair", card.case))))
        for organ, value in zip(card.organs, (1, 7), strict=True):
            assert organ.volume_ml == pytest.approx((voxels == value).sum() * 0.064, abs=1e-3)
            assert 0 <= organ.disagreement <= 1 and set(organ.evidence) >= {"precision", "entropy"}
            assert told["organs"][organ.organ]["verdict"] == organ.verdict.value


def test_a_case_without_a_card_counts_as_not_predicted(cohort: Cohort) -> None:
    predict(cohort, cases=["case_2"])
    quality_path(cohort, "pair", "case_2").unlink()
    events = predict(cohort, cases=["case_2"], skip_existing=True)
    assert len(events.of("artifact")) == 1 and read_quality(cohort, "pair", "case_2") is not None


def test_ranking_predicts_what_is_missing_and_keeps_what_is_there(cohort: Cohort) -> None:
    predict(cohort, cases=["case_2"])
    before = cohort.prediction_path("pair", "case_2").stat().st_mtime_ns
    names, events = ranked(cohort)
    assert sorted(names) == ["case_2", "case_3", "case_4"]
    assert {told["case"] for told in events.of("artifact") if told["kind"] == "prediction"} == {
        "case_0",
        "case_1",
        "case_3",
        "case_4",
    }
    assert cohort.prediction_path("pair", "case_2").stat().st_mtime_ns == before
    assert events.of("artifact")[-1]["kind"] == "ranking"
    _, again = ranked(cohort)
    assert [told["command"] for told in again.of("started")] == ["rank"]


def test_ranking_anew_takes_annotations_into_account(cohort: Cohort) -> None:
    names, _ = ranked(cohort)
    with Cohort.edit(cohort.folder) as edited:
        case = edited.case(names[0])
        case.label, case.annotated = f"labels/{case.id}.nii.gz", ORGANS.names
    cohort = Cohort.read(cohort.folder)
    later, _ = ranked(cohort)
    assert sorted(later) == sorted(names[1:])
    # The model has not learned from the new annotation, so its Dice is known, and expectations are fitted to it.
    assert set(read_scores(cohort, "pair").cases) == {names[0]}
    cards = [read_quality(cohort, "pair", name) for name in later]
    assert all(card is not None and card.calibrated_on == 1 for card in cards)


def test_cards_are_judged_by_what_is_annotated(cohort: Cohort) -> None:
    predict(cohort, cases=["case_2"])
    card = read_quality(cohort, "pair", "case_2")
    assert card is not None
    tiny = dataclasses.replace(card.organs[0], volume_ml=0.5)
    write_quality(cohort, dataclasses.replace(card, organs=[tiny, *card.organs[1:]]))
    judged = Judge(cohort, "pair").judge_all()["case_2"]
    assert judged.organs[0].verdict is Verdict.LIKELY_WRONG is judged.verdict
    assert "of the smallest annotated" in judged.organs[0].reasons[0]
    assert read_quality(cohort, "pair", "case_2") == judged


def test_a_damaged_card_does_not_keep_the_others_from_being_ranked(cohort: Cohort) -> None:
    predict(cohort)
    quality_path(cohort, "pair", "case_3").write_text("{")
    names, events = ranked(cohort)
    assert len(names) == 3
    assert [told["case"] for told in events.of("artifact") if told["kind"] == "prediction"] == ["case_3"]


def test_a_cancelled_ranking_writes_none(cohort: Cohort) -> None:
    assert not rank_cohort(cohort, RankSettings("pair", device="cpu"), Events(), cancel=lambda: True)
    assert not ranking_path(cohort, "pair").exists()


def test_a_prediction_job_leaves_a_ranked_cohort(cohort: Cohort) -> None:
    job = Job.create(cohort.folder, PredictSettings("pair", device="cpu"))
    assert run_job(job) is JobState.FINISHED
    ranking = read_ranking(cohort, "pair")
    assert ranking is not None and len(ranking.cases) == 3


def test_a_second_opinion_by_mirroring_is_part_of_the_prediction(cohort: Cohort) -> None:
    predict(cohort, cases=["case_2"])
    plain = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.uncertainty_path("pair", "case_2"))))
    predict(cohort, cases=["case_2"], mirror=True)
    mirrored = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.uncertainty_path("pair", "case_2"))))
    assert (plain != mirrored).any()


def test_the_command_prints_the_order_with_reasons(cohort: Cohort) -> None:
    arguments = ["rank", str(cohort.folder), "--model", "pair", "--device", "cpu"]
    shown = CliRunner().invoke(app, [*arguments, "--top", "2"])
    assert shown.exit_code == 0, shown.output
    ranking = read_ranking(cohort, "pair")
    assert ranking is not None
    assert "and 1 more" in shown.output and ranking.cases[0].case in shown.output
    as_json = CliRunner().invoke(app, [*arguments, "--json"])
    assert [entry["case"] for entry in json.loads(as_json.output)["cases"]] == [e.case for e in ranking.cases]


def test_the_command_refuses_an_unknown_model(cohort: Cohort) -> None:
    result = CliRunner().invoke(app, ["rank", str(cohort.folder), "--model", "nobody"])
    assert result.exit_code != 0 and "It has: pair" in str(result.exception)
    assert not any(job.description.command == "rank" for job in Job.all(cohort.folder))

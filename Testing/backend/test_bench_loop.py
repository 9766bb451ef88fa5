"""The benchmarks of ranking and of quality cards, played on a data set of tiny volumes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_training import ORGANS, write_volumes

from sslseg.bench.quality import QualitySettings, agreement, bench_quality
from sslseg.bench.ranking import LoopSettings, Point, _held_against, bench_ranking, loop_table
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import TrainSettings
from sslseg.jobs.runner import run_job


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases to train on and one to test."""
    folder = tmp_path_factory.mktemp("cubes")
    for number in range(7):
        write_volumes(folder, f"cube_{number}", number)
    labels = {"0": "background"} | {str(label.value): label.name for label in ORGANS}
    (folder / "dataset.json").write_text(json.dumps({"name": "cubes", "modality": "CT", "labels": labels}))
    (folder / "train.txt").write_text("".join(f"cube_{number}\n" for number in range(6)))
    (folder / "test.txt").write_text("cube_6\n")
    return folder


def a_loop(dataset: Path) -> LoopSettings:
    return LoopSettings(
        dataset, start=1, add=1, rounds=2, seeds=(0,), steps=2, more_steps=1, pool=4, test=1,
        network="vnet", device="cpu",
    )  # fmt: skip


def test_both_strategies_begin_alike_and_grow_case_by_case(dataset: Path, tmp_path: Path) -> None:
    said: list[str] = []
    points = bench_ranking(a_loop(dataset), tmp_path, run_job, said.append)
    assert [(p.strategy, p.annotated) for p in points] == [
        (strategy, count) for count in (1, 2, 3) for strategy in ("random", "ranked")
    ]
    assert points[0].dice == points[1].dice and len(said) == 6
    cohort = Cohort.read(tmp_path / "cohort")
    assert sorted(case.use.value for case in cohort.cases) == ["test"] + ["train"] * 4
    trainings = [job.settings for job in Job.all(cohort.folder) if isinstance(job.settings, TrainSettings)]
    assert [(s.model, s.start_from, s.steps) for s in trainings] == [
        ("seed0-first", None, 2),
        ("seed0-random-1", "seed0-first", 1),
        ("seed0-ranked-1", "seed0-first", 1),
        ("seed0-random-2", "seed0-random-1", 1),
        ("seed0-ranked-2", "seed0-ranked-1", 1),
    ]
    told = (tmp_path / "loop.md").read_text()
    assert "| 3 |" in told and "over 2 rankings" in told and (tmp_path / "loop.png").exists()


def test_a_loop_that_was_stopped_goes_on_and_does_nothing_twice(dataset: Path, tmp_path: Path) -> None:
    jobs: list[str] = []

    def stopped_at_the_fifth(job: Job) -> JobState:
        jobs.append(job.folder.name)
        return JobState.CANCELLED if len(jobs) == 5 else run_job(job)

    with pytest.raises(SSLSegError, match="was stopped"):
        bench_ranking(a_loop(dataset), tmp_path, stopped_at_the_fifth, lambda _: None)
    whole: list[str] = []

    def counted(job: Job) -> JobState:
        whole.append(job.folder.name)
        return run_job(job)

    points = bench_ranking(a_loop(dataset), tmp_path, counted, lambda _: None)
    # Five trainings, five predictions of the test case and two rankings, of which four were done before.
    assert len(points) == 6 and len(whole) == 12 - 4
    whole.clear()
    assert bench_ranking(a_loop(dataset), tmp_path, counted, lambda _: None) == points and not whole


def test_a_ranking_is_held_against_what_is_really_bad() -> None:
    names = [f"case_{number}" for number in range(8)]
    dice = {name: 0.1 * number for number, name in enumerate(names)}
    perfect = _held_against(0, 2, {name: 1 - dice[name] for name in names}, dice, names[:2])
    assert (perfect.spearman, perfect.worst_found, perfect.chosen) == (-1, 1, pytest.approx(0.05))
    one_of_two = dict.fromkeys(names, 0.5) | {"case_1": 0.9, "case_7": 0.8}
    assert _held_against(0, 2, one_of_two, dice, names[:2]).worst_found == 0.5
    assert _held_against(0, 2, dict.fromkeys(names, 0.5), dice, names[:2]).spearman == 0


def test_a_pool_that_is_too_small_is_refused(dataset: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(a_loop(dataset), rounds=4)
    with pytest.raises(SSLSegError, match="5 cases are to be annotated, and the pool has 4"):
        bench_ranking(settings, tmp_path, run_job, lambda _: None)


def test_the_table_compares_within_each_seed(dataset: Path) -> None:
    points = [
        Point(seed, strategy, 4, dice, {})
        for seed, random, ranked in ((0, 0.5, 0.6), (1, 0.7, 0.8), (2, 0.9, None))
        for strategy, dice in (("random", random), ("ranked", ranked))
        if dice is not None
    ]
    assert "| 4 | 0.600 ± 0.141 | 0.700 ± 0.141 | +0.100 ± 0.000 | 0, 1 |" in loop_table(
        a_loop(dataset), points
    )


def test_quality_cards_are_compared_with_the_labels_of_cases_kept_apart(
    dataset: Path, tmp_path: Path
) -> None:
    settings = QualitySettings(
        dataset, labelled=1, validation=4, method="supervised", steps=2, network="vnet", device="cpu"
    )
    table = bench_quality(settings, tmp_path, run_job)
    assert "8 organs of 4 cases" in table and "fitted to the 3 other cases" in table
    rows = json.loads((tmp_path / "quality.json").read_text())
    kept_apart = {case.id for case in Cohort.read(tmp_path / "cohort").cases if case.use is Use.VALIDATION}
    assert {row["case"] for row in rows} == kept_apart and all(0 <= row["expected"] <= 1 for row in rows)
    assert (tmp_path / "quality.png").exists()


def test_agreement_within_an_organ_does_not_see_differences_between_organs() -> None:
    organs = ["a"] * 4 + ["b"] * 4
    dice = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    between = np.array([0.4, 0.3, 0.2, 0.1, 0.9, 0.8, 0.7, 0.6])
    found = agreement(between, dice, organs)
    assert found.within == pytest.approx(-1) and found.pooled > 0.4
    assert found.error == pytest.approx(np.abs(between - dice).mean())
    assert agreement(dice, dice, organs, is_dice=False).error is None

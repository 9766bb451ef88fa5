"""A training run as a user gets it: cohort in, model folder out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import ORGANS, Events, make_cohort, tiny_settings

from sslseg.bundle.model_folder import load_model
from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import TrainSettings
from sslseg.methods.supervised import Supervised
from sslseg.networks.devices import resolve_device, use_bfloat16
from sslseg.train.callbacks import Checkpoints
from sslseg.train.presets import make_recipe
from sslseg.train.training import train
from sslseg.train.validation import Split, describe_measurement, split_cases


@pytest.fixture(scope="module")
def a_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"), annotated=3, unlabelled=2)


def test_trains_a_model_that_can_be_loaded(a_cohort: Cohort, tmp_path: Path) -> None:
    events = Events()
    settings = tiny_settings(
        method="mean_teacher", validation_cases=1, validation_every=2, method_settings={"consistency": 0.5}
    )
    record = train(a_cohort, settings, events, checkpoint_path=tmp_path / "last.ckpt")

    assert record is not None
    assert (record.labelled, record.unlabelled, record.validation_cases, record.steps) == (2, 2, 1, 3)
    assert record.settings["method_settings"]["consistency"] == 0.5
    assert [point.step for point in record.validation] == [2, 3] and record.dice == record.validation[-1].dice
    assert record.seconds >= record.seconds_per_step * 3 > 0
    model = load_model(a_cohort.model_folder("cubes"))
    assert model.record == record and len(model.networks) == 1

    assert events.all[0][0] == "started" and events.all[-1][0] == "artifact"
    assert events.of("progress")[-1]["step"] == 3 and events.of("progress")[-1]["seconds_left"] == 0
    assert set(events.of("progress")[-1]["losses"]) == {"supervised", "consistency", "total"}
    assert set(events.of("validation")[-1]["dice"]) == set(ORGANS.names)
    assert events.of("validation")[-1]["cases"] == 1


def test_says_so_when_nothing_measures_the_model(a_cohort: Cohort, tmp_path: Path) -> None:
    events = Events()
    record = train(a_cohort, tiny_settings(model="blind"), events, checkpoint_path=tmp_path / "last.ckpt")
    assert record is not None and record.dice == {} and not events.of("validation")
    assert "No annotated case was held back" in events.of("warning")[0]["message"]


def test_a_cancelled_run_leaves_a_checkpoint_that_is_safe_to_load(a_cohort: Cohort, tmp_path: Path) -> None:
    events = Events()
    path = tmp_path / "last.ckpt"
    asked: list[bool] = []

    def cancel() -> bool:
        asked.append(True)
        return bool(events.of("progress")) and events.of("progress")[-1]["step"] >= 1

    assert (
        train(a_cohort, tiny_settings(model="stopped"), events, checkpoint_path=path, cancel=cancel) is None
    )
    assert events.all[-1] == ("cancelled", {"step": 1})
    assert torch.load(path, weights_only=True)["global_step"] == 1
    assert not a_cohort.model_folder("stopped").exists()


def test_a_run_is_cancelled_while_it_prepares(a_cohort: Cohort, tmp_path: Path) -> None:
    events = Events()
    settings = tiny_settings(model="never")
    train(a_cohort, settings, events, checkpoint_path=tmp_path / "last.ckpt", cancel=lambda: True)
    assert events.all[-1] == ("cancelled", {"step": 0})


def test_a_run_that_diverges_fails_with_a_sentence(
    a_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses(self: Supervised, batch: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        return {"supervised": self.network(batch["image"]).sum() * torch.nan}

    monkeypatch.setattr(Supervised, "losses", losses)
    path = tmp_path / "last.ckpt"
    with pytest.raises(SSLSegError, match=r"diverged.*smaller learning rate"):
        train(a_cohort, tiny_settings(model="lost"), Events(), checkpoint_path=path)
    assert not path.exists()


def test_a_full_device_gets_smaller_batches(
    a_cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Supervised.losses

    def losses(self: Supervised, batch: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        if len(batch["image"]) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, batch, step)

    monkeypatch.setattr(Supervised, "losses", losses)
    events = Events()
    settings = tiny_settings(model="small", labelled_batch=2)
    record = train(a_cohort, settings, events, checkpoint_path=tmp_path / "last.ckpt")
    assert record is not None and record.settings["labelled_batch"] == 1
    assert "memory" in events.of("warning")[-1]["message"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"method": "magic"}, "no method 'magic'"),
        ({"method_settings": {"consistancy": 1}}, "consistancy"),
        ({"network": "bignet"}, "bignet"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"validation_cases": 3}, "can be held back"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    a_cohort: Cohort, tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(SSLSegError, match=complaint):
        train(a_cohort, tiny_settings(**changes), Events(), checkpoint_path=tmp_path / "last.ckpt")


def cohort_of(*cases: Case) -> Cohort:
    return Cohort(Path("cohort"), "cubes", "CT", ORGANS, list(cases))


def annotated_case(name: str, *organs: str, use: Use = Use.TRAIN) -> Case:
    return Case(name, f"{name}.nii.gz", f"{name}.nii.gz", list(organs or ORGANS.names), use=use)


def test_test_cases_are_never_used() -> None:
    cohort = cohort_of(
        annotated_case("a"), annotated_case("b", use=Use.TEST), Case("c", "c.nii.gz", use=Use.TEST)
    )
    assert split_cases(cohort, None, 0) == Split(labelled=("a",), unlabelled=(), validation=())


@pytest.mark.parametrize(("annotated", "held_back"), [(1, 0), (4, 0), (5, 1), (10, 2), (100, 5)])
def test_one_annotated_case_in_five_is_held_back(annotated: int, held_back: int) -> None:
    split = split_cases(cohort_of(*(annotated_case(f"c{i}") for i in range(annotated))), None, 0)
    assert len(split.validation) == held_back
    assert len(split.labelled) == annotated - held_back
    assert not set(split.labelled) & set(split.validation)


def test_the_last_case_of_an_organ_is_not_held_back() -> None:
    cohort = cohort_of(annotated_case("both"), *(annotated_case(f"c{i}", "liver") for i in range(9)))
    split = split_cases(cohort, 3, 0)
    assert "both" in split.labelled and len(split.validation) == 3


def test_a_cohort_without_annotation_is_refused() -> None:
    with pytest.raises(SSLSegError, match="No training case of the cohort is annotated"):
        split_cases(cohort_of(Case("a", "a.nii.gz")), None, 0)


def test_figures_say_how_little_they_stand_on() -> None:
    assert "No annotated case was held back" in describe_measurement(0)
    assert "one held-back case" in describe_measurement(1) and "rough" in describe_measurement(1)
    assert "rough" in describe_measurement(3)


def test_what_the_user_sets_replaces_what_the_preset_says() -> None:
    settings = TrainSettings(method="supervised", model="m", preset="quick")
    preset = make_recipe(settings, "cpu")
    changed = make_recipe(dataclasses.replace(settings, steps=7, network="vnet", learning_rate=0.5), "cpu")
    assert changed == dataclasses.replace(preset, steps=7, network="vnet", learning_rate=0.5)


def test_presets_grow_and_know_the_device() -> None:
    for device in ("cpu", "cuda"):
        steps = [
            make_recipe(TrainSettings(method="supervised", model="m", preset=preset), device).steps
            for preset in ("quick", "standard", "thorough")
        ]
        assert steps == sorted(steps) and len(set(steps)) == 3


def test_devices_are_resolved_or_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(SSLSegError, match="no device 'gpu'"):
        resolve_device("gpu")
    assert use_bfloat16(torch.device("cpu"), "bfloat16") and not use_bfloat16(torch.device("cpu"), "float32")


def test_checkpoints_wait_their_time(tmp_path: Path) -> None:
    class Trainer:
        global_step, max_steps, should_stop = 1, 9, False
        saved = 0

        def save_checkpoint(self, path: Path) -> None:
            self.saved += 1

    trainer: Any = Trainer()
    method: Any = type("Method", (), {"measured_losses": lambda self: {}})()
    for seconds, saved in ((3600.0, 0), (0.0, 1)):
        callback = Checkpoints(tmp_path / "last.ckpt", lambda: False, seconds=seconds)
        callback.on_train_batch_end(trainer, method, None, None, 0)
        assert trainer.saved == saved


def test_cases_kept_for_validation_are_measured_on_and_nothing_else_is_held_back() -> None:
    cases = [annotated_case(f"case_{number}", "liver", "spleen") for number in range(6)]
    kept = annotated_case("kept", "liver", use=Use.VALIDATION)
    split = split_cases(cohort_of(*cases, kept), None, seed=0)
    assert split.validation == ("kept",)
    assert len(split.labelled) == 6


def test_leaving_one_out_measures_each_case_by_a_model_trained_without_it(
    a_cohort: Cohort, tmp_path: Path
) -> None:
    events = Events()
    settings = tiny_settings(model="crossed", leave_one_out=True, steps=2)
    path = tmp_path / "checkpoints" / "last.ckpt"
    record = train(a_cohort, settings, events, checkpoint_path=path)
    assert record is not None
    annotated = sum(case.is_annotated for case in a_cohort.cases)
    assert (record.labelled, record.validation_cases, record.leave_one_out) == (annotated, annotated, True)
    parts = [json.loads((path.parent / f"without-{n + 1}/dice.json").read_text()) for n in range(annotated)]
    for organ, mean in record.dice.items():
        assert mean == pytest.approx(sum(part["dice"][organ] for part in parts) / annotated, abs=1e-3)
    assert "trained without it" in events.of("validation")[-1]["message"]
    ends = [(told["part"], told["parts"]) for told in events.of("progress") if told["step"] == 2]
    assert ends == [(part + 1, annotated + 1) for part in range(annotated + 1)]
    assert not events.of("warning")


def test_a_single_annotated_case_cannot_be_left_out(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, annotated=1, unlabelled=1)
    with pytest.raises(SSLSegError, match="at least two annotated cases"):
        train(cohort, tiny_settings(leave_one_out=True), Events(), checkpoint_path=tmp_path / "c/last.ckpt")

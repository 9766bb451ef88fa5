"""Starting a training from an earlier model, and the record that explains a round."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_training import ORGANS, Events, make_cohort, tiny_settings

from sslseg.bundle.metadata import ModelRecord
from sslseg.bundle.model_folder import load_model, save_model
from sslseg.bundle.rounds import history
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.contract.models import case_digest
from sslseg.contract.settings import TrainSettings
from sslseg.data.plan import Plan
from sslseg.methods import METHODS, build_method
from sslseg.methods.base import Method, RunSettings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.train.training import train
from sslseg.train.validation import split_cases
from sslseg.train.warm_start import load_weights

FIRST = tiny_settings(model="first", steps=2)


def run(cohort: Cohort, folder: Path, settings: TrainSettings, **options: Any) -> tuple[ModelRecord, Events]:
    events = Events()
    record = train(
        Cohort.read(cohort.folder),
        settings,
        events,
        checkpoint_path=folder / settings.model / "last.ckpt",
        **options,
    )
    assert record is not None
    return record, events


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, ModelRecord]:
    """Two annotated cases and two more, and a model trained on the two."""
    folder = tmp_path_factory.mktemp("rounds")
    cohort = make_cohort(folder / "cohort", annotated=2, unlabelled=2)
    record, _ = run(cohort, folder, FIRST)
    return cohort, record


def annotate(cohort: Cohort, case_id: str) -> None:
    with Cohort.edit(cohort.folder) as edited:
        case = edited.case(case_id)
        case.label, case.annotated = f"labels/{case_id}.nii.gz", ORGANS.names


def assert_equal(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    expected = theirs.state_dict()
    assert set(expected) == set(ours.state_dict())
    for name, value in ours.state_dict().items():
        assert torch.equal(value, expected[name]), name


def a_method(name: str, **settings: Any) -> Method:
    def make_network(name: str = "vnet", **options: Any) -> SegmentationNetwork:
        return build_network(name, out_channels=3, strides=((2, 2, 2),) * 2, filters=4, **options)

    return build_method(name, make_network, classes=3, run=RunSettings(steps=3, seed=7), settings=settings)


def a_trained_model(folder: Path, *networks: SegmentationNetwork, plan: Plan) -> Path:
    record = ModelRecord(method="supervised", steps=1, seed=0, labelled=1, unlabelled=0)
    save_model(folder, networks=networks, plan=plan, record=record)
    return folder


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_starts_with_the_weights_that_it_shipped(name: str) -> None:
    torch.manual_seed(1)
    settings = {"second_network": "vnet"} if name == "dual" else {}
    earlier, method = a_method(name, **settings), a_method(name, **settings)
    for weight in earlier.parameters():
        with torch.no_grad():
            weight.add_(torch.rand_like(weight))

    class Shipped:
        networks = earlier.inference_networks()

    assert load_weights(method, Shipped()) == 0  # type: ignore[arg-type]
    for ours, theirs in zip(method.inference_networks(), earlier.inference_networks(), strict=True):
        assert_equal(ours, theirs)
    shipped = list(method.inference_networks())
    for student, teacher, _ in method.ema_pairs():
        if student in shipped or teacher in shipped:
            assert_equal(student, teacher)


def test_the_first_step_of_a_warm_start_sees_the_earlier_weights_bit_for_bit(
    trained: tuple[Cohort, ModelRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, _ = trained
    seen: list[dict[str, torch.Tensor]] = []
    training_step = Method.training_step

    def watched(self: Method, batch: Any, index: int) -> torch.Tensor:
        if not seen:
            seen.extend({k: v.clone() for k, v in n.state_dict().items()} for n in self.inference_networks())
        return training_step(self, batch, index)

    monkeypatch.setattr(Method, "training_step", watched)
    record, _ = run(cohort, tmp_path, tiny_settings(model="again", start_from="first", steps=1))
    earlier = load_model(cohort.model_folder("first"))
    for name, value in earlier.networks[0].state_dict().items():
        assert torch.equal(seen[0][name], value), name
    assert record.started_from == "first" and record.settings["start_from"] == "first"
    assert load_model(cohort.model_folder("again")).plan.spacing == earlier.plan.spacing


def test_the_round_says_what_was_added_and_corrected(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", annotated=2, unlabelled=1)
    run(cohort, tmp_path, tiny_settings(model="one", steps=1))
    annotate(cohort, "case_2")
    corrected = cohort.folder / "labels" / "case_0.nii.gz"
    drawn = sitk.ReadImage(str(corrected))
    drawn[3, 3, 3] = 7
    sitk.WriteImage(drawn, str(corrected))
    run(cohort, tmp_path, tiny_settings(model="two", steps=1, start_from="one"))

    first, second = history(Cohort.read(cohort.folder))
    assert (first.model, first.started_from, first.added, first.corrected) == ("one", None, [], [])
    assert [(entry.case, entry.changed) for entry in first.annotated] == [("case_0", True), ("case_1", False)]
    assert (second.model, second.started_from) == ("two", "one")
    assert (second.added, second.corrected) == (["case_2"], ["case_0"])
    assert [entry.case for entry in second.annotated] == ["case_0", "case_1", "case_2"]
    assert second.settings["steps"] == 1 and second.dice is None
    assert not any(entry.changed for entry in second.annotated)


def test_a_model_that_travels_names_no_case(trained: tuple[Cohort, ModelRecord]) -> None:
    cohort, record = trained
    text = (cohort.model_folder("first") / "sslseg.json").read_text()
    assert "case_0" not in text and case_digest("case_0") in text
    assert {entry.case for entry in record.annotations} == {case_digest("case_0"), case_digest("case_1")}


def test_a_case_that_the_first_weights_learned_from_is_never_held_back(
    trained: tuple[Cohort, ModelRecord],
) -> None:
    cohort, _ = trained
    with Cohort.edit(cohort.folder) as edited:
        before = {case.id: (case.label, case.annotated) for case in edited.cases}
    try:
        annotate(cohort, "case_2")
        annotate(cohort, "case_3")
        read = Cohort.read(cohort.folder)
        for seed in range(5):
            split = split_cases(read, 2, seed, learned={"case_0", "case_1"})
            assert set(split.validation) == {"case_2", "case_3"}
            split = split_cases(read, 1, seed, measured={"case_1"})
            assert split.validation == ("case_1",)
        with pytest.raises(SSLSegError, match="has learned from some of the others"):
            split_cases(read, 3, 0, learned={"case_0", "case_1"})
    finally:
        with Cohort.edit(cohort.folder) as edited:
            for case in edited.cases:
                case.label, case.annotated = before[case.id]


def test_other_organs_are_refused_in_a_sentence(trained: tuple[Cohort, ModelRecord], tmp_path: Path) -> None:
    cohort, _ = trained
    model = load_model(cohort.model_folder("first"))
    others = (Label("liver", 1, (1, 2, 3)), Label("kidney", 9, (1, 2, 3)))
    plan = dataclasses.replace(model.plan, labels=others)
    a_trained_model(cohort.model_folder("kidney"), *model.networks, plan=plan)
    with pytest.raises(
        SSLSegError, match=r"segments liver \(1\), kidney \(9\), and the cohort asks for liver \(1\)"
    ):
        run(cohort, tmp_path, tiny_settings(model="never", start_from="kidney"))


def test_another_network_is_refused_in_a_sentence(
    trained: tuple[Cohort, ModelRecord], tmp_path: Path
) -> None:
    cohort, _ = trained
    with pytest.raises(SSLSegError, match="its network 'vnet' is built differently from the 'unet'"):
        run(cohort, tmp_path, tiny_settings(model="never", start_from="first", network="unet"))


def test_a_model_that_is_not_there_is_refused(trained: tuple[Cohort, ModelRecord], tmp_path: Path) -> None:
    with pytest.raises(SSLSegError, match="There is no model in this folder"):
        run(trained[0], tmp_path, tiny_settings(model="never", start_from="nobody"))


def test_two_networks_never_begin_as_the_same(trained: tuple[Cohort, ModelRecord], tmp_path: Path) -> None:
    cohort, _ = trained
    _, events = run(cohort, tmp_path, tiny_settings(model="pair", method="cps", start_from="first", steps=1))
    assert any("1 more begin untrained" in warning["message"] for warning in events.of("warning"))
    first, second = load_model(cohort.model_folder("pair")).networks
    weights = [next(network.parameters()).detach().numpy() for network in (first, second)]
    assert np.abs(weights[0] - weights[1]).max() > 0.01


def test_leaving_one_out_wants_fresh_weights() -> None:
    with pytest.raises(ValueError, match="freshly drawn"):
        tiny_settings(start_from="first", leave_one_out=True)

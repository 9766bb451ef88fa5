"""Scattered pieces and holes of a prediction: what is removed and filled, and when that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from tiny_model import STRIDES, a_plan, a_record
from tiny_training import ORGANS, Events, make_cohort, tiny_settings

from sslseg.bundle.model_folder import TrainedModel, load_model, save_model
from sslseg.contract.cohort import AnnotatedSlices, Cohort
from sslseg.contract.postprocess import OrganRule
from sslseg.contract.settings import PredictSettings
from sslseg.data.store import StoredCase, open_store
from sslseg.data.volumes import read_volume
from sslseg.inference.postprocess import components, holes, postprocess
from sslseg.inference.predictor import predict_volume
from sslseg.networks.base import SegmentationNetwork
from sslseg.predict.cohort_prediction import predict_cohort
from sslseg.train.postprocess_choice import choose_rules
from sslseg.train.training import train

SHAPE = (12, 14, 16)


def a_map() -> np.ndarray:
    """Organ 1: a cube with a hole and another organ in it, a small piece, a speck. Organ 7: two pieces."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:9, 2:9, 2:9] = 1
    labels[4:6, 4:6, 4:6] = 0
    labels[6, 6, 6] = 7
    labels[9, 9, 9] = 1  # touches the cube at a corner only
    labels[1:3, 11:13, 12:14] = 1
    labels[11, 0, 15] = 1
    labels[10, 12, 1:4] = 7
    return labels


def cleaned(labels: np.ndarray, *rules: OrganRule, voxel_ml: float = 0.001) -> np.ndarray:
    result = labels.copy()
    postprocess(result, rules, voxel_ml)
    return result


def test_only_the_largest_piece_stays_and_corners_hold_it_together() -> None:
    labels = a_map()
    expected = labels.copy()
    expected[1:3, 11:13, 12:14] = 0
    expected[11, 0, 15] = 0
    np.testing.assert_array_equal(cleaned(labels, OrganRule("a", 1, largest_only=True)), expected)


def test_pieces_below_a_volume_go_and_others_stay() -> None:
    labels = a_map()
    expected = labels.copy()
    expected[11, 0, 15] = 0
    # A voxel is a microlitre: the speck has 1, the other piece 8.
    np.testing.assert_array_equal(cleaned(labels, OrganRule("a", 1, smallest_ml=0.008)), expected)


def test_holes_are_filled_but_not_with_what_is_another_organ() -> None:
    labels = a_map()
    expected = labels.copy()
    expected[4:6, 4:6, 4:6] = 1
    np.testing.assert_array_equal(cleaned(labels, OrganRule("a", 1, fill_holes=True)), expected)
    # Closed off by the edge of the volume is not enclosed by the organ.
    bowl = np.ones((5, 5, 5), np.uint8)
    bowl[2, 2, :3] = 0
    np.testing.assert_array_equal(cleaned(bowl, OrganRule("a", 1, fill_holes=True)), bowl)


def test_organs_without_a_rule_or_without_a_voxel_are_left_alone() -> None:
    labels = a_map()
    assert (cleaned(labels, OrganRule("b", 7), OrganRule("c", 200, largest_only=True)) == labels).all()
    assert not cleaned(np.zeros(SHAPE, np.uint8), OrganRule("a", 1, largest_only=True, fill_holes=True)).any()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 7)] * 3), st.sampled_from([0.3, 0.6, 0.9]))
def test_components_and_holes_are_those_of_scipy(
    seed: int, shape: tuple[int, int, int], share: float
) -> None:
    mask = np.random.default_rng(seed).random(shape) < share
    numbers, sizes = components(mask)
    _, count = ndimage.label(mask, np.ones((3, 3, 3)))
    assert (len(sizes) - 1, sizes[1:].sum()) == (count, mask.sum())
    assert ((numbers > 0) == mask).all()
    np.testing.assert_array_equal(holes(mask), ndimage.binary_fill_holes(mask) & ~mask)


def test_an_organ_one_voxel_thin_is_counted() -> None:
    line = np.array([[[True]], [[False]], [[True]]])
    assert len(components(line)[1]) - 1 == 2


def stored(cohort: Cohort) -> list[StoredCase]:
    return open_store(cohort, a_plan(tuple(ORGANS)), cohort.cases)


def rules_of(
    cohort: Cohort, validation: int = 0, network: SegmentationNetwork | None = None
) -> dict[str, OrganRule]:
    cases = stored(cohort)
    found = choose_rules(
        cohort,
        cases,
        cases[:validation],
        [network] if network else [],
        a_plan(tuple(ORGANS)),
        device=torch.device("cpu"),
        precision="float32",
    )
    return {rule.organ: rule for rule in found}


def redraw(cohort: Cohort, case: str, change: Callable[[np.ndarray], None]) -> None:
    path = cohort.folder / f"labels/{case}.nii.gz"
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    change(voxels)
    changed = sitk.GetImageFromArray(voxels)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))


def test_rules_hold_in_every_annotated_case(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, annotated=3, unlabelled=0)
    whole = OrganRule("liver", 1, largest_only=True, fill_holes=True)
    assert rules_of(cohort)["liver"] == whole

    def speck_and_hole(voxels: np.ndarray) -> None:
        places = np.argwhere(voxels == 7)
        voxels[tuple(places.mean(axis=0).round().astype(int))] = 0
        voxels[0, 0, 0:2] = 7

    redraw(cohort, "case_1", speck_and_hole)
    rules = rules_of(cohort)
    assert rules["liver"] == whole
    # Somebody drew a spleen with a hole and a piece of two voxels of 0.064 ml.
    assert not rules["spleen"].largest_only
    assert not rules["spleen"].fill_holes
    assert rules["spleen"].smallest_ml == pytest.approx(0.064)


def test_one_annotated_case_or_some_of_its_slices_show_nothing(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "one", annotated=1, unlabelled=1)
    assert rules_of(cohort) == {}
    cohort = make_cohort(tmp_path / "two", annotated=2, unlabelled=0)
    with Cohort.edit(cohort.folder) as edited:
        edited.case("case_0").slices = {"spleen": AnnotatedSlices("k", [10])}
    assert set(rules_of(Cohort.read(cohort.folder))) == {"liver"}


class TwoLivers(SegmentationNetwork):
    """Sees the right liver as a small piece and air as the large one, so that keeping the largest does harm."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=3, level_channels=[1], strides=STRIDES)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        liver = ((x > 0.75) | (x < 0.01)).float()
        return torch.cat([torch.full_like(x, 0.5), liver, torch.zeros_like(x)], dim=1) * 50


def test_a_rule_that_lowers_dice_on_validation_cases_is_dropped(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, annotated=3, unlabelled=0)
    assert rules_of(cohort)["liver"].largest_only
    found = rules_of(cohort, validation=2, network=TwoLivers())
    assert not found.get("liver", OrganRule("liver", 1)).largest_only
    # Of the spleen the network finds nothing: the rule does no harm.
    assert found["spleen"].largest_only


class Scattered(SegmentationNetwork):
    """Liver wherever it is bright: noise gives specks."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=3, level_channels=[1], strides=STRIDES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.full_like(x, 0.5), (x > 0.55).float(), torch.zeros_like(x)], dim=1) * 50


def test_a_prediction_is_cleaned_on_the_grid_of_the_scan_and_the_raw_one_can_be_had(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path, annotated=1, unlabelled=0)
    scan = read_volume(cohort.image_path(cohort.cases[0]))
    plan = a_plan(tuple(ORGANS))
    rule = OrganRule("liver", 1, largest_only=True)
    raw = predict_volume(TrainedModel("m", [Scattered()], plan, a_record()), scan, precision="float32")
    clean = predict_volume(
        TrainedModel("m", [Scattered()], plan, a_record(), (rule,)), scan, precision="float32"
    )
    before, after = (sitk.GetArrayFromImage(p.label_map) for p in (raw, clean))
    assert len(components(before == 1)[1]) > 2
    np.testing.assert_array_equal(after, cleaned(before, rule))
    assert len(components(after == 1)[1]) == 2


def test_training_decides_and_the_model_keeps_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = make_cohort(tmp_path, annotated=2, unlabelled=0)
    train(cohort, tiny_settings(), Events(), checkpoint_path=tmp_path / "job/last.ckpt")
    model = load_model(cohort.model_folder("cubes"))
    assert model.rules == tuple(
        OrganRule(label.name, label.value, largest_only=True, fill_holes=True) for label in ORGANS
    )
    text = (cohort.model_folder("cubes") / "docs/README.md").read_text()
    assert "* liver: only its largest part is kept, holes in it are filled" in text
    seen: list[Any] = []
    monkeypatch.setattr(
        "sslseg.inference.predictor.postprocess", lambda labels, rules, ml: seen.append(rules)
    )
    for wanted in (True, False):
        predict_cohort(
            cohort, PredictSettings("cubes", ["case_0"], device="cpu", postprocess=wanted), Events()
        )
    assert seen == [model.rules, ()]


def test_a_model_without_rules_says_that_nothing_is_done(tmp_path: Path) -> None:
    save_model(tmp_path / "m", networks=[], plan=a_plan(tuple(ORGANS)), record=a_record())
    assert "Nothing: every voxel gets its most probable organ" in (tmp_path / "m/docs/README.md").read_text()


def test_a_rule_is_said_in_words() -> None:
    assert OrganRule("liver", 1, smallest_ml=0.25).in_words() == "liver: parts below 0.25 ml are removed"
    with pytest.raises(ValueError, match="must not be negative"):
        OrganRule("liver", 1, smallest_ml=-1)

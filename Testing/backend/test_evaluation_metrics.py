"""Overlap and surface distances: equal to medpy and MONAI, and right where those have no answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from sslseg.evaluate.overlap import count_overlap, dice_per_class
from sslseg.evaluate.surface import SurfacePair, surface_distances

SPACINGS = [(3.0, 0.7, 0.9), (1.0, 1.0, 1.0), (0.8, 2.5, 5.0), (12.0, 0.5, 0.5)]


def blobs(
    seed: int, shift: float, shape: tuple[int, int, int] = (22, 30, 26)
) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping random shapes of several parts, some of which touch the border."""
    rng = np.random.default_rng(seed)
    field, noise = (ndimage.gaussian_filter(rng.standard_normal(shape), 2.5) for _ in range(2))
    reference = field > 0.8 * field.std()
    prediction = field + shift * noise > 0.8 * field.std()
    return prediction, reference


def one_hot(label_map: np.ndarray, classes: int):
    import torch

    return torch.nn.functional.one_hot(torch.from_numpy(label_map.astype(np.int64)), classes).movedim(-1, 0)[
        None
    ]


@pytest.fixture(params=[(0, 0.2), (1, 0.6), (2, 3.0)], ids=["near", "middling", "far"])
def masks(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    return blobs(*request.param)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_distances_equal_medpy(
    masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    distances = surface_distances(*masks, spacing)
    assert distances.hd95() == pytest.approx(medpy.hd95(*masks, spacing), rel=1e-12)
    assert distances.mean() == pytest.approx(medpy.assd(*masks, spacing), rel=1e-12)
    assert distances.from_prediction.mean() == pytest.approx(medpy.asd(*masks, spacing), rel=1e-12)
    assert distances.from_reference.max() <= medpy.hd(*masks, spacing) + 1e-9


@pytest.mark.parametrize("spacing", SPACINGS)
def test_distances_equal_monai(
    masks: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float, float]
) -> None:
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    prediction, reference = (one_hot(mask, 2) for mask in masks)
    distances = surface_distances(*masks, spacing)
    hd95 = compute_hausdorff_distance(prediction, reference, percentile=95, spacing=spacing)
    mean = compute_average_surface_distance(prediction, reference, symmetric=True, spacing=spacing)
    assert distances.hd95("monai") == pytest.approx(hd95.item(), rel=1e-5)
    assert distances.mean() == pytest.approx(mean.item(), rel=1e-5)
    for tolerance in (0.0, 1.7, 4.1):
        surface_dice = compute_surface_dice(prediction, reference, [tolerance], spacing=spacing)
        assert distances.surface_dice(tolerance) == pytest.approx(surface_dice.item(), rel=1e-5)


def test_the_two_definitions_of_hd95_differ() -> None:
    prediction, reference = np.zeros((2, 1, 40, 40), bool)
    reference[0, 5:15, 5:15] = prediction[0, 5:15, 5:15] = True
    prediction[0, 30:32, 30:32] = True
    distances = surface_distances(prediction, reference, (1.0, 1.0, 1.0))
    assert distances.hd95("medpy") == 0.0
    assert distances.hd95("monai") == 0.0
    prediction[0, 30:36, 30:36] = True
    distances = surface_distances(prediction, reference, (1.0, 1.0, 1.0))
    assert 0.0 < distances.hd95("medpy") < distances.hd95("monai")
    with pytest.raises(ValueError, match="definition"):
        distances.hd95("mean")  # type: ignore[arg-type]


def test_distances_are_exact_far_beyond_the_neighbourhood_that_is_searched_first() -> None:
    prediction, reference = np.zeros((2, 60, 9, 9), bool)
    prediction[1, 4, 4] = reference[55, 4, 4] = True
    distances = surface_distances(prediction, reference, (2.5, 1.0, 1.0))
    assert distances.from_prediction.tolist() == distances.from_reference.tolist() == [54 * 2.5]


@pytest.mark.parametrize("gap", range(1, 8))
def test_neighbours_across_a_thick_slice_are_not_missed(gap: int) -> None:
    """One slice of 5 mm away is nearer than `gap` pixels of 0.9 mm from six pixels on."""
    prediction, reference = np.zeros((2, 3, 5, 20), bool)
    prediction[0, 2, 2] = reference[1, 2, 2] = reference[0, 2, 2 + gap] = True
    expected = min(5.0, gap * 0.9)
    assert surface_distances(prediction, reference, (5.0, 0.9, 0.9)).from_prediction[0] == pytest.approx(
        expected
    )


def test_equal_masks_are_at_distance_zero() -> None:
    mask = blobs(3, 0.0)[0]
    distances = surface_distances(mask, mask, (3.0, 1.0, 1.0))
    assert (distances.hd95(), distances.mean(), distances.surface_dice(0.0)) == (0.0, 0.0, 1.0)


def test_a_tolerance_of_whole_voxels_forgives_float32_spacing() -> None:
    spacing = float(np.float32(2 / 3))
    prediction, reference = np.zeros((2, 8, 1, 1), bool)
    prediction[1], reference[4] = True, True
    assert surface_distances(prediction, reference, (spacing, 1.0, 1.0)).surface_dice(2.0) == 1.0


def test_an_empty_mask_has_no_distance() -> None:
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(ValueError, match="empty"):
        surface_distances(mask, ~mask, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="shape"):
        SurfacePair(mask, mask[1:])


def test_the_edge_of_the_annotated_slices_is_no_surface() -> None:
    """Only slice 4 was annotated: its surface is the contour in it, not the whole cross-section."""
    mask, ignored = np.zeros((9, 12, 12), bool), np.ones((9, 12, 12), bool)
    mask[4, 2:10, 2:10], ignored[4] = True, False
    assert SurfacePair(mask, mask, ignored).distances((1.0, 1.0, 1.0)).from_prediction.size == 28
    assert SurfacePair(mask, mask).distances((1.0, 1.0, 1.0)).from_prediction.size == 64


def test_an_object_walled_in_by_ignored_voxels_keeps_a_surface() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[2, 2, 2] = True
    assert SurfacePair(mask, mask, ~mask).distances((1.0, 1.0, 1.0)).hd95() == 0.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_dice_of_all_organs_equals_monai(dtype: type) -> None:
    from monai.metrics import compute_dice

    rng = np.random.default_rng(5)
    reference = rng.integers(0, 6, (9, 20, 17)).astype(dtype)
    prediction = np.where(rng.random(reference.shape) < 0.6, reference, rng.integers(0, 6, reference.shape))
    prediction = prediction.astype(dtype)
    expected = compute_dice(one_hot(prediction, 6), one_hot(reference, 6), include_background=False)[0]
    assert dice_per_class(prediction, reference, range(1, 6)) == pytest.approx(expected.numpy(), rel=1e-6)


def test_dice_counts_all_voxels_of_a_volume_larger_than_one_chunk() -> None:
    rng = np.random.default_rng(6)
    prediction, reference = rng.integers(0, 3, (2, 70, 70, 70)).astype(np.uint8)
    overlap = count_overlap(prediction, reference)
    for value in (1, 2):
        assert overlap.prediction[value] == (prediction == value).sum()
        assert overlap.reference[value] == (reference == value).sum()
        assert overlap.both[value] == ((prediction == value) & (reference == value)).sum()


@pytest.mark.parametrize("ignore", [None, 1, 255])
@pytest.mark.parametrize("in_reference", [1, 2, 16, 256])
@pytest.mark.parametrize("in_prediction", [1, 2, 3, 15, 16, 17, 256])
def test_counts_are_right_for_few_and_for_many_values(
    in_prediction: int, in_reference: int, ignore: int | None
) -> None:
    rng = np.random.default_rng(8)
    prediction = rng.integers(0, in_prediction, (7, 8, 9)).astype(np.uint8)
    reference = rng.integers(0, in_reference, (7, 8, 9)).astype(np.uint8)
    overlap = count_overlap(prediction, reference, ignore=ignore)
    kept = np.full(reference.shape, True) if ignore is None else reference != ignore
    values = np.arange(1, 256)[:, None]
    predicted, referenced = prediction[kept] == values, reference[kept] == values
    assert overlap.prediction[1:].tolist() == predicted.sum(axis=1).tolist()
    assert overlap.reference[1:].tolist() == referenced.sum(axis=1).tolist()
    assert overlap.both[1:].tolist() == (predicted & referenced).sum(axis=1).tolist()


def test_dice_of_a_strided_view_is_that_of_its_copy() -> None:
    rng = np.random.default_rng(7)
    prediction, reference = rng.integers(0, 3, (2, 8, 9, 10)).astype(np.uint8)
    flipped = dice_per_class(prediction[:, ::-1].T, reference[:, ::-1].T, [1, 2])
    assert flipped.tolist() == dice_per_class(prediction, reference, [1, 2]).tolist()


def test_dice_knows_absent_from_missed_and_leaves_out_ignored_voxels() -> None:
    reference = np.array([[[1, 1, 255, 255, 2, 0]]])
    prediction = np.array([[[1, 0, 1, 3, 0, 4]]])
    dice = dice_per_class(prediction, reference, [1, 2, 3, 4])
    assert dice[0] == pytest.approx(2 / 3)
    assert dice[1] == 0.0
    assert np.isnan(dice[2])
    assert dice[3] == 0.0
    assert dice_per_class(prediction, reference, [1], ignore=None)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((2, 2, 2)), "whole numbers"),
        (np.full((2, 2, 2), -1), "0..255"),
        (np.full((2, 2, 2), 256), "0..255"),
        (np.zeros((2, 2, 3), np.uint8), "shapes differ"),
    ],
)
def test_dice_refuses_what_is_no_label_map(prediction: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dice_per_class(prediction, np.zeros((2, 2, 2), np.uint8), [1])
    with pytest.raises(ValueError, match="classes"):
        dice_per_class(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8), [0])

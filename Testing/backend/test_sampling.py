"""Which patches a step sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from sslseg.contract.errors import SSLSegError
from sslseg.data.sampling import SHIFT_LIMITS, PatchDataset, PatchSampler, PatchSource, shift_reach

PATCH = (16, 16, 16)


class ArrayCase:
    """A case that lies in memory."""

    def __init__(self, name: str, image: np.ndarray, label: np.ndarray | None, known: Sequence[bool]) -> None:
        self.id = name
        self.image = image.astype(np.int16)
        self.label = label
        self.shape = tuple(image.shape)
        self.known = np.array(known)
        self.foreground: Mapping[int, np.ndarray] = (
            {}
            if label is None
            else {c: np.argwhere(label == c) for c in range(1, len(known)) if (label == c).any()}
        )

    def read(self, start: Sequence[int], size: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        image = np.zeros(size, dtype=np.int16)
        label = np.full(size, 255, dtype=np.uint8)
        first = [max(s, 0) for s in start]
        last = [min(s + n, side) for s, n, side in zip(start, size, self.shape, strict=True)]
        source = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        target = tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))
        image[target] = self.image[source]
        if self.label is None:
            return image, None
        label[target] = self.label[source]
        return image, label


def numbered(shape: tuple[int, int, int]) -> np.ndarray:
    """A volume whose voxels tell where they come from."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape)


@pytest.fixture
def labelled() -> PatchSource:
    label = np.zeros((40, 44, 48), dtype=np.uint8)
    label[10:30, 10:35, 10:40] = 1
    label[3:5, 3:5, 3:5] = 2
    return ArrayCase("labelled", np.full(label.shape, 900), label, [True, True, True])


@pytest.fixture
def unlabelled() -> PatchSource:
    return ArrayCase("unlabelled", numbered((28, 30, 34)), None, [True, False, False])


def sampler(labelled: PatchSource, unlabelled: PatchSource, **options: object) -> PatchSampler:
    arguments = {"patch_size": PATCH, "labelled_batch": 2, "unlabelled_batch": 2, "seed": 3} | options
    return PatchSampler([labelled], [unlabelled], **arguments)  # type: ignore[arg-type]


def inner(region: torch.Tensor, margin: tuple[int, int, int]) -> torch.Tensor:
    box = tuple(slice(m, n - m) for m, n in zip(margin, region.shape[-3:], strict=True))
    return region[(..., *box)]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def test_delivers_raw_regions_with_a_margin(labelled: PatchSource, unlabelled: PatchSource) -> None:
    batch = sampler(labelled, unlabelled).batch(0)
    assert batch["image"].shape == (2, 1, 20, 20, 20) and batch["image"].dtype == torch.int16
    assert batch["label"].shape == (2, 20, 20, 20) and batch["label"].dtype == torch.uint8
    assert batch["unlabelled"].shape == (2, 1, 20, 20, 20) and batch["unlabelled"].dtype == torch.int16
    assert batch["known"].tolist() == [[True, True, True]] * 2 and "shift" not in batch


def test_a_step_does_not_depend_on_the_steps_before_it(
    labelled: PatchSource, unlabelled: PatchSource
) -> None:
    first = sampler(labelled, unlabelled, shifted_crop=True)
    for step in range(4):
        first.batch(step)
    assert_equal(first.batch(4), sampler(labelled, unlabelled, shifted_crop=True).batch(4))


def test_steps_and_seeds_differ(labelled: PatchSource, unlabelled: PatchSource) -> None:
    draw = sampler(labelled, unlabelled)
    assert not torch.equal(draw.batch(0)["unlabelled"], draw.batch(1)["unlabelled"])
    other = sampler(labelled, unlabelled, seed=4)
    assert not torch.equal(draw.batch(0)["unlabelled"], other.batch(0)["unlabelled"])


def test_a_small_organ_is_seen_as_often_as_a_large_one(labelled: PatchSource) -> None:
    draw = PatchSampler([labelled], patch_size=PATCH, labelled_batch=200, seed=0)
    label = inner(draw.batch(0)["label"], draw.margin).flatten(1)
    small = (label == 2).any(1).float().mean().item()
    # A third of the patches is drawn for it; uniform placement alone would give about one in a hundred.
    assert 0.25 < small < 0.5
    assert (label == 1).any(1).float().mean() > 0.6


def test_an_organ_that_was_not_annotated_draws_no_patch() -> None:
    label = np.zeros((60, 60, 60), dtype=np.uint8)
    label[:3, :3, :3] = 2
    case = ArrayCase("partial", np.full(label.shape, 5), label, [True, True, False])
    draw = PatchSampler([case], patch_size=PATCH, labelled_batch=50, seed=0)
    seen = (inner(draw.batch(0)["label"], draw.margin) == 2).flatten(1).any(1)
    assert seen.float().mean() < 0.1


def test_patches_stay_inside_the_volume(unlabelled: PatchSource, labelled: PatchSource) -> None:
    draw = sampler(labelled, unlabelled, labelled_batch=20, unlabelled_batch=20, margin=(0, 0, 0))
    batch = draw.batch(0)
    assert (batch["label"] != 255).all() and (batch["unlabelled"] > 0).all()


def test_a_volume_smaller_than_the_patch_is_padded_around(unlabelled: PatchSource) -> None:
    label = np.ones((10, 40, 40), dtype=np.uint8)
    case = ArrayCase("flat", np.full(label.shape, 7), label, [True, True])
    draw = sampler(case, unlabelled, margin=(0, 0, 0))
    batch = draw.batch(0)
    assert (batch["label"][:, 3:13] == 1).all() and (batch["image"][:, 0, 3:13] == 7).all()
    assert (batch["label"][:, :3] == 255).all() and (batch["label"][:, 13:] == 255).all()
    assert (batch["image"][:, 0, :3] == 0).all() and (batch["image"][:, 0, 13:] == 0).all()


def test_avoids_air(labelled: PatchSource) -> None:
    image = np.zeros((64, 64, 64))
    image[:, :, 40:] = 100
    draw = sampler(labelled, ArrayCase("air", image, None, [True]), unlabelled_batch=40)
    filled = (inner(draw.batch(0)["unlabelled"], draw.margin) > 0).flatten(1).float().mean(1)
    # Half of all places hold too little; four tries leave one in sixteen or so of them.
    assert (filled >= 0.1).float().mean() > 0.8


def test_avoids_labelled_patches_without_an_annotated_voxel(unlabelled: PatchSource) -> None:
    label = np.full((40, 40, 40), 255, dtype=np.uint8)
    label[20] = 0
    case = ArrayCase("one slice", np.full(label.shape, 7), label, [True, True])
    draw = sampler(case, unlabelled, labelled_batch=40)
    seen = (inner(draw.batch(0)["label"], draw.margin) != 255).flatten(1).any(1)
    assert seen.float().mean() > 0.9


def test_uses_the_labelled_images_where_there_are_no_others(labelled: PatchSource) -> None:
    draw = PatchSampler([labelled], patch_size=PATCH, labelled_batch=1, unlabelled_batch=1, seed=0)
    assert (inner(draw.batch(0)["unlabelled"], draw.margin) == 900).all()


def test_refuses_a_cohort_without_annotation(unlabelled: PatchSource) -> None:
    with pytest.raises(SSLSegError, match="annotated"):
        PatchSampler([], [unlabelled], patch_size=PATCH, labelled_batch=1, seed=0)


def test_the_second_crop_is_displaced_along_an_in_plane_diagonal(labelled: PatchSource) -> None:
    volume = numbered((20, 31, 33))
    case = ArrayCase("numbered", volume, None, [True])
    draw = sampler(labelled, case, unlabelled_batch=60, shifted_crop=True)
    batch = draw.batch(1)
    shift = batch["shift"]
    assert batch["unlabelled"].shape[-3:] == (20, 20 + shift_reach(PATCH)[1], 20 + shift_reach(PATCH)[2])
    assert (shift[:, 0] == 0).all() and (shift.abs() <= torch.tensor(shift_reach(PATCH))).all()
    assert {tuple(row) for row in torch.sign(shift[:, 1:]).tolist()} >= {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert shift.abs()[:, 1:].float().mean() > SHIFT_LIMITS[0] * PATCH[1]
    for region, row in zip(inner(batch["unlabelled"], draw.margin)[:, 0], shift, strict=True):
        first, second = (-row).clamp(min=0).tolist(), row.clamp(min=0).tolist()
        for start in (first, second):
            crop = region[tuple(slice(s, s + p) for s, p in zip(start, PATCH, strict=True))]
            assert (crop > 0).all()
        assert region[tuple(second)] - region[tuple(first)] == row[1] * 33 + row[2]


def test_the_shift_is_none_where_the_volume_leaves_no_room(labelled: PatchSource) -> None:
    case = ArrayCase("small", np.full((30, 16, 16), 9), None, [True])
    batch = sampler(labelled, case, unlabelled_batch=5, shifted_crop=True).batch(0)
    assert (batch["shift"] == 0).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_steps_in_order(
    labelled: PatchSource, unlabelled: PatchSource, workers: int
) -> None:
    draw = sampler(labelled, unlabelled)
    loader = DataLoader(PatchDataset(draw, start=5, steps=5), batch_size=None, num_workers=workers)
    batches = list(loader)
    assert len(batches) == len(loader) == 5
    for step, batch in enumerate(batches, start=5):
        assert_equal(batch, draw.batch(step))

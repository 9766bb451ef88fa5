"""Augmentation of a step's patches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslseg.data import augment
from sslseg.data.augment import Augmenter
from sslseg.data.sampling import shift_reach
from sslseg.transforms import geometry, intensity
from sslseg.transforms.streams import torch_stream

PATCH = (16, 24, 24)
MARGIN = (2, 3, 3)
SPACING = (2.0, 1.0, 1.0)


def raw_batch(labelled: int = 6, unlabelled: int = 6, *, shifted: bool = False) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    region = tuple(p + 2 * m for p, m in zip(PATCH, MARGIN, strict=True))
    wide = tuple(r + s for r, s in zip(region, shift_reach(PATCH), strict=True)) if shifted else region
    label = torch.randint(0, 3, (labelled, *region), generator=random, dtype=torch.uint8)
    batch = {
        # The image repeats the label, so that a test can see whether both moved together.
        "image": (label[:, None].to(torch.int16) * 10000),
        "label": label,
        "known": torch.ones(labelled, 3, dtype=torch.bool),
        "unlabelled": torch.randint(0, 32768, (unlabelled, 1, *wide), generator=random, dtype=torch.int32).to(
            torch.int16
        ),
    }
    if shifted:
        rows = [[0, 3, -4], [0, -5, 6], [0, 7, 7], [0, -3, -3], [0, 0, 0], [0, 5, 0]]
        batch["shift"] = torch.tensor(rows[:unlabelled])
    return batch


def augmenter(**options: object) -> Augmenter:
    arguments = {"patch_size": PATCH, "spacing": SPACING, "mirror_axes": (0, 1), "seed": 7} | options
    return Augmenter(**arguments)  # type: ignore[arg-type]


def test_without_augmentation_the_middle_is_cut_out() -> None:
    raw = raw_batch()
    batch = augmenter(strength="none")(raw, 0)
    middle = raw["label"][:, 2:-2, 3:-3, 3:-3]
    assert torch.equal(batch["label"], middle.long())
    torch.testing.assert_close(batch["image"], middle[:, None] * (10000 / 32767))
    assert batch["image"].dtype == torch.float32 and batch["label"].dtype == torch.int64
    assert batch["unlabelled"].shape == (6, 1, *PATCH) and batch["unlabelled"].max() <= 1.0


def test_is_a_pure_function_of_seed_and_step() -> None:
    raw = raw_batch(shifted=True)
    used = augmenter()
    used(raw, 0)
    one, other = used(raw, 3), augmenter()(raw, 3)
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(one["image"], augmenter()(raw, 4)["image"])
    assert not torch.equal(one["image"], augmenter(seed=8)(raw, 3)["image"])


def test_leaves_the_raw_batch_alone_and_stays_in_range() -> None:
    raw = raw_batch()
    before = {key: value.clone() for key, value in raw.items()}
    for step in range(5):
        batch = augmenter()(raw, step)
        for key in ("image", "unlabelled"):
            assert torch.isfinite(batch[key]).all()
            assert batch[key].min() >= 0.0 and batch[key].max() <= 1.0
        assert set(batch["label"].unique().tolist()) <= {0, 1, 2, 255}
    assert all(torch.equal(raw[key], before[key]) for key in raw)


def test_image_and_label_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "WARP_PROBABILITY", 1.0)
    blocks = torch.zeros(4, 20, 30, 30, dtype=torch.uint8)
    blocks[:, 4:12, 6:20, 9:24] = 2
    raw = raw_batch(4) | {"image": blocks[:, None].to(torch.int16) * 16383, "label": blocks}
    quiet = augmenter()
    quiet.intensity = None
    batch = quiet(raw, 0)
    known = batch["label"] != 255
    inside = (batch["image"][:, 0] > 0.5) & known
    agreement = (inside == (batch["label"] == 2))[known].float().mean()
    assert agreement > 0.99 and not torch.equal(batch["label"], blocks[:, 2:-2, 3:-3, 3:-3].long())


def test_flips_only_along_the_mirror_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "WARP_PROBABILITY", 0.0)
    raw = raw_batch(24)
    middle = raw["label"][:, 2:-2, 3:-3, 3:-3].long()
    seen = set()
    for source, result in zip(middle, augmenter()(raw, 0)["label"], strict=True):
        matches = [axes for axes in ((), (0,), (1,), (0, 1)) if torch.equal(source.flip(axes), result)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 4


def test_both_crops_show_the_same_anatomy_whatever_the_geometry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "WARP_PROBABILITY", 0.5)
    raw = raw_batch(shifted=True)
    mirrored = 0
    for step in range(6):
        batch = augmenter()(raw, step)
        mirrored += int((batch["shift"] != raw["shift"]).any())
        for fixed, shifted, shift in zip(
            batch["unlabelled"][:, 0], batch["shifted"][:, 0], batch["shift"].tolist(), strict=True
        ):
            here = tuple(slice(max(0, d), p + min(0, d)) for d, p in zip(shift, PATCH, strict=True))
            there = tuple(slice(max(0, -d), p + min(0, -d)) for d, p in zip(shift, PATCH, strict=True))
            assert torch.equal(fixed[here], shifted[there])
        assert torch.equal(batch["shift"].abs(), raw["shift"].abs())
    assert mirrored > 0


def test_a_flip_keeps_what_the_crops_were_drawn_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "WARP_PROBABILITY", 0.0)
    monkeypatch.setattr(augment, "FLIP_PROBABILITY", 1.0)
    raw = raw_batch(shifted=True)
    flipped = augmenter()
    flipped.intensity = None
    plain, turned = augmenter(strength="none")(raw, 0), flipped(raw, 0)
    assert torch.equal(turned["unlabelled"], plain["unlabelled"].flip(-3, -2))
    assert torch.equal(turned["shifted"], plain["shifted"].flip(-3, -2))
    assert torch.equal(turned["shift"], plain["shift"] * torch.tensor([-1, -1, 1]))


def test_a_rotation_keeps_angles_in_millimetres() -> None:
    half_pi = torch.tensor([math.pi / 2])
    about_x = geometry.rotation_and_zoom(torch.tensor([[0.0, 0.0, 1.0]]), half_pi, torch.ones(1), SPACING)
    # Two voxels of 1 mm along y are one voxel of 2 mm along z.
    torch.testing.assert_close((about_x[0] @ torch.tensor([0.0, 2.0, 0.0])).abs(), torch.tensor([1.0, 0, 0]))


def test_a_quarter_turn_equals_rot90() -> None:
    random = torch.Generator().manual_seed(1)
    image = torch.rand(1, 1, 6, 9, 9, generator=random)
    matrix = geometry.rotation_and_zoom(
        torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([math.pi / 2]), torch.ones(1), (3.0, 1.0, 1.0)
    )
    grid = geometry.sampling_grid(matrix, image.shape[-3:], image.shape[-3:], torch.device("cpu"))
    turned = geometry.warp(image, grid)
    candidates = [torch.rot90(image, k, (-2, -1)) for k in (1, -1)]
    assert any(torch.allclose(turned, candidate, atol=1e-5) for candidate in candidates)


def test_zoom_magnifies_and_fills_the_outside() -> None:
    label = torch.full((1, 8, 8, 8), 3, dtype=torch.uint8)
    matrix = geometry.rotation_and_zoom(
        torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1), torch.tensor([0.5]), (1.0, 1.0, 1.0)
    )
    shrunk = geometry.warp_label(
        label, geometry.sampling_grid(matrix, (8, 8, 8), (8, 8, 8), torch.device("cpu"))
    )
    assert (shrunk[:, 2:6, 2:6, 2:6] == 3).all() and int((shrunk == 3).sum()) == 64
    assert set(shrunk.unique().tolist()) == {3, 255}


def test_thick_slices_and_flat_patches_turn_within_the_slice() -> None:
    assert augmenter(spacing=(5.0, 1.0, 1.0)).rotation_axis == 0
    assert augmenter(patch_size=(8, 64, 64)).rotation_axis == 0
    assert augmenter(spacing=(1.0, 4.0, 1.0)).rotation_axis == 1
    assert augmenter().rotation_axis is None


def test_intensity_operations_use_each_samples_own_parameter() -> None:
    random = torch.Generator().manual_seed(2)
    image = torch.rand(2, 1, 8, 8, 8, generator=random)
    torch.testing.assert_close(intensity.gamma(image, torch.tensor([1.0, 2.0]))[1], image[1] ** 2)
    flat = intensity.contrast_brightness(image, torch.tensor([1.0, 0.0]), torch.tensor([0.1, 0.0]))
    torch.testing.assert_close(flat[0], image[0] + 0.1)
    torch.testing.assert_close(flat[1], image[1].mean().expand_as(image[1]))
    noisy = intensity.add_noise(image, torch.tensor([0.0, 0.2]), torch.Generator().manual_seed(0))
    torch.testing.assert_close(noisy[0], image[0])
    assert abs((noisy[1] - image[1]).std().item() - 0.2) < 0.03


def test_blur_matches_a_gaussian_and_keeps_the_brightness() -> None:
    image = torch.zeros(2, 1, 15, 15, 15)
    image[:, :, 7, 7, 7] = 1.0
    blurred = intensity.blur(image, torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(blurred.sum(dim=(1, 2, 3, 4)), torch.ones(2))
    row = blurred[1, 0, 7, 7]
    torch.testing.assert_close(row[8] / row[7], torch.tensor(math.exp(-0.5)))
    assert blurred[0, 0, 7, 7, 7] > blurred[1, 0, 7, 7, 7]
    torch.testing.assert_close(blurred, blurred.transpose(2, 4))


def test_a_uniform_image_survives_the_blur_at_its_borders() -> None:
    image = torch.full((1, 2, 6, 6, 6), 0.4)
    torch.testing.assert_close(intensity.blur(image, torch.tensor([1.5])), image)


def test_the_strong_view_changes_intensities_reproducibly() -> None:
    image = torch.rand(8, 1, 6, 6, 6, generator=torch.Generator().manual_seed(3))
    one = intensity.strong_intensity(image, torch_stream(1, 2, "strong"))
    other = intensity.strong_intensity(image, torch_stream(1, 2, "strong"))
    assert torch.equal(one, other) and one.min() >= 0 and one.max() <= 1
    changed = (one - image).abs().flatten(1).amax(1) > 0.01
    assert changed.float().mean() > 0.7

"""The way back to the grid of the scan, against SimpleITK's resampling of each probability map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from sslseg.data.geometry import Geometry
from sslseg.data.working_grid import WorkingGrid
from sslseg.inference.restore import entropy_percent, restore
from sslseg.inference.sliding_window import Slab

VALUES = np.array([0, 7, 200, 3], dtype=np.uint8)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Sagittal slices from left to right, rows from head to foot, as MR often comes.
SAGITTAL = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
COSINE, SINE = np.cos(0.3), np.sin(0.3)
OBLIQUE = (-COSINE, SINE, 0.0, SINE, COSINE, 0.0, 0.0, 0.0, 1.0)


def a_grid(
    direction: tuple[float, ...] = STRAIGHT,
    *,
    size: tuple[int, int, int] = (22, 18, 15),
    spacing: tuple[float, float, float] = (0.8, 1.1, 2.5),
    working: tuple[float, float, float] = (1.7, 1.3, 1.2),
    box: tuple | None = None,
) -> WorkingGrid:
    original = Geometry(size, spacing, (-30.0, 12.5, 4.0), direction)
    return WorkingGrid(original, box or tuple((0, side) for side in reversed(size)), working)


def probabilities_on(grid: WorkingGrid, seed: int = 0) -> torch.Tensor:
    """Smooth and with clear winners, (Z, C, Y, X)."""
    noise = np.random.default_rng(seed).normal(size=(len(VALUES), *grid.shape))
    logits = np.stack([gaussian_filter(channel, 1.5) for channel in noise]) * 40
    return torch.from_numpy(logits).float().softmax(0).transpose(0, 1).contiguous()


def slabs_of(probabilities: torch.Tensor, thickness: int = 4) -> Iterator[Slab]:
    """Slabs that are overwritten as soon as the next is asked for, as the sliding window's are."""
    buffer = torch.empty(thickness, *probabilities.shape[1:])
    for start in range(0, len(probabilities), thickness):
        part = probabilities[start : start + thickness]
        buffer[: len(part)] = part
        yield Slab(start, buffer[: len(part)])
        buffer.fill_(torch.nan)


def geometry_of(grid: WorkingGrid) -> Geometry:
    """Where the working grid itself lies in the patient."""
    first, columns = np.ones(4), []
    for axis in reversed(grid.axis_maps):
        first[2 - axis.original_axis] = axis.original(0)
        columns.append(grid.original.matrix[:3, 2 - axis.original_axis] / axis.scale)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(columns, axis=1)
    matrix[:3, 3] = (grid.original.matrix @ first)[:3]
    return Geometry.from_matrix(grid.shape[::-1], matrix)


def resampled(channel: np.ndarray, grid: WorkingGrid) -> np.ndarray:
    """One map of the working grid on the grid of the scan by SimpleITK."""
    image = sitk.GetImageFromArray(channel)
    geometry_of(grid).set_on(image)
    target = grid.original
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize(target.size)
    filter_.SetOutputSpacing(target.spacing)
    filter_.SetOutputOrigin(target.origin)
    filter_.SetOutputDirection(target.direction)
    filter_.SetInterpolator(sitk.sitkLinear)
    filter_.UseNearestNeighborExtrapolatorOn()
    return sitk.GetArrayFromImage(filter_.Execute(image))


@pytest.mark.parametrize("direction", [STRAIGHT, SAGITTAL, OBLIQUE], ids=["straight", "sagittal", "oblique"])
@pytest.mark.parametrize("working", [(1.7, 1.3, 1.2), (0.5, 3.0, 0.9)], ids=["finer", "mixed"])
def test_agrees_with_resampling_every_probability_map(
    direction: tuple[float, ...], working: tuple[float, float, float]
) -> None:
    grid = a_grid(direction, working=working)
    probabilities = probabilities_on(grid)
    restored = restore(slabs_of(probabilities), grid, VALUES)
    maps = np.stack([resampled(probabilities[:, index].numpy(), grid) for index in range(len(VALUES))])
    ordered = np.sort(maps, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-3
    # At the rim SimpleITK extrapolates from the nearest voxel where this code holds each axis at its end.
    inside = (slice(2, -2),) * 3
    expected = VALUES[maps.argmax(0)]
    assert clear[inside].mean() > 0.9
    np.testing.assert_array_equal(restored.labels[inside][clear[inside]], expected[inside][clear[inside]])
    assert set(np.unique(restored.labels)) == set(VALUES)
    entropy = resampled(np.stack([entropy_percent(plane).numpy() for plane in probabilities]), grid)
    assert np.abs(restored.uncertainty.astype(float) - entropy)[inside].max() <= 0.51


def test_keeps_every_voxel_where_the_grids_are_one() -> None:
    grid = a_grid(spacing=(1.2, 1.3, 1.7), working=(1.7, 1.3, 1.2))
    probabilities = probabilities_on(grid)
    restored = restore(slabs_of(probabilities), grid, VALUES)
    np.testing.assert_array_equal(restored.labels, VALUES[probabilities.argmax(1).numpy()])


def test_leaves_everything_outside_the_body_box_background() -> None:
    box = ((3, 11), (2, 16), (5, 20))
    grid = a_grid(SAGITTAL, box=box)
    organ = torch.zeros(grid.shape[0], len(VALUES), *grid.shape[1:])
    organ[:, 2] = 0.9
    organ[:, 0] = 0.1
    restored = restore(slabs_of(organ), grid, VALUES)
    expected = np.zeros(grid.original.size[::-1], bool)
    expected[tuple(slice(*side) for side in box)] = True
    np.testing.assert_array_equal(restored.labels, np.where(expected, 200, 0))
    np.testing.assert_array_equal(restored.uncertainty > 0, expected)


def test_finds_an_organ_of_a_single_voxel() -> None:
    grid = a_grid(spacing=(0.4, 0.4, 0.4), working=(1.2, 1.2, 1.2))
    speck = torch.zeros(grid.shape[0], len(VALUES), *grid.shape[1:])
    speck[:, 0] = 1
    speck[2, :, 3, 1] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    restored = restore(slabs_of(speck), grid, VALUES)
    z, y, x = (
        round(float(axis.original(index))) for axis, index in zip(grid.axis_maps, (2, 3, 1), strict=True)
    )
    assert restored.labels[z, y, x] == 3
    assert 1 < (restored.labels == 3).sum() <= 27


@pytest.mark.parametrize("size", [(1, 18, 15), (22, 1, 15), (22, 18, 1), (1, 1, 1)])
def test_restores_a_flat_volume(size: tuple[int, int, int]) -> None:
    grid = a_grid(size=size)
    probabilities = probabilities_on(grid)
    restored = restore(slabs_of(probabilities), grid, VALUES)
    assert restored.labels.shape == size[::-1]
    if size == (1, 1, 1):
        assert restored.labels.item() == VALUES[probabilities.argmax()]


def test_uncertainty_runs_from_certain_to_a_toss_up() -> None:
    grid = a_grid()
    certain = torch.zeros(grid.shape[0], len(VALUES), *grid.shape[1:])
    certain[:, 1] = 1
    assert (restore(slabs_of(certain), grid, VALUES).uncertainty == 0).all()
    toss_up = torch.full_like(certain, 1 / len(VALUES))
    assert (restore(slabs_of(toss_up), grid, VALUES).uncertainty == 100).all()
    between_two = torch.zeros_like(certain)
    between_two[:, :2] = 0.5
    assert (restore(slabs_of(between_two), grid, VALUES).uncertainty == 50).all()

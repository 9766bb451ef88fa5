from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from sslseg.contract.cohort import AnnotatedSlices, Case
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, default_color
from sslseg.data.body import body_box
from sslseg.data.fingerprint import Fingerprint
from sslseg.data.plan import IntensityMapping, Plan
from sslseg.data.preprocess import prepare_image, prepare_label
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.data.working_grid import WorkingGrid

CHAOS = Path(__file__).parents[3] / "shared" / "data" / "chaos_t2_half"
LABELS = (Label("liver", 7, (200, 10, 10)), Label("spleen", 2, (10, 200, 10)))
BOTH = Case("a", "a.nii.gz", "l.nii.gz", ["liver", "spleen"])


def a_plan(*spacing: float, modality: str = "CT", labels: tuple[Label, ...] = LABELS) -> Plan:
    fingerprint = Fingerprint(modality, labels, 1, 1, spacing, spacing, (9, 9, 9), (0, 1, 2), ())  # type: ignore[arg-type]
    mapping = IntensityMapping("fixed", 0.0, 1000.0)
    if modality == "MR":
        mapping = IntensityMapping("percentile", 0.5, 99.5)
    return Plan(1, modality, labels, spacing, mapping, (8, 8, 8), ((2, 2, 2),), (), fingerprint)  # type: ignore[arg-type]


def an_image(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> sitk.Image:
    """`array` (z, y, x) at `spacing` (z, y, x)."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    image.SetOrigin((-31.0, 12.5, 100.25))
    return image


def a_body(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def on_working_grid(values: np.ndarray, grid: WorkingGrid) -> np.ndarray:
    """`values` of the working grid at every voxel of the scan, nearest neighbour; 0 outside the body box."""
    rows = [
        np.clip(np.rint(m.working(np.arange(m.start, m.stop))).astype(int), 0, side - 1)
        for m, side in zip(grid.axis_maps, grid.shape, strict=True)
    ]
    restored = np.zeros(grid.original.size[::-1], dtype=values.dtype)
    order = [m.original_axis for m in grid.axis_maps]
    restored[tuple(slice(*side) for side in grid.box)] = values[np.ix_(*rows)].transpose(np.argsort(order))
    return restored


def test_unchanged_spacing_changes_no_voxel() -> None:
    array = a_body((9, 10, 11))
    prepared = prepare_image(an_image(array, (2.0, 1.5, 1.0)), a_plan(2.0, 1.5, 1.0))
    np.testing.assert_array_equal(prepared.array, np.rint(array / 1000 * 32767))


@pytest.mark.parametrize("orientation", ["RAI", "LAS", "PIR", "ASL", "SPR", "IRP", "RSA"])
def test_every_orientation_of_a_scan_gives_the_same_array(orientation: str) -> None:
    image = an_image(a_body((14, 17, 20)), (2.0, 1.5, 1.0))
    label = sitk.Cast(image > 500, sitk.sitkUInt8) * 7
    plan = a_plan(1.7, 1.2, 2.3)
    turned = sitk.DICOMOrient(image, orientation)
    first, second = prepare_image(image, plan), prepare_image(turned, plan)
    assert first.grid.original != second.grid.original
    np.testing.assert_allclose(first.array, second.array, atol=1)
    np.testing.assert_array_equal(
        prepare_label(sitk.DICOMOrient(label, orientation), second.grid, plan, BOTH)[1:-1, 1:-1, 1:-1],
        prepare_label(label, first.grid, plan, BOTH)[1:-1, 1:-1, 1:-1],
    )


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
    target=st.tuples(*[st.floats(0.4, 6)] * 3),
    orientation=st.sampled_from(["LPS", "RAI", "PIR", "ASL"]),
    angle=st.floats(-0.6, 0.6),
)
def test_axis_maps_agree_with_patient_coordinates(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    target: tuple[float, ...],
    orientation: str,
    angle: float,
) -> None:
    image = an_image(np.zeros(shape, np.int16), spacing)  # type: ignore[arg-type]
    image.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1))
    image = sitk.DICOMOrient(image, orientation)
    grid = prepare_image(image, a_plan(*target)).grid

    def position(z: float, y: float, x: float) -> np.ndarray:
        """Patient coordinates (z, y, x) of a voxel of the working grid."""
        index = [0.0, 0.0, 0.0]
        for axis_map, coordinate in zip(grid.axis_maps, (z, y, x), strict=True):
            index[2 - axis_map.original_axis] = float(axis_map.original(coordinate))
            assert axis_map.working(axis_map.original(coordinate)) == pytest.approx(coordinate)
        return np.array(image.TransformContinuousIndexToPhysicalPoint(index))[::-1]

    first, last = position(0, 0, 0), position(*(n - 1 for n in grid.shape))
    corners = [np.array(image.TransformContinuousIndexToPhysicalPoint(c))[::-1] for c in corners_of(image)]
    np.testing.assert_allclose((first + last) / 2, np.mean(corners, axis=0), atol=1e-6)
    for axis, step in enumerate(np.eye(3)):
        move = position(*step) - first
        assert np.linalg.norm(move) == pytest.approx(target[axis])
        assert int(np.abs(move).argmax()) == axis
        assert move[axis] > 0


def corners_of(image: sitk.Image) -> list[tuple[float, ...]]:
    return [(0.0, 0.0, 0.0), tuple(float(n - 1) for n in image.GetSize())]


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 30)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 6)] * 3),
    target=st.tuples(*[st.floats(0.4, 6)] * 3),
)
def test_image_and_label_have_the_shape_of_the_grid(
    shape: tuple[int, ...], spacing: tuple[float, ...], target: tuple[float, ...]
) -> None:
    plan = a_plan(*target)
    image = an_image(a_body(shape), spacing)  # type: ignore[arg-type]
    prepared = prepare_image(image, plan)
    label = prepare_label(sitk.Cast(image > 500, sitk.sitkUInt8), prepared.grid, plan, BOTH)
    assert prepared.array.shape == label.shape == prepared.grid.shape
    assert prepared.array.min() >= 0
    extent = np.multiply(prepared.grid.shape, target)
    assert (
        np.abs(extent - np.multiply(shape, spacing))
        <= np.maximum(0.5 * np.array(target), target - np.multiply(shape, spacing)) + 1e-6
    ).all()


def test_a_ramp_stays_a_ramp() -> None:
    ramp = np.broadcast_to(np.linspace(0, 1000, 41)[:, None, None], (41, 12, 12)).astype(np.float32)
    prepared = prepare_image(an_image(ramp), a_plan(0.5, 1.0, 1.0))
    inner = prepared.array[4:-4, 5, 5] / 32767
    np.testing.assert_allclose(np.diff(inner), 1 / 80, atol=1e-3)


def test_fine_detail_is_averaged_before_it_is_sampled_coarsely() -> None:
    stripes = np.zeros((40, 40, 40), np.int16)
    stripes[:, :, ::2] = 1000
    prepared = prepare_image(an_image(stripes), a_plan(1.0, 1.0, 4.0))
    np.testing.assert_allclose(prepared.array[:, :, 1:-1] / 32767, 0.5, atol=0.01)


def test_ct_is_cropped_to_the_body_and_a_margin() -> None:
    array = np.full((60, 80, 100), -1000, np.int16)
    array[30:50, 20:60, 40:70] = 40
    array[5, 5, 5] = 500
    assert body_box(array, (2.0, 1.0, 1.0), "CT") == ((25, 55), (10, 70), (30, 80))


def test_mr_is_cropped_whatever_its_scale() -> None:
    array = np.abs(np.random.default_rng(0).normal(0, 3, (60, 60, 60)))
    array[20:40, 20:40, 15:40] += 300
    for scale in (1.0, 0.001, 1000.0):
        assert body_box(array * scale, (5.0, 5.0, 5.0), "MR") == ((18, 42), (18, 42), (13, 42))


@pytest.mark.parametrize("filled", [0, 4])
def test_an_implausibly_small_body_is_not_cropped_to(filled: int) -> None:
    array = np.full((90, 90, 90), -1000, np.int16)
    array[:filled, :filled, :filled] = 40
    assert body_box(array, (5.0, 5.0, 5.0), "CT") == ((0, 90), (0, 90), (0, 90))


def test_a_grid_survives_the_crop_and_the_way_back() -> None:
    array = np.full((50, 60, 70), -1000, np.int16)
    array[12:40, 20:45, 30:60] = 500
    image = sitk.DICOMOrient(an_image(array, (2.0, 1.0, 1.5)), "PIR")
    plan = a_plan(1.0, 1.0, 1.0)
    label = sitk.Cast(image > 0, sitk.sitkUInt8) * 7
    prepared = prepare_image(image, plan)
    classes = prepare_label(label, prepared.grid, plan, BOTH)
    restored = on_working_grid(plan.values[classes], prepared.grid)
    drawn = sitk.GetArrayFromImage(label)
    assert np.count_nonzero(restored != drawn) < 0.02 * np.count_nonzero(drawn)


def test_declared_values_become_class_indices_and_255_stays() -> None:
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[0], drawn[1], drawn[2] = 7, 2, 255
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    label = prepare_label(an_image(drawn), grid, plan, BOTH)
    assert label[:, 3, 3].tolist() == [1, 2, 255, 0, 0, 0]


def test_an_organ_that_was_not_annotated_is_unknown() -> None:
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[0], drawn[1] = 7, 2
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    only_spleen = dataclasses.replace(BOTH, annotated=["spleen"])
    assert prepare_label(an_image(drawn), grid, plan, only_spleen)[:, 3, 3].tolist() == [255, 2, 0, 0, 0, 0]


@pytest.mark.parametrize(("axis", "array_axis"), [("i", 2), ("j", 1), ("k", 0)])
def test_only_annotated_slices_are_known(axis: str, array_axis: int) -> None:
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((10, 11, 12))), plan).grid
    case = dataclasses.replace(BOTH, slices={"liver": AnnotatedSlices(axis, [2, 7])})  # type: ignore[arg-type]
    label = prepare_label(an_image(np.full((10, 11, 12), 7, np.uint8)), grid, plan, case)
    along = np.moveaxis(label, array_axis, 0)
    assert np.flatnonzero((along == 1).all(axis=(1, 2))).tolist() == [2, 7]
    assert (np.delete(along, [2, 7], axis=0) == 255).all()


@pytest.mark.parametrize("orientation", ["LPS", "LPI"])
@pytest.mark.parametrize("number", range(9))
def test_no_annotated_slice_is_lost_on_a_coarser_grid(orientation: str, number: int) -> None:
    plan = a_plan(3.0, 1.0, 1.0)
    image = sitk.DICOMOrient(an_image(a_body((9, 6, 6))), orientation)
    grid = prepare_image(image, plan).grid
    drawn = np.full((9, 6, 6), 2, np.uint8)
    drawn[number] = 7
    label_map = sitk.GetImageFromArray(drawn)
    label_map.CopyInformation(image)
    case = dataclasses.replace(
        BOTH, slices={organ: AnnotatedSlices("k", [number]) for organ in BOTH.annotated}
    )
    label = prepare_label(label_map, grid, plan, case)
    place = number // 3 if orientation == "LPS" else 2 - number // 3
    assert [set(plane.ravel()) for plane in label] == [{1} if z == place else {255} for z in range(3)]


def test_an_organ_drawn_on_some_slices_leaves_the_others_as_they_are() -> None:
    """The liver was annotated on slices 1 and 2, the spleen on 2 and 3 across; both were drawn on more."""
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[:, :2], drawn[:, 4:] = 7, 2
    only_liver = dataclasses.replace(BOTH, slices={"liver": AnnotatedSlices("k", [1, 2])})
    label = prepare_label(an_image(drawn), grid, plan, only_liver)
    assert label[1:3, :, 3].tolist() == [[1, 1, 0, 0, 2, 2]] * 2
    assert label[[0, 3, 4, 5], :, 3].tolist() == [[255, 255, 255, 255, 2, 2]] * 4

    both = dataclasses.replace(
        BOTH, slices={"liver": AnnotatedSlices("k", [1, 2]), "spleen": AnnotatedSlices("i", [2, 3])}
    )
    label = prepare_label(an_image(drawn), grid, plan, both)
    assert label[2, :, 2].tolist() == [1, 1, 0, 0, 2, 2]
    assert label[2, :, 5].tolist() == [1, 1, 255, 255, 255, 255]
    assert label[5, :, 2].tolist() == [255, 255, 255, 255, 2, 2]


def test_slices_of_an_organ_that_does_not_count_as_annotated_hide_nothing() -> None:
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    drawn = np.full((6, 6, 6), 2, np.uint8)
    drawn[:, 0], drawn[:, 1] = 7, 0
    case = dataclasses.replace(BOTH, annotated=["spleen"], slices={"liver": AnnotatedSlices("k", [1])})
    assert prepare_label(an_image(drawn), grid, plan, case)[4, :, 3].tolist() == [255, 0, 2, 2, 2, 2]


def test_refuses_slices_that_are_not_there() -> None:
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    case = dataclasses.replace(BOTH, slices={"liver": AnnotatedSlices("k", [3, 6])})
    with pytest.raises(SSLSegError, match="slice 6 of 6"):
        prepare_label(an_image(np.zeros((6, 6, 6), np.uint8)), grid, plan, case)


def test_refuses_a_label_map_on_another_grid() -> None:
    plan = a_plan(1.0, 1.0, 1.0)
    grid = prepare_image(an_image(a_body((6, 6, 6))), plan).grid
    with pytest.raises(SSLSegError, match=r"l\.nii\.gz: .* 6 x 6 x 5 voxels instead of 6 x 6 x 6"):
        prepare_label(an_image(np.zeros((5, 6, 6), np.uint8)), grid, plan, BOTH, file=Path("l.nii.gz"))


@pytest.mark.shared
@pytest.mark.skipif(not CHAOS.exists(), reason="../shared/data is absent")
def test_real_organs_survive_the_way_to_the_working_grid_and_back() -> None:
    names = json.loads((CHAOS / "dataset.json").read_text())["labels"]
    labels = tuple(Label(name, int(v), default_color(int(v))) for v, name in names.items() if v != "0")
    plan = a_plan(5.0, 2.0, 2.0, modality="MR", labels=labels)
    name = (CHAOS / "train.txt").read_text().split()[0]
    image = read_volume(CHAOS / "images" / f"{name}.nii.gz")
    path = CHAOS / "labels" / f"{name}.nii.gz"
    label_map = read_label_map(path, allowed=[label.value for label in labels], reference=image)
    case = Case(name, "i", "l", [label.name for label in labels])
    prepared = prepare_image(image, plan)
    restored = on_working_grid(
        plan.values[prepare_label(label_map, prepared.grid, plan, case)], prepared.grid
    )
    drawn = sitk.GetArrayViewFromImage(label_map)
    for label in labels:
        a, b = drawn == label.value, restored == label.value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95

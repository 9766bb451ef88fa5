from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from sslseg.contract.cohort import AnnotatedSlices, Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, LabelTable, default_color
from sslseg.data import volumes
from sslseg.data.fingerprint import Fingerprint, OrganSize, fingerprint_cohort
from sslseg.data.plan import CPU_PATCH, CUDA_PATCH, PATCHES_PER_CASE, IntensityMapping, Plan, make_plan

LIVER = Label("liver", 3, (200, 10, 10))


def a_fingerprint(**changes: Any) -> Fingerprint:
    values: dict[str, Any] = {
        "modality": "CT",
        "labels": (LIVER,),
        "cases": 20,
        "annotated": 12,
        "spacing": (1.5, 1.5, 1.5),
        "fine_spacing": (1.0, 1.0, 1.0),
        "extent": (150.0, 120.0, 180.0),
        "intensity": (-63.0, 55.0, 188.0),
        "organs": (OrganSize("liver", 12, 1500.0),),
    }
    return Fingerprint(**(values | changes))


def test_a_plan_survives_json() -> None:
    plan = make_plan(a_fingerprint())
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"patch_size": [30, 32, 32]},
        {"spacing": [0.0, 1.0, 1.0]},
        {"strides": [[3, 2, 2]]},
        {"mirror_axes": [3]},
        {"intensity": {"kind": "fixed", "lower": 5.0, "upper": 5.0}},
        {"surprise": 1},
    ],
)
def test_refuses_a_plan_that_contradicts_itself(change: dict[str, Any]) -> None:
    with pytest.raises(SSLSegError, match=r"plan\.json"):
        Plan.from_json(make_plan(a_fingerprint()).to_json() | change, file=Path("plan.json"))


def test_takes_the_median_spacing() -> None:
    assert make_plan(a_fingerprint()).spacing == (1.5, 1.5, 1.5)


def test_takes_thick_slices_finer_but_not_finer_than_the_plane() -> None:
    thick = a_fingerprint(spacing=(5.0, 1.2, 1.2), fine_spacing=(2.5, 1.0, 1.0))
    assert make_plan(thick).spacing == (2.5, 1.2, 1.2)
    thin = dataclasses.replace(thick, fine_spacing=(0.6, 1.0, 1.0))
    assert make_plan(thin).spacing == (1.2, 1.2, 1.2)


def test_coarsens_only_the_fine_axes_of_a_large_body() -> None:
    large = a_fingerprint(spacing=(2.5, 1.0, 1.0), extent=(400.0, 250.0, 350.0))
    for device, patch in (("cpu", CPU_PATCH), ("cuda", CUDA_PATCH)):
        spacing = make_plan(large, device=device).spacing
        voxels = np.prod(np.divide(large.extent, spacing))
        assert voxels <= 1.001 * PATCHES_PER_CASE * patch
        assert spacing[1] == spacing[2]
        assert spacing[0] == max(2.5, spacing[1])
    assert make_plan(large, device="cuda").spacing == (2.5, 1.0, 1.0)


@settings(max_examples=150, deadline=None)
@given(
    spacing=st.tuples(*[st.floats(0.3, 8)] * 3),
    extent=st.tuples(*[st.floats(4, 600)] * 3),
    device=st.sampled_from(["cpu", "cuda"]),
)
def test_a_patch_fits_the_network_the_memory_and_the_body(
    spacing: tuple[float, ...], extent: tuple[float, ...], device: str
) -> None:
    plan = make_plan(a_fingerprint(spacing=spacing, fine_spacing=spacing, extent=extent), device=device)
    patch, divisor = np.array(plan.patch_size), np.array(plan.divisor)
    shape = np.maximum(1, np.round(np.divide(extent, plan.spacing)))
    assert 1 <= len(plan.strides) <= 4
    assert (patch % divisor == 0).all()
    assert (patch < shape + divisor).all()
    assert patch.prod() <= 1.01 * (CPU_PATCH if device == "cpu" else CUDA_PATCH)


def test_spares_the_thick_axis_until_the_others_have_caught_up() -> None:
    thick = a_fingerprint(
        modality="MR", spacing=(7.7, 2.5, 2.5), fine_spacing=(7.7, 2.5, 2.5), extent=(290, 320, 320)
    )
    strides = make_plan(thick, device="cuda").strides
    assert strides[0] == (1, 2, 2)
    assert strides[1] == (2, 2, 2)


def test_takes_a_smaller_patch_when_memory_is_short() -> None:
    large = a_fingerprint(extent=(300.0, 300.0, 300.0))
    ample = make_plan(large, device="cuda", memory_bytes=80 * 2**30).patch_size
    short = make_plan(large, device="cuda", memory_bytes=6 * 2**30).patch_size
    assert ample == (128, 128, 128)
    assert np.prod(short) * 8192 <= 0.7 * 6 * 2**30
    assert np.prod(short) > 0.6 * 0.7 * 6 * 2**30 / 8192


def test_takes_the_patch_it_is_given() -> None:
    plan = make_plan(a_fingerprint(), patch_size=(16, 32, 48))
    assert plan.patch_size == (16, 32, 48)
    assert plan.strides == ((2, 2, 2), (2, 2, 2), (1, 2, 2))


def test_refuses_a_patch_that_cannot_be_halved_and_names_one_that_can() -> None:
    with pytest.raises(SSLSegError, match=r"100 x 64 x 64 .* Take 96 x 64 x 64"):
        make_plan(a_fingerprint(), patch_size=(100, 64, 64))


def test_ct_window_spans_the_organs_and_is_wider_with_few_cases() -> None:
    many = make_plan(a_fingerprint()).intensity
    few = make_plan(a_fingerprint(annotated=3)).intensity
    narrow = make_plan(a_fingerprint(intensity=(30.0, 40.0, 60.0))).intensity
    assert (many.lower, many.upper) == (-70, 190)
    assert (few.lower, few.upper) == (-90, 220)
    assert (narrow.lower, narrow.upper) == (-60, 150)


def test_fixed_mapping_is_linear_between_its_limits() -> None:
    mapping = IntensityMapping("fixed", -100.0, 300.0)
    volume = np.array([-2000, -100, 100, 300, 3000], dtype=np.int16)
    np.testing.assert_allclose(mapping.apply(volume), [0, 0, 0.5, 1, 1], atol=1e-6)


def test_percentile_mapping_does_not_depend_on_scale_or_on_the_share_of_air() -> None:
    mapping = make_plan(a_fingerprint(modality="MR")).intensity
    tissue = np.random.default_rng(0).uniform(100, 900, 40_000)
    cropped = np.concatenate([np.zeros(10_000), tissue])
    roomy = np.concatenate([np.zeros(60_000), tissue]) * 7.0
    first, second = mapping.apply(cropped)[-40_000:], mapping.apply(roomy)[-40_000:]
    assert np.abs(first - second).max() < 0.01
    assert first.min() < 0.01
    assert first.max() == 1


def test_percentile_mapping_of_a_constant_volume_is_finite() -> None:
    mapped = IntensityMapping("percentile", 0.5, 99.5).apply(np.full((4, 4, 4), 7.0))
    assert np.isfinite(mapped).all()


@pytest.mark.parametrize(
    ("names", "axes"),
    [
        (["liver", "spleen"], (2,)),
        (["liver", "Left Kidney"], ()),
        (["kidney_r"], ()),
        (["lung-left-upper"], ()),
        (["vertebra_L1", "cleft", "bright"], (2,)),
    ],
)
def test_mirrors_left_to_right_only_without_handed_organs(names: list[str], axes: tuple[int, ...]) -> None:
    labels = tuple(Label(name, i + 1, default_color(i)) for i, name in enumerate(names))
    assert make_plan(a_fingerprint(labels=labels)).mirror_axes == axes


@pytest.fixture
def a_cohort(tmp_path: Path) -> Cohort:
    """Three training cases of 20 x 24 x 28 voxels, one of them turned, and a test case without a file."""
    cohort = Cohort.create(tmp_path, name="c", modality="CT", labels=LabelTable([LIVER]))
    for number in range(3):
        voxels = np.full((28, 24, 20), 40 + number, dtype=np.int16)
        drawn = np.zeros(voxels.shape, dtype=np.uint8)
        drawn[10:20, 5:15, 5:15] = LIVER.value
        voxels[drawn > 0] = np.linspace(100, 200, 1000)
        for name, array in (("image", voxels), ("label", drawn)):
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((1.0, 2.0, 3.0))
            if number == 2:
                image = sitk.DICOMOrient(image, "SRA")
            sitk.WriteImage(image, tmp_path / f"{name}{number}.nii.gz")
        annotated = ["liver"] if number != 1 else []
        cohort.cases.append(Case(f"c{number}", f"image{number}.nii.gz", f"label{number}.nii.gz", annotated))
    cohort.cases.append(Case("secret", "nowhere.nii.gz", use=Use.TEST))
    return cohort


def test_fingerprint_measures_along_the_axes_of_the_patient(a_cohort: Cohort) -> None:
    fingerprint = fingerprint_cohort(a_cohort)
    assert (fingerprint.cases, fingerprint.annotated) == (3, 2)
    assert fingerprint.spacing == fingerprint.fine_spacing == (3.0, 2.0, 1.0)
    assert fingerprint.extent == (84.0, 48.0, 20.0)
    assert fingerprint.organs == (OrganSize("liver", 2, 6.0),)
    np.testing.assert_allclose(fingerprint.intensity, (100.5, 150, 199.5), atol=0.5)


def test_an_organ_drawn_on_some_slices_gives_intensities_from_those_and_no_volume(a_cohort: Cohort) -> None:
    case = a_cohort.cases[0]
    drawn = sitk.GetArrayFromImage(sitk.ReadImage(a_cohort.folder / case.label))
    first = int(np.flatnonzero(drawn.any(axis=(1, 2)))[0])
    image = sitk.ReadImage(a_cohort.folder / case.image)
    voxels = sitk.GetArrayFromImage(image)
    brighter = np.where((np.arange(len(voxels)) == first)[:, None, None], voxels + 1000, voxels)
    changed = sitk.GetImageFromArray(brighter)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, a_cohort.folder / case.image)
    case.slices = {"liver": AnnotatedSlices("k", [first])}
    a_cohort.cases = [case]
    fingerprint = fingerprint_cohort(a_cohort)
    assert fingerprint.organs == (OrganSize("liver", 0, 0.0),)
    assert fingerprint.intensity[0] >= 1000


def test_fingerprint_falls_back_on_the_body_when_nothing_is_annotated(a_cohort: Cohort) -> None:
    for case in a_cohort.cases:
        case.annotated = []
    fingerprint = fingerprint_cohort(a_cohort)
    assert fingerprint.annotated == 0
    assert fingerprint.intensity[1] == 41
    assert fingerprint.organs == (OrganSize("liver", 0, 0.0),)


def test_fingerprint_reads_a_case_again_only_when_it_has_changed(
    a_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint_cohort(a_cohort)
    read: list[Path] = []
    original = volumes.read_volume
    monkeypatch.setattr(volumes, "read_volume", lambda path, **k: read.append(path) or original(path, **k))
    assert fingerprint_cohort(a_cohort) == first
    assert read == []
    a_cohort.cases[1].annotated = ["liver"]
    assert fingerprint_cohort(a_cohort).annotated == 3
    assert read == [a_cohort.folder / "image1.nii.gz"]


def test_fingerprint_needs_a_training_case(tmp_path: Path) -> None:
    empty = Cohort.create(tmp_path, name="c", modality="CT", labels=LabelTable([LIVER]))
    with pytest.raises(SSLSegError, match="no training case"):
        fingerprint_cohort(empty)

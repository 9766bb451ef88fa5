"""Phantoms: the same numbers give the same patient, and the patient is one a network can learn from."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.files import read_json
from sslseg.contract.labels import read_labels
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.phantoms.phantom import GRID, PHANTOM_LABELS, Phantom, make_phantom, write_phantom_dataset

PLAUSIBLE_ML = {
    "liver": (900, 2100),
    "spleen": (70, 380),
    "right_kidney": (80, 260),
    "left_kidney": (80, 260),
    "aorta": (40, 190),
    "gallbladder": (7, 32),
}


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(11, index=index) for index in range(9)]


def in_lps(phantom: Phantom, voxels: np.ndarray) -> np.ndarray:
    """The voxels with x to the left, y to the back, z to the head."""
    signs = np.diag(np.reshape(phantom.direction, (3, 3)))[::-1]
    return voxels[tuple(slice(None, None, int(sign)) for sign in signs)]


def centre_mm(phantom: Phantom, organ: str) -> np.ndarray:
    """The middle of an organ, (x, y, z) mm, by the geometry in the file alone."""
    value = next(label.value for label in PHANTOM_LABELS if label.name == organ)
    index = np.argwhere(phantom.label == value).mean(axis=0)[::-1]
    step = np.asarray(phantom.spacing[::-1])
    return np.asarray(phantom.origin) + np.reshape(phantom.direction, (3, 3)) @ (index * step)


def test_the_same_numbers_give_the_same_phantom_bit_for_bit():
    first, second = make_phantom(3, index=2), make_phantom(3, index=2)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.label, second.label)
    assert (first.spacing, first.origin, first.direction) == (second.spacing, second.origin, second.direction)


@pytest.mark.parametrize(("seed", "index"), [(4, 2), (3, 5)])
def test_another_seed_or_index_gives_another_patient(seed, index):
    assert (make_phantom(3, index=2).label != make_phantom(seed, index=index).label).mean() > 0.01


def test_every_organ_is_there_in_a_plausible_size(phantoms):
    for phantom in phantoms:
        assert phantom.image.shape == phantom.label.shape == GRID
        assert phantom.image.dtype == np.int16
        assert phantom.label.dtype == np.uint8
        for organ, volume in phantom.volumes_ml().items():
            low, high = PLAUSIBLE_ML[organ]
            assert low < volume < high, organ


def test_the_largest_organ_is_at_least_fifty_times_the_smallest(phantoms):
    for phantom in phantoms:
        volumes = phantom.volumes_ml().values()
        assert max(volumes) > 50 * min(volumes)


def test_intensities_are_those_of_ct(phantoms):
    for phantom in phantoms:
        assert phantom.image.min() >= -1024
        assert np.median(phantom.image[:, 0, 0]) == pytest.approx(-1000, abs=15)
        assert phantom.image.max() > 350
        assert 35 < np.median(phantom.image[phantom.label == 1]) < 135
        assert -20 < np.median(phantom.image[phantom.label == 6]) < 40


def test_the_phases_of_contrast_take_turns(phantoms):
    aorta = [float(np.median(phantom.image[phantom.label == 5])) for phantom in phantoms]
    for none, arterial, venous in zip(aorta[::3], aorta[1::3], aorta[2::3], strict=True):
        assert none + 50 < venous < arterial - 60


def test_left_and_right_hold_in_patient_coordinates_whatever_the_direction(phantoms):
    assert len({phantom.direction for phantom in phantoms}) == 2
    for phantom in phantoms:
        right, left = centre_mm(phantom, "right_kidney"), centre_mm(phantom, "left_kidney")
        assert left[0] - right[0] > 80
        assert centre_mm(phantom, "liver")[0] < centre_mm(phantom, "spleen")[0]
        assert centre_mm(phantom, "gallbladder")[1] < right[1]


def test_the_lungs_lie_above_the_liver(phantoms):
    for phantom in phantoms:
        image = in_lps(phantom, phantom.image)
        lung = np.argwhere((image[:, 12:-12, 24:-24] < -750) & (image[:, 12:-12, 24:-24] > -920))
        liver = np.argwhere(in_lps(phantom, phantom.label) == 1)
        assert np.median(lung[:, 0]) > np.median(liver[:, 0])


def test_geometry_differs_between_cases(phantoms):
    assert len({phantom.spacing for phantom in phantoms}) == len(phantoms)
    assert len({phantom.origin for phantom in phantoms}) == len(phantoms)


def test_the_dataset_can_be_read_back_with_its_geometry(tmp_path):
    folder = write_phantom_dataset(tmp_path / "phantoms", cases=4, test=1, seed=1)
    train = (folder / "train.txt").read_text().split()
    test = (folder / "test.txt").read_text().split()
    assert (len(train), len(test)) == (3, 1)
    assert not set(train) & set(test)
    assert read_json(folder / "dataset.json")["modality"] == "CT"
    assert read_labels(folder / "dataset.json").names == [label.name for label in PHANTOM_LABELS]
    values = [organ.value for organ in PHANTOM_LABELS]
    for index, name in enumerate(train + test):
        phantom = make_phantom(1, index=index)
        image = read_volume(folder / "images" / f"{name}.nii.gz")
        label = read_label_map(folder / "labels" / f"{name}.nii.gz", allowed=values, reference=image)
        assert label.GetPixelID() == sitk.sitkUInt8
        np.testing.assert_array_equal(sitk.GetArrayFromImage(label), phantom.label)
        np.testing.assert_allclose(label.GetSpacing(), phantom.spacing[::-1], atol=1e-4)
        np.testing.assert_allclose(label.GetOrigin(), phantom.origin, atol=1e-3)
        np.testing.assert_allclose(label.GetDirection(), phantom.direction, atol=1e-6)
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), phantom.image)


def test_refuses_to_keep_every_case_for_testing(tmp_path):
    with pytest.raises(ValueError, match="cannot be kept"):
        write_phantom_dataset(tmp_path, cases=3, test=3, seed=0)
    assert not list(tmp_path.iterdir())

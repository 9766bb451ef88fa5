"""Small pictures of cases: turned as a radiologist expects them, whatever the order of the voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import parse_labels
from sslseg.data.thumbnails import SIDE, make_thumbnail, write_thumbnail

ORGANS = parse_labels("liver=3,spleen=7")
BRIGHT = 200


def image_of(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


@pytest.fixture
def a_head() -> sitk.Image:
    """An MR volume (10, 40, 30): air in the lowest slice, a patient, and one bright corner: right, front."""
    array = np.full((10, 40, 30), 60, dtype=np.int16)
    array[0] = 0
    array[1:, :10, :8] = BRIGHT
    return image_of(array)


@pytest.fixture
def an_annotation(a_head: sitk.Image) -> sitk.Image:
    array = np.zeros((10, 40, 30), dtype=np.uint8)
    array[7, 20:30, 15:25] = 3
    labels = sitk.GetImageFromArray(array)
    labels.CopyInformation(a_head)
    return labels


def test_the_patients_right_is_at_the_left_and_the_front_at_the_top(a_head: sitk.Image) -> None:
    for turned in ("LPS", "RAS", "PIL", "SAR"):
        picture = make_thumbnail(sitk.DICOMOrient(a_head, turned), None, ORGANS)
        shown = np.flatnonzero(picture[:, :, 3].any(axis=0))
        left, right = picture[:, shown[: len(shown) // 5]], picture[:, shown[-len(shown) // 5 :]]
        assert left[4:12, :, 0].mean() > right[4:12, :, 0].mean() + 50, turned
        assert left[4:12, :, 0].mean() > left[-12:-4, :, 0].mean() + 50, turned


def test_millimetres_are_square_and_what_is_beside_the_volume_is_transparent(a_head: sitk.Image) -> None:
    picture = make_thumbnail(a_head, None, ORGANS)
    assert picture.shape == (SIDE, SIDE, 4)
    shown = picture[:, :, 3] > 0
    height, width = shown.any(axis=1).sum(), shown.any(axis=0).sum()
    assert height == SIDE and abs(width / height - 30 / 40) < 0.05


def test_the_slice_is_one_that_shows_the_organs_in_their_colours(
    a_head: sitk.Image, an_annotation: sitk.Image
) -> None:
    picture = make_thumbnail(a_head, an_annotation, ORGANS)
    assert (picture[:, :, :3] == ORGANS.find("liver").color).all(axis=2).sum() > 20
    assert not (picture[:, :, :3] == ORGANS.find("spleen").color).all(axis=2).any()


@pytest.mark.parametrize("value", [0, 1000])
def test_a_volume_of_one_intensity_has_a_picture(value: int) -> None:
    picture = make_thumbnail(image_of(np.full((4, 6, 8), value, dtype=np.int16)), None, ORGANS)
    assert np.isfinite(picture).all()


def test_a_picture_is_a_png(a_head: sitk.Image, tmp_path: Path) -> None:
    picture = make_thumbnail(a_head, None, ORGANS)
    write_thumbnail(picture, tmp_path / "new" / "one.png")
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "new" / "one.png"))), picture
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.png"]


def test_a_picture_that_cannot_be_written_is_said_in_a_sentence(a_head: sitk.Image, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SSLSegError, match="cannot be written"):
        write_thumbnail(make_thumbnail(a_head, None, ORGANS), tmp_path / "file" / "one.png")

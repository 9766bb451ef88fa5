"""DICOM series: what loads as a straight, even stack and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_slices import SERIES_A, SERIES_B, write_slice, write_stack

from sslseg.contract.errors import SSLSegError
from sslseg.data.geometry import Geometry
from sslseg.data.volumes import find_volumes, probe_volume, read_volume

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "dicom_series"


def refusal(path: Path, **options) -> str:
    with pytest.raises(SSLSegError) as caught:
        read_volume(path, **options)
    assert caught.value.remedy
    return caught.value.what


def test_reads_a_series_in_the_order_of_its_positions(tmp_path):
    image = read_volume(write_stack(tmp_path / "series"))
    assert image.GetSize() == (6, 5, 4)
    assert image.GetSpacing() == pytest.approx((0.6, 0.8, 2.5))
    assert image.GetOrigin() == pytest.approx((-10, -20, 0))
    assert sitk.GetArrayFromImage(image)[:, 0, 0].tolist() == [-1024, -1014, -1004, -994]
    header = probe_volume(tmp_path / "series")
    assert (header.geometry, header.pixel_type) == (Geometry.of(image), image.GetPixelIDTypeAsString())
    assert find_volumes(tmp_path) == [tmp_path / "series"]


def test_an_oblique_series_keeps_its_coordinates(tmp_path):
    rotation = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.4).GetMatrix(), (3, 3))
    for index in range(4):
        position = np.array([10.0, -20.0, 30.0]) + 3.2 * index * rotation[:, 2]
        pixels = np.full((5, 6), index, np.int16)
        write_slice(tmp_path / f"{index}.dcm", position, axes=rotation.T.ravel()[:6], pixels=pixels)
    expected = Geometry((6, 5, 4), (0.6, 0.8, 3.2), (10.0, -20.0, 30.0), tuple(rotation.ravel()))
    assert Geometry.of(read_volume(tmp_path)).mismatch(expected, 1e-4) is None


def test_positions_rounded_by_the_scanner_are_no_uneven_spacing(tmp_path):
    image = read_volume(write_stack(tmp_path, heights=[round(0.625 * i, 1) for i in range(9)]))
    assert image.GetSpacing()[2] == pytest.approx(0.625)


def test_slices_that_are_scaled_each_on_its_own_become_floating_point(tmp_path):
    for index in range(3):
        pixels = np.full((5, 6), 10 + index, np.int16)
        slope = {"RescaleSlope": str(1 + index / 4), "RescaleIntercept": "0"}
        write_slice(tmp_path / f"{index}.dcm", (0, 0, index), pixels=pixels, **slope)
    voxels = sitk.GetArrayFromImage(read_volume(tmp_path))
    assert voxels[:, 0, 0].tolist() == [10.0, 13.75, 18.0]


def test_a_folder_of_two_series_is_refused_until_one_is_named(tmp_path):
    write_stack(tmp_path)
    for height in (0, 1, 2):
        write_slice(tmp_path / f"b{height}.dcm", (0, 0, height), series=SERIES_B)
    what = refusal(tmp_path)
    assert "holds 2 series" in what
    assert f"{SERIES_A} (CT, 4 files)" in what and f"{SERIES_B} (CT, 3 files)" in what
    assert read_volume(tmp_path, series_uid=SERIES_B).GetSize() == (6, 5, 3)
    assert "does not hold the series 1.2.3" in refusal(tmp_path, series_uid="1.2.3")


@pytest.mark.parametrize(
    ("heights", "phrase"),
    [
        ((0, 2.5, 7.5, 10, 12.5), "usually 2.5 mm apart, but 5 mm between slices 2 and 3"),
        ((0, 2.5, 5.4, 7.5), "unevenly spaced"),
        ((0, 2.5, 2.5, 5), "1 slices lie at the place of another one"),
        ((0,), "single slice"),
    ],
)
def test_refuses_missing_uneven_duplicate_and_lone_slices(tmp_path, heights, phrase):
    assert phrase in refusal(write_stack(tmp_path, heights))


def test_refuses_a_tilted_gantry(tmp_path):
    for index in range(5):
        write_slice(tmp_path / f"{index}.dcm", (0, 0.5 * index, 2.5 * index))
    assert "tilted by 11.3 degrees" in refusal(tmp_path)


def test_refuses_mixed_orientations_and_sizes(tmp_path):
    write_stack(tmp_path / "turned")
    write_slice(tmp_path / "turned" / "x.dcm", (0, 0, 10), axes=(0, 1, 0, 0, 0, -1))
    assert "mixes orientations" in refusal(tmp_path / "turned")
    write_stack(tmp_path / "size")
    write_slice(tmp_path / "size" / "x.dcm", (0, 0, 10), pixels=np.zeros((7, 6), np.int16))
    assert "differ in size" in refusal(tmp_path / "size")


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_refuses_slices_that_do_not_say_where_they_lie(tmp_path, missing):
    assert f"no valid {missing}" in refusal(write_stack(tmp_path, **{missing: None}))


@pytest.mark.parametrize(
    ("options", "phrase"),
    [
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.66.4"}, "DICOM segmentation (SEG)"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.88.33"}, "structured report"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.481.2"}, "RTDOSE"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.481.3"}, "RTSTRUCT"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.481.5"}, "RTPLAN"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.7"}, "secondary capture"),
        ({"NumberOfFrames": 4}, "several frames"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "mosaic"),
        ({"SamplesPerPixel": 3}, "colour"),
    ],
)
def test_refuses_dicom_objects_that_are_no_stack_of_slices(tmp_path, options, phrase):
    path = write_slice(tmp_path / "one.dcm", (0, 0, 0), **options)
    assert phrase in refusal(path)
    assert phrase in refusal(tmp_path)


def test_an_object_beside_the_slices_does_not_disturb(tmp_path):
    write_stack(tmp_path)
    write_slice(tmp_path / "rt.dcm", (0, 0, 0), sop_class="1.2.840.10008.5.1.4.1.1.481.3", series=SERIES_B)
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert read_volume(tmp_path).GetSize() == (6, 5, 4)


def test_refuses_a_single_slice_a_folder_without_slices_and_a_short_file(tmp_path):
    write_stack(tmp_path / "series")
    assert "single slice" in refusal(tmp_path / "series" / "99.dcm")
    (tmp_path / "empty").mkdir()
    assert "no DICOM series" in refusal(tmp_path / "empty")
    short = tmp_path / "short"
    for index in range(3):
        pixels = np.arange(1600, dtype=np.int16).reshape(40, 40)
        path = write_slice(short / f"{index}.dcm", (0, 0, index), pixels=pixels)
    path.write_bytes(path.read_bytes()[:-2000])
    assert "cut short" in refusal(short)


def test_refuses_a_constant_series(tmp_path):
    for index in range(3):
        write_slice(tmp_path / f"{index}.dcm", (0, 0, index), pixels=np.zeros((5, 6), np.int16))
    assert "Every voxel has the value -1024" in refusal(tmp_path)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize(
    ("name", "size", "spacing", "intensities"),
    [
        ("ct_siemens_body_j2k", (512, 512, 20), (0.9765625, 0.9765625, 2.0), (-1024, 1839)),
        ("mr_hippocrop", (35, 51, 32), (1.0, 1.0, 1.0), (2, 154)),
    ],
)
def test_real_series_load_with_their_known_size_spacing_and_range(name, size, spacing, intensities):
    image = read_volume(SHARED / name)
    voxels = sitk.GetArrayViewFromImage(image)
    assert image.GetSize() == size
    assert image.GetSpacing() == pytest.approx(spacing, abs=1e-4)
    assert (voxels.min(), voxels.max()) == intensities
    assert SHARED / name in find_volumes(SHARED)

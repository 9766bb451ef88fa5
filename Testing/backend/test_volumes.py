"""Reading and writing volumes: what loads, with which geometry, and how it is written and found."""

from __future__ import annotations

import bz2
import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.data.geometry import Geometry
from sslseg.data.volumes import (
    find_volumes,
    is_volume_path,
    probe_volume,
    read_label_map,
    read_volume,
    volume_stem,
    write_label_map,
    write_volume,
)

OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.31, -0.22, 0.47).GetMatrix()


def an_image(
    size=(14, 11, 9), spacing=(0.7, 0.83, 2.5), origin=(-212.123456, 187.654321, -903.25), direction=OBLIQUE
):
    voxels = np.random.default_rng(7).integers(-1000, 2000, size[::-1]).astype(np.int16)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def a_label_map(values=(1, 2), like=None):
    like = like or an_image()
    voxels = np.zeros(like.GetSize()[::-1], np.uint8)
    for index, value in enumerate(values):
        voxels[index + 1, 2:6, 3:9] = value
    labels = sitk.GetImageFromArray(voxels)
    labels.CopyInformation(like)
    return labels


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_oblique_geometry_and_voxels_survive_a_round_trip_to_a_tenth_of_a_micrometre(tmp_path, extension):
    image, path = an_image(), tmp_path / f"case{extension}"
    write_volume(image, path)
    back = read_volume(path)
    assert Geometry.of(back).mismatch(Geometry.of(image), tolerance_mm=1e-4) is None
    assert back.GetPixelID() == image.GetPixelID()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    assert probe_volume(path).geometry == Geometry.of(back)
    assert probe_volume(path).pixel_type == "16-bit signed integer"


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_large_oblique_grid_stays_within_a_tenth_of_a_micrometre(tmp_path, extension):
    image = an_image((2, 512, 400), (0.9765625, 0.9765625, 1.25), (-249.51171875, -437.51171875, -804.5))
    write_volume(image, tmp_path / f"big{extension}")
    assert Geometry.of(read_volume(tmp_path / f"big{extension}")).mismatch(Geometry.of(image)) is None


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
def test_flipped_and_permuted_axes_read_as_itk_reads_them(tmp_path, flips):
    for order in itertools.permutations(range(3)):
        direction = (np.eye(3)[list(order)] * flips).ravel().tolist()
        path = tmp_path / f"{''.join(map(str, order))}.nii"
        write_volume(an_image(direction=direction), path)
        expected = sitk.ReadImage(str(path))
        assert Geometry.of(read_volume(path)).mismatch(Geometry.of(expected), 1e-6) is None


@pytest.mark.parametrize("sform_code", [0, 1, 2, 4])
@pytest.mark.parametrize("qform_code", [0, 1, 2])
@pytest.mark.parametrize("agree", [True, False])
def test_nifti_orientation_is_chosen_as_itk_chooses_it(tmp_path, sform_code, qform_code, agree):
    rotation = np.reshape(OBLIQUE, (3, 3))
    qform, sform = np.eye(4), np.eye(4)
    qform[:3, :3], qform[:3, 3] = rotation * (1.5, 2.0, 3.0), (10, -20, 30)
    sform[:3, :3] = (rotation if agree else rotation.T) * (1.5, 2.0, 3.0)
    sform[:3, 3] = (10, -20, 30) if agree else (-5, 6, 7)
    image = nibabel.Nifti1Image(np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7), None)
    image.set_qform(qform, qform_code)
    image.set_sform(sform, sform_code)
    image.header["pixdim"][1:4] = (1.5, 2.0, 3.0)
    path = tmp_path / "forms.nii.gz"
    nibabel.save(image, path)
    expected = Geometry.of(sitk.ReadImage(str(path)))
    assert Geometry.of(read_volume(path)).mismatch(expected, 2e-5) is None


@pytest.mark.parametrize("unit", ["mm", "meter", "micron", "unknown"])
def test_nifti_units_are_converted_to_millimetres_as_itk_does(tmp_path, unit):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "units.nii")
    expected = sitk.ReadImage(str(tmp_path / "units.nii"))
    assert read_volume(tmp_path / "units.nii").GetSpacing() == pytest.approx(expected.GetSpacing())


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4"])
def test_every_scalar_nifti_type_in_either_byte_order_keeps_its_values(tmp_path, dtype):
    voxels = np.arange(60).reshape(3, 4, 5).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    image = nibabel.Nifti1Image(voxels, np.eye(4), header, dtype=np.dtype(dtype).newbyteorder("="))
    nibabel.save(image, tmp_path / "typed.nii.gz")
    back = sitk.GetArrayFromImage(read_volume(tmp_path / "typed.nii.gz"))
    assert back.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(back.transpose(2, 1, 0), voxels)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f8"])
def test_scaled_nifti_intensities_equal_those_of_nibabel(tmp_path, dtype):
    image = nibabel.Nifti1Image(np.arange(60).reshape(3, 4, 5).astype(dtype), np.eye(4))
    image.header.set_slope_inter(0.25, -1024.5)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    back = read_volume(tmp_path / "scaled.nii.gz")
    assert back.GetPixelIDTypeAsString() == probe_volume(tmp_path / "scaled.nii.gz").pixel_type
    expected = nibabel.load(tmp_path / "scaled.nii.gz").get_fdata()
    np.testing.assert_allclose(sitk.GetArrayFromImage(back).transpose(2, 1, 0), expected, rtol=1e-6)
    assert expected.max() != 59  # the scale was really stored


@pytest.mark.parametrize("extension", [".nii", ".nii.gz"])
def test_reads_nifti_2(tmp_path, extension):
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ Geometry.of(an_image()).matrix
    voxels = sitk.GetArrayFromImage(an_image()).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti2Image(voxels, affine), tmp_path / f"two{extension}")
    back = read_volume(tmp_path / f"two{extension}")
    assert Geometry.of(back).mismatch(Geometry.of(an_image()), 1e-4) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back).transpose(2, 1, 0), voxels)


def test_axes_off_by_rounding_load_as_the_nearest_rotation(tmp_path):
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ Geometry.of(an_image()).matrix
    affine[0, 1] += 4e-4
    image = nibabel.Nifti1Image(sitk.GetArrayFromImage(an_image()).transpose(2, 1, 0), affine)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "rounded.nii.gz")
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(tmp_path / "rounded.nii.gz"))
    back = read_volume(tmp_path / "rounded.nii.gz")
    direction = np.reshape(back.GetDirection(), (3, 3))
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-12)
    assert Geometry.of(back).mismatch(Geometry.of(an_image()), 0.02) is None
    write_volume(back, tmp_path / "again.nii.gz")
    assert Geometry.of(read_volume(tmp_path / "again.nii.gz")).mismatch(Geometry.of(back), 1e-4) is None


def test_trailing_dimensions_of_one_are_dropped(tmp_path):
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "one.nii.gz")
    assert read_volume(tmp_path / "one.nii.gz").GetSize() == (3, 4, 5)


def test_reads_a_gzip_file_of_several_members(tmp_path):
    write_volume(an_image(), tmp_path / "plain.nii")
    content = (tmp_path / "plain.nii").read_bytes()
    parts = [gzip.compress(content[:500]), gzip.compress(content[500:]), gzip.compress(b"")]
    (tmp_path / "blocks.nii.gz").write_bytes(b"".join(parts))
    expected = sitk.GetArrayFromImage(an_image())
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_volume(tmp_path / "blocks.nii.gz")), expected)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_reads_nrrd_with_its_voxels_in_a_second_file(tmp_path, encoding):
    voxels = sitk.GetArrayFromImage(an_image())
    pack = {"raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    (tmp_path / "voxels.bin").write_bytes(pack(voxels.tobytes()))
    write_volume(an_image(), tmp_path / "whole.nrrd")
    header = (tmp_path / "whole.nrrd").read_bytes().split(b"\n\n")[0]
    header = header.replace(b"encoding: gzip", f"encoding: {encoding}".encode())
    (tmp_path / "case.nhdr").write_bytes(header + b"\ndata file: voxels.bin\n")
    back = read_volume(tmp_path / "case.nhdr")
    assert Geometry.of(back).mismatch(Geometry.of(an_image()), 1e-6) is None
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), voxels)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("extension", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_reads_what_simpleitk_writes(tmp_path, extension, compressed):
    sitk.WriteImage(an_image(), str(tmp_path / f"case{extension}"), useCompression=compressed)
    back = read_volume(tmp_path / f"case{extension}")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(an_image()))
    assert Geometry.of(back).mismatch(Geometry.of(an_image())) is None


def test_a_label_map_with_whole_floating_point_numbers_becomes_uint8(tmp_path):
    write_volume(sitk.Cast(a_label_map(), sitk.sitkFloat64), tmp_path / "label.nii.gz")
    labels = read_label_map(tmp_path / "label.nii.gz", allowed=(1, 2))
    assert labels.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(a_label_map()))


def test_an_empty_label_map_and_the_ignore_value_are_allowed(tmp_path):
    write_label_map(a_label_map(()), tmp_path / "empty.nrrd")
    write_label_map(a_label_map((1, 255)), tmp_path / "ignore.nrrd")
    assert not sitk.GetArrayFromImage(read_label_map(tmp_path / "empty.nrrd", allowed=(1,))).any()
    assert sitk.GetArrayFromImage(read_label_map(tmp_path / "ignore.nrrd", allowed=(1,))).max() == 255


def test_values_above_255_become_uint16(tmp_path):
    labels = sitk.Cast(a_label_map(), sitk.sitkInt32) * 400
    write_label_map(labels, tmp_path / "many.nrrd")
    back = read_label_map(tmp_path / "many.nrrd", allowed=None)
    assert back.GetPixelID() == sitk.sitkUInt16
    assert sitk.GetArrayFromImage(back).max() == 800


def test_a_label_map_takes_exactly_the_geometry_of_its_image(tmp_path):
    image = an_image()
    write_label_map(a_label_map(), tmp_path / "label.nii.gz")
    labels = read_label_map(tmp_path / "label.nii.gz", allowed=None, reference=image)
    assert Geometry.of(labels) == Geometry.of(image)


def test_a_label_map_on_another_grid_is_refused_unless_resampling_is_asked_for(tmp_path):
    image = an_image()
    write_volume(image, tmp_path / "image.nrrd")
    coarse = sitk.Resample(
        a_label_map(), (7, 11, 9), sitk.Transform(), sitk.sitkNearestNeighbor, image.GetOrigin(),
        (1.4, 0.83, 2.5), image.GetDirection(),
    )  # fmt: skip
    write_label_map(coarse, tmp_path / "coarse.nrrd")
    with pytest.raises(SSLSegError, match="does not lie on its image: it has 7 x 11 x 9 voxels"):
        read_label_map(tmp_path / "coarse.nrrd", allowed=None, reference=tmp_path / "image.nrrd")
    labels = read_label_map(
        tmp_path / "coarse.nrrd", allowed=None, reference=tmp_path / "image.nrrd", resample=True
    )
    assert Geometry.of(labels).mismatch(Geometry.of(image), 1e-9) is None
    agreement = sitk.GetArrayFromImage(labels) == sitk.GetArrayFromImage(a_label_map())
    assert agreement.mean() > 0.97
    assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"origin": (-212.123456, 188.654321, -903.25)}, "its origin lies 1 mm away"),
        ({"spacing": (0.7, 0.83, 2.6)}, "its voxels are 0.7 x 0.83 x 2.6 mm instead of"),
        ({"direction": np.eye(3).ravel().tolist()}, "its axes point elsewhere"),
        ({"size": (14, 11, 8)}, "it has 14 x 11 x 8 voxels instead of 14 x 11 x 9"),
    ],
)
def test_a_geometry_mismatch_says_what_differs(change, phrase):
    assert phrase in str(Geometry.of(an_image(**change)).mismatch(Geometry.of(an_image())))


def test_a_geometry_matches_itself_but_not_one_moved_by_a_micrometre():
    moved = an_image(origin=(-212.123456, 187.654321, -903.249))
    assert Geometry.of(an_image()).mismatch(Geometry.of(an_image())) is None
    assert Geometry.of(moved).mismatch(Geometry.of(an_image())) is not None


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "label.nrrd"
    write_label_map(a_label_map(), path)
    before = path.read_bytes()
    with pytest.raises(SSLSegError, match="fractional"):
        write_label_map(sitk.Cast(a_label_map(), sitk.sitkFloat32) + 0.5, path)

    def fails_half_way(_image, name, **_options):
        Path(name).write_bytes(b"half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", fails_half_way)
    with pytest.raises(SSLSegError, match="cannot be written"):
        write_volume(an_image(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["label.nrrd"]


def test_fields_of_a_header_do_not_travel_into_written_files(tmp_path):
    image = an_image()
    image.SetMetaData("DICOM_0010_0010_PatientName", "Somebody")
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    assert b"Somebody" in (tmp_path / "image.nrrd").read_bytes()
    write_volume(read_volume(tmp_path / "image.nrrd"), tmp_path / "copy.nrrd")
    assert b"Somebody" not in (tmp_path / "copy.nrrd").read_bytes()


@pytest.mark.parametrize("name", ["case.nhdr", "case.mhd", "case.png", "case"])
def test_refuses_to_write_formats_that_cannot_be_replaced_in_one_step(tmp_path, name):
    with pytest.raises(SSLSegError, match="not written in this format"):
        write_volume(an_image(), tmp_path / name)


def test_finds_volumes_at_any_depth_but_no_segmentations_or_hidden_files(tmp_path):
    names = [
        "b/c/deep.nii.gz",
        "a.NRRD",
        "b/flat.mha",
        ".hidden/x.nii",
        "s.seg.nrrd",
        "notes.txt",
        "b/.w-a.nrrd",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1").write_bytes(bytes(128) + b"DICM")
    found = [str(p.relative_to(tmp_path)) for p in find_volumes(tmp_path)]
    assert found == ["a.NRRD", "b/c/deep.nii.gz", "b/flat.mha", "series"]
    assert not is_volume_path(tmp_path / "notes.txt")
    assert is_volume_path(tmp_path / "series")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("case.1.nii.gz", "case.1"), ("a.seg.nrrd", "a"), ("A.NII", "A"), ("v.nhdr", "v"), ("series", "series")],
)
def test_the_stem_is_the_name_without_its_whole_extension(name, stem):
    assert volume_stem(Path("folder") / name) == stem

"""Volumes that must not get in: each is refused with a sentence that names the file and a remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.data.volumes import probe_volume, read_label_map, read_volume


def some_voxels(dtype=np.int16, size=(12, 11, 10)):
    return np.random.default_rng(3).integers(0, 1000, size).astype(dtype)


def saved_nifti(path: Path, voxels=None, affine=None, **header) -> Path:
    image = nibabel.Nifti1Image(some_voxels() if voxels is None else voxels, np.eye(4))
    for name, value in header.items():
        image.header[name] = value
    if affine is not None:
        image.header["qform_code"], image.header["sform_code"] = 0, 1
        for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
            image.header[name] = affine[row]
    # nibabel would mend the header; write it as it is.
    content = image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes("F")
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def saved(path: Path, voxels, is_vector=False, compressed=False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=is_vector), str(path), useCompression=compressed)
    return path


def refusal(path: Path, read=read_volume, **options) -> str:
    with pytest.raises(SSLSegError) as caught:
        read(path, **options)
    assert caught.value.file == path
    assert caught.value.remedy.endswith(".")
    return caught.value.what


def test_the_helper_writes_nifti_files_that_load(tmp_path):
    for name in ("good.nii", "good.nii.gz"):
        path = saved_nifti(tmp_path / name, vox_offset=352, magic=b"n+1")
        np.testing.assert_array_equal(
            sitk.GetArrayFromImage(read_volume(path)), some_voxels().transpose(2, 1, 0)
        )


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.6, 0.99])
def test_refuses_a_volume_that_is_cut_short(tmp_path, extension, kept):
    for compressed in (False, True):
        path = saved(tmp_path / f"cut{extension}", some_voxels(), compressed=compressed)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        what = refusal(path)
        assert "cut short" in what or "bytes of voxels where its header expects" in what


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_refuses_a_header_without_voxels(tmp_path, extension):
    path = saved(tmp_path / f"header{extension}", some_voxels())
    content = gzip.decompress(path.read_bytes()) if extension == ".nii.gz" else path.read_bytes()
    content = content[:352] if ".nii" in extension else content[: -some_voxels().nbytes]
    path.write_bytes(gzip.compress(content) if extension == ".nii.gz" else content)
    what = refusal(path)
    assert "cut short" in what or "holds 0 bytes of voxels" in what


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_refuses_compressed_voxels_with_a_flipped_bit(tmp_path, extension):
    path = saved(tmp_path / f"flipped{extension}", some_voxels(size=(30, 30, 30)), compressed=True)
    whole = path.read_bytes()
    for position in (len(whole) // 2, len(whole) - 5):  # in the voxels, in the checksum
        damaged = bytearray(whole)
        damaged[position] ^= 0x08
        path.write_bytes(damaged)
        what = refusal(path)
        assert "damaged" in what or "cannot be read" in what or "cut short" in what


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_refuses_surplus_bytes_which_would_shift_every_voxel(tmp_path, extension):
    path = saved(tmp_path / f"long{extension}", some_voxels())
    path.write_bytes(path.read_bytes() + bytes(352))
    assert "bytes of voxels where its header expects" in refusal(path)


def test_refuses_an_nhdr_whose_gzip_file_has_a_header_of_its_own(tmp_path):
    saved_nifti(tmp_path / "voxels.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(some_voxels()), str(tmp_path / "case.nhdr"), useCompression=True)
    text = (tmp_path / "case.nhdr").read_text().splitlines()
    text = ["data file: voxels.nii.gz" if line.startswith("data file") else line for line in text]
    (tmp_path / "case.nhdr").write_text("\n".join(text) + "\n")
    assert "holds 2992 bytes of voxels where its header expects 2640" in refusal(tmp_path / "case.nhdr")


@pytest.mark.parametrize("extension", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_refuses_an_empty_file(tmp_path, extension):
    (tmp_path / f"empty{extension}").touch()
    assert "empty" in refusal(tmp_path / f"empty{extension}")


@pytest.mark.parametrize("extension", [".nii", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_refuses_text_with_the_name_of_an_image(tmp_path, extension):
    path = tmp_path / f"text{extension}"
    path.write_text("<html>404 Not Found</html>\n" * 50)
    assert "does not begin like a" in refusal(path)


def test_refuses_a_name_that_contradicts_the_compression(tmp_path):
    plain = saved_nifti(tmp_path / "a.nii", vox_offset=352, magic=b"n+1")
    packed = saved_nifti(tmp_path / "b.nii.gz", vox_offset=352, magic=b"n+1")
    assert "not compressed although" in refusal(plain.rename(tmp_path / "plain.nii.gz"))
    assert "is compressed although" in refusal(packed.rename(tmp_path / "packed.nii"))


@pytest.mark.parametrize(
    ("header", "phrase"),
    [
        ({"magic": b"bad"}, "does not begin like a NIfTI file"),
        ({"datatype": 9999}, "unknown type 9999"),
        ({"datatype": 32}, "complex"),
        ({"dim": [3, 12, -11, 10, 1, 1, 1, 1]}, "impossible size"),
        ({"dim": [99, 12, 11, 10, 1, 1, 1, 1]}, "impossible size"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "cut short"),
        ({"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, "places the voxels nowhere"),
        ({"pixdim": [1, np.nan, 1, 1, 0, 0, 0, 0]}, "places the voxels nowhere"),
        ({"pixdim": [1, 3, 1, 1, 0, 0, 0, 0], "sform_code": 1, "qform_code": 0}, "contradicts itself"),
        ({"vox_offset": np.nan}, "does not say where the voxels begin"),
    ],
)
@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz"])
def test_refuses_a_senseless_nifti_header(tmp_path, header, phrase, name):
    header = {"vox_offset": 352, "magic": b"n+1", "sform_code": 0, "qform_code": 1, **header}
    path = saved_nifti(tmp_path / name, **header)
    assert phrase in refusal(path)


@pytest.mark.parametrize(
    ("affine", "phrase"),
    [
        (np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "sheared or undefined"),
        (np.zeros((3, 4)), "sheared or undefined"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]), "sheared or undefined"),
        (np.array([[np.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]), "sheared or undefined"),
        (np.array([[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0]]), "places the voxels nowhere"),
    ],
    ids=["sheared", "zero", "collapsed", "nan", "nan-origin"],
)
def test_refuses_sheared_zero_and_undefined_axes(tmp_path, affine, phrase):
    path = saved_nifti(tmp_path / "axes.nii.gz", affine=affine, vox_offset=352, magic=b"n+1")
    assert phrase in refusal(path)
    assert phrase in refusal(path, probe_volume)


def test_refuses_sheared_axes_in_nrrd(tmp_path):
    path = saved(tmp_path / "sheared.nrrd", some_voxels())
    path.write_bytes(path.read_bytes().replace(b"(0,1,0)", b"(0.4,1,0)"))
    what = refusal(path)
    assert "sheared" in what or "cannot be read" in what


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        (b"space directions: (1,0,0) (0,1,0) (0,0,1)\n", b"", "gives no spacing"),
        (b"encoding: raw\n", b"encoding: raw\nbyte skip: -5\n", "byte skip: -5"),
        (b"encoding: raw\n", b"encoding: raw\ndata file: gone.raw\n", "'gone.raw', is missing"),
        (b"encoding: raw\n", b"encoding: raw\ndata file: slice%03d.raw 1 9 1\n", "several files"),
        (b"type: short", b"type: strange", "strange"),
        (b"sizes: 10 11 12", b"sizes: 10 eleven 12", "cannot be read"),
    ],
)
def test_refuses_a_senseless_nrrd_header(tmp_path, old, new, phrase):
    path = saved(tmp_path / "bad.nrrd", some_voxels())
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert phrase in refusal(path)


@pytest.mark.parametrize(
    ("old", "new", "phrase"),
    [
        (b"ElementSpacing = 1 1 1\n", b"", "gives no spacing"),
        (b"ElementType = MET_SHORT", b"ElementType = MET_STRANGE", "cannot be read"),
        (b"ElementDataFile = LOCAL\n", b"ElementDataFile = gone.raw\n", "'gone.raw', is missing"),
        (b"ElementDataFile = LOCAL\n", b"ElementDataFile = LIST\n", "several files"),
    ],
)
def test_refuses_a_senseless_metaimage_header(tmp_path, old, new, phrase):
    path = saved(tmp_path / "bad.mha", some_voxels())
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    assert phrase in refusal(path)


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd", ".mha"])
def test_refuses_what_is_not_one_scalar_a_voxel_in_three_dimensions(tmp_path, extension):
    def case(name, voxels, **options):
        return saved(tmp_path / f"{name}{extension}", voxels, **options)

    assert "flat" in refusal(case("2d", some_voxels(size=(12, 11))))
    assert "flat" in refusal(case("slice", some_voxels(size=(1, 12, 11))))
    assert "4 dimensions" in refusal(case("4d", some_voxels(size=(3, 6, 5, 4))))
    rgb = some_voxels(np.uint8, (6, 5, 4, 3))
    what = refusal(case("rgb", rgb, is_vector=True))
    assert "3 values" in what or "5 dimensions" in what  # NIfTI keeps vectors in a fifth dimension
    if extension != ".mha":  # not a pixel type of MetaImage
        complex_voxels = some_voxels(size=(6, 5, 4)).astype(np.complex64)
        what = refusal(case("complex", complex_voxels))
        assert "complex" in what or "2 values" in what


@pytest.mark.parametrize(
    ("bad", "phrase"),
    [
        (np.nan, "1 voxels are not numbers"),
        (np.inf, "not numbers"),
        (-np.inf, "not numbers"),
        (2e33, "reach 2e+33"),
    ],
)
@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_refuses_intensities_that_no_scanner_measures(tmp_path, bad, phrase, extension):
    voxels = some_voxels(np.float32)
    voxels[3, 4, 5] = bad
    assert phrase in refusal(saved(tmp_path / f"bad{extension}", voxels))


def test_refuses_intensities_that_the_header_scales_beyond_all_bounds(tmp_path):
    path = saved_nifti(tmp_path / "scaled.nii", vox_offset=352, magic=b"n+1", scl_slope=1e36, scl_inter=0)
    assert "not numbers" in refusal(path)


@pytest.mark.parametrize("value", [0, 7])
def test_refuses_a_constant_image_but_not_a_constant_label_map(tmp_path, value):
    path = saved(tmp_path / "constant.nrrd", np.full((4, 5, 6), value, np.int16))
    assert f"Every voxel has the value {value}" in refusal(path)
    assert read_label_map(path, allowed=(7,)).GetSize() == (6, 5, 4)


@pytest.mark.parametrize(
    ("value", "dtype", "phrase"),
    [
        (-1, np.int16, "negative value -1"),
        (-3, np.float32, "negative value -3"),
        (0.5, np.float32, "fractional"),
        (np.nan, np.float64, "not numbers"),
        (9, np.uint8, "not declared: 9"),
        (70000, np.int32, "the value 70000"),
    ],
)
def test_refuses_values_that_are_no_declared_labels(tmp_path, value, dtype, phrase):
    voxels = np.zeros((4, 5, 6), dtype)
    voxels[1, 2, 3] = value
    path = saved(tmp_path / "label.nrrd", voxels)
    assert phrase in refusal(path, read_label_map, allowed=(1, 2))


def test_refuses_files_that_are_missing_unknown_or_segmentations(tmp_path):
    assert "does not exist" in refusal(tmp_path / "gone.nii.gz")
    (tmp_path / "a.png").write_bytes(b"x")
    assert "no known volume format" in refusal(tmp_path / "a.png")
    (tmp_path / "a.seg.nrrd").write_bytes(b"x")
    assert "named segments" in refusal(tmp_path / "a.seg.nrrd")

"""A collection of odd and malformed files: every one loads right or is refused with a clear sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.data.segmentation_file import read_segmentation
from sslseg.data.volumes import probe_volume, read_label_map, read_volume

FOLDER = Path(__file__).parents[2].parent / "shared" / "data" / "odd_files"
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/data is absent"),
]

SLICE, SEG, REPORT = "single slice", "DICOM segmentation (SEG)", "structured report"
UNKNOWN, FLAT, FOUR = "no known volume format", "flat", "4 dimensions"
BALL = ((30, 30, 30), (1, 1, 1))
CASE = (34, 52, 35)

# A pair is the size and the spacing (mm, x y z) of a file that loads; a text is part of the refusal.
EXPECTED: dict[str, tuple | str] = {
    "dicom/CT_small.dcm": SLICE,
    "dicom/MR_small_RLE.dcm": SLICE,
    "dicom/MR_small_bigendian.dcm": SLICE,
    "dicom/MR_small_expb.dcm": SLICE,
    "dicom/MR_small_jp2klossless.dcm": SLICE,
    "dicom/MR_small_jpeg_ls_lossless.dcm": SLICE,
    "dicom/MR_small_padded.dcm": SLICE,
    "dicom/MR_truncated.dcm": SLICE,
    "dicom/JPEG2000.dcm": "a secondary capture (a picture of a screen), not an image series",
    "dicom/no_meta.dcm": UNKNOWN,
    "dicom/meta_missing_tsyntax.dcm": "a DICOM object without an image, not an image series",
    "dicom/badVR.dcm": "a radiotherapy dose (RTDOSE), not an image series",
    "dicom/rtdose.dcm": "a radiotherapy dose (RTDOSE), not an image series",
    "dicom/rtplan_truncated.dcm": "a radiotherapy plan (RTPLAN), not an image series",
    "dicom/liver_1frame.dcm": SEG,
    "dicom/test-SR.dcm": REPORT,
    "dicom/SC_rgb_small_odd.dcm": "a secondary capture (a picture of a screen), not an image series",
    "dicom/SC_rgb_rle_2frame.dcm": "a secondary capture (a picture of a screen), not an image series",
    "dicom/zipMR.gz": UNKNOWN,
    "dicom/DICOMDIR": "a DICOMDIR index, not an image series",
    "dicom/decimal_rescale.dcm": SLICE,
    "dicom/csa_slice_norm.dcm": "tiled into one picture (Siemens mosaic)",
    "dicom/philips_mprage.dcm.gz": UNKNOWN,
    "dicom/siemens_dwi_0.dcm.gz": UNKNOWN,
    "dicom/seg_image_ct_binary.dcm": SEG,
    "dicom/seg_image_ct_binary_overlap.dcm": SEG,
    "dicom/seg_image_ct_binary_single_frame.dcm": SEG,
    "dicom/sr_document.dcm": REPORT,
    "volumes/analyze.hdr": UNKNOWN,
    "volumes/nifti1.hdr": UNKNOWN,
    "volumes/functional.nii": FOUR,
    "volumes/example_nifti2.nii.gz": FOUR,
    "volumes/standard.nii.gz": ((4, 5, 7), (1, 3, 2)),
    "volumes/row_major.dconn.nii": "The image has 6 dimensions, not 3",
    "volumes/small.mnc": UNKNOWN,
    "volumes/minc2_4d.mnc": UNKNOWN,
    "volumes/scaled+tlrc.HEAD": UNKNOWN,
    "volumes/scaled+tlrc.BRIK": UNKNOWN,
    "volumes/tinypet.v": UNKNOWN,
    "volumes/spine_report.nii.gz": "Each voxel has 3 values (colour or vector), not one",
    "nrrd/BallBinary30x30x30.nhdr": BALL,
    "nrrd/BallBinary30x30x30.nii.gz": BALL,
    "nrrd/BallBinary30x30x30.nrrd": BALL,
    "nrrd/BallBinary30x30x30.raw": UNKNOWN,
    "nrrd/BallBinary30x30x30_byteskip_minus_five.nhdr": "byte skip: -5",
    "nrrd/BallBinary30x30x30_byteskip_minus_one.nhdr": BALL,
    "nrrd/BallBinary30x30x30_byteskip_minus_one_nifti.nhdr": BALL,
    "nrrd/BallBinary30x30x30_bz2.nrrd": BALL,
    "nrrd/BallBinary30x30x30_gz.nrrd": BALL,
    "nrrd/BallBinary30x30x30_gz_byteskip_minus_one.nrrd": BALL,
    "nrrd/BallBinary30x30x30_gz_lineskip.nrrd": BALL,
    "nrrd/BallBinary30x30x30_nifti.nhdr": "54352 bytes of voxels where its header expects 54000",
    "nrrd/test1d_ascii.nrrd": FLAT,
    "nrrd/test2d_ascii.nrrd": FLAT,
    "nrrd/test_customFields.nrrd": FLAT,
    "nrrd/test_simple4d_raw.nrrd": FOUR,
    "nrrd/CTChest4.nrrd": ((128, 128, 34), (3.046876, 3.046876, 10)),
    "nrrd/Segmentation.seg.nrrd": ((128, 128, 34), (3.046876, 3.046876, 10)),
    "nrrd/SegmentationOverlapping.seg.nrrd": ((128, 128, 34), (3.046876, 3.046876, 10)),
    "nrrd/brain1_image.nrrd": ((256, 256, 25), (0.78125, 0.78125, 6.5)),
    "nrrd/brain1_label.nrrd": ((256, 256, 25), (0.78125, 0.78125, 6.5)),
    "nrrd/breast1_image.nrrd": ((45, 120, 21), (0.664062, 0.664062, 2.1)),
    "nrrd/breast1_label.nrrd": ((45, 120, 21), (0.664062, 0.664062, 2.1)),
    "nrrd/prostate_phantom_subvolume.nrrd": ((82, 67, 13), (0.5, 0.5, 3)),
    "nrrd/prostate_phantom_subvolume-label.nrrd": ((82, 67, 13), (0.5, 0.5, 3)),
    "made/empty.nii.gz": "empty",
    "made/text_named_nii.nii": "The file does not begin like a NIfTI file, whatever its name says",
    "made/truncated_data.nii": "cut short",
    "made/not_gzip.nii.gz": "not compressed although its name ends in .gz",
    "made/gzip_named_nii.nii": "compressed although its name does not end in .gz",
    "made/bad_datatype.nii": "unknown type 9999",
    "made/nan_inf_voxels.nii.gz": "65 voxels are not numbers (NaN or infinite)",
    "made/constant.nii.gz": "Every voxel has the value 7",
    "made/sheared_affine.nii.gz": "sheared or undefined",
    "made/four_d.nii.gz": FOUR,
    "made/two_d.nii.gz": FLAT,
    "made/aniso_0p5_0p5_9.nii.gz": (CASE, (0.5, 0.5, 9)),
    "made/flipped_axes.nii.gz": (CASE, (1, 1, 1)),
    "made/oblique.nii.gz": (CASE, (1, 1, 1)),
    "made/permuted_axes.nii.gz": ((35, 34, 52), (1, 1, 1)),
    "made/label_float.nii.gz": (CASE, (1, 1, 1)),
    "made/label_empty.nii.gz": "Every voxel has the value 0",
    "made/label_other_spacing.nii.gz": ((17, 26, 18), (2, 2, 2)),
    "made/huge_values.nii.gz": "The intensities reach 2.35e+33, which no scanner measures",
}

# Files that are label maps, with the values declared for them.
EXPECTED_LABELS: dict[str, tuple | str] = {
    "made/label_float.nii.gz": "fractional values",
    "made/label_empty.nii.gz": (CASE, (1, 1, 1)),
    "made/label_other_spacing.nii.gz": ((17, 26, 18), (2, 2, 2)),
    "made/flipped_axes.nii.gz": "not declared",
    "made/nan_inf_voxels.nii.gz": "not numbers",
    "nrrd/brain1_label.nrrd": ((256, 256, 25), (0.78125, 0.78125, 6.5)),
    "nrrd/breast1_label.nrrd": ((45, 120, 21), (0.664062, 0.664062, 2.1)),
    "nrrd/prostate_phantom_subvolume-label.nrrd": "not declared: 7, 8, 9",
}


def manifest_files() -> list[str]:
    return [entry["file"] for entry in json.loads((FOLDER / "manifest.json").read_text())]


def check(path: Path, read, expected: tuple | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(SSLSegError) as caught:
            read(path)
        assert expected in caught.value.what
        assert caught.value.file == path
        assert caught.value.remedy.endswith(".")
    else:
        size, spacing = expected
        geometry = read(path)
        assert geometry.size == size
        assert geometry.spacing == pytest.approx(spacing, abs=1e-5)


def geometry_of(path: Path):
    if path.name.endswith(".seg.nrrd"):
        return read_segmentation(path).geometry
    image = read_volume(path)
    geometry = probe_volume(path).geometry
    assert (image.GetSize(), image.GetOrigin()) == (geometry.size, geometry.origin)
    return geometry


def test_every_file_of_the_collection_has_an_expectation():
    assert sorted(manifest_files()) == sorted(EXPECTED)


@pytest.mark.parametrize("file", EXPECTED)
def test_loads_right_or_is_refused(file):
    check(FOLDER / file, geometry_of, EXPECTED[file])


@pytest.mark.parametrize("file", EXPECTED_LABELS)
def test_label_map_loads_right_or_is_refused(file):
    def read(path):
        labels = read_label_map(path, allowed=(1, 2))
        assert labels.GetPixelID() == sitk.sitkUInt8
        return probe_volume(path).geometry

    check(FOLDER / file, read, EXPECTED_LABELS[file])


def test_flipped_and_permuted_files_show_the_same_anatomy():
    """Both were made from one volume; on one grid their voxels agree."""
    flipped = read_volume(FOLDER / "made" / "flipped_axes.nii.gz")
    permuted = read_volume(FOLDER / "made" / "permuted_axes.nii.gz")
    moved = sitk.Resample(permuted, flipped, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert (sitk.GetArrayViewFromImage(moved) == sitk.GetArrayViewFromImage(flipped)).mean() > 0.99


def test_overlapping_segments_of_a_real_segmentation_are_all_there():
    segmentation = read_segmentation(FOLDER / "nrrd" / "SegmentationOverlapping.seg.nrrd")
    assert [s.name for s in segmentation.segments][-2:] == ["tissue", "overlapping sphere"]
    assert segmentation.layers.shape == (2, 34, 128, 128)
    assert all(segmentation.mask(segment).any() for segment in segmentation.segments)

"""Slicer's `.seg.nrrd` files: overlapping segments, names, colours, terminology."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicerio

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.data.geometry import Geometry
from sslseg.data.segmentation_file import read_segmentation, segmentation_to_label_map, write_segmentation

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = [
    Label("Left Kidney", 7, (185, 102, 83), TERMINOLOGY),
    Label("Ösophagus", 3, (211, 171, 143)),
    Label("never drawn", 9, (1, 2, 3)),
]


def a_label_map():
    voxels = np.zeros((8, 10, 12), np.uint8)
    voxels[2:4, 3:6, 4:8] = 7
    voxels[5, 6, 1:9] = 3
    labels = sitk.GetImageFromArray(voxels)
    labels.SetSpacing((0.7, 0.83, 2.5))
    labels.SetOrigin((-212.123456, 187.654321, -903.25))
    labels.SetDirection(sitk.Euler3DTransform((0, 0, 0), 0.31, -0.22, 0.47).GetMatrix())
    return labels


@pytest.fixture
def overlapping_file(tmp_path):
    """Two spheres in layers of their own; the second lies partly on the first."""
    content = slicerio.create_segmentation((12, 10, 8), Geometry.of(a_label_map()).matrix)
    first, second = np.zeros((12, 10, 8), bool), np.zeros((12, 10, 8), bool)
    first[2:8, 2:8, 2:6] = True
    second[6:10, 2:8, 2:6] = True
    slicerio.add_segment(
        content, first, {"id": "a", "name": "Liver", "color": [1, 0, 0], "status": "completed"}
    )
    slicerio.add_segment(content, second, {"id": "b", "name": "left_KIDNEY", "color": [0, 1, 0]})
    slicerio.write_segmentation(str(tmp_path / "two.seg.nrrd"), content)
    return tmp_path / "two.seg.nrrd"


def test_a_written_segmentation_reads_back_with_everything(tmp_path):
    write_segmentation(a_label_map(), LABELS, tmp_path / "case.seg.nrrd")
    back = read_segmentation(tmp_path / "case.seg.nrrd")
    assert [(s.name, s.value, s.color, s.terminology) for s in back.segments] == [
        (label.name, label.value, label.color, label.terminology) for label in LABELS
    ]
    assert back.geometry.mismatch(Geometry.of(a_label_map()), 1e-6) is None
    labels = segmentation_to_label_map(back, {label.name: label.value for label in LABELS})
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(a_label_map()))
    # Any reader of NRRD sees the same label map.
    as_image = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "case.seg.nrrd")))
    np.testing.assert_array_equal(as_image, sitk.GetArrayFromImage(a_label_map()))


def test_unannotated_voxels_survive_as_the_segment_ignore(tmp_path):
    labels = a_label_map()
    labels[0, 0, 0] = 255
    write_segmentation(labels, LABELS, tmp_path / "case.seg.nrrd")
    back = segmentation_to_label_map(
        read_segmentation(tmp_path / "case.seg.nrrd"), {label.name: label.value for label in LABELS}
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(labels))


def test_overlapping_segments_are_read_whole_and_the_later_declared_wins(overlapping_file):
    segmentation = read_segmentation(overlapping_file)
    assert segmentation.layers.shape == (2, 8, 10, 12)
    liver, kidney = segmentation.segments
    assert (liver.name, liver.color, liver.status) == ("Liver", (255, 0, 0), "completed")
    assert [int(segmentation.mask(s).sum()) for s in (liver, kidney)] == [144, 96]
    kidney_wins = segmentation_to_label_map(segmentation, {"liver": 1, "Left Kidney": 2})
    liver_wins = segmentation_to_label_map(segmentation, {"left-kidney": 2, "liver": 1})
    assert np.bincount(sitk.GetArrayFromImage(kidney_wins).ravel()).tolist()[1:] == [96, 96]
    assert np.bincount(sitk.GetArrayFromImage(liver_wins).ravel()).tolist()[1:] == [144, 48]


def test_an_undeclared_segment_is_refused_with_both_lists(overlapping_file):
    with pytest.raises(SSLSegError, match="left_KIDNEY") as caught:
        segmentation_to_label_map(read_segmentation(overlapping_file), {"liver": 1, "spleen": 2})
    assert "Declared are liver, spleen" in caught.value.remedy
    assert caught.value.file == overlapping_file


def test_a_cropped_segmentation_is_put_back_on_its_image_without_being_asked(tmp_path):
    whole = a_label_map()
    write_segmentation(whole[1:10, 2:9, 1:7], LABELS, tmp_path / "cropped.seg.nrrd")
    values = {label.name: label.value for label in LABELS}
    cropped = read_segmentation(tmp_path / "cropped.seg.nrrd")
    labels = segmentation_to_label_map(cropped, values, reference=Geometry.of(whole))
    assert Geometry.of(labels) == Geometry.of(whole)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(whole))


def test_a_segmentation_on_another_grid_needs_leave_to_be_resampled(tmp_path):
    write_segmentation(a_label_map(), LABELS, tmp_path / "case.seg.nrrd")
    image = a_label_map()
    image.SetSpacing((1.4, 0.83, 2.5))
    values = {label.name: label.value for label in LABELS}
    segmentation = read_segmentation(tmp_path / "case.seg.nrrd")
    with pytest.raises(SSLSegError, match="does not lie on its image"):
        segmentation_to_label_map(segmentation, values, reference=Geometry.of(image))
    labels = segmentation_to_label_map(segmentation, values, reference=Geometry.of(image), resample=True)
    assert Geometry.of(labels) == Geometry.of(image)
    assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 3, 7}


def test_refuses_to_write_values_without_a_label_and_other_file_names(tmp_path):
    with pytest.raises(SSLSegError, match="values without a label: 7"):
        write_segmentation(a_label_map(), LABELS[1:], tmp_path / "case.seg.nrrd")
    with pytest.raises(SSLSegError, match=r"must end in \.seg\.nrrd"):
        write_segmentation(a_label_map(), LABELS, tmp_path / "case.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_refuses_damaged_and_foreign_files(tmp_path, overlapping_file):
    with pytest.raises(SSLSegError, match="does not exist"):
        read_segmentation(tmp_path / "gone.seg.nrrd")
    content = overlapping_file.read_bytes()
    overlapping_file.write_bytes(content[:-40])
    with pytest.raises(SSLSegError, match="damaged"):
        read_segmentation(overlapping_file)
    overlapping_file.write_bytes(b"no NRRD")
    with pytest.raises(SSLSegError, match="does not begin like"):
        read_segmentation(overlapping_file)
    sitk.WriteImage(a_label_map(), str(overlapping_file))
    with pytest.raises(SSLSegError, match="declares no segments"):
        read_segmentation(overlapping_file)
    sitk.WriteImage(sitk.Cast(a_label_map(), sitk.sitkFloat32), str(overlapping_file))
    with pytest.raises(SSLSegError, match="fractional"):
        read_segmentation(overlapping_file)


def test_refuses_a_segment_in_a_layer_that_is_not_there(overlapping_file):
    content = overlapping_file.read_bytes()
    overlapping_file.write_bytes(content.replace(b"Segment1_Layer:=1", b"Segment1_Layer:=5"))
    with pytest.raises(SSLSegError, match="layer that the file does not hold"):
        read_segmentation(overlapping_file)

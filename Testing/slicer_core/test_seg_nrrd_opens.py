"""A `.seg.nrrd` file as this package writes it, opened by Slicer's own MRML core."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

vtk = pytest.importorskip("vtk", reason="slicer-core is not installed")
slicer_core = pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from vtkmodules.util.numpy_support import vtk_to_numpy  # noqa: E402

from sslseg.contract.labels import Label  # noqa: E402
from sslseg.data.geometry import Geometry  # noqa: E402
from sslseg.data.segmentation_file import (  # noqa: E402
    read_segmentation,
    segmentation_to_label_map,
    write_segmentation,
)

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = [
    Label("Left Kidney", 7, (185, 102, 83), TERMINOLOGY),
    Label("Ösophagus", 3, (211, 171, 143)),
    Label("never drawn", 9, (1, 2, 3)),
]


def test_slicer_opens_the_segments_with_names_colours_terminology_and_voxels(tmp_path):
    voxels = np.zeros((8, 10, 12), np.uint8)
    voxels[2:4, 3:6, 4:8] = 7
    voxels[5, 6, 1:9] = 3
    labels = sitk.GetImageFromArray(voxels)
    labels.SetSpacing((0.7, 0.83, 2.5))
    labels.SetOrigin((-212.5, 187.25, -903.25))
    write_segmentation(labels, LABELS, tmp_path / "case.seg.nrrd")

    scene = slicer_core.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "case.seg.nrrd"))
    assert storage.ReadData(node)

    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(LABELS)
    for index, label in enumerate(LABELS):
        segment = segmentation.GetNthSegment(index)
        assert segment.GetName() == label.name
        assert segment.GetColor() == pytest.approx([channel / 255 for channel in label.color], abs=1e-5)
        assert segment.GetLabelValue() == label.value
        image = segment.GetRepresentation("Binary labelmap")
        scalars = vtk_to_numpy(image.GetPointData().GetScalars())
        assert (scalars == label.value).sum() == (voxels == label.value).sum()
    tag, text = slicer_core.vtkSegment.GetTerminologyEntryTagName(), vtk.reference("")
    assert segmentation.GetNthSegment(0).GetTag(tag, text)
    assert str(text) == TERMINOLOGY

    # And back: the file that Slicer saves from it.
    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    saved = read_segmentation(tmp_path / "saved.seg.nrrd")
    assert [(s.name, s.color) for s in saved.segments] == [(label.name, label.color) for label in LABELS]
    back = segmentation_to_label_map(
        saved, {label.name: label.value for label in LABELS}, reference=Geometry.of(labels)
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(back), voxels)

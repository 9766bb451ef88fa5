"""What `sslseg export` writes, opened by Slicer's own MRML core: overlaps, segment status, colour table."""

from __future__ import annotations

import numpy as np
import pytest

vtk = pytest.importorskip("vtk", reason="slicer-core is not installed")
slicer_core = pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from vtkmodules.util.numpy_support import vtk_to_numpy  # noqa: E402

from sslseg.contract.labels import Label  # noqa: E402
from sslseg.data.geometry import Geometry  # noqa: E402
from sslseg.data.segmentation_file import Segment, layered, read_segmentation, write_layers  # noqa: E402
from sslseg.export.tables import write_label_tables  # noqa: E402

KIDNEY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^64033007^Kidney~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
)
SHAPE = (8, 10, 12)
GEOMETRY = Geometry((12, 10, 8), (0.7, 0.83, 2.5), (-212.5, 187.25, -903.25), (0, 1, 0, -1, 0, 0, 0, 0, 1))


def three_organs() -> list[tuple[Segment, np.ndarray]]:
    """Two that overlap, and one that nobody drew."""
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, 1:5, 2:7, 3:9] = True
    masks[1, 3:7, 4:9, 5:11] = True
    return [
        (Segment("Left Kidney", 7, 0, (185, 102, 83), KIDNEY, "completed"), masks[0]),
        (Segment("Ösophagus", 3, 0, (211, 171, 143), None, "flagged"), masks[1]),
        (Segment("never drawn", 9, 0, (1, 2, 3), None, "notstarted"), masks[2]),
    ]


def read_in_slicer(path):
    scene = slicer_core.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return scene, node, storage


def tag(segment, name: str) -> str:
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def test_overlapping_segments_open_with_their_voxels_and_status(tmp_path):
    organs = three_organs()
    write_layers(layered(organs, GEOMETRY), tmp_path / "case.seg.nrrd")
    _, node, storage = read_in_slicer(tmp_path / "case.seg.nrrd")
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    for index, (organ, mask) in enumerate(organs):
        segment = segmentation.GetNthSegment(index)
        assert segment.GetName() == organ.name
        assert segment.GetColor() == pytest.approx([channel / 255 for channel in organ.color], abs=1e-5)
        assert tag(segment, "Segmentation.Status") == organ.status
        image = segment.GetRepresentation("Binary labelmap")
        scalars = vtk_to_numpy(image.GetPointData().GetScalars())
        assert (scalars == segment.GetLabelValue()).sum() == mask.sum()
        if mask.any():
            matrix = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(matrix)
            found = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
            # Slicer's world is RAS, and it crops a layer to its segments.
            first = np.array([extent[0] for extent in zip(*[iter(image.GetExtent())] * 2, strict=True)])
            lps = GEOMETRY.matrix @ np.append(first, 1)
            np.testing.assert_allclose(found @ np.append(first, 1), lps * [-1, -1, 1, 1], atol=1e-4)
    assert tag(segmentation.GetNthSegment(0), slicer_core.vtkSegment.GetTerminologyEntryTagName()) == KIDNEY

    storage.SetFileName(str(tmp_path / "saved.seg.nrrd"))
    assert storage.WriteData(node)
    saved = read_segmentation(tmp_path / "saved.seg.nrrd")
    assert [(s.name, s.status) for s in saved.segments] == [(s.name, s.status) for s, _ in organs]
    assert [int(saved.mask(s).sum()) for s in saved.segments] == [int(mask.sum()) for _, mask in organs]


def test_the_colour_table_opens_with_values_names_colours_and_terminology(tmp_path):
    labels = [Label("Left Kidney", 7, (185, 102, 83), KIDNEY), Label('odd, "quoted"', 3, (10, 20, 30))]
    write_label_tables(labels, tmp_path)
    scene = slicer_core.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode")
    storage = scene.AddNewNodeByClass("vtkMRMLColorTableStorageNode")
    storage.SetFileName(str(tmp_path / "labels.csv"))
    assert storage.ReadData(node)
    for label in labels:
        assert node.GetColorName(label.value) == label.name.replace('"', "'")
        color = [0.0] * 4
        node.GetColor(label.value, color)
        assert color[:3] == pytest.approx([channel / 255 for channel in label.color], abs=1e-5)
    assert node.GetTerminologyAsString(7).split("~")[1:4] == KIDNEY.split("~")[1:4]

"""Volumes of the scene become cases, with their segmentations as annotations."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from cohort_doubles import Settings
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.SceneImport import (
    importSteps,
    matchSegments,
    sceneVolumes,
    segmentationOf,
)
from SSLSegmentationLib.logic.SceneNodes import VOLUME, addNode
from SSLSegmentationLib.logic.SlicedWork import SlicedWork

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, parse_labels

SHAPE = (6, 8, 10)
LIVER_TERM = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


class SceneImportCase(unittest.TestCase):
    """An empty cohort, and a turned volume of a patient in the scene."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.cohorts = CohortLogic(Settings())
        self.folder = self.place / "cohort"
        labels = [Label("liver", 3, (200, 100, 90), LIVER_TERM), *parse_labels("left kidney=7")]
        self.cohorts.createCohort(self.folder, "c", "CT", labels)
        self.voxels = np.random.default_rng(0).integers(-1000, 800, SHAPE).astype(np.int16)
        self.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "DOE JOHN CT")
        slicer.util.updateVolumeFromArray(self.volume, self.voxels)
        turn = np.deg2rad(20)
        axes = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        rows = np.eye(4)
        rows[:3, :3] = axes * (0.7, 0.9, 2.5)
        rows[:3, 3] = (-31.25, 12.125, 800.0625)
        self.volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(rows))
        self.rows = rows

    def segmentation(self, **segments: np.ndarray) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        for name, array in segments.items():
            segment = node.GetSegmentation().AddEmptySegment("", name.replace("_", " "))
            slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment, self.volume)
        return node

    def add(self, segmentation: Any = None, volume: Any = None) -> Any:
        results: list[Any] = []
        work = SlicedWork(importSteps(self.cohorts, volume or self.volume, segmentation), done=results.append)
        work.finish()
        return results[0]

    def image(self, case: str = "case_0001") -> sitk.Image:
        cohort = Cohort.read(self.folder)
        return sitk.ReadImage(str(cohort.image_path(cohort.case(case))))

    def toRas(self, image: sitk.Image) -> np.ndarray:
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        matrix[:3, 3] = image.GetOrigin()
        return np.diag([-1, -1, 1, 1]) @ matrix


def box(*corner: int) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    z, y, x = corner
    array[z : z + 2, y : y + 3, x : x + 4] = 1
    return array


class VolumeTest(SceneImportCase):
    def test_a_volume_keeps_voxels_and_place_but_not_its_name(self) -> None:
        self.assertEqual(self.add().caseId, "case_0001")
        image = self.image()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), self.voxels)
        np.testing.assert_allclose(self.toRas(image), self.rows, atol=1e-9)
        self.assertEqual(self.cohorts.rows()[0].id, "case_0001")
        written = [path for path in self.folder.rglob("*") if path.is_file()]
        self.assertFalse([path for path in written if b"DOE" in path.read_bytes() or "DOE" in path.name])
        self.assertEqual(sorted(path.name for path in (self.folder / "images").iterdir()), ["case_0001.nrrd"])
        self.assertFalse(list((self.folder / "cache").iterdir()))

    def test_every_type_of_voxels_comes_back_as_it_was(self) -> None:
        for number, kind in enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")):
            array = (np.random.default_rng(number).random(SHAPE) * 100).astype(kind)
            slicer.util.updateVolumeFromArray(self.volume, array)
            result = sitk.GetArrayFromImage(self.image(self.add().caseId))
            self.assertEqual(result.dtype, array.dtype)
            np.testing.assert_array_equal(result, array)

    def test_linear_transforms_are_applied_and_the_volume_in_the_scene_stays_as_it_is(self) -> None:
        shift = np.eye(4)
        shift[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
        shift[:3, 3] = (5, 6, 7)
        for name in ("outer", "inner"):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
            node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
            self.volume.SetAndObserveTransformNodeID(node.GetID())
        node.SetAndObserveTransformNodeID(slicer.util.getNode("outer").GetID())
        self.add()
        np.testing.assert_allclose(self.toRas(self.image()), shift @ shift @ self.rows, atol=1e-9)
        self.assertIs(self.volume.GetParentTransformNode(), node)

    def test_a_bending_or_shearing_transform_is_refused_with_the_remedy(self) -> None:
        bending = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
        shearing = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shear = np.eye(4)
        shear[0, 2] = 0.3
        shearing.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shear))
        for node in (bending, shearing):
            self.volume.SetAndObserveTransformNodeID(node.GetID())
            with self.assertRaisesRegex(SSLSegError, "arden"):
                self.add()
        self.assertFalse(Cohort.read(self.folder).cases)

    def test_what_is_no_volume_of_one_channel_is_refused(self) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        flat = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "flat")
        slicer.util.updateVolumeFromArray(flat, self.voxels[:1])
        for node, reason in ((empty, "is empty"), (flat, "single slice")):
            with self.assertRaisesRegex(SSLSegError, reason):
                self.add(volume=node)

    def test_the_same_volume_is_added_once(self) -> None:
        self.add()
        with self.assertRaisesRegex(SSLSegError, "already, as case_0001"):
            self.add()
        self.assertEqual([path.name for path in (self.folder / "images").iterdir()], ["case_0001.nrrd"])

    def test_a_volume_that_is_changed_meanwhile_is_not_added_torn(self) -> None:
        steps = importSteps(self.cohorts, self.volume)
        next(steps)
        slicer.util.updateVolumeFromArray(self.volume, self.voxels + 1)
        with self.assertRaisesRegex(SSLSegError, "changed while"):
            SlicedWork(steps).finish()
        self.assertFalse(Cohort.read(self.folder).cases or list((self.folder / "cache").iterdir()))

    def test_a_volume_that_is_stopped_half_way_leaves_nothing(self) -> None:
        steps = importSteps(self.cohorts, self.volume)
        next(steps)
        steps.close()
        self.assertFalse(Cohort.read(self.folder).cases or list((self.folder / "cache").iterdir()))

    def test_a_cohort_that_was_moved_is_said_so_and_not_made_anew(self) -> None:
        self.folder.rename(self.place / "elsewhere")
        with self.assertRaisesRegex(SSLSegError, "cannot be written"):
            self.add()
        self.assertFalse(self.folder.exists())

    def test_a_full_disk_leaves_nothing_behind(self) -> None:
        edit = Cohort._write
        self.addCleanup(setattr, Cohort, "_write", edit)

        def full(cohort: Cohort) -> None:
            raise SSLSegError("The file cannot be written (No space left on device)", file=cohort.folder)

        Cohort._write = full  # type: ignore[method-assign]
        with self.assertRaisesRegex(SSLSegError, "No space left"):
            self.add(self.segmentation(Liver=box(1, 1, 1)))
        self.assertFalse(list((self.folder / "images").iterdir()) + list((self.folder / "labels").iterdir()))

    def test_label_maps_and_the_open_cases_own_volume_are_not_offered(self) -> None:
        slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        addNode("vtkMRMLScalarVolumeNode", "case_0007", VOLUME, "case_0007")
        self.assertEqual([node.GetName() for node in sceneVolumes()], ["DOE JOHN CT"])


class AnnotationTest(SceneImportCase):
    def label(self) -> np.ndarray:
        cohort = Cohort.read(self.folder)
        path = cohort.label_path(cohort.cases[0])
        assert path is not None
        image = sitk.ReadImage(str(path))
        np.testing.assert_allclose(self.toRas(image), self.toRas(self.image()), atol=1e-4)
        return sitk.GetArrayFromImage(image)

    def test_segments_become_organs_by_name_and_others_are_named(self) -> None:
        drawn = self.segmentation(LIVER=box(1, 1, 1), Left_Kidney=box(3, 4, 5), tumour=box(0, 0, 0))
        result = self.add(drawn)
        self.assertIn("left out: tumour", result.notes[0])
        case = Cohort.read(self.folder).cases[0]
        self.assertEqual(case.annotated, ["liver", "left kidney"])
        np.testing.assert_array_equal(self.label(), 3 * box(1, 1, 1) + 7 * box(3, 4, 5))
        self.assertEqual(drawn.GetSegmentation().GetNumberOfSegments(), 3)

    def test_a_segment_is_known_by_its_terminology_too(self) -> None:
        drawn = self.segmentation(Leber=box(1, 1, 1))
        segment = drawn.GetSegmentation().GetNthSegment(0)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), LIVER_TERM)
        found, others = matchSegments(drawn, self.cohorts.cohort.labels)
        self.assertEqual((list(found), others), (["liver"], []))

    def test_an_empty_segment_is_no_annotation(self) -> None:
        drawn = self.segmentation(liver=np.zeros(SHAPE, np.uint8))
        self.add(drawn)
        self.assertFalse(Cohort.read(self.folder).cases[0].is_annotated)

    def test_a_segmentation_moved_with_its_volume_is_taken_and_any_other_refused(self) -> None:
        drawn = self.segmentation(liver=box(2, 2, 2))
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        shift = np.eye(4)
        shift[:3, 3] = (5, 6, 7)
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
        self.volume.SetAndObserveTransformNodeID(node.GetID())
        with self.assertRaisesRegex(SSLSegError, "not moved by the same transform"):
            self.add(drawn)
        drawn.SetAndObserveTransformNodeID(node.GetID())
        self.add(drawn)
        np.testing.assert_array_equal(self.label(), 3 * box(2, 2, 2))

    def test_surfaces_become_voxels_and_the_users_segmentation_stays_as_it_is(self) -> None:
        array = np.zeros(SHAPE, np.uint8)
        array[1:5, 1:7, 1:9] = 1
        drawn = self.segmentation(liver=array)
        drawn.CreateClosedSurfaceRepresentation()
        drawn.GetSegmentation().SetSourceRepresentationName("Closed surface")
        drawn.GetSegmentation().RemoveRepresentation("Binary labelmap")
        self.add(drawn)
        overlap = ((self.label() == 3) & (array == 1)).sum() / array.sum()
        self.assertGreater(overlap, 0.6)
        self.assertFalse(drawn.GetSegmentation().ContainsRepresentation("Binary labelmap"))

    def test_the_segmentation_of_a_volume_is_found_where_there_is_one(self) -> None:
        self.assertIsNone(segmentationOf(self.volume))
        drawn = self.segmentation(liver=box(1, 1, 1))
        self.assertIs(segmentationOf(self.volume), drawn)
        self.segmentation(liver=box(1, 1, 1))
        self.assertIsNone(segmentationOf(self.volume))

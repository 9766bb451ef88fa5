"""A case of the cohort in Slicer's scene: what is shown is what is on disk, and the other way round."""

from __future__ import annotations

import gzip
import unittest
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
import widget_helpers  # noqa: F401 - before the helpers that it finds
from case_doubles import (
    GEOMETRIES,
    GULLET,
    KIDNEY,
    LABELS,
    LIVER,
    LIVER_TERM,
    SHAPE,
    CaseTest,
    an_image,
    drawn_voxels,
    scan_voxels,
)
from review_cohort import settle
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.LabelMapWriter import writeLabelMap
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.logic.SegmentationNode import Layer, Snapshot
from SSLSegmentationLib.logic.SlicedWork import SlicedWork

from sslseg.contract.cohort import AnnotatedSlices, Cohort, ReviewState


class OpenedCaseTest(CaseTest):
    def test_the_image_has_its_voxels_and_lies_where_the_file_says(self) -> None:
        for geometry in GEOMETRIES:
            with self.subTest(geometry):
                sitk.WriteImage(
                    an_image(scan_voxels(), geometry), str(self.folder / "images" / "second.nrrd")
                )
                self.open("second")
                np.testing.assert_array_equal(
                    slicer.util.arrayFromVolume(self.logic.volumeNode), scan_voxels()
                )
                self.assertIs(slicer.util.arrayFromVolume(self.logic.volumeNode).dtype.type, np.int16)
                image = an_image(scan_voxels(), geometry)
                matrix = vtk.vtkMatrix4x4()
                self.logic.volumeNode.GetIJKToRASMatrix(matrix)
                for corner in ((0, 0, 0), (12, 0, 0), (0, 10, 0), (12, 10, 6)):
                    left, back, up = image.TransformIndexToPhysicalPoint(corner)
                    found = matrix.MultiplyPoint((*corner, 1.0))[:3]
                    np.testing.assert_allclose(found, (-left, -back, up), atol=1e-4)

    def test_every_organ_is_a_segment_in_order_with_name_colour_terminology_and_voxels(self) -> None:
        self.open("first")
        segmentation = self.logic.segmentationNode.GetSegmentation()
        self.assertEqual(segmentation.GetNumberOfSegments(), len(LABELS))
        for index, label in enumerate(LABELS):
            segment = segmentation.GetNthSegment(index)
            self.assertEqual(segmentation.GetNthSegmentID(index), self.logic.segmentId(label.name))
            self.assertEqual(segment.GetName(), label.name)
            self.assertEqual(segment.GetLabelValue(), label.value)
            np.testing.assert_allclose(segment.GetColor(), np.array(label.color) / 255, atol=1e-6)
            np.testing.assert_array_equal(self.drawn(label.name), drawn_voxels() == label.value)
        tag, text = slicer.vtkSegment.GetTerminologyEntryTagName(), vtk.reference("")
        self.assertTrue(segmentation.GetNthSegment(0).GetTag(tag, text))
        self.assertEqual(str(text), LIVER_TERM)

    def test_a_case_without_a_drawing_has_empty_segments_to_draw_in(self) -> None:
        self.open("second")
        self.assertFalse(any(self.logic.hasVoxels(label.name) for label in LABELS))
        wanted = self.a_box(slice(0, 2), slice(3, 5), slice(1, 9))
        self.draw(KIDNEY, wanted)
        np.testing.assert_array_equal(self.drawn(KIDNEY), wanted)
        self.assertTrue(self.logic.isModified)

    def test_opening_and_closing_changes_nothing_on_disk(self) -> None:
        before = [(self.folder / name).read_bytes() for name in ("cohort.json", "labels/first.nii.gz")]
        self.open("first")
        self.close()
        self.assertEqual(
            [(self.folder / name).read_bytes() for name in ("cohort.json", "labels/first.nii.gz")], before
        )
        self.assertEqual(self.events, ["opened first", "aboutToClose first", "closed"])
        self.assertEqual(self.case_nodes(), [])

    def test_a_case_that_cannot_be_read_is_said_in_a_sentence_and_leaves_nothing_behind(self) -> None:
        (self.folder / "images" / "second.nrrd").write_text("NRRD0004\nno header at all")
        self.assertTrue(self.logic.openCase("second"))
        settle(self.logic)
        self.assertIsNone(self.logic.caseId)
        self.assertIsNone(self.logic.openingId)
        self.assertIn("second.nrrd", self.said[0])
        self.assertEqual(self.case_nodes(), [])
        self.logic.openCase("nobody")
        settle(self.logic)
        self.assertIn("There is no case 'nobody'", self.said[1])

    def test_an_image_that_is_gone_is_said_in_a_sentence(self) -> None:
        (self.folder / "images" / "second.nrrd").unlink()
        self.logic.openCase("second")
        settle(self.logic)
        self.assertRegex(self.said[0], r"second\.nrrd.*cannot be read.*Put it back")

    def test_what_was_read_ahead_is_handed_out_once(self) -> None:
        self.logic.preload("first")
        settle(self.logic)
        self.open("first")
        slicer.util.arrayFromVolume(self.logic.volumeNode)[:] = 0
        self.close()
        self.open("first")
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(self.logic.volumeNode), scan_voxels())

    def test_another_case_takes_the_place_of_the_first(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.open("second")
        self.assertEqual(self.events[:4], ["opened first", "aboutToClose first", "closed", "saved first"])
        self.assertEqual(self.saved_voxels("first")[0].tolist(), np.full(SHAPE[1:], 2).tolist())
        self.assertEqual(
            [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")], ["second"]
        )

    def test_predictions_are_shown_where_nobody_has_drawn(self) -> None:
        self.predict("first")
        self.predict("second")
        self.open("second")
        self.assertTrue(self.drawn(GULLET)[0].all())
        self.assertIn("model m", self.logic.source)
        self.open("first", "auto")
        self.assertFalse(self.logic.hasVoxels(GULLET))
        with self.cohorts.edit() as cohort:
            cohort.case("first").organ_review = {GULLET: ReviewState.FLAGGED}
        self.open("first", "prediction")
        np.testing.assert_array_equal(self.drawn(LIVER), drawn_voxels() == 200)  # annotated
        np.testing.assert_array_equal(self.drawn(KIDNEY), self.predicted() == 7)  # drawn, but not annotated
        np.testing.assert_array_equal(self.drawn(GULLET), self.predicted() == 2)
        self.assertEqual(self.logic.organStatus(GULLET), ReviewState.FLAGGED)
        self.logic.setMark(GULLET, Mark.SLICES, AnnotatedSlices("k", [0]))
        self.close()
        self.assertEqual(self.saved_voxels("first")[6, 10, 12], 255)  # nobody annotated that
        with self.cohorts.edit() as cohort:
            cohort.case("first").annotated, cohort.case("first").slices = [], {}
        self.open("first", "prediction")  # begun, though not annotated
        np.testing.assert_array_equal(self.drawn(GULLET), self.predicted() == 2)

    def test_the_uncertainty_of_a_prediction_is_loaded_on_demand(self) -> None:
        self.predict("second")
        self.open("second")
        self.assertFalse(self.logic.loadUncertainty())
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[2] = 60
        path = Cohort.read(self.folder).uncertainty_path("m", "second")
        path.parent.mkdir()
        sitk.WriteImage(an_image(voxels), str(path))
        loaded: list[Any] = []
        self.logic.uncertaintyLoaded.connect(lambda: loaded.append(self.logic.uncertaintyNode))
        self.assertTrue(self.logic.loadUncertainty())
        settle(self.logic)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded[0]), voxels)
        self.close()
        self.assertEqual(self.case_nodes(), [])

    def predicted(self) -> np.ndarray:
        voxels = np.zeros(SHAPE, np.uint8)
        voxels[0], voxels[1:3, :4], voxels[4, :, 8:] = 2, 200, 7
        return voxels

    def predict(self, case_id: str) -> None:
        cohort = Cohort.read(self.folder)
        (cohort.model_folder("m")).mkdir(parents=True, exist_ok=True)
        (cohort.model_folder("m") / "sslseg.json").write_text("{}")
        path = cohort.prediction_path("m", case_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(an_image(self.predicted()), str(path))
        self.cohorts.refresh()


class SavedCaseTest(CaseTest):
    def test_what_is_drawn_is_saved_with_declared_values_on_the_grid_of_the_image(self) -> None:
        for geometry in GEOMETRIES:
            with self.subTest(geometry):
                image = an_image(scan_voxels(), geometry)
                sitk.WriteImage(image, str(self.folder / "images" / "second.nrrd"))
                self.open("second")
                wanted = np.zeros(SHAPE, np.uint8)
                wanted[0:2, 3:5, 1:9], wanted[4, 2:, :3], wanted[6] = 7, 200, 2
                for label in LABELS:
                    self.draw(label.name, wanted == label.value)
                self.close()
                saved = self.saved_label("second")
                np.testing.assert_array_equal(sitk.GetArrayFromImage(saved), wanted)
                for corner in ((0, 0, 0), (12, 10, 6)):
                    np.testing.assert_allclose(
                        saved.TransformIndexToPhysicalPoint(corner),
                        image.TransformIndexToPhysicalPoint(corner),
                        atol=1e-4,
                    )
                self.assertEqual(self.on_disk("second").label, "labels/second.nii.gz")
                (self.folder / "labels" / "second.nii.gz").unlink()
                with self.cohorts.edit() as cohort:
                    cohort.case("second").label = None

    def test_voxels_that_nobody_annotated_stay_so_unless_drawn_on(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1), slice(0, 2), slice(0, 2)))
        self.close()
        self.assertEqual(self.saved_voxels("first")[6, 10, 12], 255)
        self.open("first")
        self.draw(GULLET, self.a_box(slice(5, 7), slice(9, 11), slice(11, 13)))
        self.close()
        saved = self.saved_voxels("first")
        self.assertEqual(saved[6, 10, 12], 2)
        self.assertNotIn(255, saved)

    def test_the_file_is_what_simpleitk_would_write(self) -> None:
        voxels = drawn_voxels()
        for geometry in GEOMETRIES:
            image = an_image(voxels, geometry)
            sitk.WriteImage(image, str(self.place / "theirs.nii"))
            grid = Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
            snapshot = Snapshot(
                SHAPE, [Layer(voxels, (0, 0, 0), [(v, v) for v in (200, 7, 255)])], [200, 7, 255]
            )
            SlicedWork(writeLabelMap(self.place / "ours.nii.gz", snapshot, grid, None)).finish()
            ours = gzip.decompress((self.place / "ours.nii.gz").read_bytes())
            self.assertEqual(ours, (self.place / "theirs.nii").read_bytes())

    def test_a_volume_that_the_user_moves_moves_no_annotation(self) -> None:
        self.open("first")
        self.logic.volumeNode.SetOrigin(1.0, 2.0, 3.0)
        self.draw(GULLET, self.drawn(GULLET))
        self.logic.onDrawn()
        self.close()
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())
        found, wanted = self.saved_label("first").GetOrigin(), an_image(drawn_voxels()).GetOrigin()
        np.testing.assert_allclose(found, wanted, atol=1e-4)

    def test_saving_leaves_the_case_open_and_unmodified(self) -> None:
        self.open("first")
        self.draw(KIDNEY, self.a_box(slice(2, 3)))
        self.logic.save()
        settle(self.logic)
        self.assertFalse(self.logic.isModified)
        self.assertEqual(self.logic.lastSaved, self.now)
        self.assertEqual(self.events, ["opened first", "saved first"])
        self.draw(KIDNEY, self.a_box(slice(3, 4)))
        self.assertTrue(self.logic.isModified)

    def test_what_is_drawn_while_it_is_being_saved_is_not_forgotten(self) -> None:
        self.open("first")
        self.draw(KIDNEY, self.a_box(slice(2, 3)))
        self.logic.save()
        self.draw(KIDNEY, self.a_box(slice(4, 5)))
        settle(self.logic)
        self.assertTrue(self.logic.isModified)
        self.close()
        self.assertEqual(np.flatnonzero((self.saved_voxels("first") == 7).any(axis=(1, 2))).tolist(), [4])

    def test_where_segments_overlap_the_later_organ_is_saved_and_that_is_said(self) -> None:
        self.open("second")
        self.draw(LIVER, self.a_box(slice(0, 4)))
        image = slicer.vtkOrientedImageData()
        image.DeepCopy(
            self.logic.segmentationNode.GetSegmentation()
            .GetSegment(self.logic.segmentId(LIVER))
            .GetRepresentation("Binary labelmap")
        )
        overlapping = self.logic.segmentationNode.GetSegmentation().GetSegment(self.logic.segmentId(KIDNEY))
        overlapping.RemoveRepresentation("Binary labelmap")
        overlapping.SetLabelValue(200)
        overlapping.AddRepresentation("Binary labelmap", image)
        self.logic.segmentationNode.GetSegmentation().InvokeEvent(
            slicer.vtkSegmentation.SourceRepresentationModified
        )
        self.close()
        self.assertTrue((self.saved_voxels("second")[:4] == 7).all())
        self.assertEqual(
            self.said, ["Segments overlap: where they do, the organ further down the list is saved."]
        )

    def test_segments_on_another_grid_are_put_onto_the_image(self) -> None:
        self.open("second")
        image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
        self.logic.volumeNode.GetIJKToRASMatrix(matrix)
        # Twice as fine along every axis, and a part of the whole.
        finer = slicer.util.arrayFromVTKMatrix(matrix) @ np.array(
            [[0.5, 0, 0, 1.75], [0, 0.5, 0, 2.75], [0, 0, 0.5, 0.75], [0, 0, 0, 1]]
        )
        image.SetDimensions(6, 8, 4)
        image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(finer))
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
        image.GetPointData().GetScalars().Fill(1)
        segment = self.logic.segmentationNode.GetSegmentation().GetSegment(self.logic.segmentId(LIVER))
        segment.RemoveRepresentation("Binary labelmap")
        segment.SetLabelValue(1)
        segment.AddRepresentation("Binary labelmap", image)
        self.logic.segmentationNode.GetSegmentation().InvokeEvent(
            slicer.vtkSegmentation.SourceRepresentationModified
        )
        self.close()
        expected = np.zeros(SHAPE, np.uint8)
        expected[1:3, 3:7, 2:5] = 200
        np.testing.assert_array_equal(self.saved_voxels("second"), expected)


class MarksTest(CaseTest):
    def marks(self) -> list[Mark]:
        return [mark.mark for mark in self.logic.marks().values()]

    def test_marks_come_from_the_cohort_and_go_back_to_it(self) -> None:
        self.open("first")
        self.assertEqual(self.marks(), [Mark.COMPLETE, Mark.NOT_DONE, Mark.NOT_DONE])
        self.logic.setMark(KIDNEY, Mark.SLICES, AnnotatedSlices("k", [3, 5]))
        self.logic.setMark(GULLET, Mark.ABSENT)
        self.assertTrue(self.logic.isModified)
        self.close()
        case = self.on_disk("first")
        self.assertEqual(case.annotated, [LIVER, KIDNEY, GULLET])
        self.assertEqual(case.slices, {KIDNEY: AnnotatedSlices("k", [3, 5])})
        self.assertEqual(case.review, ReviewState.IN_PROGRESS)
        self.assertEqual(case.organ_review, {LIVER: ReviewState.COMPLETED, GULLET: ReviewState.COMPLETED})
        self.open("first")
        self.assertEqual(self.marks(), [Mark.COMPLETE, Mark.SLICES, Mark.ABSENT])
        self.logic.setMark(LIVER, Mark.NOT_DONE)
        self.logic.setMark(KIDNEY, Mark.NOT_DONE)
        self.close()
        self.assertEqual((self.on_disk("first").annotated, self.on_disk("first").slices), ([GULLET], {}))

    def test_every_status_of_slicer_survives_closing_and_opening(self) -> None:
        statuses = [ReviewState.COMPLETED, ReviewState.FLAGGED, ReviewState.IN_PROGRESS]
        self.open("second")
        for label, status in zip(LABELS, statuses, strict=True):
            self.logic.setOrganStatus(label.name, status)
        native = slicer.vtkSlicerSegmentationsModuleLogic
        segmentation = self.logic.segmentationNode.GetSegmentation()
        self.assertEqual(
            [native.GetSegmentStatus(segmentation.GetNthSegment(i)) for i in range(3)], [2, 3, 1]
        )
        self.close()
        self.assertEqual(self.on_disk("second").review, ReviewState.FLAGGED)
        self.open("second")
        self.assertEqual([self.logic.organStatus(label.name) for label in LABELS], statuses)
        for label in LABELS:
            self.logic.setOrganStatus(label.name, ReviewState.COMPLETED)
        self.close()
        case = self.on_disk("second")
        self.assertEqual((case.review, case.organ_review), (ReviewState.COMPLETED, {}))
        self.assertEqual(case.annotated, [label.name for label in LABELS])

    def test_a_status_set_in_slicers_own_table_counts_as_well(self) -> None:
        self.open("second")
        segment = self.logic.segmentationNode.GetSegmentation().GetNthSegment(1)
        slicer.vtkSlicerSegmentationsModuleLogic.SetSegmentStatus(segment, 2)
        self.assertTrue(self.logic.isModified)
        self.close()
        self.assertEqual(self.on_disk("second").annotated, [KIDNEY])

    def test_an_absent_organ_that_is_drawn_later_counts_as_not_done(self) -> None:
        self.open("second")
        self.logic.setMark(KIDNEY, Mark.ABSENT)
        self.logic.setMark(LIVER, Mark.COMPLETE)
        self.draw(KIDNEY, self.a_box(slice(2, 3)))
        self.logic.save()
        settle(self.logic)
        self.assertEqual(
            self.said, ["Left Kidney was marked absent, but it is drawn: it now counts as not done."]
        )
        self.assertEqual(self.on_disk("second").annotated, [LIVER])
        self.assertEqual(self.logic.organMark(KIDNEY).mark, Mark.NOT_DONE)
        self.assertEqual(self.logic.organMark(LIVER).mark, Mark.ABSENT)  # complete, and nothing drawn
        self.assertFalse(self.logic.isModified)

    def test_marks_travel_with_a_seg_nrrd_file(self) -> None:
        self.open("first")
        self.logic.setMark(KIDNEY, Mark.SLICES, AnnotatedSlices("i", [4, 6]))
        self.logic.setMark(GULLET, Mark.ABSENT)
        before = self.logic.marks()
        storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(self.place / "x.seg.nrrd"))
        self.assertTrue(storage.WriteData(self.logic.segmentationNode))
        for label in LABELS:
            self.logic.setMark(label.name, Mark.NOT_DONE)
        self.assertTrue(storage.ReadData(self.logic.segmentationNode))
        self.assertEqual(self.logic.marks(), before)

    def test_slices_that_hold_an_organ_are_those_of_the_image(self) -> None:
        self.open("first")
        self.assertEqual(self.logic.drawnSlices(LIVER, "k"), [1, 2, 3])
        self.assertEqual(self.logic.drawnSlices(LIVER, "j"), [2, 3, 4, 5])
        self.assertEqual(self.logic.drawnSlices(KIDNEY, "i"), [4, 5, 6])
        self.assertEqual(self.logic.drawnSlices(GULLET, "i"), [])

    def test_review_of_the_whole_case_does_not_make_an_unannotated_organ_complete(self) -> None:
        with self.cohorts.edit() as cohort:
            cohort.case("first").review = ReviewState.COMPLETED
        self.open("first")
        self.assertEqual(self.marks(), [Mark.COMPLETE, Mark.NOT_DONE, Mark.NOT_DONE])


if __name__ == "__main__":
    unittest.main()

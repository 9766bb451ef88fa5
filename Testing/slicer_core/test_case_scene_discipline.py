"""The open case among what else is in the scene: nothing of the user's is touched, nothing of ours stays behind."""

from __future__ import annotations

import shutil
import unittest
from typing import Any

import numpy as np
import slicer
import widget_helpers  # noqa: F401 - before the helpers that it finds
from case_doubles import GULLET, KIDNEY, LIVER, SHAPE, CaseTest, drawn_voxels, scan_voxels
from review_cohort import settle
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.logic.SceneNodes import OWNED

from sslseg.contract.cohort import AnnotatedSlices


def composites() -> list[Any]:
    return sorted(
        slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"), key=lambda node: node.GetLayoutName()
    )


def slice_nodes() -> list[Any]:
    return sorted(slicer.util.getNodesByClass("vtkMRMLSliceNode"), key=lambda node: node.GetLayoutName())


class UsersNodesTest(CaseTest):
    def setUp(self) -> None:
        super().setUp()
        self.theirs = slicer.util.addVolumeFromArray(scan_voxels(), np.diag([2.0, 2, 2, 1]), "theirs")
        self.overlay = slicer.util.addVolumeFromArray(scan_voxels(), np.diag([2.0, 2, 2, 1]), "overlay")
        for number, composite in enumerate(composites()):
            composite.SetBackgroundVolumeID(self.theirs.GetID())
            composite.SetForegroundVolumeID(self.overlay.GetID())
            composite.SetForegroundOpacity(0.2 + 0.1 * number)
        for number, node in enumerate(slice_nodes()):
            node.SetFieldOfView(40 + number, 50 + number, 1)
            node.SetXYZOrigin(3, -4, 0)
            node.SetSliceOffset(5.5 + number)

    def views(self) -> list[tuple[Any, ...]]:
        layers = [
            (
                c.GetBackgroundVolumeID(),
                c.GetForegroundVolumeID(),
                c.GetLabelVolumeID(),
                c.GetForegroundOpacity(),
            )
            for c in composites()
        ]
        places = [
            (
                node.GetFieldOfView(),
                node.GetXYZOrigin(),
                slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()).tolist(),
            )
            for node in slice_nodes()
        ]
        return [*layers, *places]

    def test_the_slice_views_come_back_as_they_were(self) -> None:
        before = self.views()
        self.open("first")
        self.assertEqual({c.GetBackgroundVolumeID() for c in composites()}, {self.logic.volumeNode.GetID()})
        self.assertNotEqual(self.views(), before)
        self.open("second")
        self.close()
        self.assertEqual(self.views(), before)

    def test_a_view_that_the_user_has_changed_meanwhile_stays(self) -> None:
        self.open("first")
        composites()[0].SetBackgroundVolumeID(self.overlay.GetID())
        self.close()
        self.assertEqual(composites()[0].GetBackgroundVolumeID(), self.overlay.GetID())
        self.assertEqual(composites()[1].GetBackgroundVolumeID(), self.theirs.GetID())

    def test_a_volume_that_the_user_has_removed_meanwhile_is_not_asked_for(self) -> None:
        self.open("first")
        slicer.mrmlScene.RemoveNode(self.theirs)
        self.close()
        self.assertEqual({c.GetBackgroundVolumeID() for c in composites()}, {None})

    def test_the_views_come_back_when_the_user_removes_our_image(self) -> None:
        before = self.views()
        self.open("first")
        slicer.mrmlScene.RemoveNode(self.logic.volumeNode)
        settle(self.logic)
        self.assertEqual(self.views(), before)

    def test_their_nodes_and_display_are_as_before_and_ours_are_gone(self) -> None:
        display = self.theirs.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(11, 222)
        segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "their segmentation")
        segmentation.CreateDefaultDisplayNodes()
        segmentation.GetDisplayNode().SetVisibility(False)
        before = self.case_nodes()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        items = hierarchy.GetNumberOfItems()
        self.open("first")
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.logic.volumeNode))
        self.assertEqual(hierarchy.GetItemName(folder), "SSLSegmentation")
        self.assertEqual(
            hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.logic.segmentationNode)), folder
        )
        self.open("second")
        self.close()
        self.assertEqual(self.case_nodes(), before)
        self.assertEqual(hierarchy.GetNumberOfItems(), items)
        self.assertEqual((display.GetWindowLevelMin(), display.GetWindowLevelMax()), (11, 222))
        self.assertFalse(segmentation.GetDisplayNode().GetVisibility())

    def test_what_the_user_has_put_into_our_folder_keeps_it(self) -> None:
        self.open("first")
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.logic.volumeNode))
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(self.theirs), folder)
        self.close()
        self.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.theirs)), folder)


class BadMomentsTest(CaseTest):
    def test_what_is_drawn_is_saved_when_the_scene_is_closed(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        slicer.mrmlScene.Clear(0)
        self.assertIsNone(self.logic.caseId)
        self.assertEqual(self.events, ["opened first", "aboutToClose first", "saved first", "closed"])
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.open("first")
        self.assertTrue(self.drawn(GULLET)[0].all())

    def test_an_opening_is_dropped_when_the_scene_is_closed(self) -> None:
        self.logic.openCase("first")
        slicer.mrmlScene.Clear(0)
        settle(self.logic)
        self.assertEqual((self.logic.caseId, self.logic.openingId, self.case_nodes()), (None, None, []))

    def test_removing_one_of_our_nodes_saves_and_closes_the_case(self) -> None:
        for name in ("segmentationNode", "volumeNode"):
            with self.subTest(name):
                self.open("second")
                self.draw(KIDNEY, self.a_box(slice(0, 2 if name == "volumeNode" else 1)))
                slicer.mrmlScene.RemoveNode(getattr(self.logic, name))
                self.assertIsNone(self.logic.caseId)
                settle(self.logic)
                self.assertEqual(self.case_nodes(), [])
                planes = (self.saved_voxels("second") == 7).any(axis=(1, 2)).sum()
                self.assertEqual(planes, 2 if name == "volumeNode" else 1)

    def test_an_organ_that_is_removed_is_there_again_empty_and_in_its_place(self) -> None:
        self.open("first")
        segmentation = self.logic.segmentationNode.GetSegmentation()
        segmentation.RemoveSegment(self.logic.segmentId(KIDNEY))
        self.assertEqual(segmentation.GetNthSegmentID(1), self.logic.segmentId(KIDNEY))
        self.assertEqual(segmentation.GetNumberOfSegments(), 3)
        self.assertFalse(self.logic.hasVoxels(KIDNEY))
        self.assertIn("there again, empty", self.said[0])
        self.draw(KIDNEY, self.a_box(slice(5, 6)))
        self.close()
        expected = drawn_voxels()
        expected[expected == 7] = 0
        expected[5] = 7
        np.testing.assert_array_equal(self.saved_voxels("first"), expected)

    def test_a_segment_that_is_no_organ_is_not_saved_and_that_is_said(self) -> None:
        self.open("first")
        self.logic.segmentationNode.GetSegmentation().AddEmptySegment("mine", "tumour?")
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            self.a_box(slice(0, 1)).astype(np.uint8),
            self.logic.segmentationNode,
            "mine",
            self.logic.volumeNode,
        )
        self.close()
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())
        self.assertEqual(self.said, ["Not saved, because they are no organs of the cohort: tumour?."])

    def test_names_and_colours_stay_those_of_the_cohort(self) -> None:
        self.open("first")
        segment = self.logic.segmentationNode.GetSegmentation().GetNthSegment(0)
        segment.SetName("something")
        segment.SetColor(0, 0, 0)
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.assertEqual(segment.GetName(), LIVER)
        np.testing.assert_allclose(segment.GetColor(), np.array([221, 130, 101]) / 255, atol=1e-6)

    def test_a_cohort_that_is_closed_or_changed_takes_its_case_along(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.cohorts.closeCohort()
        settle(self.logic)
        self.assertEqual((self.logic.caseId, self.case_nodes()), (None, []))
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())

    def test_a_reload_of_the_module_saves_and_takes_nothing_else_along(self) -> None:
        theirs = slicer.util.addVolumeFromArray(scan_voxels(), name="theirs")
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.logic.shutdown()
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.open_logic()
        slicer.mrmlScene.RemoveNode(theirs)
        self.open("first")
        self.assertTrue(self.drawn(GULLET)[0].all())


class SavedSceneTest(CaseTest):
    def setUp(self) -> None:
        super().setUp()
        self.bundle = str(self.place / "scene.mrb")
        self.open("first")

    def save_scene(self) -> None:
        self.assertTrue(slicer.mrmlScene.WriteToMRB(self.bundle))

    def load_scene(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.assertTrue(slicer.mrmlScene.ReadFromMRB(self.bundle))
        settle(self.logic)

    def test_a_saved_scene_is_the_open_case_again(self) -> None:
        self.logic.setMark(KIDNEY, Mark.SLICES, AnnotatedSlices("k", [3]))
        self.logic.saveNow()
        self.save_scene()
        self.load_scene()
        self.assertEqual(self.logic.caseId, "first")
        self.assertFalse(self.logic.isModified, self.said)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)
        self.assertEqual(self.logic.organMark(KIDNEY).mark, Mark.SLICES)
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.close()
        self.assertTrue((self.saved_voxels("first")[0] == 2).all())
        self.assertEqual(self.saved_voxels("first")[6, 10, 12], 255)
        self.assertEqual(self.case_nodes(), [])

    def test_a_drawing_of_the_scene_that_differs_is_kept_until_somebody_decides(self) -> None:
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.save_scene()
        self.logic.closeCase(discard=True)
        self.load_scene()
        self.assertTrue(self.logic.isModified)
        self.assertIn("differs from the saved one", self.said[-1])
        self.assertTrue(self.drawn(GULLET)[0].all())
        self.assertTrue(self.logic.revert())
        settle(self.logic)
        self.assertFalse(self.logic.hasVoxels(GULLET))
        np.testing.assert_array_equal(self.saved_voxels("first"), drawn_voxels())

    def test_elsewhere_a_saved_scene_is_the_users_own(self) -> None:
        self.save_scene()
        self.logic.closeCase()
        self.cohorts.closeCohort()
        self.load_scene()
        self.assertIsNone(self.logic.caseId)
        volume, segmentation = (
            slicer.util.getNodesByClass(kind)[0]
            for kind in ("vtkMRMLScalarVolumeNode", "vtkMRMLSegmentationNode")
        )
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(volume), scan_voxels())
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "Segment_200", volume)
        np.testing.assert_array_equal(found > 0, drawn_voxels() == 200)
        # Another case is opened and closed beside it: it stays.
        self.cohorts.openCohort(self.folder)
        self.open("second")
        self.assertIsNone(volume.GetAttribute(OWNED))
        self.close()
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), [segmentation])

    def test_a_scene_that_is_imported_beside_an_open_case_leaves_it_alone(self) -> None:
        self.save_scene()
        self.open("second")
        self.draw(KIDNEY, self.a_box(slice(2, 3)))
        self.assertTrue(slicer.mrmlScene.ReadFromMRB(self.bundle, False))
        settle(self.logic)
        self.assertEqual(self.logic.caseId, "second")
        self.close()
        self.assertTrue((self.saved_voxels("second")[2] == 7).all())
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)

    def test_nodes_on_another_grid_are_not_taken_for_the_case(self) -> None:
        self.save_scene()
        self.logic.closeCase()
        self.geometry = "anisotropic"
        self.cohorts.closeCohort()
        shutil.rmtree(self.folder)
        self.make_cohort()
        self.cohorts.openCohort(self.folder)
        self.load_scene()
        self.assertEqual(self.logic.caseId, "first")
        self.assertFalse(self.logic.isModified)
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 2)
        self.close()
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)
        self.assertEqual(self.saved_voxels("first").shape, SHAPE)


if __name__ == "__main__":
    unittest.main()

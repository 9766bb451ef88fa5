"""The Annotate section, as a person uses it."""

from __future__ import annotations

import time
import unittest
from typing import Any

import ctk
import numpy as np
import qt
import slicer
import vtk
from case_doubles import GULLET, KIDNEY, LABELS, LIVER, CaseTest, drawn_voxels
from cohort_doubles import Asked
from review_cohort import settle
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.widgets.AnnotatePanel import AnnotatePanel

from sslseg.contract.cohort import AnnotatedSlices, Case
from sslseg.contract.quality import RankedCase, Ranking, write_ranking


def _listens(editor: Any, unknown: bool) -> bool:
    """Whether the Segment Editor has its keys; Slicer's own does not tell."""
    tell = getattr(editor, "keyboardShortcutsInstalled", None)
    return unknown if tell is None else tell()


class PanelCase(CaseTest):
    def setUp(self) -> None:
        super().setUp()
        self.errors: list[str] = []
        self.asked = Asked()
        self.panel = AnnotatePanel(self.cohorts, self.logic, confirm=self.asked, showError=self.errors.append)
        self.addCleanup(self.panel.cleanup)
        self.ui = self.panel.ui
        self.panel.enter()

    def select(self, organ: str) -> None:
        """A click on a row of the table."""
        names = [label.name for label in LABELS]
        self.ui.organTable.setCurrentCell(names.index(organ), 0)

    def look(self, view: str, ijk: tuple[int, int, int]) -> None:
        """Show a voxel in a slice view, and choose that view in the panel."""
        combo = self.ui.viewCombo
        combo.currentIndex = [combo.itemData(index) for index in range(combo.count)].index(view)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if node.GetLayoutName() == view:
                node.JumpSliceByOffsetting(*self.ras(ijk))

    def ras(self, ijk: tuple[int, int, int]) -> list[float]:
        matrix = vtk.vtkMatrix4x4()
        self.logic.volumeNode.GetIJKToRASMatrix(matrix)
        return list(matrix.MultiplyPoint((*ijk, 1.0))[:3])

    def marks_shown(self) -> list[str]:
        return [self.ui.organTable.item(row, 1).text() for row in range(self.ui.organTable.rowCount)]


class OpenCaseInPanelTest(PanelCase):
    geometry = "permuted"

    def test_without_a_case_only_the_next_one_is_offered(self) -> None:
        self.assertFalse(self.ui.organTable.isVisibleTo(self.panel.widget))
        self.assertFalse(self.ui.editorFrame.isVisibleTo(self.panel.widget))
        self.assertTrue(self.ui.nextButton.enabled)
        self.ui.nextButton.click()
        self.assertEqual(self.ui.caseLabel.text, "Opening second …")
        settle(self.logic)
        self.assertEqual(self.ui.caseLabel.text, "<b>second</b>")
        self.assertTrue(self.ui.organTable.isVisibleTo(self.panel.widget))

    def test_the_editor_edits_the_open_case_and_nothing_else_can_be_reached(self) -> None:
        editor = self.panel.editorFrame.editor
        for case_id in ("first", "second"):
            self.open(case_id)
            self.assertIs(editor.segmentationNode(), self.logic.segmentationNode)
            self.assertIs(editor.sourceVolumeNode(), self.logic.volumeNode)
            self.assertEqual(editor.currentSegmentID(), self.logic.segmentId(LIVER))
        for part in slicer.util.findChildren(editor, name="SegmentsTableView"):
            self.assertFalse(part.isVisibleTo(editor))
        self.close()
        self.assertIsNone(editor.segmentationNode())
        self.assertIsNone(editor.sourceVolumeNode())

    def test_what_is_drawn_takes_the_voxel_from_the_other_organs(self) -> None:
        self.open("first")
        node = self.panel.editorFrame.editor.mrmlSegmentEditorNode()
        self.assertEqual(node.GetOverwriteMode(), node.OverwriteAllSegments)

    def test_the_editor_works_on_after_the_scene_was_closed(self) -> None:
        self.open("first")
        slicer.mrmlScene.Clear(0)
        self.open("second")
        self.assertIs(self.panel.editorFrame.editor.segmentationNode(), self.logic.segmentationNode)

    def test_an_organ_selected_in_the_table_is_drawn_and_shown(self) -> None:
        self.open("first")
        self.select(KIDNEY)
        self.assertEqual(self.panel.editorFrame.editor.currentSegmentID(), self.logic.segmentId(KIDNEY))
        middle = np.array(self.ras((5, 7, 4)))
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            view = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
            self.assertAlmostEqual(float(view[:3, 2] @ (view[:3, 3] - middle)), 0.0, places=3)

    def test_an_organ_selected_in_the_editor_is_selected_in_the_table(self) -> None:
        self.open("first")
        self.panel.editorFrame.editor.setCurrentSegmentID(self.logic.segmentId(GULLET))
        self.assertEqual(self.panel.organTable.selected, GULLET)

    def test_the_active_effect_is_told_once_for_each_change(self) -> None:
        effects: list[str] = []
        self.panel.editorFrame.effectChanged.connect(effects.append)
        self.open("first")
        node = self.panel.editorFrame.editor.mrmlSegmentEditorNode()
        self.panel.editorFrame.editor.setActiveEffectByName("Draw")
        node.Modified()
        self.panel.exit()
        self.panel.cleanup()
        node.SetActiveEffectName("Paint")
        self.assertEqual(effects, ["Draw", ""])

    def test_an_organ_can_be_hidden_in_the_views(self) -> None:
        self.open("first")
        self.ui.organTable.item(1, 0).setCheckState(0)
        display = self.logic.segmentationNode.GetDisplayNode()
        shown = [display.GetSegmentVisibility(self.logic.segmentId(label.name)) for label in LABELS]
        self.assertEqual(shown, [True, False, True])

    def test_usual_windows_are_offered(self) -> None:
        self.open("first")
        actions = {action.text: action for action, _show in self.panel._windowActions}
        self.assertEqual(list(actions), ["Soft tissue", "Lung", "Bone", "Brain", "Automatic"])
        display = self.logic.volumeNode.GetDisplayNode()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (400, 40))
        actions["Lung"].trigger()
        self.assertEqual((display.GetWindow(), display.GetLevel()), (1500, -600))
        actions["Automatic"].trigger()
        self.assertEqual((display.GetWindowLevelMin(), display.GetWindowLevelMax()), self.logic.intensities)


class MarksInPanelTest(PanelCase):
    geometry = "permuted"
    """The index axes i, j, k of the image run along P, S and L: axial slices are those along j."""

    def test_organs_are_marked_complete_absent_and_not_done(self) -> None:
        self.open("first")
        self.assertEqual(self.marks_shown(), ["✓ complete", "not done", "not done"])
        self.assertEqual(self.ui.progressLabel.text, "1 of 3 organs annotated")
        self.select(KIDNEY)
        self.ui.completeButton.click()
        self.select(GULLET)
        self.ui.absentButton.click()
        self.assertEqual(self.marks_shown(), ["✓ complete", "✓ complete", "✓ absent"])
        self.assertEqual(self.ui.progressLabel.text, "3 of 3 organs annotated")
        self.select(LIVER)
        self.ui.notDoneButton.click()
        self.assertEqual(self.marks_shown(), ["… begun", "✓ complete", "✓ absent"])
        self.close()
        self.assertEqual(self.on_disk("first").annotated, [KIDNEY, GULLET])

    def test_complete_and_absent_are_told_apart_by_what_is_drawn(self) -> None:
        self.open("first")
        self.select(GULLET)
        self.asked.answer = False
        self.ui.completeButton.click()
        self.assertIn("Nothing is drawn as Ösophagus", self.asked.sentences[0])
        self.assertEqual(self.logic.organMark(GULLET).mark, Mark.NOT_DONE)
        self.asked.answer = True
        self.ui.completeButton.click()
        self.assertEqual(self.logic.organMark(GULLET).mark, Mark.ABSENT)
        self.select(KIDNEY)
        self.ui.absentButton.click()
        self.assertIn("Left Kidney is drawn in this case", self.errors[0])
        self.assertEqual(self.logic.organMark(KIDNEY).mark, Mark.NOT_DONE)

    def test_single_slices_are_added_and_taken_back(self) -> None:
        self.open("first")
        self.select(KIDNEY)
        self.look("Red", (5, 7, 4))
        self.ui.thisSliceButton.click()
        self.look("Red", (5, 5, 4))
        self.ui.thisSliceButton.click()
        self.assertEqual(self.logic.organMark(KIDNEY).slices, AnnotatedSlices("j", [5, 7]))
        self.assertEqual(self.marks_shown()[1], "✓ on 2 slices")
        self.assertEqual(self.ui.slicesLabel.text, "Left Kidney: axial slices 5, 7")
        self.ui.thisSliceButton.click()
        self.assertEqual(self.logic.organMark(KIDNEY).slices, AnnotatedSlices("j", [7]))
        self.look("Red", (5, 7, 4))
        self.ui.thisSliceButton.click()
        self.assertEqual(self.logic.organMark(KIDNEY).mark, Mark.NOT_DONE)

    def test_all_slices_that_hold_the_organ_are_taken_in_the_direction_of_the_view(self) -> None:
        self.open("first")
        self.select(KIDNEY)
        drawn = np.argwhere(drawn_voxels() == 7)
        for view, axis, column in (("Red", "j", 1), ("Green", "i", 2), ("Yellow", "k", 0)):
            self.look(view, (5, 7, 4))
            self.ui.drawnSlicesButton.click()
            expected = AnnotatedSlices(axis, sorted(set(drawn[:, column].tolist())))  # type: ignore[arg-type]
            self.assertEqual(self.logic.organMark(KIDNEY).slices, expected)
        self.assertEqual(len(self.asked.sentences), 2)  # another direction drops the slices of the first
        self.select(GULLET)
        self.ui.drawnSlicesButton.click()
        self.assertIn("Nothing is drawn as Ösophagus yet", self.errors[0])

    def test_slices_in_another_direction_are_dropped_only_when_the_user_says_so(self) -> None:
        self.open("first")
        self.select(KIDNEY)
        self.look("Red", (5, 7, 4))
        self.ui.thisSliceButton.click()
        self.asked.answer = False
        self.look("Green", (5, 7, 4))
        self.ui.thisSliceButton.click()
        self.assertEqual(self.logic.organMark(KIDNEY).slices, AnnotatedSlices("j", [7]))


class SavingInPanelTest(PanelCase):
    def test_it_is_always_said_where_the_drawing_is(self) -> None:
        clock = time.strftime("%H:%M", time.localtime(self.now + 40))
        self.open("first")
        self.assertEqual(self.ui.savedLabel.text, "")
        self.assertFalse(self.ui.saveButton.enabled or self.ui.revertButton.enabled)
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.assertEqual(self.ui.savedLabel.text, "not saved yet")
        self.now += 40
        self.logic.poll()
        settle(self.logic)
        self.assertEqual(self.ui.savedLabel.text, f"draft kept {clock}")
        self.ui.saveButton.click()
        settle(self.logic)
        self.assertEqual(self.ui.savedLabel.text, f"saved {clock}")
        self.assertFalse(self.ui.saveButton.enabled)

    def test_reverting_asks_first(self) -> None:
        self.open("first")
        self.draw(LIVER, self.a_box(slice(0, 1)))
        self.asked.answer = False
        self.ui.revertButton.click()
        self.assertTrue(self.logic.isModified)
        self.asked.answer = True
        self.ui.revertButton.click()
        settle(self.logic)
        np.testing.assert_array_equal(self.drawn(LIVER), drawn_voxels() == 200)

    def test_what_went_wrong_and_what_should_be_known_is_said(self) -> None:
        self.open("first")
        self.draw(GULLET, self.a_box(slice(0, 1)))
        self.folder.rename(self.place / "elsewhere")
        self.ui.saveButton.click()
        self.assertIn("no longer at", self.errors[0])
        self.assertEqual(self.ui.savedLabel.text, "NOT saved: see the message")
        (self.place / "elsewhere").rename(self.folder)
        self.logic.noticed.emit("Something you should know.")
        self.assertEqual(self.ui.noticeLabel.text, "Something you should know.")
        self.assertTrue(self.ui.noticeFrame.isVisibleTo(self.panel.widget))
        self.ui.dismissButton.click()
        self.assertFalse(self.ui.noticeFrame.isVisibleTo(self.panel.widget))

    def test_the_next_case_is_the_one_the_ranking_says(self) -> None:
        with self.cohorts.edit() as cohort:
            cohort.cases += [Case(name, "images/second.nrrd") for name in ("third", "fourth")]
            (cohort.model_folder("m")).mkdir(parents=True)
            (cohort.model_folder("m") / "sslseg.json").write_text("{}")
        self.open("second")
        self.assertIn("third", self.ui.nextButton.toolTip)
        ranked = [
            RankedCase("third", 0.9, "review", "worth a look", 0.1, 0.1),
            RankedCase("fourth", 0.8, "annotate", "unlike all others", 0.1, 0.1),
        ]
        write_ranking(self.cohorts.cohort, Ranking("m", ranked))
        self.cohorts.refresh()
        self.panel.refresh()
        self.assertIn("fourth. unlike all others", self.ui.nextButton.toolTip)
        self.ui.nextButton.click()
        settle(self.logic)
        self.assertEqual(self.logic.caseId, "fourth")

    def test_nothing_is_offered_once_every_case_is_annotated(self) -> None:
        with self.cohorts.edit() as cohort:
            cohort.cases.remove(cohort.case("second"))
        self.open("first")
        self.assertFalse(self.ui.nextButton.enabled)
        self.assertIn("every training case", self.ui.nextButton.toolTip)

    def test_the_mouse_and_the_keys_are_left_to_others_outside_the_module(self) -> None:
        self.open("first")
        editor = self.panel.editorFrame.editor
        self.assertTrue(self.panel.shortcuts.enabled and _listens(editor, True))
        self.panel.exit()
        self.assertFalse(self.panel.shortcuts.enabled or _listens(editor, False))
        self.panel.enter()
        self.assertTrue(self.panel.shortcuts.enabled and _listens(editor, True))
        self.close()
        self.assertFalse(_listens(editor, False))

    def test_a_folded_section_leaves_the_mouse_and_the_keys_to_others(self) -> None:
        section = ctk.ctkCollapsibleButton()
        qt.QVBoxLayout(section).addWidget(self.panel.widget)
        self.panel.exit()
        self.panel.enter()
        self.open("first")
        editor = self.panel.editorFrame.editor
        self.assertTrue(self.panel.shortcuts.enabled and _listens(editor, True))
        section.collapsed = True
        self.assertFalse(self.panel.shortcuts.enabled or _listens(editor, False))
        section.collapsed = False
        self.assertTrue(self.panel.shortcuts.enabled and _listens(editor, True))
        self.panel.widget.setParent(None)


if __name__ == "__main__":
    unittest.main()

"""The Review section shows each state in words and hands on what is clicked or typed."""

from __future__ import annotations

import time
import unittest

import ctk
import qt
import slicer
from cohort_doubles import Asked
from review_cohort import MODEL, SHAPE, UNSURE, ReviewCase, add_card, add_ranking, case_id, settle
from SSLSegmentationLib.logic.SurfaceBuilder import SURFACE
from SSLSegmentationLib.widgets.OrganTable import ORGAN
from SSLSegmentationLib.widgets.QueueTable import CASE, GAIN, REASON, VERDICT
from SSLSegmentationLib.widgets.ReviewPanel import ReviewPanel
from vtk.util.numpy_support import vtk_to_numpy

from sslseg.contract.cohort import Cohort, ReviewState
from sslseg.contract.quality import Verdict
from sslseg.contract.settings import PredictSettings, RankSettings, TrainSettings

FIRST, SECOND, THIRD = case_id(3), case_id(4), case_id(5)


class ReviewPanelCase(ReviewCase):
    def open(self) -> None:
        super().open()
        self.asked, self.errors = Asked(), []
        self.panel = ReviewPanel(
            self.cohorts, self.cases, self.jobs, confirm=self.asked, showError=self.errors.append
        )
        self.addCleanup(self.panel.cleanup)
        self.ui = self.panel.ui
        self.ui.advanceCheckBox.checked = True
        self.panel.enter()

    def open_case(self, name: str) -> None:
        self.panel.onOpen(name)
        settle(self.cases)
        self.assertEqual(self.cases.caseId, name)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.assertTrue(self.panel.shortcuts.press(key), key)
            settle(self.cases)

    def cell(self, table, row: int, column: int) -> str:
        return table.item(row, column).text()

    def statuses(self) -> list[ReviewState]:
        return [card.status for card in self.panel.review.cards]

    def is_shown(self, widget) -> bool:
        return not widget.isHidden()


class StatesTest(ReviewPanelCase):
    def test_without_a_cohort_it_says_what_to_do(self):
        self.open()
        self.cohorts.closeCohort()
        self.assertIn("Open a cohort", self.ui.stateLabel.text)
        for widget in (self.ui.queueTable, self.ui.predictButton, self.ui.rankButton, self.ui.caseGroup):
            self.assertFalse(self.is_shown(widget))

    def test_without_a_model_it_says_what_to_do(self):
        (self.made.model_folder(MODEL) / "sslseg.json").unlink()
        self.open()
        self.assertIn("There is no model yet", self.ui.stateLabel.text)
        self.assertFalse(self.is_shown(self.ui.predictButton))

    def test_a_case_that_is_drawn_from_scratch_has_nothing_to_decide(self):
        self.open()
        self.cases.openCase(case_id(1))
        settle(self.cases)
        self.assertIn("no prediction of this case", self.ui.caseReasonsLabel.text)
        for widget in (self.ui.organTable, self.ui.acceptButton, self.ui.acceptCaseButton):
            self.assertFalse(self.is_shown(widget))

    def test_without_predictions_one_click_makes_them(self):
        for name in (FIRST, SECOND, THIRD):
            self.made.prediction_path(MODEL, name).unlink()
        self.open()
        self.assertIn("'first' has not segmented any case yet", self.ui.stateLabel.text)
        self.assertFalse(self.is_shown(self.ui.queueTable))
        self.ui.predictButton.click()
        self.assertEqual(self.jobs.monitors[-1].job.settings, PredictSettings(MODEL, skip_existing=True))
        self.assertIn("is starting", self.ui.stateLabel.text)
        self.assertFalse(self.is_shown(self.ui.predictButton))

    def test_the_queue_shows_case_verdict_gain_and_the_whole_reason_in_the_tooltip(self):
        add_card(self.made, SECOND, Verdict.LIKELY_WRONG)
        add_ranking(self.made, {SECOND: 0.91, FIRST: 0.4, THIRD: 0.2})
        self.open()
        table = self.ui.queueTable
        self.assertEqual([self.cell(table, row, CASE) for row in range(3)], [SECOND, FIRST, THIRD])
        self.assertEqual(self.cell(table, 0, VERDICT), "likely wrong")
        self.assertEqual(self.cell(table, 0, GAIN), "91")
        self.assertEqual(
            table.item(0, REASON).toolTip(), "pancreas: the two networks disagree on 31 % of its border"
        )
        self.assertEqual(self.cell(table, 1, VERDICT), "")
        self.assertFalse(self.is_shown(self.ui.rankButton))

    def test_without_a_ranking_it_says_what_the_order_follows_and_offers_one(self):
        self.open()
        self.assertIn("In the order of the cohort", self.ui.orderLabel.text)
        self.assertTrue(self.is_shown(self.ui.rankButton))
        self.ui.rankButton.click()
        self.assertEqual(self.jobs.monitors[-1].job.settings, RankSettings(MODEL))
        self.assertFalse(self.is_shown(self.ui.rankButton))

    def test_the_card_shows_every_organ_with_what_is_known_of_it(self):
        add_card(self.made, FIRST, Verdict.LOOK)
        self.open()
        self.open_case(FIRST)
        table = self.ui.organTable
        texts = [[self.cell(table, row, column) for column in range(4)] for row in range(3)]
        self.assertEqual(
            texts,
            [
                ["liver", "fine", "1450", "0.94"],
                ["pancreas", "look", "8.4", "0.61"],
                ["left kidney", "fine", "160", ""],
            ],
        )
        self.assertEqual(self.ui.caseGroup.title, f"{FIRST} (look)")
        self.panel.organTable.select(1)
        self.assertIn("pancreas: smaller than in any annotated case", self.ui.organReasonsLabel.text)
        self.assertIn("disagree on 31 %", self.ui.organReasonsLabel.text)

    def test_a_case_without_a_card_can_be_reviewed_all_the_same(self):
        self.open()
        self.open_case(FIRST)
        self.assertEqual(self.cell(self.ui.organTable, 0, ORGAN), "liver")
        self.assertIn("no quality card", self.ui.organReasonsLabel.text)
        self.ui.acceptButton.click()
        self.assertEqual(self.statuses()[0], ReviewState.COMPLETED)

    def test_decided_cases_can_be_hidden(self):
        self.open()
        self.open_case(FIRST)
        self.ui.acceptCaseButton.click()
        settle(self.cases)
        self.ui.openOnlyCheckBox.checked = True
        hidden = [self.ui.queueTable.isRowHidden(row) for row in range(3)]
        self.assertEqual(hidden, [True, False, False])
        self.assertEqual(self.cell(self.ui.queueTable, 0, CASE), f"✓ {FIRST}")

    def test_five_hundred_cases_are_shown_in_a_tenth_of_a_second(self):
        cases = Cohort.read(self.folder).cases
        with Cohort.edit(self.folder) as cohort:
            for number in range(1000, 1500):
                cohort.cases.append(type(cases[0])(case_id(number), cases[0].image))
        template = self.made.prediction_path(MODEL, FIRST)
        for number in range(1000, 1500):
            self.made.prediction_path(MODEL, case_id(number)).hardlink_to(template)
        add_ranking(self.made, {case_id(number): number / 2000 for number in range(1000, 1500)})
        self.open()
        self.assertEqual(self.ui.queueTable.rowCount, 503)
        times = []
        for _attempt in range(3):
            begin = time.process_time()
            self.cohorts.changed.emit()
            times.append(time.process_time() - begin)
        self.assertLess(min(times), 0.1)


class DecidingTest(ReviewPanelCase):
    def test_the_buttons_decide_about_the_selected_organ_and_go_on_to_the_next_one(self):
        self.open()
        self.open_case(FIRST)
        self.ui.acceptButton.click()
        self.assertEqual(self.panel.organTable.selected.label.name, "pancreas")
        self.ui.rejectButton.click()
        self.assertEqual(self.panel.organTable.selected.label.name, "left kidney")
        self.assertEqual(
            self.statuses(), [ReviewState.COMPLETED, ReviewState.FLAGGED, ReviewState.NOT_STARTED]
        )
        self.assertEqual(self.cell(self.ui.organTable, 1, ORGAN), "✗ pancreas")

    def test_keys_do_the_same(self):
        self.open()
        self.press("N", "2", "R", "1", "A", "3", "C")
        self.assertEqual(self.cases.caseId, FIRST)
        self.assertEqual(
            self.statuses(), [ReviewState.COMPLETED, ReviewState.FLAGGED, ReviewState.IN_PROGRESS]
        )
        self.press("U", "U")
        self.assertEqual(
            self.statuses(), [ReviewState.NOT_STARTED, ReviewState.FLAGGED, ReviewState.NOT_STARTED]
        )
        self.press("Shift+C")
        self.assertNotIn(ReviewState.NOT_STARTED, self.statuses())
        self.press("Space")
        self.assertEqual(self.cases.caseId, SECOND)
        self.press("P")
        self.assertEqual(self.cases.caseId, FIRST)
        self.press("Shift+R")
        self.assertIn(f"{FIRST}", self.ui.caseGroup.title)

    def test_when_all_organs_are_decided_the_next_case_opens_unless_that_is_not_wanted(self):
        self.open()
        self.press("N", "A", "A", "A")
        self.assertEqual(self.cases.caseId, SECOND)
        self.ui.advanceCheckBox.checked = False
        self.press("Space")
        self.assertEqual(self.cases.caseId, SECOND)
        self.assertIn("accepted as it was", self.ui.caseReasonsLabel.text)
        self.assertEqual(self.ui.progressLabel.text, "2 of 3 reviewed; 2 accepted as they were")
        self.assertEqual(self.ui.progressBar.value, 2)

    def test_undo_opens_the_case_that_was_left(self):
        self.open()
        self.press("N", "Space")
        self.assertEqual(self.cases.caseId, SECOND)
        self.ui.undoButton.click()
        settle(self.cases)
        self.assertEqual(self.cases.caseId, FIRST)
        self.assertEqual(self.statuses(), [ReviewState.NOT_STARTED] * 3)
        self.assertFalse(self.ui.undoButton.enabled)

    def test_correcting_asks_for_the_organ_in_the_editor(self):
        self.open()
        organs = []
        self.panel.correctionAsked.connect(organs.append)
        self.press("N", "2", "C")
        self.assertEqual(organs, ["pancreas"])

    def test_a_prediction_that_is_gone_is_said_and_the_panel_goes_on(self):
        self.open()
        self.made.prediction_path(MODEL, FIRST).unlink()
        self.ui.nextButton.click()
        self.assertEqual(len(self.errors), 1)
        self.assertIn("Segment the cases again", self.errors[0])
        self.press("N")
        self.assertEqual(self.cases.caseId, SECOND)


class KeysTest(ReviewPanelCase):
    def test_keys_are_listened_to_only_while_the_panel_is_entered(self):
        self.open()
        self.assertTrue(self.panel.shortcuts.enabled)
        self.panel.exit()
        self.assertFalse(self.panel.shortcuts.enabled)
        self.assertFalse(self.panel.shortcuts.press("N"))
        self.assertIsNone(self.cases.openingId)

    def test_keys_are_left_to_others_while_the_section_is_folded(self):
        self.open()
        section = ctk.ctkCollapsibleButton()
        qt.QVBoxLayout(section)
        section.layout().addWidget(self.panel.widget)
        self.panel.enter()
        section.collapsed = True
        self.assertFalse(self.panel.shortcuts.enabled)
        section.collapsed = False
        self.assertTrue(self.panel.shortcuts.enabled)

    def test_while_the_segment_editor_listens_its_own_keys_go_first(self):
        self.open()
        self.press("N")
        self.panel.setEditing(True)
        self.assertFalse(self.panel.shortcuts.press("Space"))
        self.assertFalse(self.panel.shortcuts.press("1"))
        self.press("A")
        self.panel.setEditing(True, "Draw")
        self.assertFalse(self.panel.shortcuts.press("A"))
        self.panel.setEditing(False)
        self.press("Space", "A")

    def test_every_button_with_a_key_says_so_and_the_keys_can_be_listed(self):
        self.open()
        for button, key in ((self.ui.acceptButton, "A"), (self.ui.acceptCaseButton, "Space")):
            self.assertTrue(button.toolTip.endswith(f"({key})"), button.toolTip)
        self.assertFalse(self.is_shown(self.ui.helpLabel))
        self.ui.helpButton.click()
        self.assertTrue(self.is_shown(self.ui.helpLabel))
        self.assertIn("<b>Shift+R</b>", self.ui.helpLabel.text)

    def test_a_click_leaves_the_space_bar_to_the_case(self):
        self.open()
        for button in slicer.util.findChildren(self.panel.widget, className="QPushButton"):
            self.assertEqual(button.focusPolicy, qt.Qt.TabFocus)


class DisplayTest(ReviewPanelCase):
    def composites(self):
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")

    def wait_for_surfaces(self) -> None:
        deadline = time.monotonic() + 20
        while self.panel.display.builder.isBusy and time.monotonic() < deadline:
            slicer.app.processEvents()
        self.assertFalse(self.panel.display.builder.isBusy)

    def surfaces(self) -> list[bool]:
        segmentation = self.cases.segmentationNode.GetSegmentation()
        ids = [self.cases.segmentId(card.label.name) for card in self.panel.review.cards]
        return [segmentation.GetSegment(i).GetRepresentation(SURFACE) is not None for i in ids]

    def test_outline_fill_and_opacity_are_those_of_the_node_and_stay_for_the_next_case(self):
        self.open()
        self.open_case(FIRST)
        self.ui.outlineCheckBox.checked = False
        self.ui.opacitySlider.value = 70
        for name in (FIRST, SECOND):
            self.open_case(name)
            display = self.cases.segmentationNode.GetDisplayNode()
            self.assertFalse(display.GetVisibility2DOutline())
            self.assertTrue(display.GetVisibility2DFill())
            self.assertAlmostEqual(display.GetOpacity2DFill(), 0.7)
        self.ui.fillCheckBox.checked = False
        self.assertFalse(self.cases.segmentationNode.GetDisplayNode().GetVisibility2DFill())
        self.assertFalse(self.ui.opacitySlider.enabled)

    def test_the_uncertainty_is_read_when_it_is_wanted_and_laid_over_the_scan(self):
        self.open()
        self.open_case(FIRST)
        self.assertIsNone(self.cases.uncertaintyNode)
        self.ui.uncertaintyCheckBox.checked = True
        self.ui.uncertaintySlider.value = 40
        settle(self.cases)
        node = self.cases.uncertaintyNode
        for composite in self.composites():
            self.assertEqual(composite.GetForegroundVolumeID(), node.GetID())
            self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.4)
        self.ui.uncertaintyCheckBox.checked = False
        self.assertFalse(any(composite.GetForegroundVolumeID() for composite in self.composites()))

    def test_the_scan_stays_as_it_is_where_the_model_is_sure(self):
        self.open()
        self.open_case(FIRST)
        self.ui.uncertaintyCheckBox.checked = True
        settle(self.cases)
        producer = self.cases.uncertaintyNode.GetDisplayNode().GetOutputImageDataConnection().GetProducer()
        producer.Update()
        colors = vtk_to_numpy(producer.GetOutput().GetPointData().GetScalars()).reshape(*SHAPE, 4)
        self.assertEqual(colors[0, 0, 0, 3], 0)
        red, _green, blue, opacity = colors[UNSURE]
        self.assertEqual((red, blue, opacity), (255, 0, 255))

    def test_leaving_the_module_takes_the_uncertainty_away_but_no_other_volume(self):
        self.open()
        self.open_case(FIRST)
        self.ui.uncertaintyCheckBox.checked = True
        settle(self.cases)
        other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        first, *rest = self.composites()
        first.SetForegroundVolumeID(other.GetID())
        self.panel.exit()
        self.assertEqual(first.GetForegroundVolumeID(), other.GetID())
        self.assertFalse(any(composite.GetForegroundVolumeID() for composite in rest))

    def test_surfaces_appear_one_after_the_other_and_those_being_corrected_go(self):
        self.open()
        self.open_case(FIRST)
        self.ui.surfacesCheckBox.checked = True
        self.assertEqual(self.surfaces(), [False, False, False])
        self.wait_for_surfaces()
        self.assertEqual(self.surfaces(), [True, True, True])
        self.assertTrue(self.cases.segmentationNode.GetDisplayNode().GetVisibility3D())
        self.press("2", "C")
        self.assertEqual(self.surfaces(), [True, False, True])
        self.press("2", "A")
        self.wait_for_surfaces()
        self.assertEqual(self.surfaces(), [True, True, True])
        self.press("Space")
        self.wait_for_surfaces()
        self.assertEqual((self.cases.caseId, self.surfaces()), (SECOND, [True, True, True]))

    def test_the_least_sure_place_of_the_organ_is_shown_once_the_map_is_read(self):
        self.open()
        self.open_case(FIRST)
        self.press("2", "L")
        z, y, x = 5, 11, 6
        place = [20 - 2.0 * x, -30 - 2.0 * y, 100 + 3.0 * z]
        offsets = {
            node.GetOrientation(): node.GetSliceOffset()
            for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")
        }
        for orientation, axis, spacing in (("Sagittal", 0, 2.0), ("Coronal", 1, 2.0), ("Axial", 2, 3.0)):
            self.assertAlmostEqual(abs(offsets[orientation]), abs(place[axis]), delta=spacing)

    def test_without_a_map_the_middle_of_the_organ_is_shown(self):
        self.made.uncertainty_path(MODEL, FIRST).unlink()
        self.open()
        self.open_case(FIRST)
        self.press("1", "L")
        axial = next(
            node
            for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")
            if node.GetOrientation() == "Axial"
        )
        self.assertAlmostEqual(axial.GetSliceOffset(), 100 + 3.0 * 4.5, delta=3.0)

    def test_nothing_of_the_review_stays_when_the_case_or_the_scene_is_closed(self):
        self.open()
        self.open_case(FIRST)
        self.ui.uncertaintyCheckBox.checked = True
        self.ui.surfacesCheckBox.checked = True
        slicer.mrmlScene.Clear(0)
        for _turn in range(20):
            slicer.app.processEvents()
        self.assertIsNone(self.cases.caseId)
        self.assertEqual(self.ui.caseGroup.title, "No case is open")
        self.open_case(SECOND)
        self.assertEqual(len(self.panel.review.cards), 3)


class TrainingAgainTest(ReviewPanelCase):
    def test_nothing_new_leaves_the_button_off(self):
        self.open()
        self.assertFalse(self.ui.retrainButton.enabled)
        self.assertIn("Nothing was corrected", self.ui.retrainLabel.text)

    def test_what_was_just_decided_is_saved_before_the_training_starts(self):
        self.open()
        self.open_case(FIRST)
        self.ui.advanceCheckBox.checked = False
        self.press("Space")
        self.saved(FIRST)
        self.open_case(SECOND)
        self.panel.review.accept("liver")
        self.assertTrue(self.ui.retrainButton.enabled)
        self.ui.retrainButton.click()
        self.assertEqual(self.jobs.trainings, [])
        settle(self.cases)
        self.assertEqual(Cohort.read(self.folder).case(SECOND).annotated, ["liver"])
        settings = self.jobs.trainings[-1].job.settings
        self.assertEqual(settings, TrainSettings("mean_teacher", "first-2", "quick", start_from=MODEL))
        self.assertIn("under way", self.ui.retrainLabel.text)
        self.assertFalse(self.ui.retrainButton.enabled)

    def test_too_little_for_a_training_is_asked_about(self):
        with Cohort.edit(self.folder) as cohort:
            for number in range(2000, 2008):
                case = type(cohort.cases[0])(case_id(number), cohort.cases[0].image)
                case.label, case.annotated = cohort.cases[0].label, ["liver"]
                cohort.cases.append(case)
        from review_cohort import add_model

        add_model(Cohort.read(self.folder, check_files=False), MODEL)
        self.open()
        with self.cohorts.edit() as cohort:
            cohort.case(FIRST).label, cohort.case(FIRST).annotated = cohort.cases[0].label, ["liver"]
        self.assertIn("a few more make a training worth while", self.ui.retrainLabel.text)
        self.asked.answer = False
        self.ui.retrainButton.click()
        self.assertEqual(self.jobs.trainings, [])
        self.asked.answer = True
        self.ui.retrainButton.click()
        self.assertEqual(len(self.jobs.trainings), 1)
        self.assertEqual(len(self.asked.sentences), 2)


if __name__ == "__main__":
    unittest.main()

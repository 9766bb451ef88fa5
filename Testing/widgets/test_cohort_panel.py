"""The Cohort section, as a person uses it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import qt
import slicer
from cohort_doubles import MODEL, Asked, CohortCase, add_dice, add_results, make_cohort, touch
from job_doubles import AClock, ALauncher, ASetup
from SSLSegmentationLib.logic.CaseAdding import SceneCase
from SSLSegmentationLib.logic.CaseFacts import CaseFacts
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.widgets import AddingControls, CohortPanel
from SSLSegmentationLib.widgets.CaseTable import CASE, CHECK, DICE, ORGANS, PRIORITY, STATE, natural

from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.imports import Refusal
from sslseg.contract.settings import DicomSeries, ImportSettings, PredictSettings


class OpenCase:
    """Opens and closes cases at once."""

    def __init__(self) -> None:
        self.opened, self.closed, self.stateChanged = Signal(), Signal(), Signal()
        self.caseId: str | None = None
        self.mayClose = True
        self.isModified = self.busy = False
        self.problem = ""

    def openCase(self, case: str) -> bool:
        self.caseId = case
        self.opened.emit(case)
        return True

    def closeCase(self) -> bool:
        if self.mayClose and self.caseId is not None:
            self.caseId = None
            self.closed.emit()
        return self.mayClose


class PanelCase(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        slicer.mrmlScene.Clear(0)
        self.case, self.launcher, self.clock = OpenCase(), ALauncher(), AClock()
        self.jobs = JobLogic(ASetup(), self.logic, launcher=self.launcher, clock=self.clock)
        self.confirm, self.errors, self.details = Asked(), Asked(), []
        self.shown: list[Path] = []
        self.folders: list[str] = []
        self.facts = ALauncher()
        self.panel = CohortPanel.CohortPanel(
            self.logic,
            self.case,
            self.jobs,
            facts=CaseFacts(self.logic, self.facts),
            confirm=self.confirm,
            showError=self.errors,
            showDetails=lambda *said: self.details.append(said),
            chooseFolder=lambda _title: self.folders.pop(),
            showFolder=self.shown.append,
        )
        self.addCleanup(self.panel.cleanup)
        self.ui, self.table = self.panel.ui, self.panel.table

    def open(self, cases: int = 3, *, annotated: int = 0, results: bool = False) -> None:
        make_cohort(self.folder, cases, annotated=annotated)
        if results:
            add_results(self.folder)
        self.panel.open(self.folder)
        while self.logic.refresh() or not self.table.fill():
            continue

    def show(self) -> None:
        self.panel.widget.resize(400, 600)
        self.panel.widget.show()
        self.addCleanup(self.panel.widget.hide)
        slicer.app.processEvents()

    def doubleClick(self, case: str) -> None:
        """As Qt reports it."""
        self.table.select(case)
        self.ui.caseView.doubleClicked.emit(self.ui.caseView.currentIndex())

    def trigger(self, menu: Any, text: str) -> None:
        next(action for action in menu.actions() if action.text == text).trigger()


class EmptyTest(PanelCase):
    def test_without_a_cohort_it_says_what_one_is_and_shows_nothing_else(self) -> None:
        self.assertIn("No cohort is open", self.ui.hintLabel.text)
        self.assertEqual(
            [
                self.ui.casesWidget.isHidden(),
                self.ui.summaryLabel.isHidden(),
                self.ui.problemFrame.isHidden(),
            ],
            [True] * 3,
        )

    def test_each_state_says_what_to_do_next(self) -> None:
        self.open(0)
        self.assertIn("has no cases yet", self.ui.hintLabel.text)
        self.assertTrue(self.ui.caseView.isHidden())
        for count, annotated, words in ((4, 0, "Double-click a case"), (4, 3, "train a model")):
            (self.folder / "cohort.json").unlink()
            self.open(count, annotated=annotated)
            self.logic.refresh()
            self.assertIn(words, self.ui.hintLabel.text)
        add_results(self.folder)
        self.logic.refresh()
        self.assertEqual((self.ui.hintLabel.text, self.ui.hintLabel.isHidden()), ("", True))

    def test_cases_that_are_kept_apart_are_not_enough_to_train_on(self) -> None:
        self.open(4, annotated=3)
        self.logic.setUse(["case_0001"], Use.TEST)
        self.assertIn("Double-click a case", self.ui.hintLabel.text)

    def test_the_summary_counts(self) -> None:
        self.open(4, annotated=2)
        self.logic.setUse(["case_0004"], Use.TEST)
        self.assertEqual(
            self.ui.summaryLabel.text, "<b>abdomen</b><br>CT, 4 organs, 4 cases, 2 annotated, 1 kept apart"
        )

    def test_what_is_wrong_with_the_cohort_is_said(self) -> None:
        self.open(1)
        away = self.folder.rename(self.place / "away")
        self.logic.refresh()
        self.assertIn("no longer at", self.ui.problemLabel.text)
        self.assertFalse(self.ui.problemFrame.isHidden())
        away.rename(self.folder)
        self.logic.refresh()
        self.assertTrue(self.ui.problemFrame.isHidden())


class OpeningTest(PanelCase):
    def test_a_cohort_is_chosen_and_comes_back_in_the_recent_ones(self) -> None:
        for name in ("one", "two"):
            make_cohort(self.place / name, 1)
            self.folders.append(str(self.place / name))
            self.ui.openButton.click()
        self.assertEqual(self.logic.folder, self.place / "two")
        menu = self.ui.recentButton.menu()
        menu.aboutToShow.emit()
        self.assertEqual([action.text for action in menu.actions()], [str(self.place / "one")])
        self.assertTrue(self.ui.recentButton.enabled)
        self.trigger(menu, str(self.place / "one"))
        self.assertEqual(self.logic.folder, self.place / "one")

    def test_choosing_no_folder_changes_nothing(self) -> None:
        self.folders.append("")
        self.panel.onOpen()
        self.assertIsNone(self.logic.cohort)

    def test_a_folder_without_a_cohort_is_told(self) -> None:
        self.panel.open(self.place)
        self.assertIn("There is no cohort in this folder", self.errors.sentences[0])

    def test_a_recent_cohort_that_is_gone_may_be_forgotten(self) -> None:
        self.open(1)
        other = self.place / "other"
        make_cohort(other, 0)
        self.panel.open(other)
        self.folder.rename(self.place / "gone")
        self.panel.open(self.folder)
        self.assertIn("Take it off the list", self.confirm.sentences[0])
        self.assertEqual((self.logic.recentFolders(), self.logic.folder), ([other], other))

    def test_the_open_case_is_closed_first_and_if_it_cannot_be_the_cohort_stays(self) -> None:
        self.open(1)
        make_cohort(self.place / "other", 0)
        self.case.openCase("case_0001")
        self.case.mayClose = False
        self.panel.open(self.place / "other")
        self.assertEqual(self.logic.folder, self.folder)
        self.case.mayClose = True
        self.panel.open(self.place / "other")
        self.assertEqual((self.logic.folder, self.case.caseId), (self.place / "other", None))


class TableTest(PanelCase):
    def test_a_row_shows_state_organs_dice_check_and_priority(self) -> None:
        self.open(3, annotated=2, results=True)
        add_dice(self.folder, {"case_0002": 0.8712})
        self.logic.refresh()
        texts = [self.table.text("case_0002", column) for column in range(6)]
        self.assertEqual(texts, ["case_0002", "annotated, for testing", "4/4", "0.87", "look", "0.67"])
        self.assertEqual(self.table.text("case_0003", ORGANS), "0/4")

    def test_columns_without_anything_to_show_are_hidden(self) -> None:
        self.open(2, annotated=1)
        hidden = [self.ui.caseView.isColumnHidden(column) for column in range(6)]
        self.assertEqual(hidden, [False, False, False, True, True, True])
        add_results(self.folder)
        self.logic.refresh()
        hidden = [self.ui.caseView.isColumnHidden(column) for column in range(6)]
        self.assertEqual(hidden, [False, False, False, True, False, False])

    def test_numbers_are_sorted_as_numbers_and_what_is_unknown_comes_last(self) -> None:
        self.open(12, annotated=12, results=True)
        add_dice(self.folder, {"case_0003": 1.0, "case_0002": 0.95, "case_0011": 0.9})
        self.logic.refresh()
        view = self.ui.caseView
        view.sortByColumn(DICE, qt.Qt.AscendingOrder)
        self.assertEqual(self.table.shownIds()[:3], ["case_0011", "case_0002", "case_0003"])
        view.sortByColumn(PRIORITY, qt.Qt.DescendingOrder)
        self.assertEqual(self.table.shownIds()[:2], ["case_0001", "case_0002"])
        view.sortByColumn(CHECK, qt.Qt.DescendingOrder)
        self.assertEqual(self.table.text(self.table.shownIds()[0], CHECK), "likely wrong")
        with self.logic.edit() as cohort:
            cohort.case("case_0005").annotated = cohort.labels.names[:1]
        view.sortByColumn(ORGANS, qt.Qt.AscendingOrder)
        self.assertEqual(self.table.shownIds()[0], "case_0005")

    def test_names_are_sorted_by_the_numbers_in_them(self) -> None:
        names = ["case_10", "case_9", "Case_8", "a2b10", "a2b9"]
        self.assertEqual(sorted(names, key=natural), ["a2b9", "a2b10", "Case_8", "case_9", "case_10"])

    def test_the_order_holds_when_something_changes(self) -> None:
        self.open(3, results=True)
        self.ui.caseView.sortByColumn(STATE, qt.Qt.AscendingOrder)
        self.logic.setUse(["case_0001"], Use.TEST)
        self.assertEqual(self.table.shownIds(), ["case_0002", "case_0003", "case_0001"])

    def test_the_filter_finds_ids_states_organs_and_reasons(self) -> None:
        self.open(4, annotated=1, results=True)
        for text, found in (
            ("0003", ["case_0003"]),
            ("ANNOTATED", ["case_0001"]),
            ("kidney", ["case_0001"]),
            ("likely wrong", ["case_0003"]),
            ("two pieces", ["case_0001", "case_0002", "case_0003", "case_0004"]),
        ):
            self.ui.filterEdit.text = text
            self.assertEqual(self.table.shownIds(), found, text)
        self.ui.filterEdit.text = "pancreas"
        self.assertEqual(self.ui.hintLabel.text, "No case contains 'pancreas'.")
        self.ui.filterEdit.text = ""
        self.assertEqual(self.table.visibleCount, 4)

    def test_cases_come_and_go_and_the_selection_stays(self) -> None:
        self.open(5)
        self.table.select("case_0004")
        self.logic.removeCases(["case_0002"])
        with Cohort.edit(self.folder) as cohort:
            cohort.cases.insert(0, cohort.cases.pop())
        self.logic.refresh()
        self.assertEqual(self.table.shownIds(), ["case_0001", "case_0003", "case_0004", "case_0005"])
        self.assertEqual(self.table.selectedIds(), ["case_0004"])
        self.assertEqual(self.table.text("case_0004", CASE), "case_0004")

    def test_the_open_case_and_the_one_being_segmented_are_marked(self) -> None:
        self.open(3)
        self.case.openCase("case_0002")
        fonts = [self._font(row) for row in self.logic.rows()]
        self.assertEqual(fonts, [False, True, False])
        self.jobs.start(PredictSettings(MODEL))
        events = self.jobs.monitors[0].job.events
        events.write("started", command="predict", device="cpu")
        events.write("progress", step=0, steps=3, seconds_left=None, case="case_0003", share=0.1)
        self.jobs.poll()
        self.assertEqual(self.table.text("case_0003", STATE), "segmenting …")
        events.write("finished")
        self.launcher.processes[0].exitCode = 0
        self.clock.now += 2
        self.jobs.poll()
        self.assertEqual(self.table.text("case_0003", STATE), "new")
        self.case.closeCase()
        self.assertFalse(any(self._font(row) for row in self.logic.rows()))

    def _font(self, row: Any) -> bool:
        view = self.ui.caseView
        place = self.table.shownIds().index(row.id)
        font = view.model().data(view.model().index(place, CASE), qt.Qt.FontRole)
        return bool(font is not None and font.bold())

    def test_pictures_are_made_and_read_for_the_cases_on_the_screen_only(self) -> None:
        self.open(60)
        self.show()
        self.panel.poll()
        asked = self.facts.commands[0][5:]
        self.assertEqual(asked, self.table.idsOnScreen()[: len(asked)])
        self.assertLess(len(self.table.idsOnScreen()), 30)
        with patch.object(self.table, "setPicture", wraps=self.table.setPicture) as show:
            self.panel.poll()
            self.assertEqual(show.call_count, len(self.table.idsOnScreen()))

    def test_cases_of_another_cohort_do_not_keep_the_pictures_of_this_one(self) -> None:
        self.open(1)
        picture = self.folder / "cache" / "thumbnails" / "case_0001.png"
        picture.parent.mkdir(parents=True)
        pixmap = qt.QPixmap(8, 8)
        pixmap.fill(qt.QColor(255, 0, 0))
        pixmap.save(str(picture))
        self.table.setPicture("case_0001", picture, (1,))
        self.assertEqual(self._pixel().red(), 255)
        make_cohort(self.place / "other", 1)
        self.panel.open(self.place / "other")
        self.assertEqual(self._pixel().alpha(), 0)

    def _pixel(self) -> Any:
        """A pixel of the picture of the first case."""
        model = self.ui.caseView.model()
        icon = model.data(model.index(0, CASE), qt.Qt.DecorationRole)
        return icon.pixmap(8, 8).toImage().pixelColor(4, 4)

    def test_results_of_another_model_are_shown_when_it_is_chosen(self) -> None:
        self.open(2, results=True)
        touch(self.folder / "models" / "other" / "sslseg.json", json.dumps({}))
        self.logic.refresh()
        self.assertEqual(self.ui.modelBox.itemText(0), "Newest model")
        index = self.ui.modelBox.findText(MODEL)
        self.ui.modelBox.setCurrentIndex(index)
        self.ui.modelBox.activated.emit(index)
        self.assertEqual((self.logic.chosenModel, self.table.text("case_0001", PRIORITY)), (MODEL, "1.00"))
        self.ui.modelBox.activated.emit(0)
        self.assertIsNone(self.logic.chosenModel)


class CaseActionsTest(PanelCase):
    def test_a_double_click_opens_the_case_in_that_row_however_it_is_sorted(self) -> None:
        self.open(3)
        self.ui.caseView.sortByColumn(CASE, qt.Qt.DescendingOrder)
        self.doubleClick("case_0003")
        self.assertEqual(self.case.caseId, "case_0003")

    @patch("SSLSegmentationLib.logic.CohortLogic.PRESENCE_SECONDS", 0.0)
    def test_a_case_whose_file_was_deleted_is_not_opened_and_it_is_said_why(self) -> None:
        self.open(2)
        (self.folder / "images" / "case_0001.nrrd").unlink()
        self.logic.refresh()
        self.assertEqual(self.table.text("case_0001", STATE), "file missing")
        self.doubleClick("case_0001")
        self.assertIsNone(self.case.caseId)
        self.assertIn("images/case_0001.nrrd", self.errors.sentences[0])

    def test_cases_are_removed_once_a_person_agrees_and_their_files_stay(self) -> None:
        self.open(3, annotated=1)
        self.case.openCase("case_0001")
        self.confirm.answer = False
        self.trigger(self.panel.menuOf(["case_0001", "case_0002"]), "Remove 2 cases…")
        self.assertEqual(len(self.logic.rows()), 3)
        self.confirm.answer = True
        self.trigger(self.panel.menuOf(["case_0001", "case_0002"]), "Remove 2 cases…")
        self.assertEqual([row.id for row in self.logic.rows()], ["case_0003"])
        self.assertIn("The files stay where they are", self.confirm.sentences[0])
        self.assertEqual(self.case.caseId, None)
        self.assertTrue((self.folder / "labels" / "case_0001.nii.gz").exists())

    def test_the_open_case_is_removed_once_what_is_drawn_in_it_is_saved(self) -> None:
        self.open(1)
        self.case.openCase("case_0001")
        self.case.busy = True
        self.panel.removeCases(["case_0001"])
        self.assertEqual(len(self.logic.rows()), 1)
        self.case.busy = False
        self.case.stateChanged.emit()
        self.assertEqual(self.logic.rows(), [])

    def test_an_open_case_that_cannot_be_saved_is_not_removed(self) -> None:
        self.open(1)
        self.case.openCase("case_0001")
        self.case.mayClose = False
        self.panel.removeCases(["case_0001"])
        self.assertEqual(len(self.logic.rows()), 1)

    def test_cases_get_another_use_and_the_menu_shows_the_present_one(self) -> None:
        self.open(2)
        self.trigger(self.panel.menuOf(["case_0001", "case_0002"]), "Use for testing")
        self.assertEqual({row.use for row in self.logic.rows()}, {Use.TEST})
        checked = [action.text for action in self.panel.menuOf(["case_0001"]).actions() if action.checked]
        self.assertEqual(checked, ["Use for testing"])

    def test_the_folder_of_a_case_is_shown(self) -> None:
        self.open(1)
        self.trigger(self.panel.menuOf(["case_0001"]), "Show in folder")
        self.assertEqual(self.shown, [self.folder / "images"])

    def test_what_cannot_be_written_is_told_and_nothing_changes(self) -> None:
        self.open(1)
        with patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            self.panel.setUse(["case_0001"], Use.TEST)
        self.assertIn("No space left on device", self.errors.sentences[0])
        self.assertIs(self.logic.rows()[0].use, Use.TRAIN)


class AddingTest(PanelCase):
    def answer(self, dialog: str, answer: Any) -> None:
        """What a person chooses in a dialog."""
        patcher = patch.object(getattr(AddingControls, dialog), "ask", return_value=answer)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_a_volume_of_the_scene_becomes_a_case_while_the_timer_runs(self) -> None:
        self.open(0)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.int16))
        self.answer("SceneVolumesDialog", [SceneCase("CT", node)])
        self.trigger(self.ui.addButton.menu(), "From the scene…")
        self.assertEqual((self.ui.addingLabel.text, self.ui.addButton.enabled), ("Adding 'CT' …", False))
        deadline = time.monotonic() + 10
        while not self.logic.rows() and time.monotonic() < deadline:
            slicer.app.processEvents()
        self.assertEqual([row.id for row in self.logic.rows()], ["case_0001"])
        self.assertEqual(
            (self.ui.addingLabel.text, self.ui.cancelButton.isHidden()), ("One case was added.", True)
        )

    def test_files_become_a_job_that_can_be_stopped(self) -> None:
        self.open(0)
        self.answer("AddFilesDialog", ImportSettings(paths=["/scans"]))
        self.trigger(self.ui.addButton.menu(), "From files or folders…")
        self.jobs.monitors[0].job.events.write("started", command="import", device="cpu")
        self.jobs.monitors[0].job.events.write("progress", step=3, steps=4, seconds_left=9.0)
        self.jobs.poll()
        self.assertEqual((self.ui.addingBar.value, self.ui.addingFrame.isHidden()), (75, False))
        self.ui.cancelButton.click()
        self.assertTrue(self.jobs.monitors[0].job.cancel_requested)

    def test_what_was_refused_is_listed_with_the_reasons(self) -> None:
        self.open(0)
        self.panel.adding.sentence = "2 cases were added."
        self.panel.adding.refusals = [
            Refusal("/scans/x.nii", "/scans/x.nii: The file is cut short."),
            Refusal("CT", "No organ of the cohort, and left out: tumour."),
        ]
        self.panel.adding.changed.emit()
        self.assertEqual(self.ui.addingLabel.text, "2 cases were added. There are 2 remarks.")
        self.ui.refusalsButton.click()
        self.assertEqual(
            self.details[0][1].split("\n\n"),
            ["/scans/x.nii: The file is cut short.", "CT: No organ of the cohort, and left out: tumour."],
        )

    def test_series_of_the_dicom_database_become_a_job(self) -> None:
        self.open(0)
        self.panel.controls.onAddDicom()
        self.assertIn("database is not open", self.errors.sentences[0])
        chosen = [DicomSeries("1.2.3", ["/db/1", "/db/2"])]
        self.answer("DicomSeriesDialog", chosen)
        database = type("Database", (), {"isOpen": True, "patients": lambda _self: ()})()
        with patch.object(slicer, "dicomDatabase", database, create=True):
            self.trigger(self.ui.addButton.menu(), "From the DICOM database…")
        self.assertEqual(self.jobs.monitors[0].job.settings, ImportSettings(series=chosen))

    def test_another_cohort_is_not_opened_over_volumes_that_are_being_added_without_asking(self) -> None:
        self.open(0)
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        slicer.util.updateVolumeFromArray(node, np.zeros((3, 4, 5), np.int16))
        self.panel.adding.addFromScene([SceneCase("CT", node)])
        make_cohort(self.place / "other", 0)
        self.confirm.answer = False
        self.panel.open(self.place / "other")
        self.assertEqual((self.logic.folder, self.panel.adding.isWorking), (self.folder, True))
        self.confirm.answer = True
        self.panel.open(self.place / "other")
        self.assertEqual((self.logic.folder, self.panel.adding.isWorking), (self.place / "other", False))


class LifeTest(PanelCase):
    def test_after_the_cleanup_it_listens_to_nothing_and_ends_what_it_started(self) -> None:
        self.open(30)
        self.show()
        self.panel.poll()
        self.panel.cleanup()
        self.assertTrue(self.facts.processes[0].killed)
        before = self.ui.summaryLabel.text
        self.logic.removeCases(["case_0001"])
        self.assertEqual(self.ui.summaryLabel.text, before)

    def test_500_cases_are_refreshed_in_less_than_100_milliseconds(self) -> None:
        make_cohort(self.folder, 500, annotated=500, files=False)
        add_results(self.folder)
        self.panel.open(self.folder)
        times = [self.seconds(self.table.fill)]
        while not self.table.fill() or self.logic.refresh():
            times.append(self.seconds(self.table.fill))
        self.assertEqual((self.table.visibleCount, self.table.text("case_0500", ORGANS)), (500, "4/4"))
        self.logic.setUse(["case_0250"], Use.TEST)
        times += [self.seconds(self.panel.refresh) for _ in range(3)]
        self.assertLess(max(times), 0.1)

    def seconds(self, does: Any) -> float:
        """What this thread has spent: other programs on the computer do not count."""
        begin = time.thread_time()
        does()
        return time.thread_time() - begin

"""The Export section: what can go, what is asked, what came of it."""

from __future__ import annotations

import unittest
from pathlib import Path

import qt
import slicer
from cohort_doubles import Asked
from review_cohort import MODEL, ReviewCase, case_id, settle
from SSLSegmentationLib.logic.ExportLogic import ExportChoice, ExportLogic, existingInWords
from SSLSegmentationLib.logic.SceneNodes import ownedNodes
from SSLSegmentationLib.logic.VolumeTable import ROLE, showVolumes
from SSLSegmentationLib.widgets.ExportPanel import ExportPanel

from sslseg.contract.cohort import AnnotatedSlices, Cohort, ReviewState
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.contract.settings import ExportSettings, ModelExportSettings

ANNOTATED = (case_id(1), case_id(2))
PREDICTED = (case_id(3), case_id(4), case_id(5))
CSV = """case,organ,value,volume_ml,source,verdict,status
case_0001,liver,1,1450.250,accepted,,completed
case_0001,pancreas,2,81.000,accepted,,completed
case_0002,liver,1,1333.000,predicted,fine,notstarted
"""


class ExportLogicTest(ReviewCase):
    def open(self) -> None:
        super().open()
        self.export = ExportLogic(self.cohorts, self.jobs)

    def plan(self, source="accepted", form="seg.nrrd", cases=ANNOTATED + PREDICTED):
        return self.export.plan(ExportChoice(form, source, cases, self.folder / "export"))

    def test_cases_without_anything_to_export_are_left_out_and_counted(self):
        self.made.prediction_path(MODEL, PREDICTED[0]).unlink()
        self.open()
        plan = self.plan()
        self.assertEqual(plan.caseIds, ANNOTATED)
        self.assertIn("3 of 5 cases are left out: nothing of them has been annotated", plan.notes[0])
        plan = self.plan("best")
        self.assertEqual(plan.caseIds, ANNOTATED + PREDICTED[1:])
        self.assertIn("1 of 5 cases are left out: they are neither", plan.notes[0])

    def test_an_organ_drawn_on_some_slices_only_makes_no_case_to_export(self):
        with Cohort.edit(self.folder) as cohort:
            case = cohort.case(ANNOTATED[0])
            case.annotated, case.slices = ["liver"], {"liver": AnnotatedSlices("k", [3])}
        self.open()
        self.assertEqual(self.plan().caseIds, ANNOTATED[1:])

    def test_dicom_needs_cases_that_came_from_dicom_and_says_why(self):
        self.open()
        plan = self.plan(form="dicom-seg")
        self.assertEqual(plan.caseIds, ())
        self.assertIn("DICOM SEG is not possible", plan.notes[-1])
        series = self.folder / "images" / "series"
        series.mkdir()
        with self.cohorts.edit() as cohort:
            cohort.case(ANNOTATED[1]).image = "images/series"
        plan = self.plan(form="dicom-seg")
        self.assertEqual(plan.caseIds, ANNOTATED[1:])
        self.assertIn("1 of 2 cases are left out: they did not come from DICOM", plan.notes[-1])

    def test_predictions_need_a_model(self):
        (self.made.model_folder(MODEL) / "sslseg.json").unlink()
        self.open()
        plan = self.plan("best")
        self.assertEqual(plan.caseIds, ())
        self.assertIn("no model", plan.notes[0])

    def test_files_that_would_be_replaced_are_found_by_format(self):
        self.open()
        folder = self.folder / "export"
        folder.mkdir()
        for name in (f"{ANNOTATED[0]}.seg.nrrd", f"{ANNOTATED[1]}.nii.gz", "labels.csv", "volumes.csv"):
            (folder / name).write_text("")
        found = {}
        for form in ("seg.nrrd", "nifti"):
            choice = ExportChoice(form, "accepted", ANNOTATED, folder)
            found[form] = [path.name for path in self.export.existing(choice)]
        self.assertEqual(found["seg.nrrd"], [f"{ANNOTATED[0]}.seg.nrrd", "volumes.csv"])
        self.assertEqual(found["nifti"], [f"{ANNOTATED[1]}.nii.gz", "volumes.csv", "labels.csv"])

    def test_many_files_are_counted_and_not_all_named(self):
        text = existingInWords([Path(f"/out/{number}.nrrd") for number in range(20)])
        self.assertIn("and 14 more", text)
        self.assertNotIn("19.nrrd", text)

    def test_nothing_to_export_is_an_error_with_the_reason(self):
        self.open()
        with self.assertRaisesRegex(SSLSegError, "nothing of them has been annotated"):
            self.export.start(ExportChoice("nifti", "accepted", PREDICTED, self.folder / "export"))
        self.assertEqual(self.jobs.monitors, [])

    def test_a_model_goes_into_a_new_folder_every_time(self):
        self.open()
        (self.folder / "first-bundle").mkdir()
        monitor = self.export.startModel(self.folder)
        self.assertEqual(
            monitor.job.settings, ModelExportSettings(MODEL, str(self.folder / "first-bundle-2"))
        )


class ExportPanelTest(ReviewCase):
    def open(self) -> None:
        super().open()
        self.asked, self.errors, self.folders = Asked(), [], []
        self.panel = ExportPanel(
            self.cohorts,
            self.jobs,
            self.cases,
            confirm=self.asked,
            showError=self.errors.append,
            showFolder=self.folders.append,
        )
        self.addCleanup(self.panel.cleanup)
        self.ui = self.panel.ui
        self.panel.enter()

    def choose(self, box, data: str) -> None:
        box.currentIndex = next(index for index in range(box.count) if box.itemData(index) == data)

    def is_shown(self, widget) -> bool:
        return not widget.isHidden()

    def tell(self, job: Job, *files: str, ending: str | None = "finished") -> list[Path]:
        """What the backend writes."""
        folder = Path(job.settings.output)
        folder.mkdir(exist_ok=True)
        job.events.write("started", command="export", device="cpu", step=0)
        job.events.write("progress", step=1, steps=2, seconds_left=3.0)
        paths = [folder / name for name in files]
        for path in paths:
            path.write_text(CSV if path.suffix == ".csv" else "")
            job.events.write("artifact", path=str(path), kind="export")
        if ending is not None:
            job.events.write(ending)
            self.launcher.processes[-1].exitCode = 0
        for _turn in range(3):
            self.jobs.poll()
        return paths

    def test_without_a_cohort_nothing_can_be_exported(self):
        self.open()
        self.cohorts.closeCohort()
        self.assertIn("Open a cohort", self.ui.planLabel.text)
        self.assertFalse(self.ui.exportButton.enabled or self.ui.modelButton.enabled)
        self.assertEqual(self.ui.folderEdit.currentPath, "")

    def test_what_would_be_exported_is_said_before(self):
        self.open()
        self.assertIn("2 cases will be exported. 3 of 5 cases are left out", self.ui.planLabel.text)
        self.choose(self.ui.sourceBox, "best")
        self.assertEqual(self.ui.planLabel.text, "5 cases will be exported.")
        self.choose(self.ui.formatBox, "dicom-seg")
        self.assertIn("DICOM SEG is not possible", self.ui.planLabel.text)
        self.assertFalse(self.ui.exportButton.enabled)

    def test_the_choice_becomes_the_settings_of_the_job(self):
        self.open()
        self.choose(self.ui.sourceBox, "best")
        self.choose(self.ui.formatBox, "nifti")
        self.ui.folderEdit.currentPath = str(self.folder / "out")
        self.ui.exportButton.click()
        self.assertEqual(
            self.jobs.monitors[-1].job.settings,
            ExportSettings("nifti", str(self.folder / "out"), MODEL, [*ANNOTATED, *PREDICTED], source="best"),
        )
        self.assertEqual(self.asked.sentences, [])

    def test_cases_can_be_chosen_one_by_one_or_by_their_review(self):
        with Cohort.edit(self.folder) as cohort:
            cohort.case(ANNOTATED[1]).review = ReviewState.COMPLETED
        self.open()
        self.choose(self.ui.casesBox, "completed")
        self.assertEqual(self.panel.choice.caseIds, ANNOTATED[1:])
        self.assertFalse(self.is_shown(self.ui.caseList))
        self.choose(self.ui.casesBox, "chosen")
        self.assertTrue(self.is_shown(self.ui.caseList))
        self.ui.caseList.item(1).setCheckState(qt.Qt.Unchecked)
        self.assertEqual(self.panel.choice.caseIds, (ANNOTATED[0], *PREDICTED))
        self.assertIn("1 case will be exported", self.ui.planLabel.text)

    def test_files_that_are_there_are_named_and_replaced_only_if_a_person_agrees(self):
        self.open()
        folder = self.folder / "export"
        folder.mkdir()
        (folder / "volumes.csv").write_text("")
        self.asked.answer = False
        self.ui.exportButton.click()
        self.assertIn("volumes.csv", self.asked.sentences[0])
        self.assertEqual(self.jobs.monitors, [])
        self.asked.answer = True
        self.ui.exportButton.click()
        self.assertTrue(self.jobs.monitors[-1].job.settings.overwrite)

    def test_what_was_just_accepted_is_saved_before_the_export(self):
        self.open()
        self.cases.openCase(PREDICTED[0], source="prediction")
        settle(self.cases)
        self.cases.setOrganStatus("liver", ReviewState.COMPLETED)
        self.choose(self.ui.sourceBox, "best")
        self.ui.exportButton.click()
        self.assertEqual(self.jobs.monitors, [])
        settle(self.cases)
        self.assertEqual(Cohort.read(self.folder).case(PREDICTED[0]).annotated, ["liver"])
        self.assertEqual(len(self.jobs.monitors), 1)

    def test_progress_results_and_the_end_are_shown(self):
        self.open()
        self.assertFalse(self.is_shown(self.ui.resultList) or self.is_shown(self.ui.cancelButton))
        self.ui.exportButton.click()
        job = self.jobs.monitors[-1].job
        self.tell(job, f"{ANNOTATED[0]}.seg.nrrd", ending=None)
        self.assertEqual(self.ui.progressBar.value, 50)
        self.assertIn("Exporting: case 1 of 2", self.ui.stateLabel.text)
        self.assertFalse(self.ui.exportButton.enabled)
        job.events.write("warning", message="case_0002 could not be exported.")
        paths = self.tell(job, f"{ANNOTATED[1]}.seg.nrrd", "volumes.csv")
        self.assertIn("The export is done", self.ui.stateLabel.text)
        shown = [self.ui.resultList.item(row).text() for row in range(self.ui.resultList.count)]
        self.assertEqual(shown, [f"{ANNOTATED[0]}.seg.nrrd", *(path.name for path in paths)])
        self.assertFalse(self.is_shown(self.ui.progressBar))
        self.assertTrue(self.ui.exportButton.enabled)
        self.ui.folderButton.click()
        self.assertEqual(self.folders, [self.folder / "export"])

    def test_an_export_can_be_cancelled(self):
        self.open()
        self.ui.exportButton.click()
        job = self.jobs.monitors[-1].job
        self.tell(job, ending=None)
        self.ui.cancelButton.click()
        self.assertTrue(job.cancel_requested)
        self.assertFalse(self.ui.cancelButton.enabled)

    def test_a_folder_that_was_removed_is_said(self):
        self.open()
        self.ui.exportButton.click()
        (path,) = self.tell(self.jobs.monitors[-1].job, "volumes.csv")
        path.unlink()
        path.parent.rmdir()
        self.ui.folderButton.click()
        self.assertIn("no longer there", self.errors[0])
        self.jobs.changed.emit()
        self.assertFalse(self.ui.tableButton.enabled)

    def test_the_volumes_become_a_table_with_a_row_for_each_case(self):
        self.open()
        self.ui.exportButton.click()
        self.tell(self.jobs.monitors[-1].job, "volumes.csv")
        self.ui.tableButton.click()
        self.ui.tableButton.click()
        (node,) = ownedNodes(ROLE)
        table = node.GetTable()
        self.assertEqual([table.GetColumnName(n) for n in range(3)], ["Case", "liver", "pancreas"])
        self.assertEqual(table.GetNumberOfRows(), 2)
        self.assertEqual(table.GetColumn(0).GetValue(1), "case_0002")
        self.assertEqual(table.GetColumn(1).GetValue(0), 1450.25)
        self.assertNotEqual(table.GetColumn(2).GetValue(1), table.GetColumn(2).GetValue(1))  # not a number
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.assertEqual(selection.GetActiveTableID(), node.GetID())
        self.cohorts.closeCohort()
        self.assertEqual(ownedNodes(ROLE), [], "the table of a cohort that is closed")

    def test_a_file_that_is_no_table_of_volumes_is_refused(self):
        self.open()
        for content, reason in (
            ("a,b\n1,2\n", "no table of volumes"),
            (CSV + "x,y,1,much,,,\n", "cannot be read"),
        ):
            path = self.folder / "volumes.csv"
            path.write_text(content)
            with self.assertRaisesRegex(SSLSegError, reason):
                showVolumes(path)
        self.assertEqual(ownedNodes(ROLE), [])

    def test_the_model_is_exported_into_the_chosen_folder(self):
        self.open()
        self.ui.folderEdit.currentPath = str(self.folder / "out")
        self.ui.modelButton.click()
        self.assertEqual(
            self.jobs.monitors[-1].job.settings,
            ModelExportSettings(MODEL, str(self.folder / "out" / "first-bundle")),
        )
        self.assertIn("The export of the model 'first' is starting", self.ui.stateLabel.text)


if __name__ == "__main__":
    unittest.main()

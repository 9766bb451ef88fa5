"""What the panel does when something goes wrong: programs, files and folders fail for real."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import SimpleITK as sitk
from another_slicer import AnotherSlicer
from panel_driving import PanelCase
from SSLSegmentationLib.logic import CaseSaving, CohortLogic
from SSLSegmentationLib.logic.WorkProgress import Section
from tiny_scans import a_scan, make_cohort, write_scan

from sslseg.contract.cohort import Cohort
from sslseg.contract.jobs import JobState

PLAIN = "case_2"
"""The case without annotation."""


class BadMomentCase(PanelCase):
    """A cohort of two annotated cases and a plain one is open, and the backend is ready."""

    def setUp(self) -> None:
        super().setUp()
        make_cohort(self.folder, 3, annotated=2)
        self.use_this_python()
        self.cohorts.openCohort(self.folder)

    def draw(self, case_id: str, organ: str) -> np.ndarray:
        """Open a case and draw an organ completely."""
        self.open_from_table(case_id)
        voxels = a_scan(int(case_id.removeprefix("case_"))).organs[organ]
        self.paint(organ, voxels)
        self.mark(organ, "completeButton")
        return voxels

    def said(self) -> str:
        """The one thing that was said since the last time."""
        (sentence,) = self.errors
        self.errors.clear()
        return sentence

    def double_click(self, case_id: str) -> None:
        table = self.panel.panels[Section.COHORT].table
        table.select(case_id)
        table.view.doubleClicked(table.view.currentIndex())

    def train(self) -> None:
        ui = self.ui(Section.TRAIN)
        ui.deviceCombo.currentText = "cpu"
        ui.trainButton.click()

    def drawn_on_disk(self, case_id: str, organ: str) -> np.ndarray:
        image = sitk.ReadImage(str(self.folder / "labels" / f"{case_id}.nii.gz"))
        return sitk.GetArrayFromImage(image) == self.cohorts.cohort.labels.find(organ).value

    def a_python(self, line: str) -> Path:
        """A program that does something before it becomes the Python that runs the tests."""
        if os.name == "nt":
            self.skipTest("shell scripts are no programs on Windows")
        path = self.place / "python"
        path.write_text(f'#!/bin/sh\n{line} "{sys.executable}" "$@"\n')
        path.chmod(0o755)
        return path


class BackendTest(BadMomentCase):
    def test_without_the_packages_cases_can_be_drawn_and_everything_else_leads_to_setup(self) -> None:
        python = self.a_python("PYTHONNOUSERSITE=1 PYTHONPATH= exec")
        python.write_text(python.read_text().replace('" "$@"', '" -S "$@"'))
        self.use_python(python)
        setup, train = self.ui(Section.SETUP), self.ui(Section.TRAIN)
        self.assertIn("PyTorch", setup.stateLabel.text)
        self.assertIn("pip install", setup.obstacleLabel.text)
        self.assertFalse(setup.testButton.enabled or train.trainButton.enabled)
        self.assertIn("not ready", train.obstacleLabel.text)
        self.panel.section(Section.SETUP).collapsed = True
        train.wayOutButton.click()
        self.assertFalse(self.panel.section(Section.SETUP).collapsed)
        write_scan(self.place / "new.nii.gz", a_scan(7))
        self.add_files([self.place / "new.nii.gz"])
        self.assertIn("Open the Setup section", self.said())
        self.assertEqual(self.jobs.monitors, [])
        drawn = self.draw(PLAIN, "liver")
        self.ui(Section.ANNOTATE).saveButton.click()
        self.saved()
        np.testing.assert_array_equal(self.drawn_on_disk(PLAIN, "liver"), drawn)

    def test_a_file_that_is_no_python_is_refused_and_slicers_own_taken_again(self) -> None:
        notes = self.place / "notes.txt"
        notes.write_text("buy milk")
        self.use_python(notes)
        ui = self.ui(Section.SETUP)
        self.assertIn("cannot be started", ui.stateLabel.text)
        ui.pythonPathEdit.currentPath = str(self.place / "nowhere")
        ui.usePythonButton.click()
        self.assertIn("There is no such file", self.said())
        ui.ownPythonButton.click()
        self.until(lambda: self.panel.setupLogic.findings is not None, "the look at the Python")
        self.assertIn("Slicer's Python", ui.stateLabel.text)

    def test_an_import_whose_program_dies_adds_nothing_and_can_be_done_again(self) -> None:
        files = [self.place / "scans" / f"{number}.nii.gz" for number in (7, 8)]
        for number, path in enumerate(files):
            write_scan(path, a_scan(7 + number))
        jobs = self.jobs
        start = jobs.start

        def start_and_kill(*arguments: Any, **options: Any) -> Any:
            monitor = start(*arguments, **options)
            os.kill(monitor._process.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
            return monitor

        with mock.patch.object(jobs, "start", start_and_kill):
            self.add_files(files)
        self.assertIn("ended its program", self.ui(Section.COHORT).addingLabel.text)
        self.assertEqual(len(Cohort.read(self.folder).cases), 3)
        self.add_files(files)
        self.assertIn("2 cases were added", self.ui(Section.COHORT).addingLabel.text)
        self.assertEqual(len(self.cohorts.rows()), 5)


class FilesTest(BadMomentCase):
    def test_an_image_that_was_deleted_is_said_when_it_is_opened_and_by_a_training(self) -> None:
        (self.folder / "images" / "case_1.nii.gz").unlink()
        with mock.patch.object(CohortLogic, "PRESENCE_SECONDS", 0.1):
            self.cohorts.openCohort(self.folder)
            self.until(lambda: self.cohorts.row("case_1").missing, "noticing the missing image")
        self.double_click("case_1")
        self.assertRegex(self.said(), r"case_1 cannot be opened.*Put it back, or remove the case")
        self.assertIsNone(self.cases.openingId)
        self.train()
        training = self.wait_for_job("train", JobState.FAILED)
        self.assertRegex(training.sentence, r"images/case_1\.nii\.gz.*Put them back")
        self.assertIn("case_1", self.ui(Section.TRAIN).statusLabel.text)
        self.assertEqual(self.cohorts.models, [])

    def test_where_nothing_more_can_be_written_an_import_says_so_and_leaves_nothing(self) -> None:
        self.use_python(self.a_python("ulimit -f 2\nexec"))  # files of a kilobyte, as on a disk that is full
        write_scan(self.place / "new.nii.gz", a_scan(7))
        before = (self.folder / "cohort.json").read_bytes()
        self.add_files([self.place / "new.nii.gz"])
        sentence = self.ui(Section.COHORT).addingLabel.text
        self.assertIn("cannot be written (File too large)", sentence)
        self.assertIn("the disk has free space", sentence)
        self.assertEqual((self.folder / "cohort.json").read_bytes(), before)
        self.assertEqual(len(list((self.folder / "images").iterdir())), 3)

    def test_a_cohort_that_is_moved_while_a_case_is_open_loses_nothing(self) -> None:
        drawn = self.draw(PLAIN, "liver")
        moved = Path(shutil.move(self.folder, self.place / "moved"))
        self.until(lambda: self.cohorts.problem, "noticing the move")
        self.assertIn("no longer at", self.ui(Section.COHORT).problemLabel.text)
        for attempt in (
            lambda: self.double_click("case_1"),
            self.train,
            self.ui(Section.EXPORT).exportButton.click,
        ):
            attempt()
            self.assertRegex(self.said(), rf"{PLAIN} cannot be saved.*Put it back; or press Revert")
        self.assertEqual(self.cases.caseId, PLAIN)
        self.assertIn("NOT saved", self.ui(Section.ANNOTATE).savedLabel.text)
        self.assertFalse(self.folder.exists(), "something was made where the cohort was")
        shutil.move(moved, self.folder)
        self.until(lambda: not self.cohorts.problem, "noticing that it is back")
        self.open_from_table("case_1")
        self.saved()
        np.testing.assert_array_equal(self.drawn_on_disk(PLAIN, "liver"), drawn)
        self.assertEqual(self.on_disk(PLAIN).annotated, ["liver"])

    def test_a_cohort_that_stays_where_it_was_moved_to_has_the_last_draft(self) -> None:
        with mock.patch.object(CaseSaving, "AUTOSAVE_SECONDS", 0.0):
            drawn = self.draw(PLAIN, "liver")
            self.until(lambda: self.cases.lastDraft is not None and self.cases.isIdle, "the draft")
        self.folder = self.folder.rename(self.place / "moved")
        self.until(lambda: self.cohorts.problem, "noticing the move")
        self.ui(Section.ANNOTATE).revertButton.click()
        self.until(lambda: not self.cases.busy, "letting go")
        self.errors.clear()
        panel = self.panel.panels[Section.COHORT]
        with mock.patch.object(panel, "_chooseFolder", lambda _title: str(self.folder)):
            self.ui(Section.COHORT).openButton.click()
        self.assertEqual((self.cohorts.folder, self.errors), (self.folder, []))
        self.open_from_table(PLAIN)
        self.assertIn("Restored", self.ui(Section.ANNOTATE).noticeLabel.text)
        np.testing.assert_array_equal(self.painted("liver"), drawn)

    def test_a_cohort_that_may_not_be_written_to_can_be_looked_at(self) -> None:
        access = os.access

        def read_only(path: Any, mode: int, **options: Any) -> bool:
            return not (mode & os.W_OK and Path(path).is_relative_to(self.folder)) and access(
                path, mode, **options
            )

        # Whoever runs tests as root may write everywhere.
        with mock.patch("os.access", read_only):
            self.until(lambda: self.cohorts.problem, "noticing the missing right")
            self.assertIn("you may not write to", self.ui(Section.COHORT).problemLabel.text)
            self.draw(PLAIN, "liver")
            self.double_click("case_1")
            self.assertIn(f"{PLAIN} cannot be saved: you may not write", self.said())
            self.ui(Section.ANNOTATE).revertButton.click()
            self.until(lambda: not self.cases.isModified and not self.cases.busy, "going back")
            self.open_from_table("case_1")
            self.assertTrue(self.painted("liver").any())
        self.assertEqual(self.on_disk(PLAIN).annotated, [])


@unittest.skipUnless("standin" in sys.modules, "a second Slicer application cannot be started here")
class TwoSlicersTest(BadMomentCase):
    def test_a_case_that_two_draw_in_is_saved_as_one_of_them_decides_and_both_are_kept(self) -> None:
        other = AnotherSlicer(self.folder)
        self.addCleanup(other.close)
        self.draw(PLAIN, "spleen")
        self.assertIn("open in another Slicer too", other.do(f"open {PLAIN}"))
        other.do(f"draw {PLAIN} liver")
        other.do("save")
        self.until(
            lambda: self.cohorts.cohort.case(PLAIN).annotated == ["liver"], "seeing what the other saved"
        )
        self.ui(Section.ANNOTATE).saveButton.click()
        self.saved()
        self.assertIn("was saved by another program", self.questions[-1])
        self.assertEqual(self.on_disk(PLAIN).annotated, ["spleen"])
        (kept,) = (self.folder / "drafts").glob(f"{PLAIN}.other-*.nii.gz")
        voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(kept)))
        np.testing.assert_array_equal(voxels == 6, a_scan(2).organs["liver"])
        self.assertEqual(self.errors, [])


if __name__ == "__main__":
    unittest.main()

"""The Setup section shows each state in words and hands on what is clicked."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import slicer
from job_doubles import ALauncher, make_cohort
from setup_doubles import AnInstaller, ASettings, probe_answer
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.SetupLogic import SetupLogic
from SSLSegmentationLib.widgets.SetupPanel import SetupPanel

from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job
from sslseg.contract.settings import PredictSettings


class PanelTestCase(unittest.TestCase):
    """A panel with doubles around it."""

    def setUp(self) -> None:
        self.launcher, self.installer, self.settings = ALauncher(), AnInstaller(), ASettings()
        self.setup = SetupLogic(self.settings, self.launcher, self.installer, dict)
        self.cohorts = CohortLogic(ASettings())
        self.asked: list[str] = []
        self.answer = True
        self.errors: list[str] = []
        self.panel = SetupPanel(self.setup, self.cohorts, confirm=self._confirm, showError=self.errors.append)
        self.addCleanup(self.panel.cleanup)
        self.ui = self.panel.ui
        self.ui.pythonGroup.collapsed = False

    def _confirm(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer

    def _reply(self, printed: str, code: int = 0) -> None:
        process = self.launcher.processes[-1]
        process.printed, process.exitCode = printed, code
        self.setup.poll()


class SetupPanelTest(PanelTestCase):
    def _is_shown(self, widget) -> bool:
        return not widget.isHidden()

    def _check(self, printed: str) -> None:
        self.setup.check()
        self._reply(printed)

    def test_while_the_python_is_looked_at_nothing_can_be_clicked_in_vain(self) -> None:
        self.setup.check()
        self.assertIn("Looking at", self.ui.stateLabel.text)
        self.assertFalse(self.ui.testButton.enabled)
        self.assertFalse(self._is_shown(self.ui.installButton))
        self.assertFalse(self._is_shown(self.ui.packagesGroup))

    def test_a_ready_backend_can_be_tested_and_has_nothing_to_install(self) -> None:
        self._check(probe_answer())
        self.assertIn("Ready:", self.ui.stateLabel.text)
        self.assertTrue(self.ui.testButton.enabled)
        self.assertFalse(self._is_shown(self.ui.installButton))
        self.assertFalse(self._is_shown(self.ui.obstacleLabel))

    def test_every_package_is_listed_what_is_missing_first(self) -> None:
        self._check(probe_answer(rich=None))
        table = self.ui.packagesTable
        rows = [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]
        self.assertEqual(rows[0], ("Rich", "not installed, needs 13.9 or later"))
        self.assertIn(("PyTorch", "2.13.0+cpu"), rows)
        self.assertEqual(len(rows), len(self.setup.findings.findings))

    def test_install_asks_first_and_does_nothing_when_the_answer_is_no(self) -> None:
        self._check(probe_answer(torch=None))
        self.answer = False
        self.ui.installButton.click()
        self.assertIn("PyTorch", self.asked[0])
        self.assertEqual(self.installer.asked, [])
        self.answer = True
        self.ui.installButton.click()
        self.assertEqual(self.installer.asked, [["torch"]])
        self.assertIn("Looking at", self.ui.stateLabel.text)

    def test_a_failed_installation_is_shown(self) -> None:
        self._check(probe_answer(torch=None))
        self.installer.failure = SSLSegError("The installation did not succeed", remedy="Try again.")
        self.ui.installButton.click()
        self.assertEqual(self.errors, ["The installation did not succeed. Try again."])

    def test_an_obstacle_is_said_and_install_cannot_be_clicked(self) -> None:
        self.installer.why = "The extension PyTorch is missing."
        self._check(probe_answer(torch=None))
        self.assertEqual(self.ui.obstacleLabel.text, "The extension PyTorch is missing.")
        self.assertTrue(self._is_shown(self.ui.obstacleLabel))
        self.assertFalse(self.ui.installButton.enabled)

    def test_the_report_of_a_test_is_shown_with_its_warnings(self) -> None:
        self._check(probe_answer())
        self.ui.testButton.click()
        self.assertEqual(self.ui.testButton.text, "Testing …")
        self.assertFalse(self.ui.testButton.enabled)
        self._reply(
            json.dumps(
                {"ok": True, "device": "cpu (2 threads)", "seconds": 1, "warnings": ["No graphics card."]}
            )
        )
        self.assertIn("works on the processor (2 threads)", self.ui.reportLabel.text)
        self.assertIn("No graphics card.", self.ui.reportLabel.text)
        self.assertTrue(self._is_shown(self.ui.reportLabel))
        self.assertTrue(self.ui.testButton.enabled)

    def test_another_python_is_taken_and_given_back(self) -> None:
        self.ui.pythonPathEdit.currentPath = sys.executable
        self.ui.usePythonButton.click()
        self._reply(probe_answer(python="2.7.18"))
        self.assertIn("This is Python 2.7.18", self.ui.stateLabel.text)
        self.assertFalse(self.ui.testButton.enabled)
        self.ui.ownPythonButton.click()
        self._reply(probe_answer())
        self.assertIn("Ready: Slicer's Python", self.ui.stateLabel.text)
        self.assertFalse(self.ui.ownPythonButton.enabled)

    def test_a_path_without_a_python_and_no_path_are_said(self) -> None:
        self.ui.usePythonButton.click()
        self.ui.pythonPathEdit.currentPath = "/no/such/python"
        self.ui.usePythonButton.click()
        self.assertIn("Choose the program python", self.errors[0])
        self.assertIn("/no/such/python: There is no such file", self.errors[1])
        self.assertIsNone(self.setup.existingPython)

    def test_entering_looks_again_at_a_python_that_lacked_something(self) -> None:
        self._check(probe_answer(torch=None))
        started = len(self.launcher.processes)
        self.panel.enter()
        self.assertEqual(len(self.launcher.processes), started + 1)
        self._reply(probe_answer())
        self.panel.enter()
        self.assertEqual(len(self.launcher.processes), started + 1)

    def test_all_that_can_be_clicked_has_a_tooltip_in_every_state(self) -> None:
        for answer in (probe_answer(), probe_answer(torch=None)):
            self._check(answer)
            for button in slicer.util.findChildren(self.panel.widget, className="QPushButton"):
                self.assertTrue(button.toolTip, button.name)

    def test_the_panel_fits_into_400_pixels(self) -> None:
        self._check(probe_answer(torch=None, monai=None))
        self.assertLessEqual(self.panel.widget.minimumSizeHint.width(), 400)


class CacheOfTheOpenCohortTest(PanelTestCase):
    """The rows about the cache, with a cohort."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = make_cohort(Path(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "cache").mkdir()
        (self.folder / "cache" / "volume.npy").write_bytes(bytes(2_500_000))

    def _finish(self) -> None:
        for _ in range(1000):
            self.panel.poll()
            if "…" not in self.ui.cacheLabel.text:
                return
        self.fail(self.ui.cacheLabel.text)

    def test_without_a_cohort_there_is_nothing_to_remove(self) -> None:
        self.assertIn("no cohort is open", self.ui.cacheLabel.text)
        self.assertFalse(self.ui.removeCacheButton.enabled)

    def test_the_cache_of_the_open_cohort_is_counted_and_removed_once_agreed(self) -> None:
        self.cohorts.openCohort(self.folder)
        self._finish()
        self.assertIn("2.5 MB", self.ui.cacheLabel.text)
        self.answer = False
        self.ui.removeCacheButton.click()
        self.assertIn("2.5 MB", self.asked[0])
        self.assertTrue((self.folder / "cache").exists())
        self.answer = True
        self.ui.removeCacheButton.click()
        self._finish()
        self.assertIn("none", self.ui.cacheLabel.text)
        self.assertFalse((self.folder / "cache").exists())
        self.assertFalse(self.ui.removeCacheButton.enabled)

    def test_a_cache_in_use_stays_and_the_reason_is_said(self) -> None:
        self.cohorts.openCohort(self.folder)
        self._finish()
        with Job.create(self.folder, PredictSettings(model="first")).running():
            self.ui.removeCacheButton.click()
        self.assertIn("is using the cache", self.errors[0])
        self.assertTrue((self.folder / "cache").exists())

    def test_a_cohort_that_is_closed_while_its_cache_is_counted_is_forgotten(self) -> None:
        self.cohorts.openCohort(self.folder)
        self.cohorts.closeCohort()
        self.panel.poll()
        self.assertIn("no cohort is open", self.ui.cacheLabel.text)

"""Driving the module's panel as a person does, by its buttons, tables and dialogs; nothing behind them is replaced."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import qt
import slicer
import SSLSegmentation as Module
from SSLSegmentationLib.logic.CaseAdding import CaseAdding
from SSLSegmentationLib.logic.JobMonitor import JobMonitor
from SSLSegmentationLib.logic.WorkProgress import Section
from SSLSegmentationLib.widgets.AddFilesDialog import AddFilesDialog

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.jobs import JobState

PREFIX = "SSLSegmentation/"
"""Of the module's settings."""
PATIENCE = 240.0
"""Seconds after which something that should have happened has not."""


class PanelCase(unittest.TestCase):
    """The module as Slicer makes it, in a scene that is somebody's already; questions are answered with yes."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.place = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = self.place / "abdomen"
        self.errors: list[str] = []
        self.questions: list[str] = []
        for name, stand_in in (("errorDisplay", self._tell), ("confirmOkCancelDisplay", self._agree)):
            patch = mock.patch.object(slicer.util, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)
        self._keep_settings()
        self.make_panel()

    def make_panel(self) -> None:
        """As Slicer does when a person chooses the module."""
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        self.module = Module.SSLSegmentationWidget(parent)
        self.addCleanup(self.module.cleanup)
        self.addCleanup(self._end_jobs)
        self.module.setup()
        parent.resize(400, 1200)
        parent.show()
        self.addCleanup(parent.hide)
        self.module.enter()
        self.panel = self.module.moduleWidget
        self.cohorts, self.cases, self.jobs = (
            self.panel.cohortLogic,
            self.panel.caseLogic,
            self.panel.jobLogic,
        )

    @property
    def adding(self) -> CaseAdding:
        return self.panel.panels[Section.COHORT].adding

    def ui(self, section: Section) -> Any:
        """The widgets of a section."""
        return self.panel.panels[section].ui

    def until(self, condition: Callable[[], Any], what: str = "it", seconds: float = PATIENCE) -> None:
        """Let Slicer run until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen in time; said: {self.errors}")
            slicer.app.processEvents()
            time.sleep(0.005)

    def in_dialog(self, fill: Callable[[Any], None], opens: Callable[[], Any]) -> None:
        """Open a modal dialog, fill it in, and press its first button.

        Args:
            fill: is called with the widgets of the dialog.
            opens: what opens it; it returns when the dialog is closed.
        """
        found: list[Any] = []
        timer = qt.QTimer()
        timer.setInterval(10)

        def look() -> None:
            dialog = qt.QApplication.activeModalWidget()
            if dialog is None or found:
                return
            found.append(dialog)
            timer.stop()
            ui = slicer.util.childWidgetVariables(dialog)
            try:
                fill(ui)
                button = ui.buttonBox.button(qt.QDialogButtonBox.Ok)
                self.assertTrue(button.enabled)
                button.click()
            finally:
                if dialog.visible:
                    dialog.reject()

        timer.connect("timeout()", look)
        timer.start()
        opens()
        timer.stop()
        self.assertTrue(found, "no dialog was opened")

    def choose(self, button: Any, text: str) -> None:
        """Choose an entry of a button's menu."""
        entries = [action for action in button.menu().actions() if action.text.startswith(text)]
        self.assertEqual(len(entries), 1, text)
        entries[0].trigger()

    def add_files(self, paths: list[Path]) -> None:
        """Add files through the panel, as copies; returns when they are cases or have been refused."""
        chosen = [str(path) for path in paths]
        with mock.patch.object(AddFilesDialog, "_askFiles", lambda _dialog: chosen):
            self.in_dialog(
                self._take_files, lambda: self.choose(self.ui(Section.COHORT).addButton, "From files")
            )
        self.until(lambda: not self.adding.isBusy, "the import")

    def use_this_python(self) -> None:
        """Let the Python that runs the tests run the backend, too; skips where it cannot."""
        self.use_python(Path(sys.executable))
        if not self.panel.setupLogic.isReady:
            self.skipTest(self.panel.setupLogic.sentence)

    def use_python(self, path: Path) -> None:
        """Choose a Python in the section Setup, and wait until it has been looked at."""
        ui, setup = self.ui(Section.SETUP), self.panel.setupLogic
        ui.pythonGroup.collapsed = False
        ui.pythonPathEdit.currentPath = str(path)
        ui.usePythonButton.click()
        self.assertEqual(setup.existingPython, path)
        self.until(lambda: setup.findings is not None, "the look at the Python")

    def open_from_table(self, case_id: str) -> None:
        """Double-click a case in the table of the cohort."""
        table = self.panel.panels[Section.COHORT].table
        table.select(case_id)
        table.view.doubleClicked(table.view.currentIndex())
        self.until(lambda: self.cases.caseId == case_id, f"the opening of {case_id}")

    def select_organ(self, section: Section, organ: str) -> None:
        """Select an organ in the table of the section Annotate or Review."""
        table = self.ui(section).organTable
        rows = [row for row in range(table.rowCount) if table.item(row, 0).text().endswith(organ)]
        self.assertEqual(len(rows), 1, organ)
        table.setCurrentCell(rows[0], 0)

    def paint(self, organ: str, voxels: np.ndarray) -> None:
        """Draw an organ of the open case anew."""
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            voxels.astype(np.uint8),
            self.cases.segmentationNode,
            self.cases.segmentId(organ),
            self.cases.volumeNode,
        )

    def painted(self, organ: str) -> np.ndarray:
        """What is drawn of an organ of the open case."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.cases.segmentationNode, self.cases.segmentId(organ), self.cases.volumeNode
        ).astype(bool)

    def mark(self, organ: str, button: str) -> None:
        """Select an organ in the section Annotate and press a button, such as `completeButton`."""
        self.select_organ(Section.ANNOTATE, organ)
        getattr(self.ui(Section.ANNOTATE), button).click()

    def saved(self) -> None:
        """Wait until nothing is to be saved or read any more."""
        self.until(lambda: self.cases.isIdle, "saving")

    def wait_for_job(self, command: str, state: JobState = JobState.FINISHED) -> JobMonitor:
        """Wait until the newest job of a kind has ended, as it should."""
        ended = (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED)

        def newest() -> JobMonitor | None:
            found = [one for one in self.jobs.monitors if one.job.description.command == command]
            return found[-1] if found else None

        self.until(lambda: newest() is not None and newest().state in ended, f"the end of {command}")
        monitor = newest()
        assert monitor is not None
        self.assertIs(monitor.state, state, monitor.sentence)
        self.until(lambda: not monitor.isStopping, f"the end of the process of {command}")
        return monitor

    def on_disk(self, case_id: str) -> Case:
        return Cohort.read(self.folder).case(case_id)

    def _end_jobs(self) -> None:
        """Jobs outlive Slicer; those of a test that failed must not outlive it."""
        for monitor in self.jobs.active:
            if monitor._process is not None:
                monitor._process.kill()

    @staticmethod
    def _take_files(ui: Any) -> None:
        ui.filesButton.click()
        ui.copyBox.checked = True

    def _tell(self, text: str, *_args: Any, **_options: Any) -> None:
        self.errors.append(text)

    def _agree(self, text: str, *_args: Any, **_options: Any) -> bool:
        self.questions.append(text)
        return True

    def _keep_settings(self) -> None:
        """The settings of whoever runs the tests inside Slicer are theirs."""
        settings = slicer.app.userSettings()
        before = {key: settings.value(key) for key in settings.allKeys() if key.startswith(PREFIX)}

        def restore() -> None:
            settings.remove(PREFIX.rstrip("/"))
            for key, value in before.items():
                settings.setValue(key, value)

        self.addCleanup(restore)

"""The panel of the module: its sections, the timer that keeps them going, and its life in the scene."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.Parameters import parametersOf, recordCohort, restoreCohort
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.SampleCohort import SampleCohort
from SSLSegmentationLib.logic.SetupLogic import SetupLogic
from SSLSegmentationLib.logic.WorkProgress import Section, WorkProgress
from SSLSegmentationLib.widgets.AnnotatePanel import AnnotatePanel
from SSLSegmentationLib.widgets.CohortPanel import CohortPanel
from SSLSegmentationLib.widgets.ExportPanel import ExportPanel
from SSLSegmentationLib.widgets.ReviewPanel import ReviewPanel
from SSLSegmentationLib.widgets.SetupPanel import SetupPanel
from SSLSegmentationLib.widgets.TrainPanel import TrainPanel

POLL_SECONDS = 0.5
"""Between two looks at what happens elsewhere; the open case is asked how often it wants its turn."""


class ModuleWidget:
    """Composes the panels over one set of logic objects.

    Args:
        parameterNode: returns the parameter node of the scene, and makes it where there is none.
        setupLogic: the Python that runs the backend.
        cohortLogic: the open cohort.
        caseLogic: the open case.
        jobLogic: the jobs of the open cohort.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        chooseFolder: lets a person choose a folder; empty if they do not.
        clock: seconds that only ever grow.

    Attributes:
        widget: the panel.
        panels: one for each section.
    """

    def __init__(
        self,
        parameterNode: Callable[[], Any],
        *,
        setupLogic: SetupLogic | None = None,
        cohortLogic: CohortLogic | None = None,
        caseLogic: CaseLogic | None = None,
        jobLogic: JobLogic | None = None,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        chooseFolder: Callable[[str], str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parameterNode = parameterNode
        self._chooseFolder = chooseFolder or self._askForFolder
        self._clock = clock
        confirm = confirm or slicer.util.confirmOkCancelDisplay
        showError = showError or slicer.util.errorDisplay
        self.setupLogic = setupLogic or SetupLogic()
        self.cohortLogic = cohortLogic or CohortLogic()
        self.caseLogic = caseLogic or CaseLogic(self.cohortLogic, confirm=confirm)
        self.jobLogic = jobLogic or JobLogic(self.setupLogic, self.cohortLogic)
        self.sampleCohort = SampleCohort(self.setupLogic, self.cohortLogic)

        self.widget = slicer.util.loadUI(str(uiPath("SSLSegmentation")))
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.panels = self._makePanels(confirm=confirm, showError=showError)
        self.ui.findCohortButton.connect("clicked(bool)", self.onFindCohort)
        self.ui.dismissButton.connect("clicked(bool)", self.onDismiss)
        self._showNotice("")

        self._progress = WorkProgress()
        self._isRestoring = False
        self._isLost = False
        self._folder: Path | None = None
        self._wrapper: Any = None
        self._connections = (
            (self.setupLogic.changed, self._followWork),
            (self.cohortLogic.changed, self._onCohortChanged),
            (self.caseLogic.opened, self._followCase),
            (self.caseLogic.stateChanged, self._adaptTimer),
            (self.sampleCohort.changed, self._showSample),
            (self.panels[Section.ANNOTATE].editorFrame.effectChanged, self._shareKeys),
            (self.panels[Section.REVIEW].correctionAsked, self._onCorrectionAsked),
            (self.panels[Section.TRAIN].setupWanted, self._onSetupWanted),
        )
        for signal, receiver in self._connections:
            signal.connect(receiver)
        self.section(Section.ANNOTATE).connect("contentsCollapsed(bool)", self._onAnnotateFolded)
        self._effect = ""
        self._observeScene()
        slicer.app.connect("aboutToQuit()", self.onApplicationQuit)

        self._steps = (
            self.setupLogic.poll,
            self.cohortLogic.refresh,
            self.jobLogic.poll,
            self.panels[Section.SETUP].poll,
            self.sampleCohort.poll,
        )
        self._failedSteps: set[Callable[[], Any]] = set()
        self._nextRound = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(self.caseLogic.pollMilliseconds)
        self._timer.connect("timeout()", self.poll)
        self._timer.start()
        self.setupLogic.check()
        self._restore()

    def _makePanels(self, **dialogs: Any) -> dict[Section, Any]:
        setup, cohort, case, jobs = self.setupLogic, self.cohortLogic, self.caseLogic, self.jobLogic
        panels = {
            Section.SETUP: SetupPanel(setup, cohort, **dialogs),
            Section.COHORT: CohortPanel(cohort, case, jobs, **dialogs),
            Section.ANNOTATE: AnnotatePanel(cohort, case, **dialogs),
            Section.TRAIN: TrainPanel(cohort, jobs, setup, caseLogic=case, **dialogs),
            Section.REVIEW: ReviewPanel(cohort, case, jobs, **dialogs),
            Section.EXPORT: ExportPanel(cohort, jobs, case, **dialogs),
        }
        for section, panel in panels.items():
            self.section(section).layout().addWidget(panel.widget)
        return panels

    def section(self, section: Section) -> Any:
        """The collapsible button of a section."""
        return getattr(self.ui, f"{section.value}Section")

    def enter(self) -> None:
        """The module is shown."""
        self.cohortLogic.refresh()
        for panel in self.panels.values():
            panel.enter()

    def exit(self) -> None:
        """Another module is shown; jobs are watched on."""
        for panel in self.panels.values():
            panel.exit()

    def cleanup(self) -> None:
        """The module goes, as on reload or when Slicer ends: save the open case, let go of everything."""
        self._timer.stop()
        slicer.app.disconnect("aboutToQuit()", self.onApplicationQuit)
        for tag in self._sceneTags:
            slicer.mrmlScene.RemoveObserver(tag)
        self.caseLogic.shutdown()
        for signal, receiver in self._connections:
            signal.disconnect(receiver)
        for panel in self.panels.values():
            panel.cleanup()
        self.sampleCohort.close()
        self.jobLogic.close()
        self.setupLogic.close()

    def onApplicationQuit(self) -> None:
        """Slicer is about to end: nothing that was drawn may be lost."""
        self.caseLogic.shutdown()

    def poll(self) -> None:
        """Go on with the open case, and look now and then what has happened elsewhere; each takes milliseconds."""
        self._run(self.caseLogic.poll)
        if self._clock() >= self._nextRound:
            self._nextRound = self._clock() + POLL_SECONDS
            for step in self._steps:
                self._run(step)
        self._adaptTimer()

    def _run(self, step: Callable[[], Any]) -> None:
        try:
            step()
        except Exception:
            # One part that fails must not keep the others from working, nor fill the log twice a second.
            if step not in self._failedSteps:
                self._failedSteps.add(step)
                logging.exception("SSLSegmentation: %s failed", step.__qualname__)

    def _adaptTimer(self) -> None:
        """One timer for everything, as fast as the open case wants it."""
        if self._timer.interval != self.caseLogic.pollMilliseconds:
            self._timer.setInterval(self.caseLogic.pollMilliseconds)

    def openSampleCohort(self) -> None:
        """Make the cohort of phantoms if it is not there yet, and open it."""
        self.sampleCohort.request()

    def onFindCohort(self) -> None:
        """The cohort of the scene is elsewhere: a person shows where."""
        folder = self._chooseFolder(_("Folder of the cohort, the one that holds cohort.json"))
        if folder:
            self._restore(Path(folder))

    def onDismiss(self) -> None:
        """Go on without the cohort of the scene, or hide a message."""
        self._isLost = False
        self._showNotice("")
        recordCohort(self._parameters(), self.cohortLogic)

    def _parameters(self) -> Any:
        node = self._parameterNode()
        # A wrapper observes its node for ever, so no more of them than needed.
        if self._wrapper is None or self._wrapper.parameterNode is not node:
            self._wrapper = parametersOf(node)
        return self._wrapper

    def _restore(self, folder: Path | None = None) -> None:
        """Open the cohort that the scene was saved with."""
        self._isRestoring = True
        try:
            restoreCohort(self._parameters(), self.cohortLogic, folder)
        except SSLSegError as error:
            self._isLost = True
            self._showNotice(str(error), canFind=True)
        else:
            self._isLost = False
            self._showNotice("")
            recordCohort(self._parameters(), self.cohortLogic)
            self.caseLogic.onSceneImported()
        finally:
            self._isRestoring = False
            self._folder = self.cohortLogic.folder
        self._followWork()

    def _onCohortChanged(self) -> None:
        if not self._isRestoring:
            isOther = self.cohortLogic.folder != self._folder
            self._folder = self.cohortLogic.folder
            if self._isLost and isOther:
                self._isLost = False
                self._showNotice("")
            # Until a person has decided, the scene keeps telling where its cohort was.
            if not self._isLost:
                recordCohort(self._parameters(), self.cohortLogic)
        self._followWork()

    def _followCase(self, caseId: str) -> None:
        self._followWork()

    def _followWork(self) -> None:
        """Open and close sections as the work moves on."""
        now = self._progress.next(self.setupLogic, self.cohortLogic, self.caseLogic)
        isReviewing = not self.section(Section.REVIEW).collapsed
        for section, isOpen in now.sectionsSince(self._progress, isReviewing).items():
            self.section(section).collapsed = not isOpen
        self._progress = now

    def _onAnnotateFolded(self, folded: bool) -> None:
        self._shareKeys(self._effect)

    def _shareKeys(self, effect: str) -> None:
        """Both the editor and the review have keys; while the editor is shown, its own go first."""
        self._effect = effect
        self.panels[Section.REVIEW].setEditing(not self.section(Section.ANNOTATE).collapsed, effect)

    def _onCorrectionAsked(self, organ: str) -> None:
        """A person wants to draw in a prediction."""
        self.section(Section.ANNOTATE).collapsed = False
        segmentId = self.caseLogic.segmentId(organ) if organ else None
        if segmentId is not None:
            self.panels[Section.ANNOTATE].editorFrame.select(segmentId)

    def _onSetupWanted(self) -> None:
        """A person wants to train and the backend is not ready."""
        self.section(Section.SETUP).collapsed = False

    def _showSample(self) -> None:
        self._showNotice(self.sampleCohort.sentence)

    def _showNotice(self, text: str, canFind: bool = False) -> None:
        self.ui.noticeLabel.text = text
        self.ui.noticeFrame.visible = bool(text)
        self.ui.findCohortButton.visible = canFind
        self.ui.dismissButton.text = _("Go on without") if canFind else _("Hide")

    def _observeScene(self) -> None:
        scene = slicer.mrmlScene
        self._sceneTags = [
            scene.AddObserver(event, receiver)
            for event, receiver in (
                (scene.EndCloseEvent, self._onSceneEndClose),
                (scene.EndImportEvent, self._onSceneImported),
            )
        ]

    def _onSceneEndClose(self, caller: Any, event: Any) -> None:
        # The cohort is on disk and stays open; the new scene has to know it.
        self._isLost = False
        self._showNotice("")
        self._wrapper = None
        recordCohort(self._parameters(), self.cohortLogic)
        self._followWork()

    def _onSceneImported(self, caller: Any, event: Any) -> None:
        self._wrapper = None
        self._restore()

    def _askForFolder(self, title: str) -> str:
        return qt.QFileDialog.getExistingDirectory(self.widget, title)

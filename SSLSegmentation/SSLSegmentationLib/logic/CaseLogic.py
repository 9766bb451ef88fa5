"""The open case: its image and organs in the scene, and every change of them safe on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.staging import StageRequest
from SSLSegmentationLib.logic import SceneNodes, SegmentationNode
from SSLSegmentationLib.logic.CaseNodes import createUncertaintyNode
from SSLSegmentationLib.logic.CaseOpening import Source, cacheFolder, openingSteps, preloadSteps
from SSLSegmentationLib.logic.CaseSaving import AUTOSAVE_SECONDS, CaseSaving
from SSLSegmentationLib.logic.CaseStore import CaseStore
from SSLSegmentationLib.logic.CaseWatcher import CaseWatcher
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.OpenCase import OpenCase, caseOfScene
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SlicedWork import SlicedWork
from SSLSegmentationLib.logic.VolumeLoader import LoadedVolume, VolumeLoader

BUSY_MILLISECONDS, IDLE_MILLISECONDS = 20, 500


class CaseLogic(CaseSaving):
    """Opens, shows, watches and saves one case at a time.

    ```
    logic = CaseLogic(cohortLogic)
    logic.opened.connect(panel.show)
    logic.openCase("case_0001")     # returns at once
    logic.poll()                    # from a timer, every `pollMilliseconds`
    logic.setMark("liver", Mark.COMPLETE)
    logic.closeCase()               # saves
    ```
    What is drawn is kept as a draft every half minute, and saved as the label map of the case when it is closed,
    another one is opened, the scene is closed or Slicer ends. What cannot be saved stays, and is tried again.

    Signals:
        opened(caseId), aboutToClose(caseId), closed(): the open case.
        modified(): what is drawn or marked has changed.
        saved(caseId): its label map and marks are on disk.
        uncertaintyLoaded(): `uncertaintyNode` is there.
        stateChanged(): `busy`, `isModified`, `lastDraft`, `lastSaved` or `problem` may have changed.
        noticed(sentence): something the user should know.
        failed(sentence): something did not work.

    Args:
        cohortLogic: the open cohort.
        loader: reads volumes.
        confirm: asks a question; without it nothing is ever replaced.
        rescueFolder: where drawings go that can be saved nowhere else when Slicer ends.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        loader: VolumeLoader | None = None,
        confirm: Callable[[str], bool] | None = None,
        rescueFolder: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(confirm, clock)
        self.opened, self.aboutToClose, self.closed = Signal(), Signal(), Signal()
        self.uncertaintyLoaded = Signal()
        self.openingId: str | None = None
        self._cohortLogic = cohortLogic
        self._loader = loader or VolumeLoader()
        self._rescueFolder = rescueFolder or Path.home() / "SSLSegmentation rescued"
        self._leftovers: list[Any] = []
        self._isPolling = False
        self._superseded.connect(self._showOther)
        self._watcher = CaseWatcher(self)
        cohortLogic.changed.connect(self._onCohortChanged)

    @property
    def busy(self) -> bool:
        """Whether a case is being opened or saved."""
        opening = self._works.get("open")
        return (opening is not None and opening.isRunning) or self._saves.isWorking

    @property
    def isIdle(self) -> bool:
        """Whether nothing at all is under way, reading ahead and drafts included."""
        return not self._works and not self._saves.isWorking

    @property
    def pollMilliseconds(self) -> int:
        """How soon `poll` is due."""
        return IDLE_MILLISECONDS if self.isIdle else BUSY_MILLISECONDS

    def openCase(self, caseId: str, source: Source = "auto") -> bool:
        """Begin to open a case; the one that is open is saved and closed first.

        `opened` is emitted when it is there, or `failed`. False if the open case could not be closed.

        Args:
            caseId: of the open cohort.
            source: "annotation" begins with what a person drew; "prediction" with what the current model predicted,
                except organs that a person annotated or has begun with; "auto" with the annotation, and where there
                is none with the prediction. A draft that was not saved goes before all of them.
        """
        if not self.closeCase():
            return False
        cohort = self._cohortLogic.cohort
        if cohort is None:
            self.failed.emit(_("No cohort is open."))
            return False
        self.openingId = caseId
        steps = self._openingSteps(cohort, caseId, source)
        self._works["open"] = SlicedWork(steps, done=self._show, failed=self._onOpeningFailed)
        self.stateChanged.emit()
        return True

    def closeCase(self, *, discard: bool = False) -> bool:
        """Save the open case and take it out of the scene; also ends an opening that is under way.

        Saving goes on afterwards, from a copy. False, and the case stays open, if its folder cannot be written to.

        Args:
            discard: do not save what was drawn since the last save.
        """
        self._endWork()
        if self._open is None:
            return True
        if self._open.isModified and not discard and (reason := self._open.store.cannotSave()):
            self._complain(reason)
            return False
        self.aboutToClose.emit(self._open.caseId)
        self._part(discard=discard).leave()
        self.closed.emit()
        self.stateChanged.emit()
        return True

    def revert(self) -> bool:
        """Drop what was drawn since the last save, draft included, and open the case anew."""
        caseId = self.caseId
        return caseId is not None and self.closeCase(discard=True) and self.openCase(caseId)

    def preload(self, caseId: str, source: Source = "auto") -> None:
        """Read a case ahead, in the time that is left."""
        cohort = self._cohortLogic.cohort
        if cohort is None or caseId in (self.caseId, self.openingId):
            return
        self._cancel("preload")
        steps = preloadSteps(cohort, caseId, source, self._cohortLogic.model, self._loader)
        # What cannot be read is said when the case is opened.
        self._works["preload"] = SlicedWork(steps, failed=lambda _error: None)

    def loadUncertainty(self) -> bool:
        """Begin to load how unsure the current model is of the open case; `uncertaintyLoaded` tells when it is there.

        False if the model left no such map.
        """
        model = self._cohortLogic.model
        if self._open is None or model is None:
            return False
        path = self._open.cohort.uncertainty_path(model, self._open.caseId)
        if self._open.uncertaintyNode is not None or "uncertainty" in self._works or not path.exists():
            return self._open.uncertaintyNode is not None or "uncertainty" in self._works
        steps = self._loader.load(cacheFolder(self._open.cohort), [StageRequest(str(path))])
        self._works["uncertainty"] = SlicedWork(steps, self._showUncertainty, self._tell)
        return True

    def shutdown(self) -> None:
        """Slicer ends or the module is reloaded: save, put what cannot be saved elsewhere, close, watch nothing."""
        if not self.saveNow():
            try:
                for path in self._saves.rescue(self._rescueFolder):
                    self.noticed.emit(_("What could not be saved is kept as {file}.").format(file=path))
            except SSLSegError as error:
                self.failed.emit(str(error))
        self._endWork()
        if self._open is not None:
            self.aboutToClose.emit(self._open.caseId)
            self._open.isModified = False
            self._part().leave()
            self.closed.emit()
        self._watcher.close()
        self._cohortLogic.changed.disconnect(self._onCohortChanged)

    def poll(self) -> None:
        """Go on with whatever is under way, for some milliseconds."""
        if self._isPolling:  # a question that is being asked runs the timers meanwhile
            return
        self._isPolling = True
        try:
            while self._leftovers:
                SceneNodes.removeNode(self._leftovers.pop(), owned=True)
            self._pollSaves()
            for name in ("open", "draft", "uncertainty", "preload"):
                work = self._works.get(name)
                if work is not None:
                    if work.poll() and self._works.get(name) is work:
                        del self._works[name]
                    break
        finally:
            self._isPolling = False

    # What happens in the scene; called by CaseWatcher

    def onDrawn(self) -> None:
        """Voxels have changed, or somebody added or removed segments."""
        if self._open is None or self._isQuiet:
            return
        with self._quietly():
            if SegmentationNode.ensureSegments(self._open.segmentationNode, self._open.labels):
                self.noticed.emit(
                    _("The organs belong to the cohort: the one that was removed is there again, empty.")
                )
        self._open.drawn += 1
        self._touch()

    def onDescribed(self) -> None:
        """A segment's name, colour or status has changed."""
        if self._open is None or self._isQuiet:
            return
        marks = self._open.readMarks()
        if marks != self._open.marks:
            self._open.marks = marks
            self._touch()

    def onNodeAboutToBeRemoved(self, node: Any) -> None:
        """Somebody else removes the image or the segmentation: the case is saved and closed."""
        if self._open is None or node not in (self._open.volumeNode, self._open.segmentationNode):
            return
        self._endWork()
        self.aboutToClose.emit(self._open.caseId)
        opened = self._part()
        opened.giveViewsBack()
        # Not now: the scene is in the midst of removing one of them.
        self._leftovers = [*SceneNodes.attachedNodes(node), *opened.nodes()]
        self.closed.emit()
        self.stateChanged.emit()

    def onSceneAboutToClose(self) -> None:
        """The scene is closed: what is drawn is saved before the nodes are gone."""
        self._endWork()
        self._leftovers = []
        if self._open is None:
            return
        self.aboutToClose.emit(self._open.caseId)
        self._part()
        self._saves.finish()
        self.closed.emit()
        self.stateChanged.emit()

    def onSceneImported(self) -> None:
        """A saved scene was loaded: what it holds of a case of the open cohort is that case again."""
        cohort = self._cohortLogic.cohort
        if cohort is None or self._open is not None or "open" in self._works:
            return
        caseId = caseOfScene(cohort)
        if caseId is not None:
            self.openCase(caseId)

    # Parts

    def _openingSteps(self, cohort: Cohort, caseId: str, source: Source) -> Generator[bool, None, OpenCase]:
        self._saves.retry()
        while (save := self._saves.pending(caseId)) is not None:
            if save.error is not None and not self._saves.isWorking:
                raise save.error
            yield True
        case = cohort.case(caseId)
        store = CaseStore(cohort.folder, case, self._cohortLogic)
        try:
            model = self._cohortLogic.model
            content = yield from openingSteps(cohort, caseId, source, model, store, self._loader)
            opened = OpenCase(cohort, store, content, list(cohort.labels))
            if content.draft is not None:
                opened.isModified, opened.drafted = True, 0
            yield from opened.adoptSteps()
        except BaseException:
            store.close()
            raise
        return opened

    def _show(self, opened: OpenCase) -> None:
        """The case was read: into the scene with it."""
        self.openingId = None
        with self._quietly():
            opened.show()
        self._open = opened
        self._watcher.watch(opened.segmentationNode)
        draft = opened.content.draft
        self.lastDraft = None if draft is None else draft.saved
        self.lastSaved = None
        self.problem = ""
        if opened.isModified and draft is None:
            self._draftAt = self._clock() + AUTOSAVE_SECONDS
        self.opened.emit(opened.caseId)
        self.stateChanged.emit()
        for sentence in opened.content.sentences:
            self.noticed.emit(sentence)

    def _onOpeningFailed(self, error: Exception) -> None:
        self.openingId = None
        self.stateChanged.emit()
        self._tell(error)

    def _showUncertainty(self, loaded: list[LoadedVolume]) -> None:
        if self._open is not None:
            self._open.uncertaintyNode = createUncertaintyNode(
                loaded[0], self._open.caseId, self._open.cohort.name
            )
            self.uncertaintyLoaded.emit()

    def _part(self, *, discard: bool = False) -> OpenCase:
        """Let go of the open case, with a copy of it on its way to the disk; its nodes are still there."""
        assert self._open is not None
        opened = self._open
        if opened.isModified and not discard:
            self._saves.add(opened.pendingSave(self._confirm), closing=True)
        elif discard:
            self._saves.drop(opened.store)
            opened.store.discardDraft()
            opened.store.close()
        elif not self._saves.closeAfter(opened.store):
            opened.store.close()
        self._watcher.unwatch()
        self._open = None
        self._draftAt = None
        return opened

    def _showOther(self, caseId: str) -> None:
        self.closeCase(discard=True)
        self.openCase(caseId)

    def _onCohortChanged(self) -> None:
        """The cohort was closed, another one was opened, or its organs have changed."""
        cohort, opened = self._cohortLogic.cohort, self._open
        if opened is None:
            return
        if cohort is None or cohort.folder != opened.cohort.folder:
            self.closeCase()
        elif list(cohort.labels) != opened.labels:
            with self._quietly():
                opened.labels = list(cohort.labels)
                SegmentationNode.ensureSegments(opened.segmentationNode, opened.labels)
                opened.marks = opened.readMarks()

    def _endWork(self) -> None:
        """Drop what belongs to the case that is open or being opened."""
        for name in ("open", "draft", "uncertainty"):
            self._cancel(name)
        self.openingId = None

"""Keeping what is drawn in the open case: as a draft now and then, as its label map when it is saved."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.OpenOrgans import OpenOrgans
from SSLSegmentationLib.logic.PendingSave import PendingSave
from SSLSegmentationLib.logic.SaveQueue import SaveQueue
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SlicedWork import SlicedWork

AUTOSAVE_SECONDS = 30.0


class CaseSaving(OpenOrgans):
    """The part of `CaseLogic` that loses nothing.

    Attributes:
        lastDraft, lastSaved: when the open case was, in seconds since 1970; None if not since it was opened.
        problem: why it could not be, in a sentence; empty as long as all is well.

    Args:
        confirm: asks whether what another program has saved is replaced; None replaces nothing.
        clock: seconds since 1970.
    """

    def __init__(self, confirm: Callable[[str], bool] | None, clock: Callable[[], float]) -> None:
        self.modified, self.saved, self.stateChanged = Signal(), Signal(), Signal()
        self.noticed, self.failed = Signal(), Signal()
        self._superseded = Signal()  # the drawing of another program stays: the case has to be opened anew
        self.lastDraft: float | None = None
        self.lastSaved: float | None = None
        self.problem = ""
        self._confirm = confirm
        self._clock = clock
        self._works: dict[str, SlicedWork] = {}
        self._draftAt: float | None = None
        self._isQuiet = False
        self._saves = SaveQueue()
        self._saves.saved.connect(self._onSaved)
        self._saves.failed.connect(self._onSaveFailed)

    def save(self) -> None:
        """Save in the background; `saved` or `failed` tells how it ended."""
        self._saves.retry()
        if self._open is None or not self.isModified:
            return
        if reason := self._open.store.cannotSave():
            self._complain(reason)
            return
        self._cancel("draft")
        self._saves.add(self._open.pendingSave(self._confirm), closing=False)
        self.stateChanged.emit()

    def saveNow(self) -> bool:
        """Save everything before this returns, however long it takes and without asking; True if all is saved."""
        if self._open is not None and self.isModified:
            self._cancel("draft")
            self._saves.add(self._open.pendingSave(None), closing=False)
        return self._saves.finish()

    def _pollSaves(self) -> None:
        self._saves.poll()
        if self._draftAt is not None and self._clock() >= self._draftAt and not self._saves.isWorking:
            self._startDraft()

    def _touch(self) -> None:
        """Something differs from what is saved."""
        assert self._open is not None
        self._open.isModified = True
        self._open.changes += 1
        if self._draftAt is None:
            self._draftAt = self._clock() + AUTOSAVE_SECONDS
        self.modified.emit()
        self.stateChanged.emit()

    def _startDraft(self) -> None:
        self._draftAt = None
        if self._open is not None and self._open.isModified:
            self._works["draft"] = SlicedWork(self._open.draftSteps(), self._onDrafted, self._onDraftFailed)

    def _onDrafted(self, _result: None) -> None:
        self.lastDraft = self._clock()
        self.problem = ""
        self.stateChanged.emit()

    def _onDraftFailed(self, error: Exception) -> None:
        self._draftAt = self._clock() + AUTOSAVE_SECONDS
        if str(error) != self.problem:  # once is enough
            self._complain(str(error))

    def _onSaved(self, save: PendingSave) -> None:
        opened = self._open
        if opened is not None and opened.store is save.store:
            self.problem = ""
            if save.isSaved:
                self.lastSaved = self._clock()
                with self._quietly():
                    opened.take(save)
            elif save.keptBeside:
                self._superseded.emit(save.caseId)
        if save.isSaved:
            self.saved.emit(save.caseId)
        self.stateChanged.emit()
        for sentence in save.sentences:
            self.noticed.emit(sentence)

    def _onSaveFailed(self, save: PendingSave, error: Exception) -> None:
        self._complain(str(error))

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """What we change ourselves is no modification."""
        before, self._isQuiet = self._isQuiet, True
        try:
            yield
        finally:
            self._isQuiet = before

    def _cancel(self, name: str) -> None:
        work = self._works.pop(name, None)
        if work is not None:
            work.cancel()

    def _complain(self, sentence: str) -> None:
        self.problem = sentence
        self.failed.emit(sentence)
        self.stateChanged.emit()

    def _tell(self, error: Exception) -> None:
        if not isinstance(error, SSLSegError):
            logging.error("SSLSegmentation", exc_info=error)
        self.failed.emit(str(error))

"""Saves that are under way, or that have to be tried again; none is ever dropped before it is safe on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.CaseStore import CaseStore
from SSLSegmentationLib.logic.LabelMapWriter import writeLabelMap
from SSLSegmentationLib.logic.PendingSave import PendingSave
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SlicedWork import SLICE_SECONDS, SlicedWork

RETRY_SECONDS = 30.0


@dataclass
class _Entry:
    save: PendingSave
    closing: bool
    work: SlicedWork | None = None
    retryAt: float = 0.0


class SaveQueue:
    """Runs saves one after the other.

    Signals:
        saved(save): it has ended; what the user should know is in `save.sentences`.
        failed(save, error): it will be tried again; the same error is told once.

    Args:
        clock: seconds that only ever grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.saved, self.failed = Signal(), Signal()
        self._clock = clock
        self._entries: list[_Entry] = []

    @property
    def isWorking(self) -> bool:
        """Whether something would go on at the next `poll`."""
        return any(entry.work is not None or entry.retryAt <= self._clock() for entry in self._entries)

    def pending(self, caseId: str) -> PendingSave | None:
        """The save of a case that has not ended."""
        return next((entry.save for entry in self._entries if entry.save.caseId == caseId), None)

    def closeAfter(self, store: CaseStore) -> bool:
        """Give the files of a case free once its save has ended; False if there is none."""
        for entry in self._entries:
            if entry.save.store is store:
                entry.closing = True
                return True
        return False

    def add(self, save: PendingSave, closing: bool) -> None:
        """Save; an older save of the same open case that has not ended is replaced by this one.

        Args:
            closing: whether the files of the case are given free afterwards.
        """
        self.drop(save.store)
        self._entries.append(_Entry(save, closing))

    def drop(self, store: CaseStore) -> None:
        """Save nothing of this case: the user does not want it."""
        for entry in [entry for entry in self._entries if entry.save.store is store]:
            if entry.work is not None:
                entry.work.cancel()
            self._entries.remove(entry)

    def retry(self) -> None:
        """Try everything again now."""
        for entry in self._entries:
            entry.retryAt = 0.0

    def poll(self, seconds: float = SLICE_SECONDS) -> None:
        """Go on for about `seconds`."""
        for entry in list(self._entries):
            if entry.work is None:
                if entry.retryAt > self._clock():
                    continue
                entry.work = self._work(entry)
            entry.work.poll(seconds)
            return

    def finish(self) -> bool:
        """Run everything to its end now, however long it takes, and ask nobody; True if all is saved."""
        for entry in list(self._entries):
            entry.save.confirm = None
            entry.work = entry.work or self._work(entry)
            entry.work.finish()
        return not self._entries

    def rescue(self, folder: Path) -> list[Path]:
        """Write what could not be saved into another folder, and drop it; returns the files."""
        files = []
        for entry in list(self._entries):
            save = entry.save
            if not save.isDrafted:
                stamp = time.strftime("%Y%m%d-%H%M%S")
                path = folder / f"{save.caseId}-{stamp}.nii.gz"
                SlicedWork(writeLabelMap(path, save.snapshot, save.grid, save.ignored)).finish()
                files.append(path)
            self._remove(entry)
        return files

    def _work(self, entry: _Entry) -> SlicedWork:
        return SlicedWork(
            entry.save.steps(),
            done=lambda save: self._ended(entry),
            failed=lambda error: self._failedToSave(entry, error),
        )

    def _ended(self, entry: _Entry) -> None:
        self._remove(entry)
        self.saved.emit(entry.save)

    def _failedToSave(self, entry: _Entry, error: Exception) -> None:
        entry.work = None
        entry.retryAt = self._clock() + RETRY_SECONDS
        if not isinstance(error, SSLSegError):
            error = SSLSegError(
                _("{case} could not be saved ({reason})").format(case=entry.save.caseId, reason=error),
                remedy=_("It is tried again; do not close Slicer yet."),
            )
        isKnown = str(error) == str(entry.save.error)
        entry.save.error = error
        if not isKnown:
            self.failed.emit(entry.save, error)

    def _remove(self, entry: _Entry) -> None:
        self._entries.remove(entry)
        if entry.closing:
            entry.save.store.close()

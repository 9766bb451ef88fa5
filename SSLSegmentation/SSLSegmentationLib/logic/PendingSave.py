"""One save, from a snapshot of the segments to the label map of the case; it may outlive the case being open."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from sslseg.contract.labels import Label
from SSLSegmentationLib.logic.CaseStore import CaseConflictError, CaseStore
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.LabelMapWriter import Written
from SSLSegmentationLib.logic.OrganMarks import OrganMark
from SSLSegmentationLib.logic.SegmentationNode import Snapshot


class PendingSave:
    """What is to be saved, and what became of it.

    Args:
        store: the files of the case.
        snapshot: what is drawn.
        grid: of the image.
        ignored: voxels that nobody annotated.
        labels: the organs.
        marks: of each organ.
        source: what the drawing began with, in words.
        confirm: asks whether this drawing replaces what another program has saved; None keeps both, unasked.
        changes: number of changes of the case when the snapshot was taken.
    """

    def __init__(
        self,
        store: CaseStore,
        snapshot: Snapshot,
        grid: Grid,
        ignored: np.ndarray | None,
        labels: list[Label],
        marks: dict[str, OrganMark],
        source: str,
        confirm: Callable[[str], bool] | None,
        changes: int = 0,
    ) -> None:
        self.store = store
        self.snapshot = snapshot
        self.grid = grid
        self.ignored = ignored
        self.labels = labels
        self.marks = marks
        self.source = source
        self.confirm = confirm
        self.changes = changes
        self.notes: list[str] = []
        """What the user should know of the snapshot."""
        self.sentences: list[str] = []
        """What the user should know once it has ended."""
        self.isSaved = False
        """False at the end where another program's drawing stays."""
        self.keptBeside = False
        """Whether the drawing was put beside another program's."""
        self.isDrafted = False
        """Whether at least the draft holds it."""
        self.error: Exception | None = None
        """Why it could not be saved, as long as it could not."""

    @property
    def caseId(self) -> str:
        return self.store.caseId

    def steps(self, *, commit: bool = True) -> Generator[bool, None, PendingSave]:
        """The work; `commit=False` ends with the draft.

        Raises:
            SSLSegError: it cannot be saved; what was drawn is kept here, and in the draft if that could be written.
        """
        self.sentences = list(self.notes)
        written = yield from self.store.saveDraft(
            self.snapshot, self.grid, self.ignored, self.marks, self.source
        )
        self.isDrafted = True
        if written.overlaps:
            self.sentences.append(
                _("Segments overlap: where they do, the organ further down the list is saved.")
            )
        if not commit:
            return self
        self.marks = self._truthful(written)
        try:
            self.store.commit(self.marks, self.source)
            self.isSaved = True
        except CaseConflictError as conflict:
            self._settle(conflict)
        return self

    def _truthful(self, written: Written) -> dict[str, OrganMark]:
        """The marks as far as what is drawn allows: no absent organ is drawn, every complete one is."""
        marks = dict(self.marks)
        for label in self.labels:
            mark, drawn = marks[label.name], label.value in written.present
            if mark.status is not ReviewState.COMPLETED or mark.absent != drawn:
                continue
            if drawn:
                marks[label.name] = OrganMark(ReviewState.IN_PROGRESS)
                self.sentences.append(
                    _("{organ} was marked absent, but it is drawn: it now counts as not done.").format(
                        organ=label.name
                    )
                )
            else:
                marks[label.name] = replace(mark, absent=True)
        return marks

    def _settle(self, conflict: CaseConflictError) -> None:
        if self.confirm is None:
            self.sentences.append(
                _("{what}: both drawings are kept. Open the case to choose.").format(what=conflict.what)
            )
            return
        question = _("{what}. Replace that by what you have drawn? A copy of it is kept.").format(
            what=conflict.what
        )
        if self.confirm(question):
            self.store.commit(self.marks, self.source, replaceOther=True)
            self.isSaved = True
        else:
            kept = self.store.keepDraftBeside()
            self.keptBeside = True
            self.sentences.append(
                _("Your drawing of {case} is kept as {file}.").format(case=self.caseId, file=kept)
            )

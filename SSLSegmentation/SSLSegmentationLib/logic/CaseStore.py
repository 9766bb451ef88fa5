"""The files of the open case: its label map, the draft of what is being drawn, and its line in cohort.json.

```
drafts/case_0001.nii.gz     what was drawn and not yet saved     drafts/case_0001.json   what belongs to it
drafts/.case_0001.lock      held while the case is open, released by the system when Slicer dies
```
A save is a draft that is then copied to `labels/`: whatever happens in between, one of the two is whole.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME, Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path, locked, read_json, write_json
from sslseg.contract.strict import from_json, to_json
from SSLSegmentationLib.logic.CohortLogic import EDIT_SECONDS, CohortLogic
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.LabelMapWriter import Written, fileDigest, writeLabelMap
from SSLSegmentationLib.logic.OrganMarks import OrganMark, writeMarks
from SSLSegmentationLib.logic.SegmentationNode import Snapshot

DRAFTS = "drafts"


@dataclass(frozen=True)
class Draft:
    """What belongs to a draft.

    Attributes:
        case: id of the case.
        saved: when, in seconds since 1970.
        base: SHA-256 of the label map that the drawing began with; None where there was none.
        digest: SHA-256 of the draft's own file.
        source: what the drawing began with, in words.
        marks: of each organ.
    """

    case: str
    saved: float
    base: str | None
    digest: str
    source: str
    marks: dict[str, OrganMark] = field(default_factory=dict)


class CaseConflictError(SSLSegError):
    """Another program saved the case while it was open here; the draft holds what was drawn here."""


class CaseStore:
    """The files of one case while it is open.

    Args:
        folder: of the cohort.
        case: as cohort.json has it.
        cohortLogic: changes the cohort, as long as it is the open one.
    """

    def __init__(self, folder: Path, case: Case, cohortLogic: CohortLogic) -> None:
        self.folder = folder
        self.caseId = case.id
        self._cohortLogic = cohortLogic
        self._lock = contextlib.ExitStack()
        self.isShared = False
        """Whether the case is open in another Slicer too."""
        self._name = self._takeName()
        self._adoptOrphan()
        self._labels = folder / (case.label or f"labels/{case.id}.nii.gz")
        self.base = fileDigest(self._labels)

    @property
    def draftPath(self) -> Path:
        return self.folder / DRAFTS / f"{self._name}.nii.gz"

    @property
    def _recordPath(self) -> Path:
        return self.folder / DRAFTS / f"{self._name}.json"

    def draft(self) -> Draft | None:
        """The draft that was left behind, or None; one that is damaged counts as none."""
        try:
            draft = from_json(Draft, read_json(self._recordPath))
        except SSLSegError:
            return None
        return draft if draft.case == self.caseId and fileDigest(self.draftPath) == draft.digest else None

    def draftFits(self, draft: Draft) -> bool:
        """Whether the draft goes on from the label map that is there now."""
        return self.base is None or self.base in (draft.base, draft.digest)

    def saveDraft(
        self,
        snapshot: Snapshot,
        grid: Grid,
        ignored: np.ndarray | None,
        marks: dict[str, OrganMark],
        source: str,
    ) -> Generator[bool, None, Written]:
        """Write the draft; work for `SlicedWork`.

        Raises:
            SSLSegError: the cohort was moved, its folder is read-only, or the disk is full.
        """
        self._checkCohort()
        written = yield from writeLabelMap(self.draftPath, snapshot, grid, ignored)
        self._writeRecord(written.digest, marks, source)
        return written

    def saveMarks(self, marks: dict[str, OrganMark], source: str) -> bool:
        """Renew the marks of the draft; False if there is no draft to go with them."""
        self._checkCohort()
        draft = self.draft()
        if draft is None:
            return False
        self._writeRecord(draft.digest, marks, source)
        return True

    def commit(self, marks: dict[str, OrganMark], source: str, *, replaceOther: bool = False) -> None:
        """Make the draft the label map of the case, and drop it.

        Args:
            replaceOther: keep a copy of what another program saved meanwhile beside the drafts, and replace it.

        Raises:
            CaseConflictError: another program has saved the case meanwhile; nothing is changed.
            SSLSegError: the folder cannot be written to, or the case is no longer in the cohort; the draft stays.
        """
        self._checkCohort()
        mine = fileDigest(self.draftPath)
        if mine is None:
            raise SSLSegError(
                _("What was to be saved is gone"), file=self.draftPath, remedy=_("Save once more.")
            )
        path = self.folder / "labels" / f"{self.caseId}.nii.gz"
        with self._edit() as cohort:
            case = cohort.case(self.caseId)
            if fileDigest(self._labels) not in (None, self.base, mine):
                if not replaceOther:
                    raise CaseConflictError(
                        _("{case} was saved by another program while it was open here").format(
                            case=self.caseId
                        ),
                        remedy=_("Choose which drawing to keep; the other one stays in the folder 'drafts'."),
                    )
                self._copy(self._labels, self._beside("other"))
            self._copy(self.draftPath, path)
            case.label = path.relative_to(self.folder).as_posix()
            case.provenance["annotation"] = source
            writeMarks(case, marks)
        self._labels, self.base = path, mine
        self.discardDraft()

    def keepDraftBeside(self) -> Path:
        """Put the draft away under a name of its own, so that the other drawing can be opened; returns its path."""
        kept = self._beside("kept")
        try:
            self.draftPath.replace(kept)
        except OSError:
            return self.draftPath
        self.discardDraft()
        self.base = fileDigest(self._labels)
        return kept

    def discardDraft(self) -> None:
        """Remove the draft."""
        with contextlib.suppress(OSError):
            self.draftPath.unlink(missing_ok=True)
            self._recordPath.unlink(missing_ok=True)

    def cannotSave(self) -> str:
        """Why the case cannot be saved, in a sentence; empty if it probably can."""
        if not (self.folder / FILE_NAME).exists():
            return _(
                "{case} cannot be saved: the cohort is no longer at {folder}. Put it back; or press Revert, and open "
                "the cohort where it is now, with the last draft of what you drew."
            ).format(case=self.caseId, folder=self.folder)
        if not os.access(self.folder, os.W_OK):
            return _("{case} cannot be saved: you may not write to {folder}.").format(
                case=self.caseId, folder=self.folder
            )
        return ""

    def close(self) -> None:
        """Let others have the case; what is in the draft stays."""
        self._lock.close()

    @contextlib.contextmanager
    def _edit(self) -> Iterator[Cohort]:
        """Change the cohort of the case, also when another one is open by now."""
        ours = self._cohortLogic.folder == self.folder
        with self._cohortLogic.edit() if ours else Cohort.edit(self.folder, timeout=EDIT_SECONDS) as cohort:
            yield cohort

    def _takeName(self) -> str:
        """The first name of a draft that no other Slicer is using."""
        if not (self.folder / FILE_NAME).exists():
            return self.caseId
        for number in itertools.count(1):
            name = self.caseId if number == 1 else f"{self.caseId}~{number}"
            try:
                self._lock.enter_context(locked(self.folder / DRAFTS / f".{name}.lock", timeout=0.0))
            except SSLSegError as error:
                if isinstance(error.__cause__, OSError):
                    return self.caseId  # a folder that cannot be written to needs no lock
                self.isShared = True
                continue
            return name
        raise AssertionError

    def _adoptOrphan(self) -> None:
        """Take over the draft of a second Slicer that died, if there is none of this name."""
        if self.draft() is not None:
            return
        for record in sorted((self.folder / DRAFTS).glob(f"{self.caseId}~*.json")):
            # A draft whose lock is held belongs to a Slicer that is alive; a read-only folder is left as it is.
            with (
                contextlib.suppress(SSLSegError, OSError),
                locked(record.with_name(f".{record.stem}.lock"), timeout=0.0),
            ):
                record.with_name(f"{record.stem}.nii.gz").replace(self.draftPath)
                record.replace(self._recordPath)
                return

    def _writeRecord(self, digest: str, marks: dict[str, OrganMark], source: str) -> None:
        draft = Draft(self.caseId, time.time(), self.base, digest, source, marks)
        write_json(self._recordPath, to_json(draft))

    def _checkCohort(self) -> None:
        # Or else writing would make the folder anew, where nobody would look for it.
        if not (self.folder / FILE_NAME).exists():
            raise SSLSegError(
                _("The cohort is no longer where it was opened"),
                file=self.folder,
                remedy=_(
                    "Put the folder back, or connect its disk again: what you drew is kept here until then."
                ),
            )

    def _beside(self, word: str) -> Path:
        stamp = f"{self.caseId}.{word}-{time.strftime('%Y%m%d-%H%M%S')}"
        for number in itertools.count(1):
            path = self.folder / DRAFTS / f"{stamp}{'' if number == 1 else f'-{number}'}.nii.gz"
            if not path.exists():
                return path
        raise AssertionError

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)

"""How far the work is, and which sections of the panel that opens or closes."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from sslseg.contract.cohort import ReviewState
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.SetupLogic import SetupLogic


class Section(enum.Enum):
    """The sections of the panel, in the order of the work."""

    SETUP = "setup"
    COHORT = "cohort"
    ANNOTATE = "annotate"
    TRAIN = "train"
    REVIEW = "review"
    EXPORT = "export"


@dataclass(frozen=True)
class WorkProgress:
    """What has been reached.

    Attributes:
        checked: the Python of the backend has been looked at.
        ready: it has, or once had, all it needs: whoever chooses another one later does so in an open section.
        folder: of the open cohort.
        opened: a case of this cohort is open, or was.
        annotated: at least one case is annotated.
        predicted: the current model has predicted at least one case.
        completed: every case has been looked at and completed.
    """

    checked: bool = False
    ready: bool = False
    folder: Path | None = None
    opened: bool = False
    annotated: bool = False
    predicted: bool = False
    completed: bool = False

    def next(self, setupLogic: SetupLogic, cohortLogic: CohortLogic, caseLogic: CaseLogic) -> WorkProgress:
        """How far it is now, when it was as far as this before."""
        folder = cohortLogic.folder
        cases = [] if cohortLogic.cohort is None else cohortLogic.cohort.cases
        return WorkProgress(
            checked=self.checked or setupLogic.findings is not None,
            ready=self.ready or setupLogic.isReady,
            folder=folder,
            opened=caseLogic.caseId is not None or (self.opened and folder == self.folder),
            annotated=any(case.is_annotated for case in cases),
            predicted=any(row.predicted for row in cohortLogic.rows()),
            completed=bool(cases) and all(case.review is ReviewState.COMPLETED for case in cases),
        )

    def sectionsSince(self, before: WorkProgress, isReviewing: bool = False) -> dict[Section, bool]:
        """The sections that open (True) or close (False) because of what has been reached since `before`.

        Nothing else is touched: what a person opened or closed stays as it is.

        Args:
            before: how far it was.
            isReviewing: whether the section Review is open; a case that is opened there is looked at there.
        """
        if self.folder != before.folder:
            before = WorkProgress(checked=before.checked, ready=before.ready)
        sections: dict[Section, bool] = {}
        if self.checked and not before.checked and not self.ready:
            sections[Section.SETUP] = True
        if self.ready and not before.ready:
            sections[Section.SETUP] = False
            sections[Section.COHORT] = True
        if self.opened and not before.opened and not isReviewing:
            sections[Section.ANNOTATE] = True
        # Of several steps at once, as when a cohort is opened, only the furthest matters.
        steps = {
            Section.TRAIN: self.annotated and not before.annotated,
            Section.REVIEW: self.predicted and not before.predicted,
            Section.EXPORT: self.completed and not before.completed,
        }
        reached = [section for section, isNew in steps.items() if isNew]
        if reached:
            sections[reached[-1]] = True
        return sections

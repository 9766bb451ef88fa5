"""How far the work is, and which sections of the panel that opens or closes."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sslseg.contract.cohort import ReviewState


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
        ready: it has all it needs.
        case: the id of the case that is open, or None.
        annotated: at least one case is annotated.
        predicted: the current model has predicted at least one case.
        completed: every case has been looked at and completed.
    """

    checked: bool = False
    ready: bool = False
    case: str | None = None
    annotated: bool = False
    predicted: bool = False
    completed: bool = False

    @classmethod
    def of(cls, setupLogic, cohortLogic, caseLogic) -> WorkProgress:
        """How far it is now."""
        cases = [] if cohortLogic.cohort is None else cohortLogic.cohort.cases
        return cls(
            checked=setupLogic.findings is not None,
            ready=setupLogic.isReady,
            case=caseLogic.caseId,
            annotated=any(case.is_annotated for case in cases),
            predicted=any(row.predicted for row in cohortLogic.rows()),
            completed=bool(cases) and all(case.review is ReviewState.COMPLETED for case in cases),
        )

    def sectionsSince(self, before: WorkProgress) -> dict[Section, bool]:
        """The sections that open (True) or close (False) because of what has been reached since `before`.

        Nothing else is touched: what a person opened or closed stays as it is.
        """
        sections: dict[Section, bool] = {}
        if self.checked and not before.checked and not self.ready:
            sections[Section.SETUP] = True
        if self.ready and not before.ready:
            sections[Section.SETUP] = False
            sections[Section.COHORT] = True
        # Of several steps at once, as when a cohort is opened, only the furthest matters.
        steps = {
            Section.TRAIN: self.annotated and not before.annotated,
            Section.REVIEW: self.predicted and not before.predicted,
            Section.EXPORT: self.completed and not before.completed,
        }
        reached = [section for section, isNew in steps.items() if isNew]
        if reached:
            sections[reached[-1]] = True
        if self.case is not None and before.case is None:
            sections[Section.ANNOTATE] = True
        return sections

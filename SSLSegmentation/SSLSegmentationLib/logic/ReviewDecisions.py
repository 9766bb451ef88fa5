"""What was decided about the organs of the open case, which of them were corrected, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sslseg.contract.cohort import ReviewState
from SSLSegmentationLib.logic.ReviewQueue import Decision

Statuses = dict[str, ReviewState]
"""Status by name of the organ."""


class Organs(Protocol):
    """What is needed of CaseLogic."""

    @property
    def caseId(self) -> str | None: ...
    def organStatus(self, organ: str) -> ReviewState: ...
    def setOrganStatus(self, organ: str, status: ReviewState) -> None: ...


@dataclass(frozen=True)
class Step:
    """A decision that can be taken back: what was there before."""

    caseId: str
    statuses: Statuses
    corrected: frozenset[str]


class ReviewDecisions:
    """Decides about organs of the open case; their segments' status is the truth.

    Whoever completes an organ that was in progress has corrected it: Slicer itself sets a segment in progress as soon
    as somebody draws in it.

    Args:
        organs: those of the open case.

    Attributes:
        steps: what can be taken back, the last one last; also of cases that were left.
    """

    def __init__(self, organs: Organs) -> None:
        self.steps: list[Step] = []
        self._organs = organs
        self._names: list[str] = []
        self._known: Statuses = {}
        self._corrected: dict[str, set[str]] = {}
        self._isDeciding = False

    def follow(self, names: Iterable[str]) -> None:
        """A case was opened; the names of the organs that are reviewed in it, or none when it was closed."""
        self._names = list(names)
        self._known = self.statuses()

    def forget(self) -> None:
        """Nothing can be taken back any more: it was another cohort."""
        self.steps, self._corrected = [], {}

    def statuses(self) -> Statuses:
        return {name: self._organs.organStatus(name) for name in self._names}

    @property
    def isBegun(self) -> bool:
        """Whether anything was decided about any organ."""
        return any(status is not ReviewState.NOT_STARTED for status in self.statuses().values())

    def decision(self, wasCorrected: bool) -> Decision:
        """What follows for the case.

        Args:
            wasCorrected: whether the case was known as a corrected one before it was opened.
        """
        statuses = set(self.statuses().values())
        if not statuses:
            return Decision.OPEN
        if not statuses <= {ReviewState.COMPLETED, ReviewState.FLAGGED}:
            return Decision.CORRECTING if ReviewState.IN_PROGRESS in statuses else Decision.OPEN
        if ReviewState.FLAGGED in statuses:
            return Decision.REJECTED
        return Decision.CORRECTED if wasCorrected or self._correctedHere else Decision.ACCEPTED

    def decide(self, statuses: Mapping[str, ReviewState]) -> bool:
        """Set statuses as one step; whether that changes anything."""
        caseId = self._organs.caseId
        before = {organ: self._organs.organStatus(organ) for organ in statuses}
        changes = {organ: status for organ, status in statuses.items() if status is not before[organ]}
        if caseId is None or not changes:
            return False
        self.steps.append(Step(caseId, {organ: before[organ] for organ in changes}, self._correctedHere))
        self._set(changes)
        self.takeOver()
        return True

    def decideAll(self, status: ReviewState, unless: ReviewState) -> bool:
        """Set the status of all organs but those with the status `unless`; whether that changes anything."""
        return self.decide({organ: status for organ, known in self.statuses().items() if known is not unless})

    def forgetRejections(self) -> None:
        """What was rejected is undecided again."""
        self._set(
            {o: ReviewState.NOT_STARTED for o, known in self._known.items() if known is ReviewState.FLAGGED}
        )
        self._known = self.statuses()

    def restore(self, step: Step) -> None:
        """Take back a step of the open case."""
        self._set(step.statuses)
        self._known = self.statuses()
        self._corrected[step.caseId] = set(step.corrected)

    def takeOver(self) -> bool:
        """Note the statuses as they are now, whoever set them; whether they had changed."""
        if self._isDeciding:  # all organs of a decision are noted together
            return False
        before, self._known = self._known, self.statuses()
        for organ, status in self._known.items():
            if status is ReviewState.COMPLETED and before.get(organ) is ReviewState.IN_PROGRESS:
                self._corrected.setdefault(self._organs.caseId or "", set()).add(organ)
        return before != self._known

    @property
    def _correctedHere(self) -> frozenset[str]:
        return frozenset(self._corrected.get(self._organs.caseId or "", ()))

    def _set(self, statuses: Mapping[str, ReviewState]) -> None:
        self._isDeciding = True
        try:
            for organ, status in statuses.items():
                self._organs.setOrganStatus(organ, status)
        finally:
            self._isDeciding = False

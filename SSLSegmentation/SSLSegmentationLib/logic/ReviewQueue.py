"""Which predicted case is worth a look next, and what was decided about each."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from slicer.i18n import tr as _

from sslseg.contract.cohort import Case, ReviewState
from sslseg.contract.quality import Verdict
from SSLSegmentationLib.logic.CohortLogic import CaseRow

REVIEW_KEY = "review"
MODEL_KEY = "reviewed model"
"""What `Case.provenance` says about a reviewed case: the decision, once it is made, and whose prediction was judged."""


class Decision(enum.Enum):
    """What a person decided about the prediction of a case."""

    OPEN = "open"
    CORRECTING = "correcting"
    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"

    @property
    def isMade(self) -> bool:
        return self not in (Decision.OPEN, Decision.CORRECTING)


@dataclass(frozen=True)
class QueueEntry:
    """One predicted case.

    Attributes:
        caseId: of the case.
        decision: what was decided about it.
        verdict: what to think of the prediction; None without a quality card.
        priority: expected gain of a look at it, 0..1; None where the model has not ranked it.
        reason: why to look at it, in words.
    """

    caseId: str
    decision: Decision
    verdict: Verdict | None
    priority: float | None
    reason: str


@dataclass(frozen=True)
class ReviewQueue:
    """The predicted cases in the order in which they are worth a look; `order` says in words what it follows."""

    entries: tuple[QueueEntry, ...] = ()
    order: str = ""

    @property
    def caseIds(self) -> list[str]:
        return [entry.caseId for entry in self.entries]

    def entry(self, caseId: str | None) -> QueueEntry | None:
        return next((entry for entry in self.entries if entry.caseId == caseId), None)

    def next(self, caseId: str | None = None) -> str | None:
        """The first case after `caseId` that is still to be decided, from the top again after the last one."""
        return self._openAfter(self.caseIds, caseId)

    def previous(self, caseId: str | None) -> str | None:
        """The case before `caseId`, decided or not: one goes back to look again."""
        ids = self.caseIds
        if caseId not in ids:
            return ids[-1] if ids else None
        index = ids.index(caseId)
        return ids[index - 1] if index else None

    def _openAfter(self, ids: list[str], caseId: str | None) -> str | None:
        start = ids.index(caseId) + 1 if caseId in ids else 0
        undecided = {entry.caseId for entry in self.entries if not entry.decision.isMade}
        for candidate in ids[start:] + ids[:start]:
            if candidate in undecided and candidate != caseId:
                return candidate
        return None


def buildQueue(
    rows: Iterable[CaseRow],
    cases: Iterable[Case],
    model: str,
    organs: Iterable[str],
) -> ReviewQueue:
    """The queue for one model.

    A case that a person annotated wholly is not in it: nobody has to look at its prediction. Ranked cases come first,
    by their priority; then those with a quality card, by verdict and uncertainty; then the others as the cohort lists
    them.

    Args:
        rows: of the cohort's table.
        cases: of the cohort.
        model: whose predictions are looked at.
        organs: that the cohort declares.
    """
    known = {case.id: case for case in cases}
    wanted = set(organs)
    rows = [row for row in rows if row.predicted and row.id in known]
    rows = [row for row in rows if REVIEW_KEY in known[row.id].provenance or wanted - set(row.annotated)]
    concern = {verdict: index for index, verdict in enumerate(Verdict, start=1)}

    def order(row: CaseRow) -> tuple[float, int, float]:
        return (
            -1.0 if row.priority is None else row.priority,
            0 if row.verdict is None else concern[row.verdict],
            row.uncertainty or 0.0,
        )

    entries = tuple(
        QueueEntry(row.id, decisionOf(known[row.id], model), row.verdict, row.priority, _reason(row))
        for row in sorted(
            rows, key=order, reverse=True
        )  # stable: equal cases stay in the order of the cohort
    )
    return ReviewQueue(entries, _orderInWords(entries, model))


def decisionOf(case: Case, model: str) -> Decision:
    """What was decided about a case as `model` predicts it.

    A rejected case comes up again with the next model; an accepted one is annotated for good.
    """
    decision = case.provenance.get(REVIEW_KEY)
    if decision in (Decision.ACCEPTED.value, Decision.CORRECTED.value):
        return Decision(decision)
    if decision == Decision.REJECTED.value and case.provenance.get(MODEL_KEY) == model:
        return Decision.REJECTED
    if ReviewState.IN_PROGRESS in (case.review, *case.organ_review.values()):
        return Decision.CORRECTING
    return Decision.OPEN


def provenanceWith(case: Case, decision: Decision, model: str | None) -> dict[str, str]:
    """The provenance of a case after a review.

    Args:
        case: of the cohort.
        decision: about the case; one that was taken back leaves no trace.
        model: whose prediction was judged; None if nothing has been decided about any organ.
    """
    kept = {key: text for key, text in case.provenance.items() if key not in (REVIEW_KEY, MODEL_KEY)}
    if model is None:
        return kept
    if not decision.isMade:
        return {**kept, MODEL_KEY: model}
    if decisionOf(case, model) is decision and MODEL_KEY in case.provenance:
        model = case.provenance[MODEL_KEY]  # decided before, about the prediction of that model
    return {**kept, REVIEW_KEY: decision.value, MODEL_KEY: model}


def progressInWords(queue: ReviewQueue) -> str:
    """'7 of 52 reviewed; 3 accepted as they were, 3 corrected, 1 rejected'."""
    counts = dict.fromkeys(Decision, 0)
    for entry in queue.entries:
        counts[entry.decision] += 1
    made = sum(count for decision, count in counts.items() if decision.isMade)
    sentence = _("{made} of {total} reviewed").format(made=made, total=len(queue.entries))
    parts = [
        text.format(count=counts[decision])
        for decision, text in (
            (
                Decision.ACCEPTED,
                _("1 accepted as it was")
                if counts[Decision.ACCEPTED] == 1
                else _("{count} accepted as they were"),
            ),
            (Decision.CORRECTED, _("{count} corrected")),
            (Decision.REJECTED, _("{count} rejected")),
        )
        if counts[decision]
    ]
    return f"{sentence}; {', '.join(parts)}" if parts else sentence


def _reason(row: CaseRow) -> str:
    if row.reason:
        return row.reason
    return (
        ""
        if row.verdict is None
        else _("not ranked; the quality card says: {verdict}").format(verdict=row.verdict.value)
    )


def _orderInWords(entries: tuple[QueueEntry, ...], model: str) -> str:
    if not entries:
        return ""
    ranked = sum(entry.priority is not None for entry in entries)
    judged = sum(entry.verdict is not None for entry in entries)
    if ranked == len(entries):
        return _("Ordered by what a look is expected to gain.")
    if ranked:
        return _("Ordered by expected gain; the last {count} are not ranked.").format(
            count=len(entries) - ranked
        )
    if judged:
        return _("Ordered by verdict and uncertainty: the model '{model}' has not ranked the cases.").format(
            model=model
        )
    return _(
        "In the order of the cohort: the model '{model}' has neither ranked the cases nor written quality cards."
    ).format(model=model)

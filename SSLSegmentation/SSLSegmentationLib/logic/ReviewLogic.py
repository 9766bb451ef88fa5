"""Looking at predicted cases one after the other: what to open next, what was decided, what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from slicer.i18n import tr as _

from sslseg.contract.cohort import Case, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, normalised_name
from sslseg.contract.quality import CaseQuality, OrganQuality, read_quality
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.Retraining import Jobs, Retraining
from SSLSegmentationLib.logic.ReviewDecisions import ReviewDecisions, Step
from SSLSegmentationLib.logic.ReviewQueue import (
    MODEL_KEY,
    REVIEW_KEY,
    Decision,
    ReviewQueue,
    buildQueue,
    progressInWords,
    provenanceWith,
)
from SSLSegmentationLib.logic.Signal import Signal


class OpenCase(Protocol):
    """What is needed of CaseLogic."""

    opened: Signal
    aboutToClose: Signal
    closed: Signal
    modified: Signal
    saved: Signal
    stateChanged: Signal
    failed: Signal

    @property
    def caseId(self) -> str | None: ...
    @property
    def openingId(self) -> str | None: ...
    @property
    def showsPrediction(self) -> bool: ...
    @property
    def segmentationNode(self) -> Any: ...
    @property
    def uncertaintyNode(self) -> Any: ...
    def openCase(self, caseId: str, source: Any = "auto") -> bool: ...
    def preload(self, caseId: str, source: Any = "auto") -> None: ...
    def segmentId(self, organ: str) -> str | None: ...
    def organStatus(self, organ: str) -> ReviewState: ...
    def setOrganStatus(self, organ: str, status: ReviewState) -> None: ...


@dataclass(frozen=True)
class OrganCard:
    """One organ of the open case.

    Attributes:
        label: name and colour.
        quality: what is known about the prediction; None without a quality card.
        status: what was decided.
    """

    label: Label
    quality: OrganQuality | None
    status: ReviewState


class ReviewLogic:
    """The review of the predictions of the current model.

    What a decision means, for an organ of the open case:

    * accepted (segment status Completed): its voxels as they are now become an annotation: the organ is in
      `Case.annotated` and its voxels in `labels/<case>`. A training learns from it exactly as from an organ that a
      person drew, so corrected cases weigh as annotated ones. An organ without voxels is accepted as absent.
    * being corrected (InProgress): a person edits it in the Segment Editor and accepts it then.
    * rejected (Flagged): it is not annotated, and the case is flagged.
    * undecided (NotStarted): it is not annotated; when the case is opened again, it is predicted anew.

    Accepting a case accepts all organs that are not rejected. A case is decided when each of its organs is accepted or
    rejected: it is rejected if one of them is, corrected if one of them was corrected, and accepted as it was
    otherwise. A case that the next model predicts again comes up again only if it was rejected or not decided, and what
    was rejected in it is undecided then. Each decision answers whether it changed anything.

    While a case is open, the segment status is the truth; when it is saved, `CaseLogic` mirrors it to `cohort.json`
    (`Case.annotated`, `organ_review`, `review`), and the decision and the model it was about go into
    `Case.provenance`. Only organs that the model knows are part of a review, and only cases that show a prediction:
    one that was opened before it was predicted, or to be drawn from scratch, has to be opened from the queue first.

    ```
    review = ReviewLogic(cohortLogic, caseLogic, jobLogic)
    review.openNext()
    review.accept("liver"); review.reject("pancreas"); review.undo(); review.acceptCase()
    ```

    Signals:
        changed(): the queue, the open case, a decision or the advice may have changed.
        failed(sentence): something did not work.
    """

    def __init__(self, cohortLogic: CohortLogic, caseLogic: OpenCase, jobLogic: Jobs) -> None:
        self.changed, self.failed = Signal(), Signal()
        self.retraining = Retraining(cohortLogic, jobLogic)
        self._cohort = cohortLogic
        self._case = caseLogic
        self._queue: ReviewQueue | None = None
        self._model: str | None = None
        """Whose prediction the open case shows; the current model may be another one by now."""
        self._isReview = False
        """Whether the open case is one of the queue: a case that a person draws from scratch is not reviewed."""
        self._labels: list[Label] = []
        self._quality: CaseQuality | None = None
        self._decisions = ReviewDecisions(caseLogic)
        self._toRestore: Step | None = None
        self._unsaved: dict[str, tuple[Decision, str | None]] = {}
        self._connections = (
            (cohortLogic.changed, self._onCohortChanged),
            (caseLogic.opened, self._onOpened),
            (caseLogic.aboutToClose, self._onAboutToClose),
            (caseLogic.closed, self._onClosed),
            (caseLogic.modified, self._onModified),
            (caseLogic.saved, self._onSaved),
        )
        for signal, receiver in self._connections:
            signal.connect(receiver)
        self._folder = cohortLogic.folder
        if caseLogic.caseId is not None:
            self._onOpened(caseLogic.caseId)

    def close(self) -> None:
        """Watch no more."""
        for signal, receiver in self._connections:
            signal.disconnect(receiver)

    @property
    def queue(self) -> ReviewQueue:
        """The predicted cases, with the decisions as they are now."""
        if self._queue is None:
            self._queue = self._buildQueue()
        return self._queue

    @property
    def progress(self) -> str:
        """'7 of 52 reviewed; 3 accepted as they were, 3 corrected, 1 rejected'."""
        return progressInWords(self.queue)

    @property
    def cards(self) -> list[OrganCard]:
        """The organs of the open case that the model knows, in the order of the cohort."""
        qualities = (
            {} if self._quality is None else {normalised_name(o.organ): o for o in self._quality.organs}
        )
        return [
            OrganCard(label, qualities.get(normalised_name(label.name)), self._case.organStatus(label.name))
            for label in self._labels
        ]

    @property
    def quality(self) -> CaseQuality | None:
        """The quality card of the open case, if there is one."""
        return self._quality

    @property
    def note(self) -> str:
        """What one should know before deciding about the open case; empty if nothing."""
        case = self._openCase()
        if case is None or case.use is Use.TRAIN:
            return ""
        what = _("validation") if case.use is Use.VALIDATION else _("test")
        return _(
            "This is a {use} case: no model learns from it, and models are measured by what you accept here."
        ).format(use=what)

    @property
    def decision(self) -> Decision:
        """What has been decided about the open case."""
        case = self._openCase()
        if case is None:
            return Decision.OPEN
        return self._decisions.decision(case.provenance.get(REVIEW_KEY) == Decision.CORRECTED.value)

    @property
    def isReviewing(self) -> bool:
        """Whether the open case shows a prediction to decide about: one that is drawn from scratch shows none."""
        return self._isReview

    @property
    def canUndo(self) -> bool:
        return bool(self._decisions.steps)

    def open(self, caseId: str) -> None:
        """Open a case with its prediction; what a person annotated in it stays.

        Raises:
            SSLSegError: the prediction is no longer there.
        """
        cohort, model = self._cohort.cohort, self._cohort.model
        if cohort is None or model is None:
            return
        if caseId == self._case.openingId or (caseId == self._case.caseId and self._isReview):
            return
        if not cohort.prediction_path(model, caseId).exists():
            self._cohort.refresh()
            raise SSLSegError(
                _("The prediction of {case} is no longer there").format(case=caseId),
                file=cohort.prediction_path(model, caseId),
                remedy=_("Segment the cases again."),
            )
        self._case.openCase(caseId, source="prediction")

    def openNext(self) -> bool:
        """Open the next case that is still to be decided; False if there is none.

        Raises:
            SSLSegError: its prediction is no longer there.
        """
        return self._openIf(self.queue.next(self._case.openingId or self._case.caseId))

    def openPrevious(self) -> bool:
        """Open the case before; False if there is none.

        Raises:
            SSLSegError: its prediction is no longer there.
        """
        return self._openIf(self.queue.previous(self._case.openingId or self._case.caseId))

    def accept(self, organ: str) -> bool:
        """The organ is right as it is drawn now."""
        return self._decide(organ, ReviewState.COMPLETED)

    def correct(self, organ: str) -> bool:
        """The organ is going to be corrected."""
        return self._decide(organ, ReviewState.IN_PROGRESS)

    def reject(self, organ: str) -> bool:
        """The organ is too wrong to be corrected now."""
        return self._decide(organ, ReviewState.FLAGGED)

    def acceptCase(self) -> bool:
        """Accept all organs that are not rejected."""
        return self._decideAll(ReviewState.COMPLETED, unless=ReviewState.FLAGGED)

    def correctCase(self) -> bool:
        """All organs that are not accepted are going to be corrected."""
        return self._decideAll(ReviewState.IN_PROGRESS, unless=ReviewState.COMPLETED)

    def rejectCase(self) -> bool:
        """Reject all organs that are not accepted."""
        return self._decideAll(ReviewState.FLAGGED, unless=ReviewState.COMPLETED)

    def undo(self) -> bool:
        """Take the last decision back; its case is opened first if another one is open. False if there is none.

        What was drawn stays: the Segment Editor has its own undo.

        Raises:
            SSLSegError: the case has to be opened, and its prediction is no longer there.
        """
        known = set() if self._cohort.cohort is None else {case.id for case in self._cohort.cohort.cases}
        steps = self._decisions.steps
        while steps:
            step = steps.pop()
            if step.caseId == self._case.caseId:
                self._decisions.restore(step)
                return self._shown(True)
            if step.caseId in known:
                self._toRestore = step
                try:
                    self.open(step.caseId)
                except SSLSegError:
                    self._toRestore = None
                    raise
                return True
        return False

    def _decide(self, organ: str, status: ReviewState) -> bool:
        # What is not predicted would be accepted as absent.
        return self._isReview and self._shown(self._decisions.decide({organ: status}))

    def _decideAll(self, status: ReviewState, unless: ReviewState) -> bool:
        return self._isReview and self._shown(self._decisions.decideAll(status, unless=unless))

    def _shown(self, changed: bool) -> bool:
        if changed:
            self._queue = self._withDecision(self.queue, self._case.caseId, self.decision)
            self.changed.emit()
        return changed

    def _openIf(self, caseId: str | None) -> bool:
        if caseId is None:
            return False
        self.open(caseId)
        return True

    def _labelsOfModel(self) -> list[Label]:
        """The organs of the cohort that the current model segments."""
        cohort, origin = self._cohort.cohort, self.retraining.origin
        if cohort is None:
            return []
        organs = set() if origin is None else {normalised_name(name) for name in origin.organs}
        return [label for label in cohort.labels if not organs or normalised_name(label.name) in organs]

    def _openCase(self) -> Case | None:
        cohort, caseId = self._cohort.cohort, self._case.caseId
        if cohort is None or caseId is None:
            return None
        return next((case for case in cohort.cases if case.id == caseId), None)

    def _buildQueue(self) -> ReviewQueue:
        cohort, model = self._cohort.cohort, self._cohort.model
        if cohort is None or model is None:
            return ReviewQueue()
        queue = buildQueue(self._cohort.rows(), cohort.cases, model, cohort.labels.names)
        return self._withDecision(queue, self._case.caseId, self.decision)

    @staticmethod
    def _withDecision(queue: ReviewQueue, caseId: str | None, decision: Decision) -> ReviewQueue:
        entries = (
            replace(entry, decision=decision) if entry.caseId == caseId else entry for entry in queue.entries
        )
        return replace(queue, entries=tuple(entries))

    def _onCohortChanged(self) -> None:
        if self._cohort.folder != self._folder:
            self._folder = self._cohort.folder
            self._decisions.forget()
            self._unsaved, self._toRestore = {}, None
        self._queue = None
        self.changed.emit()

    def _onOpened(self, caseId: str) -> None:
        self._model = self._cohort.model
        self._quality = self._readQuality(caseId)
        self._labels = self._labelsOfModel()
        self._decisions.follow(label.name for label in self._labels)
        self._isReview = self.queue.entry(caseId) is not None and self._case.showsPrediction
        self._unsaved.pop(caseId, None)
        self._forgetRejections()
        step, self._toRestore = self._toRestore, None
        if step is not None and step.caseId == caseId:
            self._decisions.restore(step)
        self._shown(True)
        following = self.queue.next(caseId)
        if following is not None:
            self._case.preload(following, source="prediction")

    def _forgetRejections(self) -> None:
        """What was rejected was the prediction of an earlier model; this one has to be judged anew."""
        case = self._openCase()
        judged = None if case is None else case.provenance.get(MODEL_KEY)
        if self._isReview and judged not in (None, self._model):
            self._decisions.forgetRejections()

    def _readQuality(self, caseId: str) -> CaseQuality | None:
        cohort = self._cohort.cohort
        if cohort is None or self._model is None:
            return None
        try:
            return read_quality(cohort, self._model, caseId)
        except SSLSegError as error:
            self.failed.emit(str(error))
            return None

    def _onAboutToClose(self, caseId: str) -> None:
        if self._isReview:
            self._unsaved[caseId] = (self.decision, self._judgedModel())

    def _onClosed(self) -> None:
        self._isReview, self._labels, self._quality, self._queue = False, [], None, None
        self._decisions.follow(())
        self.changed.emit()

    def _onModified(self) -> None:
        """Every stroke comes by here; only a status that changed matters."""
        self._shown(self._decisions.takeOver())

    def _onSaved(self, caseId: str) -> None:
        """The case is on disk: now its decision may be there too."""
        if caseId == self._case.caseId and self._isReview:
            decision, model = self.decision, self._judgedModel()
        elif caseId in self._unsaved:
            decision, model = self._unsaved.pop(caseId)
        else:
            return
        try:
            self._record(caseId, decision, model)
        except SSLSegError as error:
            self.failed.emit(str(error))

    def _judgedModel(self) -> str | None:
        """Whose prediction was judged in the open case; None as long as nothing was."""
        return self._model if self._decisions.isBegun else None

    def _record(self, caseId: str, decision: Decision, model: str | None) -> None:
        cohort = self._cohort.cohort
        cases: Iterable[Case] = () if cohort is None else cohort.cases
        known = next((case for case in cases if case.id == caseId), None)
        if known is None or provenanceWith(known, decision, model) == known.provenance:
            return
        with self._cohort.edit() as editing:
            case = editing.case(caseId)
            case.provenance = provenanceWith(case, decision, model)

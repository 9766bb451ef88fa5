"""The Review section: the predicted cases in the order in which they are worth a look, and the decision about each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import PredictSettings, RankSettings
from SSLSegmentationLib.logic.AfterSaving import AfterSaving
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.ReviewLogic import ReviewLogic
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.widgets.DisplayControls import DisplayControls
from SSLSegmentationLib.widgets.OrganTable import OrganTable, organInWords
from SSLSegmentationLib.widgets.PanelShortcuts import Key, PanelShortcuts
from SSLSegmentationLib.widgets.QueueTable import QueueTable, decisionInWords, verdictInWords

ADVANCE_KEY = "SSLSegmentation/AdvanceAfterDecision"
DIGITS = tuple("123456789")
EDITOR_KEYS = frozenset({"Space", *DIGITS})
"""Keys that Slicer's Segment Editor has as well: the effects, and the last two of them in turn."""
EFFECT_KEYS = {"Draw": frozenset({"A"})}
"""Keys that an effect of it listens to in the views: what was drawn is applied."""


@dataclass(frozen=True)
class _Action:
    """A button, what it does, and the key that does the same."""

    button: Any
    receiver: Callable[[], None]
    key: str = ""
    words: str = ""


class ReviewPanel:
    """Shows a `ReviewLogic` and hands it what a person clicks or types.

    Args:
        cohortLogic: the open cohort.
        caseLogic: the open case.
        jobLogic: the jobs of the open cohort.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
        review: what it shows.
        correctionAsked: emitted with the name of the organ that a person wants to correct, or "" for the case.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        caseLogic: CaseLogic,
        jobLogic: JobLogic,
        *,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        parent: Any = None,
    ) -> None:
        self.correctionAsked = Signal()
        self._cohort, self._case, self._jobs = cohortLogic, caseLogic, jobLogic
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._isEntered = False
        self._othersKeys: frozenset[str] = frozenset()
        self._section: Any = None
        self._afterSaving = AfterSaving(caseLogic)
        self.review = ReviewLogic(cohortLogic, caseLogic, jobLogic)

        self.widget = slicer.util.loadUI(str(uiPath("ReviewPanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.queueTable = QueueTable(self.ui.queueTable, self.onOpen)
        self.organTable = OrganTable(self.ui.organTable, self._showOrgan)
        self.display = DisplayControls(self.ui, caseLogic, lambda: self.review.cards)
        self._actions = self._makeActions()
        self.shortcuts = PanelShortcuts(self.widget, self._makeKeys())
        self._connectWidgets()
        self._connections = (
            (self.review.changed, self.refresh),
            (self.review.failed, self._showError),
            (caseLogic.stateChanged, self._showCase),
            (jobLogic.changed, self._showJobs),
        )
        for signal, receiver in self._connections:
            signal.connect(receiver)
        self.refresh()

    def enter(self) -> None:
        """The module is shown: listen to the keys and draw the open case."""
        self._isEntered = True
        self._followSection()
        self.display.start()
        self._enableKeys()
        self.refresh()

    def exit(self) -> None:
        """Another module is shown: leave the keys to it."""
        self._isEntered = False
        self._enableKeys()
        self.display.stop()

    def setEditing(self, isEditing: bool, effect: str = "") -> None:
        """Leave the keys that Slicer's Segment Editor has, too, to it while it listens; `effect` is its active one."""
        self._othersKeys = EDITOR_KEYS | EFFECT_KEYS.get(effect, frozenset()) if isEditing else frozenset()
        self._enableKeys()

    def cleanup(self) -> None:
        """Listen no more."""
        for signal, receiver in self._connections:
            signal.disconnect(receiver)
        self._afterSaving.close()
        self.shortcuts.close()
        self.display.close()
        self.review.close()

    def refresh(self) -> None:
        """Show the state as it is."""
        queue = self.review.queue
        self.display.buildSurfaces()
        self.queueTable.show(queue, self._case.caseId, openOnly=self.ui.openOnlyCheckBox.checked)
        made = sum(entry.decision.isMade for entry in queue.entries)
        self.ui.progressLabel.text = self.review.progress
        self.ui.progressBar.maximum = max(1, len(queue.entries))
        self.ui.progressBar.value = made
        self.ui.orderLabel.text = queue.order
        for widget in (
            self.ui.progressLabel, self.ui.progressBar, self.ui.orderLabel, self.ui.queueTable,
            self.ui.openOnlyCheckBox, self.ui.previousButton, self.ui.nextButton,
        ):  # fmt: skip
            widget.visible = bool(queue.entries)
        self.ui.nextButton.enabled = queue.next(self._case.caseId) is not None
        self.ui.previousButton.enabled = queue.previous(self._case.caseId) is not None
        self._showCase()
        self._showJobs()

    def onOpen(self, caseId: str) -> None:
        """Open a case of the queue."""
        self._try(lambda: self.review.open(caseId))

    def onNext(self) -> None:
        """Open the next case that is to be decided."""
        self._try(self.review.openNext)

    def onPrevious(self) -> None:
        """Open the case before."""
        self._try(self.review.openPrevious)

    def onUndo(self) -> None:
        """Take the last decision back."""
        self._try(self.review.undo)

    def onAccept(self) -> None:
        """The selected organ is right."""
        self._decideOrgan(self.review.accept)

    def onReject(self) -> None:
        """The selected organ is too wrong to be corrected now."""
        self._decideOrgan(self.review.reject)

    def onCorrect(self) -> None:
        """The selected organ is going to be corrected."""
        card = self.organTable.selected
        if card is not None:
            self.review.correct(card.label.name)
            self.correctionAsked.emit(card.label.name)

    def onAcceptCase(self) -> None:
        """All organs are right that are not rejected."""
        self._decideCase(self.review.acceptCase)

    def onRejectCase(self) -> None:
        """All organs are too wrong that are not accepted."""
        self._decideCase(self.review.rejectCase)

    def onCorrectCase(self) -> None:
        """All organs that are not accepted are going to be corrected."""
        if self._case.caseId is not None:
            self.review.correctCase()
            card = self.organTable.selected
            self.correctionAsked.emit("" if card is None else card.label.name)

    def onWorstPlace(self) -> None:
        """Show where in the selected organ the model is least sure."""
        card = self.organTable.selected
        if card is not None and not self.display.display.showWorstPlace(card.label.name):
            slicer.util.showStatusMessage(
                _("{organ} is not drawn in this case.").format(organ=card.label.name), 3000
            )

    def onPredict(self) -> None:
        """Segment the cases that the current model has not segmented yet, and rank them."""
        model = self._cohort.model
        if model is not None:
            self._try(lambda: self._jobs.start(PredictSettings(model, skip_existing=True)))

    def onRank(self) -> None:
        """Find out which cases are most worth a look."""
        model = self._cohort.model
        if model is not None:
            self._try(lambda: self._jobs.start(RankSettings(model)))

    def onRetrain(self) -> None:
        """Train on, starting from the current model."""
        advice = self.review.retraining.advice()
        if advice.isEnough or self._confirm(advice.sentence + "\n\n" + _("Train again all the same?")):
            self._afterSaving.do(lambda: self._try(self.review.retraining.start))

    def _makeActions(self) -> tuple[_Action, ...]:
        ui = self.ui
        return (
            _Action(ui.acceptButton, self.onAccept, "A", _("accept the organ")),
            _Action(ui.correctButton, self.onCorrect, "C", _("correct the organ")),
            _Action(ui.rejectButton, self.onReject, "R", _("reject the organ")),
            _Action(ui.acceptCaseButton, self.onAcceptCase, "Space", _("accept the case")),
            _Action(ui.correctCaseButton, self.onCorrectCase, "Shift+C", _("correct the case")),
            _Action(ui.rejectCaseButton, self.onRejectCase, "Shift+R", _("reject the case")),
            _Action(ui.undoButton, self.onUndo, "U", _("undo the last decision")),
            _Action(ui.worstPlaceButton, self.onWorstPlace, "L", _("least sure place of the organ")),
            _Action(ui.nextButton, self.onNext, "N", _("next case")),
            _Action(ui.previousButton, self.onPrevious, "P", _("previous case")),
            _Action(ui.predictButton, self.onPredict),
            _Action(ui.rankButton, self.onRank),
            _Action(ui.retrainButton, self.onRetrain),
        )

    def _makeKeys(self) -> list[Key]:
        keys = [Key(action.key, action.receiver) for action in self._actions if action.key]
        return keys + [Key(d, lambda row=row: self.organTable.select(row)) for row, d in enumerate(DIGITS)]

    def _connectWidgets(self) -> None:
        ui = self.ui
        for action in self._actions:
            action.button.connect("clicked(bool)", action.receiver)
            if action.key:
                action.button.toolTip = f"{action.button.toolTip} ({action.key})"
        for button in slicer.util.findChildren(self.widget):
            if button.inherits("QAbstractButton"):
                # Or else the space bar would press it again after a click.
                button.setFocusPolicy(qt.Qt.TabFocus)
        lines = [(action.key, action.words) for action in self._actions if action.key]
        lines.append(("1 … 9", _("select an organ")))
        table = _twoColumns([f"<b>{key}</b>&nbsp; {words}" for key, words in lines])
        ui.helpLabel.text = table + _(
            "While the Annotate section is open, digits and Space are the editor's, and A belongs to its effect Draw."
        )
        ui.helpLabel.visible = False
        ui.helpButton.connect("toggled(bool)", ui.helpLabel.setVisible)
        ui.openOnlyCheckBox.connect("toggled(bool)", self.refresh)
        ui.advanceCheckBox.checked = slicer.util.settingsValue(ADVANCE_KEY, True, slicer.util.toBool)
        ui.advanceCheckBox.connect("toggled(bool)", self._onAdvanceToggled)

    def _onAdvanceToggled(self, checked: bool) -> None:
        slicer.app.userSettings().setValue(ADVANCE_KEY, checked)

    def _decideOrgan(self, decide: Callable[[str], bool]) -> None:
        card = self.organTable.selected
        if card is None or not decide(card.label.name):
            return
        following = self.organTable.nextUndecided()
        if following is not None:
            self.organTable.select(following)
        self._advance()

    def _decideCase(self, decide: Callable[[], bool]) -> None:
        if self._case.caseId is not None and decide():
            self._advance()

    def _advance(self) -> None:
        """Go on to the next case if this one is decided and a person wants that."""
        if self.review.decision.isMade and self.ui.advanceCheckBox.checked:
            self.onNext()

    def _showCase(self) -> None:
        review, ui = self.review, self.ui
        caseId, opening = self._case.caseId, self._case.openingId
        cards = review.cards
        if opening is not None:
            ui.caseGroup.title = _("Opening {case} …").format(case=opening)
        elif caseId is None:
            ui.caseGroup.title = _("No case is open")
        else:
            verdict = "" if review.quality is None else f" ({verdictInWords(review.quality.verdict)})"
            ui.caseGroup.title = f"{caseId}{verdict}"
        ui.caseReasonsLabel.text = self._caseInWords()
        ui.caseReasonsLabel.visible = bool(ui.caseReasonsLabel.text)
        self.organTable.show(cards)
        for widget in (
            ui.organTable, ui.organReasonsLabel, ui.acceptButton, ui.correctButton, ui.rejectButton,
            ui.acceptCaseButton, ui.correctCaseButton, ui.rejectCaseButton, ui.worstPlaceButton,
        ):  # fmt: skip
            widget.visible = bool(cards) and review.isReviewing
        ui.caseGroup.visible = caseId is not None or opening is not None or bool(review.queue.entries)
        ui.displayGroup.visible = caseId is not None
        ui.undoButton.enabled = review.canUndo
        ui.undoButton.visible = review.isReviewing or review.canUndo
        ui.advanceCheckBox.visible = review.isReviewing
        self._showOrgan()

    def _caseInWords(self) -> str:
        review = self.review
        if self._case.caseId is None:
            return "" if self._case.openingId else _("Double-click a case, or press Next.")
        entry = review.queue.entry(self._case.caseId)
        if not review.isReviewing:
            return (
                _(
                    "This case shows what was drawn in it. Double-click it above to see what the model predicts."
                )
                if entry is not None
                else _("There is no prediction of this case to look at.")
            )
        reasons = [] if review.quality is None else list(review.quality.reasons)
        if entry is not None and entry.priority is not None and entry.reason:
            reasons.insert(0, entry.reason)
        sentences = [f"{reason[0].upper()}{reason[1:]}." for reason in reasons]
        if review.decision.isMade:
            sentences.append(
                _("Your decision: {decision}.").format(decision=decisionInWords(review.decision))
            )
        if review.note:
            sentences.append(review.note)
        return " ".join(sentences)

    def _showOrgan(self) -> None:
        """What is known about the selected organ, and what can be decided about it."""
        card, ui = self.organTable.selected, self.ui
        ui.organReasonsLabel.text = "" if card is None else organInWords(card)
        status = None if card is None else card.status
        ui.acceptButton.enabled = status not in (None, ReviewState.COMPLETED)
        ui.correctButton.enabled = status not in (None, ReviewState.IN_PROGRESS)
        ui.rejectButton.enabled = status not in (None, ReviewState.FLAGGED)
        ui.worstPlaceButton.enabled = card is not None

    def _showJobs(self) -> None:
        """What is to be done by the backend before or after the review."""
        ui, queue = self.ui, self.review.queue
        advice = self.review.retraining.advice()
        ui.retrainLabel.text = advice.sentence
        ui.retrainButton.enabled = advice.isPossible
        ui.retrainGroup.visible = bool(queue.entries)
        working = next(
            (m for m in self._jobs.active if m.job.description.command in ("predict", "rank")), None
        )
        unranked = any(entry.priority is None and not entry.decision.isMade for entry in queue.entries)
        ui.stateLabel.text = working.sentence if working is not None else self._whyEmpty()
        ui.stateLabel.visible = bool(ui.stateLabel.text)
        ui.predictButton.visible = working is None and not queue.entries and self._cohort.model is not None
        ui.rankButton.visible = working is None and unranked

    def _whyEmpty(self) -> str:
        """Why there is nothing to review, and what to do; empty if there is something."""
        if self.review.queue.entries:
            return ""
        if self._cohort.cohort is None:
            return _("Open a cohort in the Cohort section first.")
        model = self._cohort.model
        if model is None:
            return _("There is no model yet: annotate some cases, and train one in the Train section.")
        if any(row.predicted for row in self._cohort.rows()):
            return _("All cases that the model '{model}' has segmented are annotated.").format(model=model)
        return _("The model '{model}' has not segmented any case yet.").format(model=model)

    def _followSection(self) -> None:
        """Leave the keys to others while the section that this panel lies in is folded."""
        parent = self.widget.parentWidget()
        while parent is not None and parent.className() != "ctkCollapsibleButton":
            parent = parent.parentWidget()
        if parent is not None and self._section is None:
            self._section = parent
            parent.connect("contentsCollapsed(bool)", self._enableKeys)

    def _enableKeys(self) -> None:
        isOpen = self._section is None or not self._section.collapsed
        self.shortcuts.setEnabled(self._isEntered and isOpen, without=self._othersKeys)

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except SSLSegError as error:
            self._showError(str(error))


def _twoColumns(lines: list[str]) -> str:
    """Rich text with the lines in two columns, read from top to bottom."""
    half = (len(lines) + 1) // 2
    pairs = zip(lines[:half], [*lines[half:], ""], strict=False)
    rows = "".join(f"<tr><td width='170'>{left}</td><td>{right}</td></tr>" for left, right in pairs)
    return f"<table>{rows}</table>"

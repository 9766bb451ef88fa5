"""The Annotate section: draw the organs of the open case, and say how far each is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import AnnotatedSlices
from SSLSegmentationLib.logic.AnnotationOrder import nextToAnnotate
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.SliceAxes import axisInWords, inWords, viewedSlice, viewNames, viewTitle
from SSLSegmentationLib.logic.WindowPresets import presets, showBetween
from SSLSegmentationLib.widgets.EditorFrame import EditorFrame
from SSLSegmentationLib.widgets.MarkTable import MarkTable
from SSLSegmentationLib.widgets.PanelShortcuts import Key, PanelShortcuts


class AnnotatePanel:
    """Shows the open case of a `CaseLogic` and hands it what a person draws and clicks.

    Args:
        cohortLogic: the open cohort.
        caseLogic: the open case.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        caseLogic: CaseLogic,
        *,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        parent: Any = None,
    ) -> None:
        self._cohort, self._case = cohortLogic, caseLogic
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._isEntered = False
        self._section: Any = None
        self._notices: list[str] = []
        self._windowActions: list[tuple[Any, Callable[[], None]]] = []

        self.widget = slicer.util.loadUI(str(uiPath("AnnotatePanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.organTable = MarkTable(self.ui.organTable, self.onOrganSelected, self.onOrganShown)
        self.editorFrame = EditorFrame(self.ui.editorFrame, self._onSegmentSelected)
        buttons = (
            (self.ui.completeButton, self.onComplete, "Shift+D"),
            (self.ui.absentButton, self.onAbsent, "Shift+A"),
            (self.ui.notDoneButton, self.onNotDone, "Shift+O"),
            (self.ui.thisSliceButton, self.onThisSlice, "Shift+S"),
            (self.ui.drawnSlicesButton, self.onDrawnSlices, ""),
            (self.ui.saveButton, self.onSave, ""),
            (self.ui.revertButton, self.onRevert, ""),
            (self.ui.nextButton, self.onNext, "Shift+N"),
            (self.ui.dismissButton, self.onDismiss, ""),
        )
        for button, receiver, key in buttons:
            button.connect("clicked(bool)", receiver)
            if key:
                button.toolTip = f"{button.toolTip} ({key})"
        self.shortcuts = PanelShortcuts(
            self.widget, [Key(key, receiver) for _button, receiver, key in buttons if key]
        )
        self.ui.viewCombo.connect("currentIndexChanged(int)", self._showSlices)
        self._connections = (
            (caseLogic.opened, self._onOpened),
            (caseLogic.aboutToClose, self._onAboutToClose),
            (caseLogic.closed, self.refresh),
            (caseLogic.modified, self._showMarks),
            (caseLogic.stateChanged, self._showState),
            (caseLogic.noticed, self._onNoticed),
            (caseLogic.failed, self._onFailed),
            (cohortLogic.changed, self._showState),
        )
        for signal, receiver in self._connections:
            signal.connect(receiver)
        self.refresh()

    def enter(self) -> None:
        """The module is shown: listen to the mouse and the keys."""
        self._isEntered = True
        self._followSection()
        self._enable()
        self.refresh()

    def exit(self) -> None:
        """Another module is shown: leave the mouse and the keys to it."""
        self._isEntered = False
        self._enable()

    def cleanup(self) -> None:
        """Listen no more."""
        for signal, receiver in self._connections:
            signal.disconnect(receiver)
        self.shortcuts.close()
        self.editorFrame.close()

    def refresh(self) -> None:
        """Show the state as it is."""
        isOpen = self._case.caseId is not None
        for widget in (
            self.ui.progressLabel, self.ui.organTable, self.ui.completeButton, self.ui.absentButton,
            self.ui.notDoneButton, self.ui.slicesGroup, self.ui.editorFrame, self.ui.windowButton,
            self.ui.revertButton, self.ui.saveButton,
        ):  # fmt: skip
            widget.visible = isOpen
        self._showNotices()
        self._fillViews()
        self._fillWindows()
        self._showMarks()
        self._showState()

    def onOrganSelected(self, organ: str) -> None:
        """A person selects an organ in the table: draw it, and show where it is."""
        segmentId = self._case.segmentId(organ)
        if segmentId is not None:
            self.editorFrame.select(segmentId)
            self._case.jumpToOrgan(organ)
        self._showSlices()

    def onOrganShown(self, organ: str, shown: bool) -> None:
        """A person hides an organ in the views, or shows it again."""
        node, segmentId = self._case.segmentationNode, self._case.segmentId(organ)
        if node is not None and segmentId is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetSegmentVisibility(segmentId, shown)

    def onComplete(self) -> None:
        """The selected organ is drawn completely."""
        organ = self.organTable.selected
        if organ is None:
            return
        if self._case.hasVoxels(organ):
            self._case.setMark(organ, Mark.COMPLETE)
        elif self._confirm(
            _("Nothing is drawn as {organ}. Is it absent from this scan?").format(organ=organ)
        ):
            self._case.setMark(organ, Mark.ABSENT)

    def onAbsent(self) -> None:
        """The selected organ is not in the scan."""
        organ = self.organTable.selected
        if organ is None:
            return
        if self._case.hasVoxels(organ):
            self._showError(
                _("{organ} is drawn in this case. Erase it first, or undo, if it is absent.").format(
                    organ=organ
                )
            )
        else:
            self._case.setMark(organ, Mark.ABSENT)

    def onNotDone(self) -> None:
        """Nothing is said of the selected organ any more."""
        if self.organTable.selected is not None:
            self._case.setMark(self.organTable.selected, Mark.NOT_DONE)

    def onThisSlice(self) -> None:
        """The selected organ is done on the slice that is shown; a second time takes it back."""
        organ, viewed = self.organTable.selected, self._viewedSlice()
        if organ is None or viewed is None:
            return
        indices = set(self._slicesAlong(organ, viewed.axis))
        self._setSlices(organ, viewed.axis, indices ^ {viewed.index})

    def onDrawnSlices(self) -> None:
        """The selected organ is done on every slice on which it is drawn."""
        organ, viewed = self.organTable.selected, self._viewedSlice()
        if organ is None or viewed is None:
            return
        drawn = self._case.drawnSlices(organ, viewed.axis)
        if drawn:
            self._setSlices(organ, viewed.axis, {*drawn, *self._slicesAlong(organ, viewed.axis)})
        else:
            self._showError(_("Nothing is drawn as {organ} yet.").format(organ=organ))

    def onSave(self) -> None:
        """Save now."""
        self._case.save()

    def onRevert(self) -> None:
        """Go back to what was saved last."""
        question = _("Drop everything that was drawn and marked in {case} since it was saved?")
        if self._confirm(question.format(case=self._case.caseId)):
            self._case.revert()

    def onNext(self) -> None:
        """Save this case and open the next one in which nothing is annotated."""
        following = nextToAnnotate(self._cohort, self._case.caseId)
        if following is not None:
            self._case.openCase(following[0])

    def onDismiss(self) -> None:
        """Hide the message."""
        self._notices = []
        self._showNotices()

    def _onOpened(self, _caseId: str) -> None:
        labels = self._case.labels
        self.refresh()
        if labels:
            self.organTable.select(labels[0].name)
        first = self._case.segmentId(labels[0].name) if labels else ""
        self.editorFrame.bind(self._case.volumeNode, self._case.segmentationNode, first or "")
        display = self._case.segmentationNode.GetDisplayNode()
        for label in labels:
            segmentId = self._case.segmentId(label.name)
            self.organTable.setShown(label.name, display is None or display.GetSegmentVisibility(segmentId))
        self._showSlices()
        following = nextToAnnotate(self._cohort, self._case.caseId)
        if self._isListening and following is not None:
            self._case.preload(following[0])

    def _onAboutToClose(self, _caseId: str) -> None:
        self.onDismiss()
        self.editorFrame.release()

    def _onNoticed(self, sentence: str) -> None:
        if sentence not in self._notices:
            self._notices.append(sentence)
        self._showNotices()
        if not self._isListening:
            slicer.util.showStatusMessage(sentence, 10000)

    def _onFailed(self, sentence: str) -> None:
        self._showError(sentence)

    def _onSegmentSelected(self, segmentId: str) -> None:
        for label in self._case.labels:
            if self._case.segmentId(label.name) == segmentId:
                self.organTable.select(label.name)
        self._showSlices()

    def _showNotices(self) -> None:
        self.ui.noticeLabel.text = "\n".join(self._notices)
        self.ui.noticeFrame.visible = bool(self._notices)

    def _showMarks(self) -> None:
        marks = self._case.marks()
        self.organTable.show(self._case.labels, marks)
        done = sum(mark.isAnnotated for mark in marks.values())
        self.ui.progressLabel.text = _("{done} of {count} organs annotated").format(
            done=done, count=len(marks)
        )
        self._showSlices()

    def _showState(self) -> None:
        """The case, whether it is saved, and what can be done next."""
        case = self._case
        if case.openingId is not None:
            self.ui.caseLabel.text = _("Opening {case} …").format(case=case.openingId)
        elif case.caseId is None:
            self.ui.caseLabel.text = _("No case is open. Open one in the Cohort section, or here.")
        else:
            self.ui.caseLabel.text = f"<b>{case.caseId}</b>"
        self.ui.savedLabel.text = self._savedInWords()
        self.ui.saveButton.enabled = case.isModified
        self.ui.revertButton.enabled = case.isModified
        following = nextToAnnotate(self._cohort, case.caseId or case.openingId)
        self.ui.nextButton.enabled = following is not None
        self.ui.nextButton.visible = self._cohort.cohort is not None
        reason = "" if following is None else f"{following[0]}. {following[1]}".strip()
        self.ui.nextButton.toolTip = self._nextInWords(reason)

    def _nextInWords(self, reason: str) -> str:
        if not reason:
            return _("Something is annotated in every training case")
        return _("Save this case and open the next one without annotation: {reason}").format(reason=reason)

    def _savedInWords(self) -> str:
        case = self._case
        if case.caseId is None:
            return ""
        if case.problem:
            return _("NOT saved: see the message")
        if not case.isModified:
            return "" if case.lastSaved is None else _("saved {time}").format(time=_clock(case.lastSaved))
        if case.lastDraft is None:
            return _("not saved yet")
        return _("draft kept {time}").format(time=_clock(case.lastDraft))

    def _showSlices(self, *_index: Any) -> None:
        """On which slices the selected organ counts as drawn."""
        organ, viewed = self.organTable.selected, self._viewedSlice()
        for button in (self.ui.thisSliceButton, self.ui.drawnSlicesButton):
            button.enabled = organ is not None and viewed is not None
        for button in (self.ui.completeButton, self.ui.absentButton, self.ui.notDoneButton):
            button.enabled = organ is not None
        mark = None if organ is None else self._case.organMark(organ)
        if mark is None or mark.mark is not Mark.SLICES or mark.slices is None:
            self.ui.slicesLabel.text = _("No slice is chosen for {organ}.").format(organ=organ or "")
            return
        self.ui.slicesLabel.text = _("{organ}: {plane} slices {numbers}").format(
            organ=organ,
            plane=axisInWords(self._case.volumeNode, mark.slices.axis),
            numbers=inWords(mark.slices.indices),
        )

    def _slicesAlong(self, organ: str, axis: str) -> list[int]:
        """The slices chosen for an organ along an axis; none where they lie along another one."""
        slices = self._case.organMark(organ).slices
        return slices.indices if slices is not None and slices.axis == axis else []

    def _setSlices(self, organ: str, axis: str, indices: set[int]) -> None:
        before = self._case.organMark(organ).slices
        if before is not None and before.indices and before.axis != axis:
            question = _("The slices of {organ} lie in another direction. Drop them and begin anew?")
            if not self._confirm(question.format(organ=organ)):
                return
        if indices:
            self._case.setMark(organ, Mark.SLICES, AnnotatedSlices(axis, sorted(indices)))
        else:
            self._case.setMark(organ, Mark.NOT_DONE)

    def _viewedSlice(self) -> Any:
        name = self.ui.viewCombo.currentData
        return None if name is None else viewedSlice(self._case.volumeNode, name)

    def _fillViews(self) -> None:
        combo, names = self.ui.viewCombo, viewNames()
        if [combo.itemData(index) for index in range(combo.count)] != names:
            combo.clear()
            for name in names:
                combo.addItem(viewTitle(name), name)

    def _fillWindows(self) -> None:
        if self._case.volumeNode is None or self._cohort.cohort is None:
            return
        before, menu = self.ui.windowButton.menu(), qt.QMenu(self.ui.windowButton)
        if before is not None:
            before.deleteLater()
        self._windowActions = []
        for name, bounds in presets(self._cohort.cohort.modality, self._case.intensities):
            action, show = menu.addAction(name), self._shower(bounds)
            action.connect("triggered()", show)
            self._windowActions.append((action, show))
        self.ui.windowButton.setMenu(menu)

    def _shower(self, bounds: tuple[float, float]) -> Callable[[], None]:
        return lambda: showBetween(self._case.volumeNode, bounds)

    def _followSection(self) -> None:
        """Leave the mouse and the keys to others while the section that this panel lies in is folded."""
        parent = self.widget.parentWidget()
        while parent is not None and parent.className() != "ctkCollapsibleButton":
            parent = parent.parentWidget()
        if parent is not None and self._section is None:
            self._section = parent
            parent.connect("contentsCollapsed(bool)", self._enable)

    @property
    def _isListening(self) -> bool:
        return self._isEntered and (self._section is None or not self._section.collapsed)

    def _enable(self, *_collapsed: Any) -> None:
        self.shortcuts.setEnabled(self._isListening)
        self.editorFrame.setActive(self._isListening)


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M", time.localtime(seconds))

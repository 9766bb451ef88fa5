"""The Cohort section: new, open, recent; adding cases; the table of cases."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import PredictSettings
from SSLSegmentationLib.logic.AfterSaving import AfterSaving
from SSLSegmentationLib.logic.CaseAdding import CaseAdding
from SSLSegmentationLib.logic.CaseFacts import CaseFacts
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CaseRow, CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.ModelResults import stampOf
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.widgets.AddingControls import AddingControls
from SSLSegmentationLib.widgets.CaseTable import CaseTable, caseNumber
from SSLSegmentationLib.widgets.NewCohortDialog import NewCohortDialog

POLL_MILLISECONDS = 250
BUSY_MILLISECONDS = 20
FEW_ANNOTATED = 3


class CohortPanel:
    """Shows the open cohort and hands what a person does to the logic.

    Args:
        cohortLogic: the open cohort.
        caseLogic: the open case.
        jobLogic: the jobs of the open cohort.
        facts: finds out pictures and Dice of the cases.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        showDetails: tells a person a sentence and the list that belongs to it.
        chooseFolder: lets a person choose a folder, given a title; empty if they do not.
        showFolder: opens a folder in the system's file manager.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
        table: its table of cases.
        adding: what is being added.
        controls: the part of it that adds cases.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        caseLogic: CaseLogic,
        jobLogic: JobLogic,
        *,
        facts: CaseFacts | None = None,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        showDetails: Callable[[str, str], Any] | None = None,
        chooseFolder: Callable[[str], str] | None = None,
        showFolder: Callable[[Path], Any] | None = None,
        parent: Any = None,
    ) -> None:
        self._cohorts, self._case, self._jobs = cohortLogic, caseLogic, jobLogic
        self._facts = facts or CaseFacts(cohortLogic)
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._chooseFolder = chooseFolder or self._askFolder
        self._showFolder = showFolder or _openFolder
        self._afterSaving = AfterSaving(caseLogic)
        self._folder: Path | None = None
        self._models: list[str] | None = None
        self.adding = CaseAdding(cohortLogic, jobLogic)

        self.widget = slicer.util.loadUI(str(uiPath("CohortPanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.table = CaseTable(self.ui.caseView)
        self.controls = AddingControls(
            self.ui, self.widget, cohortLogic, self.adding, showError=self._showError, showDetails=showDetails
        )
        self._recentMenu = qt.QMenu(self.ui.recentButton)
        self.ui.recentButton.setMenu(self._recentMenu)
        self._fillRecent()
        self._connect()
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MILLISECONDS)
        self._timer.connect("timeout()", self.poll)
        self._timer.start()
        self.refresh()

    def enter(self) -> None:
        """The module is shown."""
        self.refresh()

    def exit(self) -> None:
        """Another module is shown; what is being added goes on."""

    def cleanup(self) -> None:
        """Listen no more, and end what is under way."""
        self._timer.stop()
        for signal, receiver in self._signals():
            signal.disconnect(receiver)
        self._afterSaving.close()
        self.controls.close()
        self._facts.close()

    def poll(self) -> None:
        """Go on with the table, with what is being added, and with pictures, for some milliseconds."""
        self.adding.poll()
        isFilled = self.table.fill()
        if isFilled and self.ui.caseView.visible:
            self._facts.request(self.table.idsOnScreen())
            self._facts.poll()
            self._showPictures()
        isBusy = self.adding.isWorking or not isFilled
        interval = BUSY_MILLISECONDS if isBusy else POLL_MILLISECONDS
        if self._timer.interval != interval:
            self._timer.setInterval(interval)

    def refresh(self) -> None:
        """Show everything as it is; only what has changed is touched."""
        cohort = self._cohorts.cohort
        rows = self._cohorts.rows()
        if self._cohorts.folder != self._folder:
            self._folder = self._cohorts.folder
            self.table.clear()
            self.ui.filterEdit.text = ""
            self._fillRecent()
        self.ui.summaryLabel.visible = cohort is not None
        self.ui.casesWidget.visible = cohort is not None
        self.ui.summaryLabel.text = self._summary(rows)
        self.ui.problemLabel.text = self._cohorts.problem
        self.ui.problemFrame.visible = bool(self._cohorts.problem)
        self.ui.caseView.visible = bool(rows)
        self.ui.roomWidget.visible = not rows  # takes the room below that is the table's otherwise
        self.ui.filterEdit.enabled = bool(rows)
        self.table.organCount = 0 if cohort is None else len(cohort.labels)
        self._refreshTable(rows)
        self._refreshModels()
        self._showHint(rows)

    def onNew(self) -> None:
        """Make a cohort."""
        if self._mayLeave():
            NewCohortDialog(
                self._cohorts, confirm=self._confirm, showError=self._showError, parent=self.widget
            ).ask()

    def onOpen(self) -> None:
        """Choose a cohort and open it."""
        folder = self._chooseFolder(_("Folder of the cohort, the one that holds cohort.json"))
        if folder:
            self.open(Path(folder))

    def open(self, folder: Path) -> None:
        """Open a cohort; one of the recent ones that is gone may be taken off their list."""
        if not self._mayLeave():
            return
        if (folder / FILE_NAME).is_file() and not self._case.closeCase():
            return
        try:
            self._cohorts.openCohort(folder)
        except SSLSegError as error:
            question = _("{reason} Take it off the list of recent cohorts?").format(reason=error)
            if folder not in self._cohorts.recentFolders():
                self._showError(str(error))
            elif self._confirm(question):
                self._cohorts.forgetFolder(folder)

    def openCase(self, caseId: str) -> None:
        """Open a case to annotate or correct it."""
        row = self._cohorts.row(caseId)
        if row is None or caseId == self._case.caseId:
            return
        if row.missing and self._cohorts.cohort is not None:
            case = self._cohorts.cohort.case(caseId)
            self._showError(
                _(
                    "{case} cannot be opened: its image or its label map is not there any more ({image}). "
                    "Put it back, or remove the case from the cohort."
                ).format(case=caseId, image=self._cohorts.cohort.image_path(case))
            )
            return
        self._case.openCase(caseId)

    def removeCases(self, caseIds: list[str]) -> None:
        """Take cases out of the cohort, once a person has agreed; their files stay."""
        question = _("Remove {cases} from the cohort? The files stay where they are.").format(
            cases=caseNumber(caseIds)
        )
        if not caseIds or not self._confirm(question):
            return
        if self._case.caseId in caseIds and not self._case.closeCase():
            return
        # What is drawn in one of them is saved before, as long as there is a case to save it to.
        self._afterSaving.do(lambda: self._try(lambda: self._cohorts.removeCases(caseIds)))

    def setUse(self, caseIds: list[str], use: Use) -> None:
        """Say what cases are for."""
        self._try(lambda: self._cohorts.setUse(caseIds, use))

    def menuOf(self, caseIds: list[str]) -> Any:
        """What can be done with cases."""
        menu = qt.QMenu(self.widget)
        if len(caseIds) == 1:
            self._addAction(menu, _("Open"), lambda: self.openCase(caseIds[0]))
            menu.addSeparator()
        for text, toolTip, use in (
            (_("Use for training"), _("The model learns from the case."), Use.TRAIN),
            (
                _("Use for validation"),
                _("The model is measured on the case while it trains, and never learns from it."),
                Use.VALIDATION,
            ),
            (_("Use for testing"), _("The case is kept apart until the model is done."), Use.TEST),
        ):
            rows = [self._cohorts.row(caseId) for caseId in caseIds]
            action = self._addAction(menu, text, lambda use=use: self.setUse(caseIds, use))
            action.setToolTip(toolTip)
            action.setCheckable(True)
            action.setChecked(all(row is not None and row.use is use for row in rows))
        menu.addSeparator()
        self._addAction(menu, _("Show in folder"), lambda: self._showFolderOf(caseIds[0]))
        self._addAction(
            menu,
            _("Remove {cases}…").format(cases=caseNumber(caseIds)),
            lambda: self.removeCases(caseIds),
        )
        return menu

    def _signals(self) -> tuple[tuple[Any, Callable[..., Any]], ...]:
        return (
            (self._cohorts.changed, self.refresh),
            (self._case.opened, self._onCaseChanged),
            (self._case.closed, self._onCaseChanged),
            (self._jobs.changed, self._onJobsChanged),
            (self.adding.changed, self._onAdding),
            (self._facts.changed, self._onFacts),
        )

    def _connect(self) -> None:
        ui = self.ui
        ui.newButton.connect("clicked()", self.onNew)
        ui.openButton.connect("clicked()", self.onOpen)
        ui.filterEdit.connect("textChanged(QString)", self._onFilter)
        ui.modelBox.connect("activated(int)", self._onModel)
        ui.caseView.connect("doubleClicked(QModelIndex)", self._onDoubleClicked)
        ui.caseView.connect("customContextMenuRequested(QPoint)", self._onContextMenu)
        self._recentMenu.connect("aboutToShow()", self._fillRecent)
        for signal, receiver in self._signals():
            signal.connect(receiver)

    def _fillRecent(self) -> None:
        self._recentMenu.clear()
        folders = [folder for folder in self._cohorts.recentFolders() if folder != self._cohorts.folder]
        for folder in folders:
            self._addAction(self._recentMenu, str(folder), lambda folder=folder: self.open(folder))
        self.ui.recentButton.enabled = bool(folders)

    def _addAction(self, menu: Any, text: str, does: Callable[..., Any]) -> Any:
        action = menu.addAction(text)
        action.connect("triggered()", does)
        return action

    def _refreshTable(self, rows: list[CaseRow]) -> None:
        if not self.table.update(rows, self._case.caseId, self._caseAtWork()):
            self._timer.setInterval(BUSY_MILLISECONDS)

    def _refreshModels(self) -> None:
        models = self._cohorts.models
        box = self.ui.modelBox
        box.visible = bool(models)
        if models != self._models:
            self._models = models
            box.clear()
            box.addItems([_("Newest model"), *models])
        chosen = self._cohorts.chosenModel
        box.setCurrentIndex(1 + models.index(chosen) if chosen in models else 0)

    def _summary(self, rows: list[CaseRow]) -> str:
        cohort = self._cohorts.cohort
        if cohort is None:
            return ""
        annotated = sum(bool(row.annotated) for row in rows)
        apart = sum(row.use is not Use.TRAIN for row in rows)
        parts = [
            _("{modality}, {organs} organs").format(modality=cohort.modality, organs=len(cohort.labels)),
            _("one case") if len(rows) == 1 else _("{count} cases").format(count=len(rows)),
            _("{count} annotated").format(count=annotated),
        ]
        if apart:
            parts.append(_("{count} kept apart").format(count=apart))
        self.ui.summaryLabel.setToolTip(str(cohort.folder))
        return f"<b>{escape(cohort.name)}</b><br>{escape(', '.join(parts))}"

    def _showHint(self, rows: list[CaseRow]) -> None:
        self.ui.hintLabel.text = self._hint(rows)
        self.ui.hintLabel.visible = bool(self.ui.hintLabel.text)

    def _hint(self, rows: list[CaseRow]) -> str:
        """What to do next."""
        if self._cohorts.cohort is None:
            return _(
                "No cohort is open. A cohort is a folder with your scans, what you draw in them and what is learned "
                "from that. Make a new one, or open one that you have."
            )
        if not rows:
            return _(
                "The cohort has no cases yet. Add some: from the scene, from files or from the DICOM database."
            )
        if not self.table.visibleCount:
            return _("No case contains '{text}'.").format(text=self.ui.filterEdit.text)
        annotated = sum(bool(row.annotated) and row.use is Use.TRAIN for row in rows)
        if annotated < min(FEW_ANNOTATED, len(rows)):
            return _("Double-click a case to draw its organs. Begin with {count} cases.").format(
                count=FEW_ANNOTATED
            )
        if not self._cohorts.models:
            return _("{count} cases are annotated: train a model in the section Train.").format(
                count=annotated
            )
        return ""

    def _caseAtWork(self) -> str:
        predictions = [one for one in self._jobs.active if isinstance(one.job.settings, PredictSettings)]
        return predictions[-1].story.case if predictions else ""

    def _showPictures(self, caseIds: tuple[str, ...] | None = None) -> None:
        cohort = self._cohorts.cohort
        if cohort is not None:
            for caseId in self.table.idsOnScreen() if caseIds is None else caseIds:
                path = cohort.thumbnail_path(caseId)
                self.table.setPicture(caseId, path, stampOf(path))

    def _onFacts(self, caseIds: tuple[str, ...]) -> None:
        self._showPictures(caseIds)

    def _onAdding(self) -> None:
        if self.adding.isWorking:
            self._timer.setInterval(BUSY_MILLISECONDS)

    def _onCaseChanged(self, *_case: Any) -> None:
        self._refreshTable(self._cohorts.rows())

    def _onJobsChanged(self) -> None:
        self._refreshTable(self._cohorts.rows())

    def _onFilter(self, text: str) -> None:
        self.table.setFilter(text)
        self._showHint(self._cohorts.rows())

    def _onModel(self, index: int) -> None:
        models = self._cohorts.models
        self._cohorts.setModel(models[index - 1] if 0 < index <= len(models) else None)

    def _onDoubleClicked(self, index: Any) -> None:
        caseId = self.table.idAt(index)
        if caseId:
            self.openCase(caseId)

    def _onContextMenu(self, position: Any) -> None:
        caseIds = self.table.selectedIds()
        if caseIds:
            menu = self.menuOf(caseIds)
            menu.exec_(self.ui.caseView.viewport().mapToGlobal(position))
            menu.deleteLater()

    def _showFolderOf(self, caseId: str) -> None:
        cohort = self._cohorts.cohort
        if cohort is not None:
            image = cohort.image_path(cohort.case(caseId))
            self._showFolder(image if image.is_dir() else image.parent)

    def _mayLeave(self) -> bool:
        """Whether another cohort can be opened: nothing is being added, or a person agrees to stop that."""
        if not self.adding.isWorking:
            return True
        if not self._confirm(_("Volumes are still being added. Stop that?")):
            return False
        self._try(self.adding.cancel)
        return True

    def _try(self, does: Callable[[], Any]) -> None:
        try:
            does()
        except SSLSegError as error:
            self._showError(str(error))

    def _askFolder(self, title: str) -> str:
        return qt.QFileDialog.getExistingDirectory(self.widget, title)


def _openFolder(folder: Path) -> None:
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

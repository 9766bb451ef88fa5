"""The Export section: segmentations and volumes as files for others, and the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.AfterSaving import AfterSaving
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.ExportLogic import ExportChoice, ExportLogic, existingInWords
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.VolumeTable import hideVolumes, showVolumes

ALL, COMPLETED, CHOSEN = "all", "completed", "chosen"
MOST_WARNINGS = 5


class ExportPanel:
    """Shows an `ExportLogic` and hands it what a person chooses.

    Args:
        cohortLogic: the open cohort.
        jobLogic: the jobs of the open cohort.
        caseLogic: the open case, which is saved before anything is exported.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        showFolder: opens a folder in the system's file manager.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
        export: what it shows.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        jobLogic: JobLogic,
        caseLogic: CaseLogic,
        *,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        showFolder: Callable[[Path], Any] | None = None,
        parent: Any = None,
    ) -> None:
        self._cohort, self._jobs = cohortLogic, jobLogic
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._showFolder = showFolder or _openFolder
        self._afterSaving = AfterSaving(caseLogic)
        self._folder: Path | None = None
        self._listed: list[str] = []
        self.export = ExportLogic(cohortLogic, jobLogic)

        self.widget = slicer.util.loadUI(str(uiPath("ExportPanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.ui.folderEdit.filters = ctk.ctkPathLineEdit.Dirs
        self._fillBoxes()
        self.ui.sourceBox.connect("currentIndexChanged(int)", self._showPlan)
        self.ui.formatBox.connect("currentIndexChanged(int)", self._showPlan)
        self.ui.casesBox.connect("currentIndexChanged(int)", self._showPlan)
        self.ui.caseList.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)
        self.ui.folderEdit.connect("currentPathChanged(QString)", self._onPathChanged)
        self.ui.exportButton.connect("clicked(bool)", self.onExport)
        self.ui.modelButton.connect("clicked(bool)", self.onExportModel)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.ui.folderButton.connect("clicked(bool)", self.onShowFolder)
        self.ui.tableButton.connect("clicked(bool)", self.onTable)
        self.ui.resultList.connect("itemDoubleClicked(QListWidgetItem*)", self._onResultDoubleClicked)
        cohortLogic.changed.connect(self.refresh)
        jobLogic.changed.connect(self._showJob)
        self.refresh()

    def enter(self) -> None:
        """Look again: files may have gone."""
        self.refresh()

    def exit(self) -> None:
        """Nothing has to end: another program writes the files."""

    def cleanup(self) -> None:
        """Listen no more."""
        self._cohort.changed.disconnect(self.refresh)
        self._jobs.changed.disconnect(self._showJob)
        self._afterSaving.close()

    def refresh(self) -> None:
        """Show the state as it is."""
        if self._cohort.folder != self._folder:
            if self._folder is not None:
                hideVolumes()
            self._folder = self._cohort.folder
            self.ui.folderEdit.currentPath = str(self.export.defaultFolder or "")
        self._listCases()
        self._showPlan()
        self._showJob()

    @property
    def choice(self) -> ExportChoice | None:
        """What a person has chosen; None without a cohort or a folder."""
        path = self.ui.folderEdit.currentPath.strip()
        if self._cohort.cohort is None or not path:
            return None
        return ExportChoice(
            format=self.ui.formatBox.currentData,
            source=self.ui.sourceBox.currentData,
            caseIds=tuple(self._caseIds()),
            folder=Path(path),
        )

    def onExport(self) -> None:
        """Export; files that are there are named first, and replaced only if a person agrees."""
        choice = self.choice
        if choice is None:
            return
        existing = self.export.existing(choice)
        if existing and not self._confirm(existingInWords(existing)):
            return
        self._afterSaving.do(lambda: self._try(lambda: self.export.start(choice, overwrite=bool(existing))))

    def onExportModel(self) -> None:
        """Export the current model into a new folder below the one that is chosen."""
        path = self.ui.folderEdit.currentPath.strip()
        if path:
            self._try(lambda: self.export.startModel(Path(path)))

    def onCancel(self) -> None:
        """Stop the export."""
        self._try(self.export.cancel)

    def onShowFolder(self) -> None:
        """Open the folder of the files."""
        results = self.export.results()
        folder = results[0].parent if results else None
        if folder is None or not folder.is_dir():
            self._showError(_("The folder is no longer there."))
            return
        self._showFolder(folder)

    def onTable(self) -> None:
        """Show the volumes of the last export as a table."""
        path = self.export.volumesFile()
        if path is not None:
            self._try(lambda: _showTable(showVolumes(path)))

    def _fillBoxes(self) -> None:
        for box, entries in (
            (
                self.ui.sourceBox,
                (
                    (_("Only what was drawn or accepted"), "accepted"),
                    (_("Predictions where nothing was accepted"), "best"),
                ),
            ),
            (
                self.ui.formatBox,
                (
                    (_("Slicer segmentation (.seg.nrrd)"), "seg.nrrd"),
                    (_("NIfTI label map (.nii.gz)"), "nifti"),
                    (_("DICOM SEG (.dcm)"), "dicom-seg"),
                ),
            ),
            (
                self.ui.casesBox,
                ((_("All cases"), ALL), (_("Completed cases"), COMPLETED), (_("Chosen cases"), CHOSEN)),
            ),
        ):
            for text, data in entries:
                box.addItem(text, data)

    def _listCases(self) -> None:
        cohort = self._cohort.cohort
        ids = [] if cohort is None else [case.id for case in cohort.cases]
        if ids == self._listed:
            return
        self._listed = ids
        box = self.ui.caseList
        box.blockSignals(True)
        box.clear()
        for caseId in ids:
            item = qt.QListWidgetItem(caseId)
            item.setCheckState(qt.Qt.Checked)
            box.addItem(item)
        box.blockSignals(False)

    def _caseIds(self) -> list[str]:
        which = self.ui.casesBox.currentData
        if which == CHOSEN:
            box = self.ui.caseList
            items = [box.item(row) for row in range(box.count)]
            return [item.text() for item in items if item.checkState() == qt.Qt.Checked]
        cases = self._cohort.cohort.cases
        return [case.id for case in cases if which == ALL or case.review is ReviewState.COMPLETED]

    def _showPlan(self) -> None:
        self.ui.caseList.visible = self.ui.casesBox.currentData == CHOSEN
        choice = self.choice
        if choice is None:
            noCohort = self._cohort.cohort is None
            self.ui.planLabel.text = (
                _("Open a cohort in the Cohort section first.")
                if noCohort
                else _("Choose a folder for the files.")
            )
            self._canExport = False
        else:
            plan = self.export.plan(choice)
            sentences = (_countInWords(len(plan.caseIds)), *plan.notes)
            self.ui.planLabel.text = " ".join(filter(None, sentences))
            self._canExport = bool(plan.caseIds)
        self._enable()

    def _showJob(self) -> None:
        monitor = self.export.monitor
        ui = self.ui
        results = self.export.results()
        warnings = [] if monitor is None else list(monitor.warnings)
        isActive = monitor is not None and monitor.isActive
        ui.progressBar.visible = isActive
        ui.progressBar.value = round(100 * ((monitor.fraction or 0.0) if isActive else 0.0))
        ui.cancelButton.visible = isActive
        ui.cancelButton.enabled = isActive and not monitor.isCancelling
        ui.stateLabel.text = "" if monitor is None else monitor.sentence
        ui.stateLabel.visible = bool(ui.stateLabel.text)
        if len(warnings) > MOST_WARNINGS:
            more = _("… and {count} more; see the log of the job.").format(
                count=len(warnings) - MOST_WARNINGS
            )
            warnings = [*warnings[:MOST_WARNINGS], more]
        ui.warningsLabel.text = "\n".join(warnings)
        ui.warningsLabel.visible = bool(warnings)
        if ui.resultList.count != len(results) or (
            results and ui.resultList.item(0).text() != results[0].name
        ):
            ui.resultList.clear()
            ui.resultList.addItems([path.name for path in results])
        ui.resultList.visible = bool(results)
        ui.folderButton.visible = bool(results)
        ui.tableButton.visible = bool(results)
        ui.tableButton.enabled = self.export.volumesFile() is not None
        self._enable()

    def _enable(self) -> None:
        monitor, model = self.export.monitor, self._cohort.model
        isBusy = monitor is not None and monitor.isActive
        self.ui.exportButton.enabled = self._canExport and not isBusy
        self.ui.modelButton.enabled = model is not None and self.choice is not None and not isBusy
        self.ui.modelLabel.text = (
            _("There is no model yet.")
            if model is None
            else _("The model '{model}' becomes a folder that MONAI runs without this program.").format(
                model=model
            )
        )

    def _onItemChanged(self, _item: Any) -> None:
        self._showPlan()

    def _onPathChanged(self, _path: str) -> None:
        self._showPlan()

    def _onResultDoubleClicked(self, _item: Any) -> None:
        self.onShowFolder()

    def _try(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except SSLSegError as error:
            self._showError(str(error))


def _countInWords(count: int) -> str:
    if count == 1:
        return _("1 case will be exported.")
    return _("{count} cases will be exported.").format(count=count) if count else ""


def _openFolder(folder: Path) -> None:
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))


def _showTable(node: Any) -> None:
    """Make room for a table in the views, and show it there."""
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:
        layoutManager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveTableID(node.GetID())
    logic.PropagateTableSelection()

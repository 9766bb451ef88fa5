"""The part of the Cohort section that adds cases: the menu of sources, the progress, and what was not added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import ImportSettings
from SSLSegmentationLib.logic.CaseAdding import CaseAdding
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.widgets.AddFilesDialog import AddFilesDialog
from SSLSegmentationLib.widgets.DicomSeriesDialog import DicomSeriesDialog
from SSLSegmentationLib.widgets.SceneVolumesDialog import SceneVolumesDialog


class AddingControls:
    """Shows a `CaseAdding` and hands it what a person chooses.

    Args:
        ui: the widgets of the panel.
        parent: the widget above which dialogs are shown.
        cohortLogic: the open cohort.
        adding: what is being added.
        showError: tells a person what went wrong.
        showDetails: tells a person a sentence and the list that belongs to it.
    """

    def __init__(
        self,
        ui: Any,
        parent: Any,
        cohortLogic: CohortLogic,
        adding: CaseAdding,
        *,
        showError: Callable[[str], Any],
        showDetails: Callable[[str, str], Any] | None = None,
    ) -> None:
        self._ui, self._parent = ui, parent
        self._cohorts, self._adding = cohortLogic, adding
        self._showError = showError
        self._showDetails = showDetails or _showDetails
        self.menu = qt.QMenu(ui.addButton)
        for text, does in (
            (_("From the scene…"), self.onAddFromScene),
            (_("From files or folders…"), self.onAddFiles),
            (_("From the DICOM database…"), self.onAddDicom),
        ):
            self.menu.addAction(text).connect("triggered()", does)
        ui.addButton.setMenu(self.menu)
        ui.cancelButton.connect("clicked()", self.onCancel)
        ui.refusalsButton.connect("clicked()", self.onShowRefusals)
        adding.changed.connect(self.refresh)
        self.refresh()

    def close(self) -> None:
        """Listen no more, and end what is under way."""
        self._adding.changed.disconnect(self.refresh)
        self._adding.close()

    def onAddFromScene(self) -> None:
        """Add volumes of the scene."""
        if self._cohorts.cohort is not None:
            cases = SceneVolumesDialog(self._cohorts.cohort.labels, self._parent).ask()
            if cases:
                self._adding.addFromScene(cases)

    def onAddFiles(self) -> None:
        """Add files or folders."""
        settings = AddFilesDialog(parent=self._parent).ask()
        if settings is not None:
            self._try(lambda: self._adding.addFiles(settings))

    def onAddDicom(self) -> None:
        """Add series of the DICOM database."""
        if self._cohorts.cohort is None:
            return
        database = getattr(slicer, "dicomDatabase", None)
        if database is None or not database.isOpen:
            self._showError(_("The DICOM database is not open. Open the module DICOM once, then try again."))
            return
        series = DicomSeriesDialog(self._cohorts.cohort.modality, database, self._parent).ask()
        if series:
            self._try(lambda: self._adding.addFiles(ImportSettings(series=series)))

    def onCancel(self) -> None:
        """Stop adding."""
        self._try(self._adding.cancel)

    def onShowRefusals(self) -> None:
        """Show what was not added, and why."""
        lines = [
            refusal.reason if refusal.file in refusal.reason else f"{refusal.file}: {refusal.reason}"
            for refusal in self._adding.refusals
        ]
        self._showDetails(self._ui.addingLabel.text, "\n\n".join(lines))

    def refresh(self) -> None:
        """Show what is being added, or how it ended."""
        ui, isBusy, refused = self._ui, self._adding.isBusy, len(self._adding.refusals)
        text = self._adding.status
        if refused and not isBusy:
            text += " " + (
                _("There is one remark.")
                if refused == 1
                else _("There are {count} remarks.").format(count=refused)
            )
        ui.addingFrame.visible = bool(text)
        ui.addingLabel.text = text
        ui.addingBar.visible = isBusy
        ui.cancelButton.visible = isBusy
        ui.refusalsButton.visible = bool(refused) and not isBusy
        fraction = self._adding.fraction
        ui.addingBar.setMaximum(0 if fraction is None else 100)
        ui.addingBar.setValue(0 if fraction is None else round(100 * fraction))
        ui.addButton.enabled = not isBusy

    def _try(self, does: Callable[[], Any]) -> None:
        try:
            does()
        except SSLSegError as error:
            self._showError(str(error))


def _showDetails(sentence: str, details: str) -> None:
    slicer.util.infoDisplay(sentence, detailedText=details)

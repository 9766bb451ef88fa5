"""Choosing files and folders to import, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.settings import ImportSettings
from SSLSegmentationLib.logic.Paths import uiPath

ABSENT = ("unknown", "background")


class AddFilesDialog:
    """Asks which files and folders become cases.

    ```
    settings = AddFilesDialog(parent=panel).ask()
    ```

    Args:
        chooseFiles: lets a person choose files.
        chooseFolder: lets a person choose a folder; empty if they do not.
        parent: the widget above which the dialog is shown.

    Attributes:
        widget: the dialog.
    """

    def __init__(
        self,
        *,
        chooseFiles: Callable[[], Iterable[str]] | None = None,
        chooseFolder: Callable[[], str] | None = None,
        parent: Any = None,
    ) -> None:
        self._chooseFiles = chooseFiles or self._askFiles
        self._chooseFolder = chooseFolder or self._askFolder
        self._paths: list[str] = []
        self.widget = slicer.util.loadUI(str(uiPath("AddFilesDialog")))
        if parent is not None:
            self.widget.setParent(parent, self.widget.windowFlags())
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.ui.labelsEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.absentBox.addItems([_("was not drawn: it may be there"), _("is not there")])
        self._okButton = self.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self._okButton.text = _("Add")
        self.ui.filesButton.connect("clicked()", lambda: self.add(self._chooseFiles()))
        self.ui.folderButton.connect("clicked()", lambda: self.add([self._chooseFolder()]))
        self.ui.removeButton.connect("clicked()", self.onRemove)
        self.ui.labelsEdit.connect("currentPathChanged(QString)", self._refresh)
        self.ui.buttonBox.connect("accepted()", self.widget.accept)
        self.ui.buttonBox.connect("rejected()", self.widget.reject)
        self._refresh()

    def ask(self) -> ImportSettings | None:
        """Show the dialog, once; what was chosen, or None."""
        try:
            return self.settings() if self.widget.exec_() and self._paths else None
        finally:
            self.widget.deleteLater()

    def settings(self) -> ImportSettings:
        """What was chosen, as an import takes it."""
        labels = str(self.ui.labelsEdit.currentPath).strip()
        return ImportSettings(
            paths=list(self._paths),
            labels=labels or None,
            copy=self.ui.copyBox.checked,
            keep_names=self.ui.namesBox.checked,
            absent=ABSENT[max(0, self.ui.absentBox.currentIndex)],
        )

    def add(self, paths: Iterable[str]) -> None:
        """Put paths on the list, each once."""
        for path in paths:
            if path and str(Path(path).absolute()) not in self._paths:
                self._paths.append(str(Path(path).absolute()))
        self._refresh()

    def onRemove(self) -> None:
        """Take the chosen paths off the list."""
        chosen = {index.row() for index in self.ui.pathList.selectionModel().selectedRows(0)}
        self._paths = [path for number, path in enumerate(self._paths) if number not in chosen]
        self._refresh()

    def _refresh(self, *_changed: Any) -> None:
        self.ui.pathList.clear()
        self.ui.pathList.addItems(self._paths)
        self._okButton.enabled = bool(self._paths)
        hasLabels = bool(str(self.ui.labelsEdit.currentPath).strip())
        self.ui.absentBox.enabled = hasLabels
        self.ui.absentLabel.enabled = hasLabels

    def _askFiles(self) -> Iterable[str]:
        kinds = "*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd"
        return qt.QFileDialog.getOpenFileNames(
            self.widget, _("Volumes"), "", _("Volumes ({kinds})").format(kinds=kinds)
        )

    def _askFolder(self) -> str:
        return qt.QFileDialog.getExistingDirectory(self.widget, _("Folder of volumes or DICOM series"))

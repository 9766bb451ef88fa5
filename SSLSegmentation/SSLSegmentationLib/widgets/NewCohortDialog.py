"""Making a cohort: its name, its place, the kind of images, and the organs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.OrganPresets import OrganPreset, newLabel, readPresets
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.widgets.OrganEditor import OrganEditor
from SSLSegmentationLib.widgets.TermPicker import pickTerminology

MODALITIES = ("CT", "MR")


class NewCohortDialog:
    """Asks for all that a cohort needs, and makes it.

    ```
    NewCohortDialog(cohortLogic, parent=panel).ask()
    ```

    Args:
        cohortLogic: makes the cohort and opens it.
        presets: lists of organs to begin with; None takes the extension's.
        place: where the cohort's folder is to be made, unless a person changes that.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        pickColor: asks for a colour, given the present one.
        pickTerm: asks for a term, given the present one and the name of the organ.
        parent: the widget above which the dialog is shown.

    Attributes:
        widget: the dialog.
        organs: its list of organs.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        *,
        presets: Sequence[OrganPreset] | None = None,
        place: Path | None = None,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        pickColor: Callable[[tuple[int, int, int]], tuple[int, int, int] | None] | None = None,
        pickTerm: Callable[[str | None, str], str | None] | None = None,
        parent: Any = None,
    ) -> None:
        self._cohorts = cohortLogic
        self._presets = list(readPresets() if presets is None else presets)
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self.widget = slicer.util.loadUI(str(uiPath("NewCohortDialog")))
        if parent is not None:
            self.widget.setParent(parent, self.widget.windowFlags())
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.organs = OrganEditor(
            self.ui.organTable,
            pickColor=pickColor or self._askColor,
            pickTerm=pickTerm or (lambda term, name: pickTerminology(term, name, self.widget)),
            showError=showError or slicer.util.errorDisplay,
            onChanged=self._onOrgansChanged,
        )
        self._hasOwnOrgans = False
        self._preset = 0
        self._failure = ""
        self.ui.placeEdit.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.placeEdit.currentPath = str(place or Path(slicer.app.defaultScenePath))
        self.ui.modalityBox.addItems(MODALITIES)
        self.ui.presetBox.addItems([*(preset.title for preset in self._presets), _("My own list")])
        self._okButton = self.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self._okButton.text = _("Make cohort")
        self._connect()
        self._showPreset()

    def ask(self) -> bool:
        """Show the dialog, once, until the cohort is made; False if a person would rather not."""
        try:
            return bool(self.widget.exec_())
        finally:
            self.widget.deleteLater()

    @property
    def folder(self) -> Path | None:
        """Where the cohort will be; None while its name or its place is missing."""
        name, place = folderName(self.ui.nameEdit.text), str(self.ui.placeEdit.currentPath).strip()
        return Path(place) / name if name and place else None

    def onAccept(self) -> None:
        """Make the cohort, and close the dialog if that worked."""
        folder = self.folder
        if folder is None or self.organs.problem:
            self._refresh()
            return
        try:
            self._cohorts.createCohort(
                folder, self.ui.nameEdit.text.strip(), self.ui.modalityBox.currentText, self.organs.labels
            )
        except SSLSegError as error:
            self._failure = str(error)
            self._refresh()
            return
        self.widget.accept()

    def onPreset(self, index: int) -> None:
        """Take the organs of a list, once a person has agreed to lose their own."""
        if index == self._preset:
            return
        question = _("Replace the organs that you have changed by those of '{preset}'?").format(
            preset=self.ui.presetBox.currentText
        )
        if self._hasOwnOrgans and not self._confirm(question):
            self.ui.presetBox.setCurrentIndex(self._preset)
            return
        self._preset = index
        self._showPreset()

    def _connect(self) -> None:
        ui, organs = self.ui, self.organs
        ui.nameEdit.connect("textChanged(QString)", self._onTyped)
        ui.placeEdit.connect("currentPathChanged(QString)", self._onTyped)
        ui.presetBox.connect("currentIndexChanged(int)", self.onPreset)
        for button, action in (
            (ui.addButton, organs.add),
            (ui.removeButton, organs.remove),
            (ui.upButton, lambda: organs.move(-1)),
            (ui.downButton, lambda: organs.move(1)),
            (ui.colorButton, organs.changeColor),
            (ui.termButton, organs.changeTerm),
        ):
            button.connect("clicked()", action)
        ui.buttonBox.connect("accepted()", self.onAccept)
        ui.buttonBox.connect("rejected()", self.widget.reject)

    def _showPreset(self) -> None:
        self._hasOwnOrgans = False
        if self._preset < len(self._presets):
            preset = self._presets[self._preset]
            self.organs.show(preset.labels)
            if self.ui.modalityBox.currentText not in preset.modalities:
                self.ui.modalityBox.setCurrentIndex(MODALITIES.index(preset.modalities[0]))
            self.ui.presetBox.setToolTip(preset.description)
        else:
            self.organs.show([newLabel([], _("new organ"))])
        self._refresh()

    def _onOrgansChanged(self) -> None:
        self._hasOwnOrgans = True
        self._refresh()

    def _onTyped(self, _text: str) -> None:
        self._failure = ""
        self._refresh()

    def _refresh(self) -> None:
        folder, problem = self.folder, self._failure or self.organs.problem
        self._okButton.enabled = folder is not None and not self.organs.problem
        if problem:
            self.ui.noteLabel.text = problem
        elif folder is None:
            self.ui.noteLabel.text = _("Give the cohort a name, and choose where it is to be.")
        else:
            self.ui.noteLabel.text = _("The cohort will be in {folder}").format(folder=folder)

    def _askColor(self, color: tuple[int, int, int]) -> tuple[int, int, int] | None:
        chosen = qt.QColorDialog.getColor(qt.QColor(*color), self.widget)
        return (chosen.red(), chosen.green(), chosen.blue()) if chosen.isValid() else None


def folderName(name: str) -> str:
    """A name as that of a folder: without what some system does not allow."""
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]+', " ", name)
    return re.sub(r"\s+", " ", plain).strip(" .")

"""Choosing series of Slicer's DICOM database."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.settings import DicomSeries
from SSLSegmentationLib.logic.Paths import uiPath

NAME, MODALITY, FILES = range(3)
UID_ROLE = int(qt.Qt.UserRole)
WIDTHS = {MODALITY: 70, FILES: 60}


class DicomSeriesDialog:
    """Asks which series become cases.

    A patient's series are looked up when the patient is opened or ticked: a database may hold thousands.

    ```
    series = DicomSeriesDialog(cohort.modality, parent=panel).ask()
    ```

    Args:
        modality: of the cohort, CT or MR; other series cannot be ticked.
        database: a ctkDICOMDatabase; None takes Slicer's.
        parent: the widget above which the dialog is shown.

    Attributes:
        widget: the dialog.
    """

    def __init__(self, modality: str, database: Any = None, parent: Any = None) -> None:
        self._modality = modality
        self._database = slicer.dicomDatabase if database is None else database
        self._isFilling = False
        self._patients: list[Any] = []
        self._looked: set[str] = set()
        self.widget = slicer.util.loadUI(str(uiPath("DicomSeriesDialog")))
        if parent is not None:
            self.widget.setParent(parent, self.widget.windowFlags())
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._okButton = self.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self._okButton.text = _("Add")
        tree = self.ui.seriesTree
        tree.setHeaderLabels([_("Patient and series"), _("Images"), _("Files")])
        tree.header().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        for column, width in WIDTHS.items():
            tree.header().resizeSection(column, width)
        self._fill()
        tree.connect("itemExpanded(QTreeWidgetItem*)", self._lookUp)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self._onTicked)
        self.ui.filterEdit.connect("textChanged(QString)", self._filter)
        self.ui.buttonBox.connect("accepted()", self.widget.accept)
        self.ui.buttonBox.connect("rejected()", self.widget.reject)
        self._refresh()

    def ask(self) -> list[DicomSeries]:
        """Show the dialog, once; what was chosen, or nothing."""
        try:
            return self.chosen() if self.widget.exec_() else []
        finally:
            self.widget.deleteLater()

    def chosen(self) -> list[DicomSeries]:
        """The ticked series with their files."""
        return [
            DicomSeries(uid, [str(file) for file in self._database.filesForSeries(uid)])
            for uid in self._tickedUids()
        ]

    def _fill(self) -> None:
        for patient in self._database.patients():
            item = qt.QTreeWidgetItem()
            item.setText(
                NAME, str(self._database.nameForPatient(patient)).replace("^", ", ") or _("without a name")
            )
            item.setData(NAME, UID_ROLE, patient)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(NAME, qt.Qt.Unchecked)
            item.setChildIndicatorPolicy(qt.QTreeWidgetItem.ShowIndicator)
            self.ui.seriesTree.addTopLevelItem(item)
            self._patients.append(item)

    def _lookUp(self, patient: Any) -> None:
        """Find the series of a patient, once."""
        uid = str(patient.data(NAME, UID_ROLE) or "")
        if patient.parent() is not None or uid in self._looked:
            return
        self._looked.add(uid)
        self._isFilling = True
        for study in self._database.studiesForPatient(uid):
            for series in self._database.seriesForStudy(study):
                patient.addChild(self._seriesItem(str(series)))
        self._isFilling = False

    def _seriesItem(self, uid: str) -> Any:
        files = self._database.filesForSeries(uid)
        modality = str(self._database.fieldForSeries("Modality", uid))
        item = qt.QTreeWidgetItem()
        item.setText(NAME, str(self._database.descriptionForSeries(uid)) or _("without a description"))
        item.setText(MODALITY, modality)
        item.setText(FILES, str(len(files)))
        item.setData(NAME, UID_ROLE, uid)
        if modality == self._modality:
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(NAME, qt.Qt.Unchecked)
        else:
            item.setFlags(qt.Qt.NoItemFlags)
            item.setToolTip(NAME, _("The cohort holds {modality}.").format(modality=self._modality))
        return item

    def _onTicked(self, item: Any, column: int) -> None:
        if self._isFilling or column != NAME:
            return
        if item.parent() is None:
            self._lookUp(item)
            self._isFilling = True
            for series in self._seriesOf(item):
                series.setCheckState(NAME, item.checkState(NAME))
            self._isFilling = False
            item.setExpanded(True)
        self._refresh()

    def _seriesOf(self, patient: Any) -> list[Any]:
        """The series of a patient that can be ticked."""
        children = (patient.child(index) for index in range(patient.childCount()))
        return [child for child in children if child.text(MODALITY) == self._modality]

    def _tickedUids(self) -> list[str]:
        return [
            str(series.data(NAME, UID_ROLE))
            for patient in self._patients
            for series in self._seriesOf(patient)
            if series.checkState(NAME) == qt.Qt.Checked
        ]

    def _filter(self, text: str) -> None:
        for patient in self._patients:
            patient.setHidden(text.strip().lower() not in patient.text(NAME).lower())

    def _refresh(self) -> None:
        count = len(self._tickedUids())
        self._okButton.enabled = count > 0
        if not self._patients:
            text = _("The DICOM database is empty. Import your files in the module DICOM, and come back.")
        elif count == 0:
            text = _("Tick the series to add.")
        else:
            text = (
                _("One series is chosen.")
                if count == 1
                else _("{count} series are chosen.").format(count=count)
            )
        self.ui.noteLabel.text = text

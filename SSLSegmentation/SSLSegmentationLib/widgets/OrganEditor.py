"""The list of organs of a new cohort: names, values, colours and terms, in an order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import BACKGROUND, IGNORE, Label, LabelTable
from SSLSegmentationLib.logic.OrganPresets import freeName, newLabel, terminologyInWords
from SSLSegmentationLib.widgets.Swatch import swatch

ORGAN, VALUE, TERM = range(3)
WIDTHS = {ORGAN: 200, VALUE: 52}
ROW_HEIGHT = 24


class OrganEditor:
    """A table of organs that a person changes.

    Args:
        table: a QTableWidget.
        pickColor: asks for a colour, given the present one; None if there is no choice.
        pickTerm: asks for a serialised terminology entry, given the present one and the name of the organ.
        showError: tells a person what went wrong.
        onChanged: is called after every change by a person.
    """

    def __init__(
        self,
        table: Any,
        *,
        pickColor: Callable[[tuple[int, int, int]], tuple[int, int, int] | None],
        pickTerm: Callable[[str | None, str], str | None],
        showError: Callable[[str], Any],
        onChanged: Callable[[], Any],
    ) -> None:
        self._table = table
        self._pickColor, self._pickTerm = pickColor, pickTerm
        self._showError, self._onChanged = showError, onChanged
        self._labels: list[Label] = []
        self._isShowing = False
        table.setHorizontalHeaderLabels([_("Organ"), _("Value"), _("Term")])
        for column, toolTip in (
            (ORGAN, _("The name of the organ, and its colour.")),
            (VALUE, _("The number of the organ in label maps, 1 to 254. It never changes later.")),
            (TERM, _("What the organ is called in SNOMED CT, so that other programs know it.")),
        ):
            table.horizontalHeaderItem(column).setToolTip(toolTip)
        for column, width in WIDTHS.items():
            table.setColumnWidth(column, width)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)
        table.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)

    @property
    def labels(self) -> list[Label]:
        """The organs as they are; they may still clash."""
        return list(self._labels)

    @property
    def problem(self) -> str:
        """Why no cohort can be made of these organs; empty if one can."""
        try:
            LabelTable(self._labels)
        except SSLSegError as error:
            return f"{error.what}. {error.remedy}"
        return ""

    @property
    def current(self) -> int:
        """Number of the chosen organ; -1 if there is none."""
        return self._table.currentRow()

    def show(self, labels: Iterable[Label]) -> None:
        """Show other organs."""
        self._labels = list(labels)
        self._refresh()

    def add(self) -> None:
        """Add an organ with a value and a colour of its own, to be renamed."""
        try:
            name = freeName((label.name for label in self._labels), _("new organ"))
            self._labels.append(newLabel(self._labels, name))
        except SSLSegError as error:
            self._showError(str(error))
            return
        self._changed(len(self._labels) - 1)
        self._table.editItem(self._table.item(self.current, ORGAN))

    def remove(self) -> None:
        """Leave out the chosen organs."""
        chosen = {index.row() for index in self._table.selectionModel().selectedRows(ORGAN)}
        self._labels = [label for number, label in enumerate(self._labels) if number not in chosen]
        self._changed(min([*chosen, len(self._labels) - 1]))

    def move(self, by: int) -> None:
        """Move the chosen organ up (-1) or down (1)."""
        start, end = self.current, self.current + by
        if 0 <= start < len(self._labels) and 0 <= end < len(self._labels):
            self._labels.insert(end, self._labels.pop(start))
            self._changed(end)

    def changeColor(self) -> None:
        """Ask for the colour of the chosen organ."""
        if 0 <= self.current < len(self._labels):
            color = self._pickColor(self._labels[self.current].color)
            if color is not None:
                self._replace(self.current, color=color)

    def changeTerm(self) -> None:
        """Ask for the term of the chosen organ."""
        if not 0 <= self.current < len(self._labels):
            return
        label = self._labels[self.current]
        try:
            term = self._pickTerm(label.terminology, label.name)
        except SSLSegError as error:
            self._showError(str(error))
            return
        if term is not None:
            self._replace(self.current, terminology=term)

    def _onDoubleClicked(self, row: int, column: int) -> None:
        if column == TERM:
            self.changeTerm()

    def _onItemChanged(self, item: Any) -> None:
        if self._isShowing:
            return
        row, text = item.row(), item.text().strip()
        try:
            if item.column() == ORGAN:
                self._replace(row, name=text)
            elif text.isdigit() and BACKGROUND < int(text) < IGNORE:
                self._replace(row, value=int(text))
            else:
                raise ValueError(_("The value of an organ is a whole number from 1 to 254."))
        except ValueError as error:
            self._refresh(row)
            self._showError(str(error))

    def _replace(self, row: int, **changes: Any) -> None:
        self._labels[row] = replace(self._labels[row], **changes)
        self._changed(row)

    def _changed(self, row: int) -> None:
        self._refresh(row)
        self._onChanged()

    def _refresh(self, row: int = 0) -> None:
        self._isShowing = True
        self._table.setRowCount(len(self._labels))
        for number, label in enumerate(self._labels):
            term = terminologyInWords(label.terminology)
            organ = self._item(number, ORGAN, label.name)
            organ.setIcon(swatch(label.color))
            self._item(number, VALUE, str(label.value))
            item = self._item(number, TERM, term)
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setToolTip(label.terminology or _("Other programs know this organ by its name only."))
        if 0 <= row < len(self._labels):
            self._table.setCurrentCell(row, ORGAN)
        self._isShowing = False

    def _item(self, row: int, column: int, text: str) -> Any:
        item = self._table.item(row, column)
        if item is None:
            item = qt.QTableWidgetItem()
            self._table.setItem(row, column, item)
        item.setText(text)
        return item

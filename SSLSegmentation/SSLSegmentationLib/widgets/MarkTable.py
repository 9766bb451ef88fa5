"""The table of the organs of the open case, with what was said of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from sslseg.contract.labels import Label
from SSLSegmentationLib.logic.OrganMarks import Mark, OrganMark
from SSLSegmentationLib.widgets.QueueTable import prepareTable, showAllRows
from SSLSegmentationLib.widgets.Swatch import swatch

ORGAN, MARK = range(2)
MARK_WIDTH = 128
MOST_ROWS = 10


def markInWords(mark: OrganMark) -> str:
    """What was said of an organ, in a few words."""
    if mark.mark is Mark.SLICES and mark.slices is not None:
        count = len(mark.slices.indices)
        return _("✓ on 1 slice") if count == 1 else _("✓ on {count} slices").format(count=count)
    if mark.status is ReviewState.FLAGGED:
        return _("✗ rejected")
    if mark.status is ReviewState.IN_PROGRESS:
        return _("… begun")
    return {Mark.COMPLETE: _("✓ complete"), Mark.ABSENT: _("✓ absent"), Mark.NOT_DONE: _("not done")}[
        mark.mark
    ]


def markExplained(mark: OrganMark) -> str:
    """What a training makes of it, in a sentence."""
    return {
        Mark.COMPLETE: _("The whole organ is drawn: every voxel of the scan counts."),
        Mark.ABSENT: _("The organ is not in this scan: the training learns that it can be missing."),
        Mark.SLICES: _("The organ is drawn on some slices: on the others nothing is said of it."),
        Mark.NOT_DONE: _("Nothing is said of this organ: no training learns it from this scan."),
    }[mark.mark]


class MarkTable:
    """Shows the organs; one is selected, and each can be hidden in the views.

    Args:
        table: the QTableWidget of the panel.
        onSelected: is called with the name of the organ that a person selects.
        onShown: is called with a name and whether the organ is to be seen.
    """

    def __init__(
        self, table: Any, onSelected: Callable[[str], Any], onShown: Callable[[str, bool], Any]
    ) -> None:
        self._table = table
        self._onSelected = onSelected
        self._onShown = onShown
        self._labels: list[Label] = []
        self._isWriting = False
        prepareTable(table, {MARK: MARK_WIDTH}, stretched=ORGAN)
        table.connect("itemSelectionChanged()", self._onSelectionChanged)
        table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    @property
    def selected(self) -> str | None:
        """Name of the selected organ."""
        row = self._table.currentRow()
        return self._labels[row].name if 0 <= row < len(self._labels) else None

    def show(self, labels: list[Label], marks: dict[str, OrganMark]) -> None:
        """Show the organs and their marks; what is selected stays so."""
        self._isWriting = True
        try:
            if labels != self._labels:
                self._labels = list(labels)
                self._table.clearContents()
                self._table.setRowCount(len(labels))
                for row, label in enumerate(labels):
                    self._table.setItem(row, ORGAN, _organItem(label))
                    self._table.setItem(row, MARK, qt.QTableWidgetItem())
                showAllRows(self._table, MOST_ROWS)
            for row, label in enumerate(labels):
                item, mark = self._table.item(row, MARK), marks[label.name]
                if item.text() != markInWords(mark):
                    item.setText(markInWords(mark))
                    item.setToolTip(markExplained(mark))
        finally:
            self._isWriting = False

    def select(self, organ: str) -> None:
        """Select an organ without telling anybody."""
        for row, label in enumerate(self._labels):
            if label.name == organ and row != self._table.currentRow():
                self._isWriting = True
                self._table.setCurrentCell(row, ORGAN)
                self._isWriting = False

    def setShown(self, organ: str, shown: bool) -> None:
        """Check or uncheck an organ without telling anybody."""
        for row, label in enumerate(self._labels):
            if label.name == organ:
                self._isWriting = True
                self._table.item(row, ORGAN).setCheckState(qt.Qt.Checked if shown else qt.Qt.Unchecked)
                self._isWriting = False

    def _onSelectionChanged(self) -> None:
        if not self._isWriting and self.selected is not None:
            self._onSelected(self.selected)

    def _onItemChanged(self, item: Any) -> None:
        if not self._isWriting and item.column() == ORGAN:
            self._onShown(self._labels[item.row()].name, item.checkState() == qt.Qt.Checked)


def _organItem(label: Label) -> Any:
    item = qt.QTableWidgetItem(label.name)
    item.setIcon(swatch(tuple(label.color)))
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
    item.setCheckState(qt.Qt.Checked)
    item.setToolTip(_("Select to draw this organ and to see it; uncheck to hide it."))
    return item

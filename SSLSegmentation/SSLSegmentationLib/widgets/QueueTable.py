"""The table of predicted cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.quality import Verdict
from SSLSegmentationLib.logic.ReviewQueue import Decision, QueueEntry, ReviewQueue
from SSLSegmentationLib.widgets.Swatch import verdictSwatch

CASE, VERDICT, GAIN, REASON = range(4)
COLUMN_WIDTHS = {CASE: 98, VERDICT: 104, GAIN: 40}
ROW_HEIGHT = 22
FEWEST_ROWS, MOST_ROWS = 3, 8

MARKS = {
    Decision.OPEN: "",
    Decision.CORRECTING: "… ",
    Decision.ACCEPTED: "✓ ",
    Decision.CORRECTED: "✎ ",
    Decision.REJECTED: "✗ ",
}


def verdictInWords(verdict: Verdict) -> str:
    """A verdict in the user's language."""
    return {
        Verdict.FINE: _("fine"),
        Verdict.LOOK: _("look"),
        Verdict.LIKELY_WRONG: _("likely wrong"),
    }[verdict]


def decisionInWords(decision: Decision) -> str:
    """A decision in the user's language."""
    return {
        Decision.OPEN: _("to be decided"),
        Decision.CORRECTING: _("being corrected"),
        Decision.ACCEPTED: _("accepted as it was"),
        Decision.CORRECTED: _("corrected"),
        Decision.REJECTED: _("rejected"),
    }[decision]


def prepareTable(table: Any, widths: dict[int, int], *, stretched: int) -> None:
    """Give the columns their widths in pixels; one takes what is left of any width of the panel."""
    table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
    header = table.horizontalHeader()
    header.setStretchLastSection(False)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    for column, width in widths.items():
        table.setColumnWidth(column, width)


def showAllRows(table: Any, most: int) -> None:
    """Make a table as high as its rows, up to `most` of them; the others are scrolled to."""
    rows = min(max(table.rowCount, FEWEST_ROWS), most)
    table.setFixedHeight(ROW_HEIGHT * rows + table.horizontalHeader().height + 2 * table.frameWidth)


class QueueTable:
    """Shows a `ReviewQueue`; writes only the rows that changed.

    Args:
        table: the QTableWidget of the panel.
        onOpen: is called with the id of the case that a person double-clicks.
    """

    def __init__(self, table: Any, onOpen: Callable[[str], Any]) -> None:
        self._table = table
        self._onOpen = onOpen
        self._shown: tuple[QueueEntry, ...] = ()
        table.verticalHeader().hide()
        prepareTable(table, COLUMN_WIDTHS, stretched=REASON)
        table.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)

    def show(self, queue: ReviewQueue, current: str | None, *, openOnly: bool) -> None:
        """Show the queue.

        Args:
            queue: the cases.
            current: id of the open case; its row is selected.
            openOnly: hide the cases that are decided, except the open one.
        """
        table = self._table
        if [entry.caseId for entry in self._shown] != queue.caseIds:
            self._shown = ()
            table.setRowCount(len(queue.entries))
            showAllRows(table, MOST_ROWS)
        for row, entry in enumerate(queue.entries):
            if not self._shown or self._shown[row] != entry:
                self._write(row, entry)
            table.setRowHidden(row, openOnly and entry.decision.isMade and entry.caseId != current)
        self._shown = queue.entries
        if current in queue.caseIds:
            row = queue.caseIds.index(current)
            table.selectRow(row)
            table.scrollToItem(table.item(row, CASE))
        else:
            table.clearSelection()

    def _write(self, row: int, entry: QueueEntry) -> None:
        texts = (
            MARKS[entry.decision] + entry.caseId,
            "" if entry.verdict is None else verdictInWords(entry.verdict),
            "" if entry.priority is None else f"{100 * entry.priority:.0f}",
            entry.reason,
        )
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            self._table.setItem(row, column, item)
        self._table.item(row, CASE).setToolTip(f"{entry.caseId}: {decisionInWords(entry.decision)}")
        self._table.item(row, GAIN).setData(qt.Qt.TextAlignmentRole, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        if entry.verdict is not None:
            self._table.item(row, VERDICT).setIcon(verdictSwatch(entry.verdict))

    def _onDoubleClicked(self, row: int, _column: int) -> None:
        if row < len(self._shown):
            self._onOpen(self._shown[row].caseId)

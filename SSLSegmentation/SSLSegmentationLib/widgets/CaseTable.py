"""The table of cases: sorted by number where there are numbers, filtered, touched only where something changed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.cohort import Use
from sslseg.contract.quality import Verdict
from SSLSegmentationLib.logic.CohortLogic import CaseRow
from SSLSegmentationLib.widgets.QueueTable import verdictInWords
from SSLSegmentationLib.widgets.Swatch import VERDICT_COLORS, verdictSwatch

CASE, STATE, ORGANS, DICE, CHECK, PRIORITY = range(6)
WIDTHS = {CASE: 124, STATE: 80, ORGANS: 47, DICE: 37, CHECK: 60, PRIORITY: 52}
SORT_ROLE = int(qt.Qt.UserRole)
FILTER_ROLE = int(qt.Qt.UserRole) + 1
PICTURE_SIDE = 28
FILL_SECONDS = 0.04
"""Longest time that is spent on the table at once; a large cohort is filled in over some moments."""


@dataclass(frozen=True)
class _Cell:
    """What one cell shows.

    Attributes:
        text: as shown.
        order: what the column is sorted by.
        toolTip: what is said of it.
        alarm: whether the text is to catch the eye.
        verdict: whose colour is shown beside the text.
    """

    text: str
    order: str | float
    toolTip: str = ""
    alarm: bool = False
    verdict: Verdict | None = None


class CaseTable:
    """Shows rows of cases in a tree view without branches.

    ```
    table = CaseTable(view)
    table.organCount = len(cohort.labels)
    if not table.update(logic.rows()):
        ...    # from a timer: table.fill(), until it is True
    ```

    Args:
        view: a QTreeView.

    Attributes:
        organCount: how many organs the cohort has.
    """

    def __init__(self, view: Any) -> None:
        self.view = view
        self.organCount = 0
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._rows: dict[str, tuple[CaseRow, bool, int]] = {}
        self._cells: dict[str, tuple[_Cell, ...]] = {}
        self._due: list[tuple[CaseRow, bool, int]] = []
        self._bold: str | None = None
        self._pictures: dict[str, tuple[int, ...]] = {}
        self._model = qt.QStandardItemModel(0, len(WIDTHS))
        self._proxy = qt.QSortFilterProxyModel()
        self._proxy.setSourceModel(self._model)
        self._proxy.setSortRole(SORT_ROLE)
        self._proxy.setFilterRole(FILTER_ROLE)
        self._proxy.setFilterKeyColumn(CASE)
        self._proxy.setFilterCaseSensitivity(qt.Qt.CaseInsensitive)
        self._proxy.setDynamicSortFilter(False)
        self._boldFont = qt.QFont(view.font)
        self._boldFont.setBold(True)
        self._describeColumns()
        view.setModel(self._proxy)
        view.setIconSize(qt.QSize(PICTURE_SIDE, PICTURE_SIDE))
        view.setSortingEnabled(True)
        view.sortByColumn(CASE, qt.Qt.AscendingOrder)
        header = view.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(36)
        self._noPicture = _emptyPicture()
        for column, width in WIDTHS.items():
            header.resizeSection(column, width)
        header.setSectionResizeMode(STATE, qt.QHeaderView.Stretch)

    def update(self, rows: list[CaseRow], openCase: str | None = None, working: str = "") -> bool:
        """Show these cases; only what differs from what is shown is touched.

        Args:
            rows: the cases.
            openCase: the case that is open.
            working: the case that is being segmented right now.

        Returns:
            False if there was more to do than there is time; `fill` goes on with it.
        """
        ids = [row.id for row in rows]
        if ids != self._ids:
            self._takeCases(ids)
        wanted = [(row, row.id == working, self.organCount) for row in rows]
        self._due = [one for one in wanted if self._rows.get(one[0].id) != one]
        self._due.reverse()
        if openCase != self._bold:
            self._mark(self._bold, None)
            self._mark(openCase, self._boldFont)
            self._bold = openCase
        for column, isUsed in (
            (DICE, any(row.dice is not None for row in rows)),
            (CHECK, any(row.verdict is not None for row in rows)),
            (PRIORITY, any(row.priority is not None for row in rows)),
        ):
            self.view.setColumnHidden(column, not isUsed)
        return self.fill()

    def fill(self) -> bool:
        """Go on with what `update` began; True when all is shown."""
        deadline = time.perf_counter() + FILL_SECONDS
        isNews = bool(self._due)
        while self._due and time.perf_counter() < deadline:
            one = self._due.pop()
            row, isWorking, _organs = one
            cells = self._cellsOf(row, isWorking)
            self._show(self._places[row.id], cells, self._cells.get(row.id))
            self._rows[row.id], self._cells[row.id] = one, cells
        if isNews and not self._due:
            self._sort()
        return not self._due

    def clear(self) -> None:
        """Show nothing; what is shown next may have the same ids and be other cases."""
        self._model.setRowCount(0)
        self._ids, self._places, self._due = [], {}, []
        self._rows, self._cells, self._pictures = {}, {}, {}
        self._bold = None

    def setFilter(self, text: str) -> None:
        """Show only cases whose id, state, organs or reason contain the text."""
        self._proxy.setFilterFixedString(text.strip())

    @property
    def visibleCount(self) -> int:
        """How many cases pass the filter."""
        return self._proxy.rowCount()

    def selectedIds(self) -> list[str]:
        """The chosen cases, in the order they are shown."""
        indexes = self.view.selectionModel().selectedRows(CASE)
        return [self.idAt(index) for index in sorted(indexes, key=lambda index: index.row())]

    def select(self, caseId: str) -> None:
        """Choose one case, and show it."""
        index = self._proxy.mapFromSource(self._model.index(self._places[caseId], CASE))
        self.view.setCurrentIndex(index)
        self.view.scrollTo(index)

    def idAt(self, index: Any) -> str:
        """The case of an index of the view; empty where there is none."""
        row = self._proxy.mapToSource(index).row()
        return self._ids[row] if 0 <= row < len(self._ids) else ""

    def shownIds(self) -> list[str]:
        """All cases that pass the filter, as they are sorted."""
        return [self.idAt(self._proxy.index(row, CASE)) for row in range(self.visibleCount)]

    def idsOnScreen(self) -> list[str]:
        """The cases that can be seen without scrolling."""
        height = self.view.viewport().height
        first = self.view.indexAt(qt.QPoint(1, 1))
        if not first.isValid():
            return []
        last = self.view.indexAt(qt.QPoint(1, max(1, height - 1)))
        end = last.row() + 1 if last.isValid() else self.visibleCount
        return [self.idAt(self._proxy.index(row, CASE)) for row in range(first.row(), end)]

    def setPicture(self, caseId: str, path: Path, stamp: tuple[int, ...] | None) -> None:
        """Show a picture of a case; read only where its file has changed since it was read."""
        if stamp is None or caseId not in self._places or self._pictures.get(caseId) == stamp:
            return
        self._pictures[caseId] = stamp
        index = self._model.index(self._places[caseId], CASE)
        self._model.setData(index, qt.QIcon(qt.QPixmap(str(path))), qt.Qt.DecorationRole)

    def text(self, caseId: str, column: int) -> str:
        """What a cell shows."""
        return str(self._model.data(self._model.index(self._places[caseId], column)) or "")

    def _describeColumns(self) -> None:
        columns = (
            (_("Case"), _("Id of the case. Double-click opens it.")),
            (_("State"), _("How far the case is, and whether it is kept apart for validation or testing.")),
            (_("Organs"), _("How many of the cohort's organs are annotated.")),
            (
                _("Dice"),
                _(
                    "Agreement of the model with the annotation, 0 to 1: measured where the model has not learned "
                    "from that annotation."
                ),
            ),
            (_("Check"), _("What to think of the prediction before looking at it.")),
            (_("Priority"), _("How much the case is worth your time, 0 to 1.")),
        )
        for column, (title, toolTip) in enumerate(columns):
            self._model.setHeaderData(column, qt.Qt.Horizontal, title)
            self._model.setHeaderData(column, qt.Qt.Horizontal, toolTip, qt.Qt.ToolTipRole)

    def _takeCases(self, ids: list[str]) -> None:
        """Make a row for each case; what is shown of those that stay goes along."""
        kept = set(ids)
        for place in reversed(range(len(self._ids))):
            caseId = self._ids[place]
            if caseId not in kept:
                self._model.removeRow(place)
                del self._ids[place]
                self._rows.pop(caseId, None)
                self._cells.pop(caseId, None)
                self._pictures.pop(caseId, None)
        known = set(self._ids)
        new = [caseId for caseId in ids if caseId not in known]
        self._ids += new
        self._model.setRowCount(len(self._ids))
        for place in range(len(self._ids) - len(new), len(self._ids)):
            # All rows are as high as one with a picture, and stay so when it comes.
            self._model.setData(self._model.index(place, CASE), self._noPicture, qt.Qt.DecorationRole)
        self._places = {caseId: place for place, caseId in enumerate(self._ids)}
        if self._bold not in self._places:
            self._bold = None

    def _show(self, place: int, cells: tuple[_Cell, ...], shown: tuple[_Cell, ...] | None) -> None:
        model = self._model
        for column, cell in enumerate(cells):
            before = None if shown is None else shown[column]
            if cell == before:
                continue
            index = model.index(place, column)
            if before is None or cell.text != before.text:
                model.setData(index, cell.text, qt.Qt.DisplayRole)
            if before is None or cell.order != before.order:
                model.setData(index, cell.order, SORT_ROLE)
            if cell.toolTip != ("" if before is None else before.toolTip):
                model.setData(index, cell.toolTip, qt.Qt.ToolTipRole)
            if cell.alarm != (before is not None and before.alarm):
                color = qt.QColor(*VERDICT_COLORS[Verdict.LIKELY_WRONG])
                model.setData(index, qt.QBrush(color) if cell.alarm else None, qt.Qt.ForegroundRole)
            if cell.verdict != (None if before is None else before.verdict):
                icon = None if cell.verdict is None else verdictSwatch(cell.verdict)
                model.setData(index, icon, qt.Qt.DecorationRole)
        words = " ".join(f"{cell.text} {cell.toolTip}" for cell in cells)
        model.setData(model.index(place, CASE), words, FILTER_ROLE)

    def _mark(self, caseId: str | None, font: Any | None) -> None:
        if caseId in self._places:
            self._model.setData(self._model.index(self._places[caseId], CASE), font, qt.Qt.FontRole)

    def _sort(self) -> None:
        header = self.view.header()
        self._proxy.invalidate()
        self._proxy.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())

    def _cellsOf(self, row: CaseRow, isWorking: bool) -> tuple[_Cell, ...]:
        annotated = len(row.annotated)
        return (
            _Cell(row.id, natural(row.id)),
            _stateCell(row, isWorking),
            _Cell(
                f"{annotated}/{self.organCount}",
                float(annotated),
                _("Annotated: {organs}").format(organs=", ".join(row.annotated)) if annotated else "",
            ),
            # Unknown values come last where one looks for the worst Dice and for the highest priority.
            _Cell("", 2.0) if row.dice is None else _Cell(f"{row.dice:.2f}", row.dice),
            _checkCell(row),
            _Cell("", -1.0)
            if row.priority is None
            else _Cell(f"{row.priority:.2f}", row.priority, row.reason),
        )


def _emptyPicture() -> Any:
    pixmap = qt.QPixmap(PICTURE_SIDE, PICTURE_SIDE)
    pixmap.fill(qt.QColor(0, 0, 0, 0))
    return qt.QIcon(pixmap)


def natural(name: str) -> str:
    """What names are sorted by so that case_9 comes before case_10."""
    return re.sub(r"\d+", lambda match: match[0].zfill(9), name.lower())


def _stateCell(row: CaseRow, isWorking: bool) -> _Cell:
    words = [_("segmenting …") if isWorking else row.state]
    if row.use is Use.TEST:
        words.append(_("for testing"))
    elif row.use is Use.VALIDATION:
        words.append(_("for validation"))
    text = ", ".join(words)
    if not row.missing:
        return _Cell(text, text, text)
    toolTip = _("The image or the label map is not where the cohort says. Put it back, or remove the case.")
    return _Cell(text, text, toolTip, alarm=True)


def _checkCell(row: CaseRow) -> _Cell:
    if row.verdict is None:
        return _Cell("", -1.0)
    text = verdictInWords(row.verdict)
    return _Cell(text, float(list(Verdict).index(row.verdict)), text, verdict=row.verdict)


def caseNumber(ids: Iterable[str]) -> str:
    """ "case_0001" or "3 cases", as a sentence needs it."""
    names = list(ids)
    return names[0] if len(names) == 1 else _("{count} cases").format(count=len(names))

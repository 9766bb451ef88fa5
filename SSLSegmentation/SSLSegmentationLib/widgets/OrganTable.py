"""The table of the organs of the open case, with what is known of each and what was decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from SSLSegmentationLib.logic.ReviewLogic import OrganCard
from SSLSegmentationLib.widgets.QueueTable import prepareTable, showAllRows, verdictInWords
from SSLSegmentationLib.widgets.Swatch import swatch, verdictSwatch

ORGAN, VERDICT, VOLUME, DICE = range(4)
COLUMN_WIDTHS = {VERDICT: 104, VOLUME: 52, DICE: 42}
MOST_ROWS = 12

MARKS = {
    ReviewState.NOT_STARTED: "",
    ReviewState.IN_PROGRESS: "✎ ",
    ReviewState.COMPLETED: "✓ ",
    ReviewState.FLAGGED: "✗ ",
}


def statusInWords(status: ReviewState) -> str:
    """What was decided about an organ, in the user's language."""
    return {
        ReviewState.NOT_STARTED: _("to be decided"),
        ReviewState.IN_PROGRESS: _("being corrected"),
        ReviewState.COMPLETED: _("accepted"),
        ReviewState.FLAGGED: _("rejected"),
    }[status]


def organInWords(card: OrganCard) -> str:
    """What is known about an organ: why its verdict is as it is, and how sure the model was."""
    quality = card.quality
    if quality is None:
        return _("{organ}: there is no quality card for it.").format(organ=card.label.name)
    reasons = "; ".join(quality.reasons) or _("nothing stands out")
    sentence = f"{card.label.name}: {reasons}."
    share = f"{100 * quality.disagreement:.0f}"
    if (
        quality.disagreement > 0 and f" {share} % of its border" not in reasons
    ):  # where a reason does not say it yet
        sentence += " " + _("The parts of the model disagree on {share} % of its border.").format(share=share)
    return sentence


class OrganTable:
    """Shows the organs of the open case; one of them is selected.

    Args:
        table: the QTableWidget of the panel.
        onSelected: is called when another organ is selected.
    """

    def __init__(self, table: Any, onSelected: Callable[[], Any]) -> None:
        self._table = table
        self._onSelected = onSelected
        self._shown: list[OrganCard] = []
        prepareTable(table, COLUMN_WIDTHS, stretched=ORGAN)
        table.connect("itemSelectionChanged()", self._onSelectionChanged)

    @property
    def selected(self) -> OrganCard | None:
        row = self._table.currentRow()
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def show(self, cards: list[OrganCard]) -> None:
        """Show the organs; the same one stays selected, or the first that is still to be decided."""
        before = self._names(self._shown)
        names = self._names(cards)
        if names != before:
            self._table.clearContents()
            self._table.setRowCount(len(cards))
            showAllRows(self._table, MOST_ROWS)
            self._shown = []
        for row, card in enumerate(cards):
            if not self._shown or self._shown[row] != card:
                self._write(row, card)
        self._shown = list(cards)
        if names != before and cards:
            self.select(self.nextUndecided(-1) or 0)

    def select(self, row: int) -> None:
        """Select an organ by its row; nothing happens if there is none."""
        if 0 <= row < len(self._shown):
            self._table.setCurrentCell(row, ORGAN)

    def nextUndecided(self, row: int | None = None) -> int | None:
        """The first row after `row`, or after the selected one, that is to be decided; from the top after the last."""
        start = (self._table.currentRow() if row is None else row) + 1
        count = len(self._shown)
        for candidate in [*range(start, count), *range(min(start, count))]:
            if self._shown[candidate].status in (ReviewState.NOT_STARTED, ReviewState.IN_PROGRESS):
                return candidate
        return None

    def _write(self, row: int, card: OrganCard) -> None:
        quality = card.quality
        dice = None if quality is None else quality.expected_dice
        texts = (
            MARKS[card.status] + card.label.name,
            "" if quality is None else verdictInWords(quality.verdict),
            "" if quality is None else _volume(quality.volume_ml),
            "" if dice is None else f"{dice:.2f}",
        )
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(f"{statusInWords(card.status)}\n{organInWords(card)}")
            self._table.setItem(row, column, item)
        for column in (VOLUME, DICE):
            self._table.item(row, column).setData(
                qt.Qt.TextAlignmentRole, qt.Qt.AlignRight | qt.Qt.AlignVCenter
            )
        self._table.item(row, ORGAN).setIcon(swatch(tuple(card.label.color)))
        if quality is not None:
            self._table.item(row, VERDICT).setIcon(verdictSwatch(quality.verdict))

    @staticmethod
    def _names(cards: list[OrganCard]) -> list[str]:
        return [card.label.name for card in cards]

    def _onSelectionChanged(self) -> None:
        self._onSelected()


def _volume(millilitres: float) -> str:
    return f"{millilitres:.0f}" if millilitres >= 10 else f"{millilitres:.1f}"

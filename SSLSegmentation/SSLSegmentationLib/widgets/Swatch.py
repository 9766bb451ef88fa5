"""Small squares of colour, beside the words that say the same."""

from __future__ import annotations

from typing import Any

import qt

from sslseg.contract.quality import Verdict

SIDE = 10
VERDICT_COLORS = {
    Verdict.FINE: (80, 160, 90),
    Verdict.LOOK: (215, 150, 40),
    Verdict.LIKELY_WRONG: (210, 85, 70),
}
"""Of middle brightness: they stand out from a dark panel as from a light one."""

_known: dict[tuple[int, int, int], Any] = {}


def swatch(color: tuple[int, int, int]) -> Any:
    """An icon of one colour (red, green, blue; 0..255)."""
    if color not in _known:
        pixmap = qt.QPixmap(SIDE, SIDE)
        pixmap.fill(qt.QColor(*color))
        icon = qt.QIcon(pixmap)
        icon.addPixmap(
            pixmap, qt.QIcon.Selected
        )  # or else the colour of the selection would be mixed into it
        _known[color] = icon
    return _known[color]


def verdictSwatch(verdict: Verdict) -> Any:
    """The icon of a verdict."""
    return swatch(VERDICT_COLORS[verdict])

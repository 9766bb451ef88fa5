"""Which organs are the left and the right one of a pair, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LEFT = frozenset({"left", "l", "lt", "sinister", "sinistra"})
_RIGHT = frozenset({"right", "r", "rt", "dexter", "dextra"})


def left_right_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Places in `names` of organs that differ in the side alone, as pairs (left, right).

    'left_kidney' and 'Right Kidney' are a pair; a side without its other side is in none.
    """
    sides: dict[tuple[str, ...], dict[str, int]] = {}
    for place, name in enumerate(names):
        words = re.findall(r"[^\W_]+", name.lower())
        found = [word for word in words if word in _LEFT | _RIGHT]
        if len(found) == 1:
            rest = tuple("*" if word == found[0] else word for word in words)
            sides.setdefault(rest, {})["left" if found[0] in _LEFT else "right"] = place
    return [(pair["left"], pair["right"]) for pair in sides.values() if len(pair) == 2]

"""Values that change with the steps of a training: what a curve is drawn from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping


class StepSeries:
    """Rows of named values by step, in rising order; thinned, so that a curve of any length stays quick to draw.

    ```
    losses = StepSeries()
    losses.add(10, {"total": 1.2, "supervised": 0.9})
    losses.names, losses.rows    # ["total", "supervised"], [(10, {...})]
    ```
    `revision` stays the same while rows are only added at the end; anything else raises it.
    """

    def __init__(self, most: int = 2000) -> None:
        self.most = most
        self.names: list[str] = []
        self.rows: list[tuple[int, dict[str, float | None]]] = []
        self.revision = 0
        self._every = 1
        self._skipped = 0

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Take the values at `step`; rows at and after it belong to a run that was left, and go."""
        if self.rows and self.rows[-1][0] >= step:
            del self.rows[bisect_left(self.rows, step, key=lambda row: row[0]) :]
            self.revision += 1
            self._skipped = 0
        fresh = [name for name in values if name not in self.names]
        if fresh:
            self.names += fresh
            self.revision += 1
        if self._skipped + 1 < self._every:
            self._skipped += 1
            return
        self._skipped = 0
        self.rows.append((step, dict(values)))
        if len(self.rows) > self.most:
            # The first and the newest row stay.
            self.rows = self.rows[::2]
            self._every *= 2
            self.revision += 1

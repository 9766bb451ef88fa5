"""What networks see of a scan, as one vector."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class FeatureMean:
    """Mean of the coarsest decoder level of each network over all windows that were looked at."""

    def __init__(self, networks: int) -> None:
        self._sums: list[Tensor | None] = [None] * networks

    def clear(self) -> None:
        """Forget what was seen, before the next scan."""
        self._sums = [None] * len(self._sums)

    def add(self, network: int, level: Tensor) -> None:
        """Take `(B, F, D, H, W)` of some windows."""
        total = level.float().mean((2, 3, 4)).sum(0)
        known = self._sums[network]
        self._sums[network] = total if known is None else known + total

    def vector(self) -> tuple[float, ...]:
        """Of unit length, each network weighing the same; empty when no window was looked at."""
        parts = [F.normalize(total, dim=0) for total in self._sums if total is not None]
        if not parts:
            return ()
        return tuple(round(value, 5) for value in F.normalize(torch.cat(parts), dim=0).cpu().tolist())

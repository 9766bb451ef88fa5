"""How weights and rates move over a run; `step` counts completed optimiser steps from 0."""

from __future__ import annotations

import math


def ramp_up(step: int, length: float) -> float:
    """`exp(-5 (1 - min(t, T_r) / T_r)^2)`: from almost 0 to 1 within `length` steps (Laine and Aila 2017)."""
    if length <= 0:
        return 1.0
    return math.exp(-5.0 * (1.0 - min(step, length) / length) ** 2)


def poly_decay(step: int, steps: int, power: float = 0.9) -> float:
    """`(1 - t/T)^0.9`: from 1 to 0 over the run."""
    return (1.0 - min(step, steps) / steps) ** power


LONGEST_MEMORY = 0.03
"""Of a teacher, as a share of the run."""


def ema_decay(step: int, steps: int, decay: float) -> float:
    """`min(1 - 1/(t+1), a)`: a young teacher is the mean of its students (Tarvainen and Valpola 2017).

    In runs of less than a few thousand steps `a = 0.99` would average over a good part of the training, and
    the teacher would lag far behind its student; so a is at most `1 - 1/(0.03 T)` (own decision).
    """
    longest = max(1.0, LONGEST_MEMORY * steps)
    return min(1.0 - 1.0 / (step + 1), decay, 1.0 - 1.0 / longest)

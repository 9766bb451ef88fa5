"""Class weights of the two branches of DHC, on which MICD is built (Wang and Li, "DHC: Dual-debiased
Heterogeneous Co-training Framework for Class-Imbalanced Semi-Supervised Medical Image Segmentation",
MICCAI 2023).

Both are vectors (C,) and live with their statistics in float32 buffers, so that a checkpoint holds them. Only
their ratios matter to the weighted losses; the scale is DHC's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslseg.losses.segmentation import IGNORE

MEMORY_OF_DIFFICULTY = 49 / 50
MEMORY_OF_DISTRIBUTION = 0.99

_EPSILON = 1e-8
_SMALLEST_DICE = 1e-4
"""What is smaller counts as this: the logarithm of a ratio of two Dice values stays below 10."""


class DifficultyWeights(nn.Module):
    """Classes that are learned slowly, or forgotten, weigh more.

    With `d` the Dice of a class on the labelled patches and `delta` its change since the class was last seen,
    `learned` and `forgotten` are the moving averages of `max(delta, 0) ln(d / d_last)` and
    `min(delta, 0) ln(d / d_last)`, and `hardness h` that of `1 - d`:

    `W = C w / max w,  w = ((forgotten + e) / (learned + e))^(1/5) h`
    """

    learned: Tensor
    forgotten: Tensor
    hardness: Tensor
    last_dice: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("learned", torch.zeros(classes))
        self.register_buffer("forgotten", torch.zeros(classes))
        self.register_buffer("hardness", torch.ones(classes))
        self.register_buffer("last_dice", torch.zeros(classes))

    def forward(self) -> Tensor:
        """The weights (C,); all equal before the first update."""
        slowness = ((self.forgotten + _EPSILON) / (self.learned + _EPSILON)) ** (1 / 5)
        weights = slowness * self.hardness
        return self.classes * weights / weights.max().clamp_min(_EPSILON)

    @torch.no_grad()
    def update(self, dice: Tensor, seen: Tensor) -> None:
        """Take in the Dice `(C,)` of a step; a class that is not `seen` (C,) in it keeps its statistics."""
        dice = dice.float().clamp(_SMALLEST_DICE, 1.0)
        # Dice is never 0 once measured, so 0 says that there is nothing yet to compare with.
        compared = seen & (self.last_dice > 0)
        delta = dice - self.last_dice
        growth = (dice / self.last_dice.clamp_min(_SMALLEST_DICE)).log()
        _remember(self.learned, delta.clamp_min(0) * growth, compared, MEMORY_OF_DIFFICULTY)
        _remember(self.forgotten, delta.clamp_max(0) * growth, compared, MEMORY_OF_DIFFICULTY)
        _remember(self.hardness, 1 - dice, seen, MEMORY_OF_DIFFICULTY)
        _remember(self.last_dice, dice, seen, 0.0)


class DistributionWeights(nn.Module):
    """Classes of few voxels weigh more: with `n` the voxels of each class among the pseudo-labels of a step,

    `r_c = log(n_max / n_c) / max_j log(n_max / n_j),  W <- 0.99 W + 0.01 C r`

    The most frequent class, as a rule the background, tends to weight 0.
    """

    weights: Tensor
    started: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("weights", torch.full((classes,), float(classes)))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self) -> Tensor:
        """The weights (C,)."""
        return self.weights.clone()

    @torch.no_grad()
    def start(self, counts: Tensor) -> None:
        """Begin with the voxels `(C,)` in the first labelled batch; later calls change nothing.

        A class that is absent from it is taken for the rarest.
        """
        first = self.classes * _rarity(counts.clamp_min(1))
        self.weights.copy_(torch.where(self.started, self.weights, first))
        self.started.fill_(True)

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Take in the voxels `(C,)` of a step's pseudo-labels; an absent class keeps its weight."""
        _remember(self.weights, self.classes * _rarity(counts), counts > 0, MEMORY_OF_DISTRIBUTION)


def class_counts(label: Tensor, classes: int, known: Tensor | None = None) -> Tensor:
    """Voxels (C,) of each class in `label (B, D, H, W)`, except 255 and classes not `known (B, C)`."""
    # A row of bins for each slice: float32 counts stay exact, and rows are filled in parallel.
    rows = label.flatten(2).long()
    # 255 gets a bin of its own.
    index = rows.masked_fill(rows == IGNORE, classes)
    bins = torch.zeros(*index.shape[:2], classes + 1, device=label.device)
    bins.scatter_add_(2, index, torch.ones((), device=label.device).expand_as(index))
    counts = bins.sum(dim=1)[:, :classes]
    if known is not None:
        counts = counts * known
    return counts.sum(dim=0)


def _rarity(counts: Tensor) -> Tensor:
    """`log(n_max / n_c)` over the largest of them, in [0, 1]; 0 for absent classes."""
    ratio = (counts.max() / counts.clamp_min(1)).clamp_min(1).log() * (counts > 0)
    return ratio / ratio.max().clamp_min(_EPSILON)


def _remember(statistic: Tensor, value: Tensor, where: Tensor, memory: float) -> None:
    """Moving average in place, for the classes of `where` alone."""
    statistic.copy_(torch.where(where, memory * statistic + (1 - memory) * value, statistic))

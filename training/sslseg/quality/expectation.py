"""The Dice that is to be expected of a predicted organ.

The networks' own word is the soft Dice: right if their probabilities were. They are too sure of themselves, and more so
of some organs than of others. Wherever the Dice of this model is known, for cases that a person has annotated and the
model has not learned from, the expectation is fitted to it:

    logit E[Dice] = a + b_organ + w . (x - m)        x = (logit precision, -log entropy, -oddness of the volume)

by ridge regression that holds w to (1/2, 1/2, 0), its value without any data, and b to 0: with one or two cases only
the level a and roughly the order of the organs are learned, with more the rest. m is the mean of x over all cards, so
that cases without annotation help as well. Choice of x and of the strengths: Testing/benchmarks/README.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sslseg.contract.quality import OrganQuality

PRIOR = np.array([0.5, 0.5, 0.0])
WEIGHT_STRENGTH = 4.0
"""How many organs it takes to move the weights of x halfway, where x varies by 1."""
ORGAN_STRENGTH = 1.0
"""How many cases it takes to believe half of what sets an organ apart from the others."""
MOST_ODD = 4.0
SMALLEST_SPREAD = math.log(1.25)
"""Volumes of organs vary by at least a quarter between people, however alike the few annotated ones are."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """A predicted organ whose Dice is known."""

    card: OrganQuality
    dice: float


class Expectation:
    """Tells the expected Dice of organs.

    ```
    expectation = Expectation.fitted(cards, known, volumes)
    expectation.dice(card)
    ```
    """

    def __init__(
        self,
        volumes: Mapping[str, Sequence[float]],
        centre: Array | None = None,
        level: float = 0.0,
        offsets: Mapping[str, float] | None = None,
        weights: Array = PRIOR,
    ) -> None:
        self._volumes = volumes
        self._centre = centre
        self._level = level
        self._offsets = offsets or {}
        self._weights = weights

    @classmethod
    def fitted(
        cls,
        cards: Sequence[OrganQuality],
        known: Sequence[Known],
        volumes: Mapping[str, Sequence[float]],
        measured: Mapping[str, float] | None = None,
    ) -> Expectation:
        """Fit to what is known; without any of it, the networks' own word is passed on.

        Args:
            cards: organs of all predicted cases of a model, for the mean of x.
            known: those of them whose Dice is known.
            volumes: of each organ in the annotated cases, ml.
            measured: mean Dice of organs as found when the model was trained; it stands in where no single Dice is
                known, as that of an ordinary case.
        """
        plain = cls(volumes)
        seen = [card for card in cards if card.evidence]
        rows = [
            (entry.card.organ, plain._x(entry.card), entry.dice) for entry in known if entry.card.evidence
        ]
        if not rows:
            for organ, dice in (measured or {}).items():
                of_organ = [plain._x(card) for card in seen if card.organ == organ]
                rows += [(organ, np.mean(of_organ, axis=0), dice)] if of_organ else []
        if not rows:
            return plain
        centre = np.mean([plain._x(card) for card in seen], axis=0)
        organs = sorted({organ for organ, _, _ in rows})
        x = np.array([values for _, values, _ in rows]) - centre
        belongs = np.array([[organ == other for other in organs] for organ, _, _ in rows], float)
        design = np.hstack([np.ones((len(rows), 1)), x, belongs])
        prior = np.concatenate([[0.0], PRIOR, np.zeros(len(organs))])
        strength = np.diag([1e-3] + [WEIGHT_STRENGTH] * len(PRIOR) + [ORGAN_STRENGTH] * len(organs))
        target = np.array([_logit(dice) for _, _, dice in rows])
        moved = np.linalg.solve(design.T @ design + strength, design.T @ (target - design @ prior))
        level, weights, offsets = np.split(prior + moved, [1, 1 + len(PRIOR)])
        return cls(
            volumes, centre, float(level[0]), dict(zip(organs, offsets.tolist(), strict=True)), weights
        )

    @property
    def is_calibrated(self) -> bool:
        return self._centre is not None

    def dice(self, card: OrganQuality) -> float | None:
        """The expected Dice of an organ, 0 to 1; None where its card has no evidence."""
        if not card.evidence:
            return None
        if card.volume_ml == 0:
            return 0.0
        if self._centre is None:
            return card.evidence["soft_dice"]
        value = (
            self._level + self._offsets.get(card.organ, 0.0) + self._weights @ (self._x(card) - self._centre)
        )
        return round(1 / (1 + math.exp(-value)), 4)

    def _x(self, card: OrganQuality) -> Array:
        return np.array(
            [
                _logit(card.evidence["precision"]),
                -math.log(card.evidence["entropy"] + 1e-3),
                -oddness(card.volume_ml, self._volumes.get(card.organ, ())),
            ]
        )


def oddness(volume_ml: float, annotated: Sequence[float]) -> float:
    """How far a volume lies from the annotated ones, in their spread on a logarithmic scale, 0 to `MOST_ODD`."""
    annotated = [volume for volume in annotated if volume > 0]
    if not annotated:
        return 0.0
    if volume_ml <= 0:
        return MOST_ODD
    logs = np.log(annotated)
    middle = float(np.median(logs))
    # Of a normal distribution, the median of the distances is 0.6745 standard deviations.
    spread = max(float(np.median(np.abs(logs - middle))) / 0.6745, SMALLEST_SPREAD)
    return min(abs(math.log(volume_ml) - middle) / spread, MOST_ODD)


def _logit(share: float) -> float:
    share = min(max(share, 0.02), 0.98)
    return math.log(share / (1 - share))

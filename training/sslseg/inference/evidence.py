"""What the networks give away about the quality of their own prediction, collected while it is made.

Sums over the working grid, one slice at a time: nothing is held but two slices of classes. With p_k the probability
of organ k, S_k the voxels where it is the most probable class and H the entropy of the mean softmax as a share of
the largest possible:

    precision_k = sum_{S_k} p_k / |S_k|              what the networks think is right of what they predict
    recall_k    = sum_{S_k} p_k / sum p_k            what they think they predict of what is there
    entropy_k   = sum p_k H / sum p_k                how unsure they are wherever the organ may be
    soft Dice   = 2 sum_{S_k} p_k / (sum p_k + |S_k|)        the expected Dice if the p_k could be trusted

A model has several opinions when it has several networks, or when mirrored windows are looked at too. Then the
disagreement is the share of the organ's border where their labels differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sslseg.inference.sliding_window import most_probable


@dataclass(frozen=True)
class OrganEvidence:
    """One organ of one scan; every number lies between 0 and 1.

    Attributes:
        precision: mean probability where the organ is predicted; 0 where it is nowhere.
        recall: share of its probability that lies where it is predicted.
        entropy: mean entropy over its probability; 1 where it has none.
        entropy_inside: mean entropy where it is predicted; 1 where it is nowhere.
        soft_dice: Dice of the prediction with its own probabilities.
        disagreement: share of its border where opinions differ; 0 with a single opinion.
    """

    precision: float
    recall: float
    entropy: float
    entropy_inside: float
    soft_dice: float
    disagreement: float


@dataclass(frozen=True)
class Evidence:
    """What the networks gave away about one scan.

    Attributes:
        organs: in the order of the plan's labels.
        features: what the networks saw, a vector of unit length; alike scans have alike vectors.
    """

    organs: tuple[OrganEvidence, ...]
    features: tuple[float, ...]


class EvidenceCollector:
    """Sums up slice by slice; the sums stay on the device until they are asked for.

    Args:
        classes: C, background included.
        device: of the slices.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        # By class: voxels, probability where predicted, entropy where predicted, border, disagreement on it;
        # probability and entropy times probability anywhere.
        self._predicted = torch.zeros(5, classes, dtype=torch.float64, device=device)
        self._anywhere = torch.zeros(2, classes, dtype=torch.float64, device=device)
        self._before: Tensor | None = None
        self._waiting: tuple[Tensor, Tensor | None] | None = None

    def add(self, probabilities: Tensor, entropy: Tensor, disagreement: Tensor | None) -> None:
        """Take the next slice.

        Args:
            probabilities: `(C, Y, X)`.
            entropy: `(Y, X)`, as a share of the largest possible.
            disagreement: `(Y, X)`, share of the opinions' pairs that differ, or None.
        """
        classes = most_probable(probabilities[None])[0]
        flat = classes.flatten().long()
        best = probabilities.amax(0)
        inside = torch.stack((torch.ones_like(best), best, entropy)).flatten(1).double()
        self._predicted[:3].index_add_(1, flat, inside)
        mass = probabilities.flatten(1)
        weighted = mass @ torch.stack((torch.ones_like(entropy), entropy)).flatten(1).T
        self._anywhere += weighted.T.double()
        if self._waiting is not None:
            self._add_border(classes)
        # The slab that the slice is a view of is overwritten.
        self._waiting = classes, None if disagreement is None else disagreement.clone()

    def organs(self) -> tuple[OrganEvidence, ...]:
        """The evidence of each organ; to be asked for after the last slice."""
        if self._waiting is not None:
            self._add_border(None)
            self._waiting = None
        voxels, sure, entropy, border, differing = self._predicted.cpu().numpy()[:, 1:]
        mass, entropy_mass = self._anywhere.cpu().numpy()[:, 1:]
        numbers = np.stack(
            (
                _share(sure, voxels, 0.0),
                _share(sure, mass, 0.0),
                _share(entropy_mass, mass, 1.0),
                _share(entropy, voxels, 1.0),
                _share(2 * sure, mass + voxels, 0.0),
                _share(differing, border, 0.0),
            )
        )
        return tuple(OrganEvidence(*column) for column in numbers.T.round(5).tolist())

    def _add_border(self, after: Tensor | None) -> None:
        """Count the waiting slice's voxels that have a neighbour (6) of another class."""
        assert self._waiting is not None
        classes, disagreement = self._waiting
        if disagreement is not None:
            border = _differs_in_plane(classes)
            for neighbour in (self._before, after):
                if neighbour is not None:
                    border |= classes != neighbour
            counted = torch.stack((border.double(), border * disagreement.double())).flatten(1)
            self._predicted[3:].index_add_(1, classes.flatten().long(), counted)
        self._before = classes


def _differs_in_plane(classes: Tensor) -> Tensor:
    """Where one of the four neighbours in `(Y, X)` is of another class; beyond the rim is none."""
    differs = torch.zeros_like(classes, dtype=torch.bool)
    rows, columns = classes[1:] != classes[:-1], classes[:, 1:] != classes[:, :-1]
    differs[1:] |= rows
    differs[:-1] |= rows
    differs[:, 1:] |= columns
    differs[:, :-1] |= columns
    return differs


def _share(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    return np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole > 1e-9).clip(0, 1)

"""The three pseudo-labels of CGS, from what the teacher's generalist and specialists say of a patch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sslseg.contract.labels import IGNORE


class PseudoLabels(NamedTuple):
    """Label maps `(B, D, H, W)` uint8, 255 where their mask leaves a voxel out.

    Attributes:
        generalist: y_G where M_G.
        specialists: y_S where M_S.
        own: what the specialists say each for itself where M_S, for their own training: there all a_k fit
            one label y, a_k = phi_k(y).
        consensus: y_C where M_C.
    """

    generalist: Tensor
    specialists: Tensor
    own: Tensor
    consensus: Tensor


def pseudo_labels(generalist: Tensor, specialists: Tensor, threshold: float) -> PseudoLabels:
    """Pseudo-labels of the logits `generalist (B, K+1, D, H, W)` and `specialists (B, K, 3, D, H, W)`.

    y_G = argmax G, M_G = [max G > threshold]; y_S = argmax Q, M_S by inter-head error detection;
    y_C = y_G where y_G = y_S.
    """
    certainty, of_generalist = generalist.float().softmax(dim=1).max(dim=1)
    probabilities = specialists.to(torch.float32, memory_format=torch.contiguous_format).softmax(dim=2)
    of_specialists = fused_scores(probabilities).max(dim=1).indices
    own = own_labels(probabilities)
    sound = heads_agree(own)
    organs = torch.arange(1.0, own.shape[1] + 1, device=own.device)
    claimed = torch.einsum("k,bkzyx->bzyx", organs, (own == 1).float())
    return PseudoLabels(
        _where(certainty > threshold, of_generalist),
        _where(sound, of_specialists),
        _where(sound, claimed),
        _where(of_generalist == of_specialists, of_generalist),
    )


def fused_scores(specialists: Tensor) -> Tensor:
    """Q `(B, K+1, D, H, W)` of probabilities `(B, K, 3, D, H, W)`: Q_0 = mean_k S_k[0], Q_k = S_k[1]."""
    return torch.cat([specialists[:, :, 0].mean(dim=1, keepdim=True), specialists[:, :, 1]], dim=1)


def own_labels(specialists: Tensor) -> Tensor:
    """a_k = argmax S_k, `(B, K, D, H, W)` uint8, of probabilities `(B, K, 3, D, H, W)`."""
    # An argmax over three values costs forty times as much on a CPU.
    background, target, rest = specialists.unbind(dim=2)
    organ = (target > background) | (rest > background)
    return organ.to(torch.uint8) + (organ & (rest > target))


def heads_agree(own: Tensor) -> Tensor:
    """Inter-head error detection M_S `(B, ...)` of the specialists' own labels a `(B, K, ...)`.

    True where all say background, or one claims the voxel and all others say that it is another organ:
    `sum_k a_k` is 0 or 2K - 1, and in no other case.
    """
    total = own.sum(dim=1, dtype=torch.int32)
    return (total == 0) | (total == 2 * own.shape[1] - 1)


def _where(mask: Tensor, label: Tensor) -> Tensor:
    return label.to(torch.uint8).masked_fill_(~mask, IGNORE)

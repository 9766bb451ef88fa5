"""Agreement of two predictions, voxel by voxel, for losses on unlabelled images. All in float32 at least."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `values` weighted by `mask` (same shape; 0 or 1, or weights); 0 if the mask is empty."""
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp_min(1e-12)


def softmax_mse(logits: Tensor, target_probs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared difference of softmax(logits) from probabilities (mean teacher, Tarvainen 2017).

    Args:
        logits: (B, C, D, H, W).
        target_probs: (B, C, D, H, W), usually the teacher's.
        mask: (B, D, H, W), voxels to average over; None for all.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probs = _at_least_float32(logits).softmax(dim=1)
        return masked_mean((probs - target_probs.to(probs.dtype)).square().mean(dim=1), mask)


def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(softmax(p) || softmax(q)) of each voxel, in nats: (B, C, D, H, W) twice to (B, D, H, W).

    Both sides get gradient; detach the one that teaches.
    """
    with torch.autocast(p_logits.device.type, enabled=False):
        log_p = _at_least_float32(p_logits).log_softmax(dim=1)
        log_q = _at_least_float32(q_logits).log_softmax(dim=1)
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def entropy(probs: Tensor) -> Tensor:
    """Entropy of each voxel's probabilities over log C, in [0, 1]: (B, C, D, H, W) to (B, D, H, W)."""
    with torch.autocast(probs.device.type, enabled=False):
        # The gradient of p log p is infinite at 0.
        probs = _at_least_float32(probs).clamp_min(1e-8)
        return torch.special.entr(probs).sum(dim=1) / math.log(probs.shape[1])


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()

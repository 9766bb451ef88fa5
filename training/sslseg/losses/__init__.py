"""Loss functions on tensors; they know nothing of methods, files or cohorts."""

from __future__ import annotations

from sslseg.losses.consistency import entropy, kl_divergence, masked_mean, softmax_mse
from sslseg.losses.segmentation import SegmentationTerms, segmentation_loss, segmentation_terms

__all__ = [
    "SegmentationTerms",
    "entropy",
    "kl_divergence",
    "masked_mean",
    "segmentation_loss",
    "segmentation_terms",
    "softmax_mse",
]

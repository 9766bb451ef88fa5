"""The loss terms of Dual Networks, each for one network or one direction of teaching.

Voxels are flattened: N = D H W. All tensors are float32, all results stay on the device: what depends on the
number of voxels in a set is a product with a mask of fixed size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sslseg.losses.consistency import masked_mean
from sslseg.losses.segmentation import EXCLUDED_LOGIT, IGNORE

ENTROPY_BINS = 4096


class Prediction(NamedTuple):
    """What one network says of each voxel.

    Attributes:
        probs: `(B, C, N)` softmax.
        log_probs: `(B, C, N)`, its logarithm.
        confidence: `(B, N)` largest probability, without gradient.
        label: `(B, N)` its class, the pseudo-label.
    """

    probs: Tensor
    log_probs: Tensor
    confidence: Tensor
    label: Tensor

    def cross_entropy(self, label: Tensor) -> Tensor:
        """`-log p` of the classes `label (B, N)`, voxel by voxel."""
        return -self.log_probs.gather(1, label.unsqueeze(1)).squeeze(1)


class Reliability(NamedTuple):
    """What two networks together make of each voxel.

    Attributes:
        label: `(B, N)` label of the network that is more confident there.
        reliable: `(B, N)` bool, false where both networks are uncertain.
    """

    label: Tensor
    reliable: Tensor


def predict(logits: Tensor, known: Tensor | None = None) -> Prediction:
    """Softmax of `logits (B, C, D, H, W)`; a class that is not `known (B, C)` leaves its sample's softmax."""
    z = logits.to(torch.float32, memory_format=torch.contiguous_format).flatten(2)
    if known is not None:
        z = z.masked_fill(~known.unsqueeze(2), EXCLUDED_LOGIT)
    log_probs = z.log_softmax(dim=1)
    probs = log_probs.exp()
    confidence, label = probs.detach().max(dim=1)
    return Prediction(probs, log_probs, confidence, label)


def mean_of_set(values: Tensor, members: Tensor, smallest: int) -> Tensor:
    """Mean of `values` over the bool mask `members`, 0 if fewer than `smallest` voxels belong to it."""
    return masked_mean(values, members) * (members.sum() >= smallest)


def confident_labels_differ(first: Prediction, second: Prediction, confidence: float) -> Tensor:
    """Where one network has a confident label and the other has none or another one: `(B, N)` bool.

    In a binary task a network alone in being right about an organ with confidence is such a voxel.
    """
    none = -1
    labels = [
        prediction.label.masked_fill(prediction.confidence < confidence, none)
        for prediction in (first, second)
    ]
    return labels[0] != labels[1]


def mistake_loss(
    prediction: Prediction, label: Tensor, known: Tensor, mistakes: Tensor, smallest: int
) -> Tensor:
    """L_mis: `1/2 sum_c (p_c - [c = y])^2`, of two classes the mean squared error, over the mistakes.

    Args:
        prediction: of the labelled patches.
        label: `(B, N)` class indices, `IGNORE` where nothing is annotated.
        known: `(B, C)` bool, classes annotated in each sample.
        mistakes: `(B, N)` bool; of its voxels only those annotated count.
        smallest: number of voxels below which the loss is 0.
    """
    valid = label != IGNORE
    label = label.masked_fill(~valid, 0)
    of_label = prediction.probs.gather(1, label.unsqueeze(1)).squeeze(1)
    error = 0.5 * (prediction.probs.square().sum(1) - 2 * of_label + 1)
    return mean_of_set(error, mistakes & valid & known.gather(1, label), smallest)


def disagreement(first: Prediction, second: Prediction) -> Tensor:
    """L_reg: mean over voxels of `1 - cos(p_A, p_B)`; both networks get gradient."""
    # The product of the lengths is at least 1 / C: it need not be kept from 0.
    lengths = (first.probs.square().sum(1) * second.probs.square().sum(1)).sqrt()
    return (1 - (first.probs * second.probs).sum(1) / lengths).mean()


def guidance_loss(student: Prediction, teacher: Prediction) -> Tensor:
    """L_unc: mean of `exp(-D) CE(z_S, argmax z_T) + D` with `D = KL(p_T || p_S)`, the teacher detached."""
    divergence = (teacher.probs.detach() * (teacher.log_probs.detach() - student.log_probs)).sum(1)
    return ((-divergence).exp() * student.cross_entropy(teacher.label) + divergence).mean()


@torch.no_grad()
def uncertain_voxels(prediction: Prediction, quantile: float) -> Tensor:
    """Where the entropy exceeds its quantile over the voxels of the same predicted class: `(B, N)` bool.

    The quantile is found in a histogram of each class. Its bins are those of the root of the entropy, for
    trained networks crowd near 0; ties with the quantile count as certain.
    """
    classes = prediction.probs.shape[1]
    entropy = -(prediction.probs * prediction.log_probs).sum(1) / math.log(classes)
    bins = (entropy.clamp(0, 1).sqrt() * ENTROPY_BINS).long().clamp_max(ENTROPY_BINS - 1)
    flat = (prediction.label * ENTROPY_BINS + bins).flatten()
    histogram = torch.zeros(classes * ENTROPY_BINS, dtype=torch.int32, device=flat.device)
    histogram.scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
    cumulative = histogram.view(classes, ENTROPY_BINS).cumsum(1)
    threshold = (cumulative < quantile * cumulative[:, -1:]).sum(1)
    return bins > threshold[prediction.label]


@torch.no_grad()
def judge(first: Prediction, second: Prediction, quantile: float) -> Reliability:
    """Labels of the more confident network, and the voxels where not both are uncertain."""
    label = torch.where(first.confidence >= second.confidence, first.label, second.label)
    unreliable = uncertain_voxels(first, quantile) & uncertain_voxels(second, quantile)
    return Reliability(label, ~unreliable)


def contrast_loss(
    features: Tensor, judged: Reliability, classes: int, drawn: Tensor, smallest: int
) -> Tensor:
    """L_c: unreliable voxels move to the mean feature of their class, these means away from each other.

    `mean_v |h/|h| - mu_c/|mu_c||` over the drawn voxels that are unreliable, with the prototype mu_c of the
    class they are called by, plus the mean over the pairs of classes of `max(0, 1 - |mu_c/|mu_c| -
    mu_c'/|mu_c'||)`. The prototypes are constants of the first part only; the second would be without effect.

    Args:
        features: `(B, F, D, H, W)`, what the network's head consumes.
        judged: labels and reliable voxels.
        classes: C.
        drawn: `(M,)` indices into the B * N voxels.
        smallest: size below which the reliable voxels of a class make no prototype, and the unreliable ones
            no first part.
    """
    rows = features.permute(0, 2, 3, 4, 1).flatten(0, 3)
    label, reliable = judged.label.flatten(), judged.reliable.flatten()
    # A product of matrices: adding rows up by index is serial on a CPU and collides on a GPU.
    members = ((label == torch.arange(classes, device=label.device).unsqueeze(1)) & reliable).float()
    count = members.sum(1)
    exists = count >= smallest
    prototypes = _direction(members @ rows.float() / count.clamp_min(1).unsqueeze(1))

    called = label[drawn]
    distance = _length(_direction(rows.index_select(0, drawn).float()) - prototypes.detach()[called])
    attraction = masked_mean(distance, ~reliable[drawn] & exists[called])
    attraction = attraction * ((~reliable).sum() >= smallest)

    one, other = torch.triu_indices(classes, classes, offset=1, device=label.device)
    repulsion = F.relu(1 - _length(prototypes[one] - prototypes[other]))
    return attraction + masked_mean(repulsion, exists[one] & exists[other])


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=1)


def _direction(vectors: Tensor) -> Tensor:
    """`v/|v|` of `(M, F)`, smoothed near 0: where all features are off, gradients would explode."""
    return vectors * (vectors.square().sum(1, keepdim=True) + 1e-4).rsqrt()

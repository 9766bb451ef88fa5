"""Cross-entropy and soft Dice of integer labels, with unannotated voxels and partially annotated cases.

One-hot encodings of the labels are never formed: of all classes only the label's own is gathered, and the
sums of each class are collected in bins. One autograd function serves both terms and keeps a single float32
tensor of the logits' shape for backward.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

DiceForm = Literal["squared", "plain"]

IGNORE = 255
SMOOTH = 1e-5
EXCLUDED_LOGIT = -1e30


class SegmentationTerms(NamedTuple):
    """What one pass over the voxels yields.

    cross_entropy: scalar, mean over the annotated voxels.
    dice_loss: scalar, 1 - Dice averaged over the classes.
    dice: soft Dice coefficient of each class, (C,) or (G, C).
    """

    cross_entropy: Tensor
    dice_loss: Tensor
    dice: Tensor


def segmentation_loss(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    class_weights: Tensor | None = None,
    dice: DiceForm = "squared",
    ce_weight: float = 1.0,
    dice_weight: float = 1.0,
    ignore: int = IGNORE,
) -> Tensor:
    """`ce_weight * cross-entropy + dice_weight * (1 - Dice)`, a scalar; see `segmentation_terms`."""
    terms = segmentation_terms(
        logits, target, known, mask=mask, class_weights=class_weights, dice=dice, ignore=ignore
    )
    return ce_weight * terms.cross_entropy + dice_weight * terms.dice_loss


def segmentation_terms(
    logits: Tensor,
    target: Tensor,
    known: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    class_weights: Tensor | None = None,
    dice: DiceForm = "squared",
    ignore: int = IGNORE,
) -> SegmentationTerms:
    """Cross-entropy and soft Dice, background included, in float32 whatever the logits' precision.

    Dice of a class is `(2 sum(p y) + e) / (sum(p^2) + sum(y) + e)`, or with `sum(p)` in the plain form; the
    sums run over all voxels of the batch; a class without voxels and without predictions scores 1. A batch
    without any usable voxel yields exactly 0 and zero gradients.

    Args:
        logits: (B, C, D, H, W), or (B, G, C, D, H, W) for G heads, whose losses are averaged.
        target: (B, D, H, W) or (B, G, D, H, W), integer class indices, `ignore` where nothing is annotated.
        known: (B, C) or (B, G, C) bool, classes annotated in each sample. An unknown class leaves the
            sample's softmax, hence gets no gradient from it; its Dice sums over the other samples only.
        mask: shape of `target`, 0 or 1: the voxels to learn from, such as confident pseudo-labels. It masks
            all sums of Dice; cross-entropy is still divided by the number of all annotated voxels.
        class_weights: (C,), weights of the voxels in cross-entropy and of the classes in Dice. Both terms are
            weighted means, so that only the ratios of the weights matter; if all are 0, the loss is 0.
        dice: form of the Dice denominator.
        ignore: label value that takes part in nothing.
    """
    grouped = logits.dim() == 6
    if not grouped:
        logits, target = logits.unsqueeze(1), target.unsqueeze(1)
        known = None if known is None else known.unsqueeze(1)
        mask = None if mask is None else mask.unsqueeze(1)
    classes = logits.shape[2]
    dtype = _computing_dtype(logits)
    with torch.autocast(logits.device.type, enabled=False), torch.no_grad():
        # Rows of one slice each: bins per slice can be filled in parallel, and their float32 sums stay exact.
        label = target.flatten(3).long()
        valid = label != ignore
        label = label.masked_fill(~valid, 0)
        if known is not None:
            valid &= known.gather(2, label.flatten(2)).view_as(label)
        annotated = valid.to(dtype)
        used = annotated if mask is None else annotated * mask.flatten(3).to(dtype)
        weights = torch.ones(classes, dtype=dtype, device=logits.device)
        weight_of_voxel, normaliser = used, annotated
        if class_weights is not None:
            weights = class_weights.detach().to(logits.device, dtype)
            weight_of_label = weights[label]
            weight_of_voxel, normaliser = used * weight_of_label, annotated * weight_of_label
        volume = _class_sums(used, label, classes)
        # A class that no sample knows has no Dice to speak of.
        share = weights if known is None else weights * known.any(0).to(dtype)
        share = share.expand(volume.shape) / share.sum(-1, keepdim=True).clamp_min(1e-12)

    with torch.autocast(logits.device.type, enabled=False):
        ce_sum, overlap, predicted = _VoxelSums.apply(
            logits, label, known, used, weight_of_voxel, dice == "squared"
        )
        cross_entropy = ce_sum / normaliser.sum((0, 2, 3)).clamp_min(1e-12)
        coefficient = (2 * overlap + SMOOTH) / (predicted + volume + SMOOTH)
        dice_loss = (share * (1 - coefficient)).sum(-1)
    return SegmentationTerms(
        cross_entropy.mean(), dice_loss.mean(), coefficient if grouped else coefficient.squeeze(0)
    )


def _computing_dtype(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _class_sums(values: Tensor, label: Tensor, classes: int) -> Tensor:
    """Sums (G, C) over the voxels of each label of `values (B, G, D, H*W)`."""
    bins = values.new_zeros(*values.shape[:3], classes)
    return bins.scatter_add_(3, label, values).sum((0, 2))


class _VoxelSums(torch.autograd.Function):
    """The sums over voxels that carry gradient, with m the 0/1 mask and w the cross-entropy weights.

    `ce (G,) = -sum w log p_y`; `overlap (G, C) = sum m p_c [y = c]`; `predicted (G, C) = sum m p_c^2`, or of
    `m p_c` in the plain form.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, label: Tensor, known: Tensor | None, m: Tensor, w: Tensor, squared: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = logits.to(_computing_dtype(logits), memory_format=torch.contiguous_format).flatten(4)
        if known is not None:
            z = z.masked_fill(~known[..., None, None], EXCLUDED_LOGIT)
        p = F.log_softmax(z, dim=2)
        del z
        log_p_y = p.gather(2, label.unsqueeze(2)).squeeze(2)
        # From here on p is 0 outside the mask, so that no sum and no gradient below needs the mask again.
        p = p.exp_().mul_(m.unsqueeze(2))
        p_y = log_p_y.exp() * m
        ce = -(log_p_y * w).sum((0, 2, 3))
        overlap = _class_sums(p_y, label, p.shape[2])
        rows = p.flatten(3)
        predicted = torch.linalg.vector_norm(rows, dim=3).square() if squared else rows.sum(3)
        ctx.save_for_backward(p, label.to(torch.uint8), w)
        ctx.squared, ctx.shape = squared, logits.shape
        return ce, overlap, predicted.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        p, label, w = ctx.saved_tensors
        label = label.long()
        of_ce, of_overlap, of_predicted = gradients
        of_overlap = of_overlap[None, :, :, None].expand(*p.shape[:3], p.shape[4])
        at_label = of_overlap.gather(2, label) * p.gather(2, label.unsqueeze(2)).squeeze(2)
        # With g = d loss / d p of the Dice sums, d loss / d z = p * (g - sum_c p_c g_c); cross-entropy adds
        # w * (p - [c = y]). The buffer of g is used twice: allocating one costs more than filling it.
        slope = of_predicted[None, :, :, None, None] * (2 if ctx.squared else 1)
        g = p * slope
        mean = (g.mul_(p) if ctx.squared else g).sum(2).add_(at_label)
        pull = w * of_ce[:, None, None]
        rest = (pull - mean).unsqueeze(2)
        g = torch.addcmul(rest, p, slope, out=g) if ctx.squared else torch.add(rest, slope, out=g)
        g.mul_(p).scatter_add_(2, label.unsqueeze(2), (at_label - pull).unsqueeze(2))
        return g.view(ctx.shape), None, None, None, None, None

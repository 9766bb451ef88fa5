"""Cross-entropy and soft Dice of many heads against many label maps, without keeping the heads' logits.

Heads are 1x1x1 convolutions on one feature. Their softmax is computed in pieces of voxels that fit a cache,
once for the sums of the loss and once more for its gradient: memory does not grow with the number of heads.
All heads and label maps of a piece are handled together, by matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sslseg.losses.segmentation import IGNORE, SMOOTH

VOXELS_IN_CACHE = 2**13
VOXELS_ON_GPU = 2**18


def heads_loss(
    feature: Tensor,
    head: nn.Conv3d | None,
    labels: Tensor,
    class_of_label: Tensor,
    *,
    takes_part: Tensor | None = None,
    merged: Tensor | None = None,
    over_all_voxels: bool = False,
) -> Tensor:
    """`mean over heads of the sum over label maps of (cross-entropy + 1 - Dice)`, a scalar.

    Dice has squared denominators and sums over the batch, as in `segmentation_loss`.

    Args:
        feature: (B, F, D, H, W), or the logits (B, G * c, D, H, W) if `head` is None.
        head: 1x1x1 convolution from F to G * c channels: G heads of c classes each, head by head.
        labels: (B, T, D, H, W) uint8, T label maps with values 0..N-1; 255 takes part in nothing.
        class_of_label: (G, N) int64, what each head calls each label.
        takes_part: (B, G) bool, the heads that learn from a sample; None for all.
        merged: (B,) bool, samples in which classes 0 and 2 cannot be told apart: there a head learns only
            whether a voxel is of class 1. None for no sample.
        over_all_voxels: divide cross-entropy by the number of all voxels, not of those with a label.
    """
    heads = len(class_of_label)
    channels = feature.shape[1] if head is None else head.out_channels
    classes = torch.arange(channels // heads, device=feature.device)
    if takes_part is None:
        takes_part = torch.ones(len(feature), heads, dtype=torch.bool, device=feature.device)
    called = class_of_label.expand(len(feature), -1, -1)
    known = takes_part[:, :, None].expand(-1, -1, len(classes))
    if merged is not None:
        called = called.masked_fill(merged[:, None, None] & (called == 2), 0)
        known = known & ~(merged[:, None, None] & (classes == 2))
    # (B, G, c, N): in this sample, this label is this class of this head.
    table = ((called[:, :, None] == classes[:, None]) & takes_part[:, :, None, None]).float()

    weight, bias = (None, None) if head is None else (head.weight, head.bias)
    cross_entropy, overlap, predicted, volume = _Sums.apply(
        feature, weight, bias, _Targets(labels.flatten(2), table, known.float(), merged)
    )
    voxels = labels[:, 0].numel() if over_all_voxels else volume.sum((0, 2)).clamp_min(1)
    # A class that no sample knows has no Dice to speak of.
    share = known.any(0).float()
    share = share / share.sum(1, keepdim=True).clamp_min(1)
    coefficient = (2 * overlap + SMOOTH) / (predicted + volume + SMOOTH)
    return (cross_entropy / voxels + (share * (1 - coefficient)).sum((0, 2))).mean()


class _Targets(NamedTuple):
    """What the heads shall say: labels (B, T, V), table (B, G, c, N), known (B, G, c), merged (B,)."""

    labels: Tensor
    table: Tensor
    known: Tensor
    merged: Tensor | None


class _Sums(torch.autograd.Function):
    """Sums over voxels: `cross_entropy (G,)`, and `overlap`, `predicted`, `volume`, all `(T, G, c)`.

    With [t, c] the voxels of label map t that are of class c, and m the voxels with a label in t:
    `cross_entropy = -sum_t log p_[t]`, `overlap = sum p_c [t, c]`, `predicted = sum m p_c^2`,
    `volume = sum [t, c]`.
    """

    @staticmethod
    def forward(
        ctx: Any, feature: Tensor, weight: Tensor | None, bias: Tensor | None, targets: _Targets
    ) -> tuple[Tensor, ...]:
        _, heads, classes, names = targets.table.shape
        maps = targets.labels.shape[1]
        cross_entropy = feature.new_zeros(heads, dtype=torch.float32)
        overlap, predicted, volume = feature.new_zeros(3, maps, heads, classes, dtype=torch.float32)
        with torch.autocast(feature.device.type, enabled=False):
            for piece in _pieces(feature, weight, bias, targets):
                log_p = piece.log_p.flatten(0, 1)
                p = log_p.exp()
                hits = (p @ piece.member.flatten(0, 1).T).view(heads, classes, maps, names)
                overlap += torch.einsum("gctn,gcn->tgc", hits, piece.table)
                volume += torch.einsum("tn,gcn->tgc", piece.member.sum(2), piece.table)
                squares = (p.square_() @ piece.used.T).view(heads, classes, maps)
                predicted += torch.einsum("gct,gc->tgc", squares, piece.known)
                surprise = (log_p @ piece.member.sum(0).T).view(heads, classes, names)
                cross_entropy -= (surprise * piece.table).sum((1, 2))
        tensors = [feature, weight, bias, *targets]
        ctx.save_for_backward(*tensors)
        ctx.mark_non_differentiable(volume)
        return cross_entropy, overlap, predicted, volume

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        feature, weight, bias, *targets = ctx.saved_tensors
        of_ce, of_overlap, of_predicted, _ = gradients
        rows = feature.flatten(2)
        of_feature = torch.empty_like(rows)
        channels = targets[1].shape[1] * targets[1].shape[2]
        of_weight = rows.new_zeros(channels, rows.shape[1], dtype=torch.float32)
        of_bias = rows.new_zeros(channels, dtype=torch.float32)
        with torch.autocast(feature.device.type, enabled=False):
            for piece in _pieces(feature, weight, bias, _Targets(*targets)):
                of_logits = _gradient(piece, of_ce, of_overlap, of_predicted)
                into = of_feature[piece.sample, :, piece.voxels]
                if weight is None:
                    into.copy_(of_logits)
                    continue
                low = of_logits.to(feature.dtype)
                into.copy_(weight.flatten(1).to(feature.dtype).T @ low)
                of_weight += low @ rows[piece.sample, :, piece.voxels].T
                of_bias += of_logits.sum(1)
        return (
            of_feature.unflatten(2, feature.shape[2:]),
            None if weight is None else of_weight.view_as(weight),
            None if bias is None else of_bias,
            None,
        )


class _Piece(NamedTuple):
    """Some voxels v of one sample.

    Attributes:
        sample: its index.
        voxels: which of its voxels.
        log_softmax: (G, c, v), of the heads.
        log_p: the same with merged classes added up in class 0; class 2 is then without meaning.
        merged: None where nothing can be merged, else a scalar bool.
        member: (T, N, v) 0 or 1, the label of each voxel in each label map.
        used: (T, v) 0 or 1, whether it has one.
        table: (G, c, N) of the sample.
        known: (G, c) of the sample.
    """

    sample: int
    voxels: slice
    log_softmax: Tensor
    log_p: Tensor
    merged: Tensor | None
    member: Tensor
    used: Tensor
    table: Tensor
    known: Tensor


def _pieces(
    feature: Tensor, weight: Tensor | None, bias: Tensor | None, targets: _Targets
) -> Iterator[_Piece]:
    rows = feature.flatten(2)
    heads, classes, names = targets.table.shape[1:]
    label_values = torch.arange(names, dtype=torch.uint8, device=feature.device)[:, None]
    low_weight = None if weight is None else weight.flatten(1).to(feature.dtype)
    length = VOXELS_IN_CACHE if feature.device.type == "cpu" else VOXELS_ON_GPU
    for sample, labels in enumerate(targets.labels):
        merged = None if targets.merged is None else targets.merged[sample]
        # On a CPU a look costs nothing; another device would have to be waited for.
        if merged is not None and merged.device.type == "cpu" and not merged:
            merged = None
        for first in range(0, rows.shape[2], length):
            voxels = slice(first, first + length)
            x = rows[sample, :, voxels]
            logits = x.float() if low_weight is None else (low_weight @ x).float()
            if bias is not None:
                logits += bias.float()[:, None]
            log_softmax = logits.view(heads, classes, -1).log_softmax(1)
            here = labels[:, voxels]
            yield _Piece(
                sample,
                voxels,
                log_softmax,
                log_softmax if merged is None else _merge(log_softmax, merged),
                merged,
                (here[:, None] == label_values).float(),
                (here != IGNORE).float(),
                targets.table[sample],
                targets.known[sample],
            )


def _merge(log_softmax: Tensor, merged: Tensor) -> Tensor:
    background, target, rest = log_softmax.unbind(1)
    return torch.stack(
        [torch.where(merged, torch.logaddexp(background, rest), background), target, rest], dim=1
    )


def _gradient(piece: _Piece, of_ce: Tensor, of_overlap: Tensor, of_predicted: Tensor) -> Tensor:
    """The gradient for the logits, (G * c, v)."""
    shape = piece.log_p.shape
    p = piece.log_p.exp()
    # For p_c: from the overlap, and from the squares.
    for_member = (of_overlap.permute(1, 2, 0)[..., None] * piece.table[:, :, None]).flatten(2).flatten(0, 1)
    for_used = (of_predicted.permute(1, 2, 0) * (2 * piece.known)[..., None]).flatten(0, 1)
    gradient = (for_used @ piece.used).view(shape).mul_(p)
    gradient += (for_member @ piece.member.flatten(0, 1)).view(shape)
    # For log p_c, where cross-entropy comes in.
    gradient *= p
    for_labels = (of_ce[:, None, None] * piece.table).flatten(0, 1)
    gradient -= (for_labels @ piece.member.sum(0)).view(shape)
    if piece.merged is not None:
        of_sum = gradient[:, 0].clone()
        gradient[:, 0] *= (piece.log_softmax[:, 0] - piece.log_p[:, 0]).exp()
        of_rest = of_sum * (piece.log_softmax[:, 2] - piece.log_p[:, 0]).exp()
        gradient[:, 2] = torch.where(piece.merged, of_rest, gradient[:, 2])
        p = piece.log_softmax.exp()
    # Through the softmax.
    gradient -= p.mul_(gradient.sum(1, keepdim=True))
    return gradient.flatten(0, 1)

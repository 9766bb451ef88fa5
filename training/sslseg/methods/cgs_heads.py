"""The specialist heads of CGS, the relabelling that defines them, and their loss."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sslseg.losses.linear_heads import heads_loss
from sslseg.networks.base import SegmentationNetwork, Stride, initialise

SpecialistHead = Literal["shared", "paper"]
SPECIALIST_CLASSES = 3
"""Background, the specialist's own organ, any other organ."""


def relabelling(organs: int) -> Tensor:
    """phi as a table (K, K+1) int64: phi_k(y) = 0 for background, 1 for organ k, 2 for any other organ."""
    labels = torch.arange(organs + 1)
    return torch.where(labels == 0, 0, torch.where(labels == torch.arange(1, organs + 1)[:, None], 1, 2))


class Specialists(nn.Module):
    """K heads of three classes on the feature that the generalist reads.

    "shared" has one hidden layer for all, so that another organ costs three output channels; "paper" gives
    each its own 1x1x1 convolution, normalisation, LeakyReLU and 3x3x3 convolution (in-plane where the network
    never downsamples through the slices). Neither has a loop: the K hidden layers of the paper lie side by
    side in one convolution, and the output layers are the groups of another.

    Args:
        network: where the feature comes from.
        organs: K.
        kind: which heads.
    """

    phi: Tensor

    def __init__(self, network: SegmentationNetwork, organs: int, kind: SpecialistHead) -> None:
        super().__init__()
        self.organs = organs
        self.kind = kind
        self.register_buffer("phi", relabelling(organs), persistent=False)
        width = network.feature_channels
        outputs = SPECIALIST_CLASSES * organs
        if kind == "shared":
            hidden = width
            self.output = nn.Conv3d(width, outputs, 1)
        else:
            hidden = width * organs
            kernel = _kernel(network.stride)
            self.output = nn.Conv3d(hidden, outputs, kernel, padding="same", groups=organs)
        self.hidden = nn.Sequential(
            nn.Conv3d(width, hidden, 1), nn.BatchNorm3d(hidden), nn.LeakyReLU(inplace=True)
        )
        initialise(self, "kaiming")

    def read(self, feature: Tensor) -> Tensor:
        """What `loss` wants, `(B, ?, D, H, W)`, of `feature (B, F, D, H, W)`."""
        hidden = self.hidden(feature)
        return hidden if self.kind == "shared" else self.output(hidden)

    def forward(self, feature: Tensor) -> Tensor:
        """Logits `(B, K, 3, D, H, W)` of `feature (B, F, D, H, W)`."""
        return self.output(self.hidden(feature)).unflatten(1, (self.organs, SPECIALIST_CLASSES))

    def loss(self, read: Tensor, labels: Tensor, known: Tensor | None = None) -> Tensor:
        """`(1/K) sum_k sum over label maps of L(s_k, phi_k(y))`.

        In a case that lacks the annotation of organ k, specialist k takes part in nothing. Background and
        "other organ" cannot be told apart in such a case, so the other specialists learn from it only where
        their own organ is: the probabilities of their two other classes count as one.

        Args:
            read: what `read` gave.
            labels: `(B, T, D, H, W)` uint8 label maps; 255 takes part in nothing.
            known: `(B, K+1)` bool, the annotated classes; None for pseudo-labels, which have all, and whose
                cross-entropy is averaged over all voxels.
        """
        output = self.output if self.kind == "shared" else None
        if known is None:
            return heads_loss(read, output, labels, self.phi, over_all_voxels=True)
        merged = ~known.all(dim=1)
        return heads_loss(read, output, labels, self.phi, takes_part=known[:, 1:], merged=merged)


def _kernel(stride: Stride) -> tuple[int, int, int]:
    z, y, x = (3 if step > 1 else 1 for step in stride)
    return z, y, x

"""What every segmentation network of the project offers, whoever wrote its layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from sslseg.contract.errors import SSLSegError

Stride = tuple[int, int, int]
Initialisation = Literal["kaiming", "xavier"]
Normalisation = Literal["batch", "instance", "group"]


@dataclass(frozen=True)
class NetworkSpec:
    """What rebuilds a network: `build_network(name, **options)`."""

    name: str
    options: dict[str, Any]


class SegmentationNetwork(nn.Module):
    """An encoder-decoder that ends in a 1x1x1 convolution.

    A subclass implements `features`; `forward` is its last level through `head`. Methods that add heads of
    their own or compare decoder levels call `features` once and apply `head` themselves: nothing runs twice.

    Attributes:
        head: the 1x1x1 convolution from `feature_channels` to the C classes.
        level_channels: channels of what `features` returns, coarsest level first.
        strides: downsampling factors (z, y, x) of each encoder level, finest first.
        stride: their product; the sides of a patch must be multiples of it.
        spec: what rebuilds the network; set by `build_network`.
    """

    spec: NetworkSpec

    def __init__(
        self, *, in_channels: int, out_channels: int, level_channels: Sequence[int], strides: Sequence[Stride]
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.level_channels = tuple(level_channels)
        self.strides = tuple(strides)
        self.stride = total_stride(strides)
        self.head = nn.Conv3d(self.level_channels[-1], out_channels, kernel_size=1)

    @property
    def feature_channels(self) -> int:
        """Channels F of the full-resolution feature that `head` consumes."""
        return self.level_channels[-1]

    def features(self, x: Tensor) -> list[Tensor]:
        """Decoder levels of `x (B, in_channels, D, H, W)`, coarse to fine, down to `f (B, F, D, H, W)`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(B, C, D, H, W)` of `x (B, in_channels, D, H, W)`."""
        return self.head(self.features(x)[-1])

    def check_patch(self, patch_size: Sequence[int]) -> None:
        """Raise SSLSegError unless a patch (z, y, x) in voxels fits the network's strides."""
        cells = [side / step for side, step in zip(patch_size, self.stride, strict=True)]
        if any(cell < 1 or cell != int(cell) for cell in cells):
            raise SSLSegError(
                f"The patch {tuple(patch_size)} does not fit the network",
                remedy=f"Its sides (z, y, x) must be multiples of {self.stride}.",
            )
        if max(cells) == 1:
            raise SSLSegError(
                f"The patch {tuple(patch_size)} shrinks to a single voxel inside the network",
                remedy="Choose a larger patch or fewer levels.",
            )


def total_stride(strides: Sequence[Stride]) -> Stride:
    """Product of the levels' strides, axis by axis."""
    z, y, x = (math.prod(factors) for factors in zip(*strides, strict=True))
    return z, y, x


def normalisation(kind: Normalisation, channels: int) -> nn.Module:
    """Affine normalisation layer of `channels`; groups hold at least two channels and are at most eight."""
    if kind == "batch":
        return nn.BatchNorm3d(channels)
    if kind == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    return nn.GroupNorm(min(8, max(1, channels // 2)), channels)


def initialise(network: nn.Module, kind: Initialisation) -> None:
    """Draw all convolution weights anew, normal, after He (2015) or Glorot (2010); biases become 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            if kind == "kaiming":
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            else:
                nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

"""A 3D ResNet-34 encoder under the V-Net decoder: the second architecture of two-network methods."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.contract.errors import SSLSegError
from sslseg.networks.base import Normalisation, SegmentationNetwork, Stride, normalisation
from sslseg.networks.vnet import VNetDecoder

BLOCKS = (3, 4, 6, 3)


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a shortcut, a 1x1x1 convolution where the shape changes (He 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: Stride, norm: Normalisation) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            normalisation(norm, out_channels),
            nn.ReLU(inplace=True),
            nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
            normalisation(norm, out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels or stride != (1, 1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride=stride, bias=False),
                normalisation(norm, out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.residual(x) + self.shortcut(x))


class ResNet34VNet(SegmentationNetwork):
    """7x7x7 stem at full resolution, 3, 4, 6, 3 BasicBlocks each starting with its stride, V-Net decoder.

    17,930,354 parameters with 16 filters, 1 input and 2 classes; decoder levels have the channels of `VNet`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        strides: Sequence[Stride],
        filters: int = 16,
        norm: Normalisation = "batch",
        dropout: float = 0.5,
    ) -> None:
        if len(strides) > len(BLOCKS):
            raise SSLSegError(
                f"resnet34_vnet has {len(BLOCKS)} levels, not {len(strides)}",
                remedy="Use fewer levels or the network vnet.",
            )
        channels = [filters * 2**level for level in range(len(strides) + 1)]
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            level_channels=channels[-2::-1],
            strides=strides,
        )
        self.stem = nn.Sequential(
            nn.Conv3d(in_channels, filters, 7, padding=3, bias=False),
            normalisation(norm, filters),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList()
        for level, stride in enumerate(strides):
            coarse = channels[level + 1]
            first = BasicBlock(channels[level], coarse, stride, norm)
            rest = [BasicBlock(coarse, coarse, (1, 1, 1), norm) for _ in range(BLOCKS[level] - 1)]
            self.stages.append(nn.Sequential(first, *rest))
        self.decoder = VNetDecoder(channels=channels, strides=strides, norm=norm, dropout=dropout)

    def features(self, x: Tensor) -> list[Tensor]:
        encoded = [self.stem(x)]
        for stage in self.stages:
            encoded.append(stage(encoded[-1]))
        return self.decoder(encoded)

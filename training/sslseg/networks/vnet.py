"""V-Net in the form the semi-supervised field compares on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sslseg.networks.base import Normalisation, SegmentationNetwork, Stride, normalisation


def convolutions(count: int, in_channels: int, out_channels: int, norm: Normalisation) -> nn.Sequential:
    """`count` times 3x3x3 convolution, normalisation, ReLU."""
    layers: list[nn.Module] = []
    for index in range(count):
        first = in_channels if index == 0 else out_channels
        layers += [nn.Conv3d(first, out_channels, 3, padding=1), *_activated(out_channels, norm)]
    return nn.Sequential(*layers)


def _activated(channels: int, norm: Normalisation) -> tuple[nn.Module, nn.Module]:
    return normalisation(norm, channels), nn.ReLU(inplace=True)


def _convolution_count(level: int) -> int:
    """1, 2, 3, 3, 3 convolutions from the full resolution down, the same in the decoder."""
    return min(level + 1, 3)


class VNetDecoder(nn.Module):
    """Transposed convolutions, additive skips and 3, 3, 2, 1 convolutions, between two dropout layers."""

    def __init__(
        self, *, channels: Sequence[int], strides: Sequence[Stride], norm: Normalisation, dropout: float
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout3d(dropout) if dropout else nn.Identity()
        self.ups = nn.ModuleList()
        self.blocks = nn.ModuleList()
        for level in reversed(range(len(strides))):
            coarse, fine = channels[level + 1], channels[level]
            up = nn.ConvTranspose3d(coarse, fine, strides[level], stride=strides[level])
            self.ups.append(nn.Sequential(up, *_activated(fine, norm)))
            self.blocks.append(convolutions(_convolution_count(level), fine, fine, norm))

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        """Decoder levels, coarse to fine, of the encoder's levels, fine to coarse."""
        x = self.dropout(encoded[-1])
        levels = []
        for up, block, skip in zip(self.ups, self.blocks, reversed(encoded[:-1]), strict=True):
            x = block(up(x) + skip)
            levels.append(x)
        levels[-1] = self.dropout(levels[-1])
        return levels


class VNet(SegmentationNetwork):
    """V-Net (Milletari 2016) as UA-MT (Yu 2019) published it: no residuals inside a stage, BatchNorm, ReLU.

    9,448,866 parameters with 16 filters, 1 input and 2 classes.
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
        channels = [filters * 2**level for level in range(len(strides) + 1)]
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            level_channels=channels[-2::-1],
            strides=strides,
        )
        self.downs = nn.ModuleList([nn.Identity()])
        self.blocks = nn.ModuleList([convolutions(1, in_channels, filters, norm)])
        for level, stride in enumerate(strides, start=1):
            down = nn.Conv3d(channels[level - 1], channels[level], stride, stride=stride)
            self.downs.append(nn.Sequential(down, *_activated(channels[level], norm)))
            self.blocks.append(
                convolutions(_convolution_count(level), channels[level], channels[level], norm)
            )
        self.decoder = VNetDecoder(channels=channels, strides=strides, norm=norm, dropout=dropout)

    def features(self, x: Tensor) -> list[Tensor]:
        encoded = []
        for down, block in zip(self.downs, self.blocks, strict=True):
            x = block(down(x))
            encoded.append(x)
        return self.decoder(encoded)

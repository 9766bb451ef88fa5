"""MONAI's networks behind the interface of `SegmentationNetwork`.

Each class builds MONAI's network, takes its blocks and walks them itself: the decoder levels are at hand and
MONAI's output layer gives way to `head`. MONAI takes seconds to import, hence the imports inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslseg.contract.errors import SSLSegError
from sslseg.networks.base import Normalisation, SegmentationNetwork, Stride

_NORMS: dict[Normalisation, tuple[str, dict[str, Any]]] = {
    "batch": ("BATCH", {}),
    "instance": ("INSTANCE", {"affine": True}),
    "group": ("GROUP", {"num_groups": 8}),
}


class MonaiUNet(SegmentationNetwork):
    """MONAI's residual U-Net (Kerfoot 2018): strided convolutions, 2 residual units a level.

    Little of it runs at full resolution (the finest skip is at half of it), which makes it faster than a
    V-Net of the same width. The full-resolution feature has a channel for each class and at least 8.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        strides: Sequence[Stride],
        filters: int = 16,
        norm: Normalisation = "batch",
        dropout: float = 0.0,
    ) -> None:
        from monai.networks.nets import UNet

        channels = [filters * 2**level for level in range(len(strides) + 1)]
        feature_channels = max(8, out_channels)
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            # A block of MONAI's decoder ends in the width of the next finer level.
            level_channels=[*channels[: len(strides) - 1][::-1], feature_channels],
            strides=strides,
        )
        block = UNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=feature_channels,
            channels=channels,
            strides=strides,
            num_res_units=2,
            norm=_NORMS[norm],
            dropout=dropout,
        ).model
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()
        for _ in strides:
            down, skip_connection, up = block
            self.downs.append(down)
            self.ups.insert(0, up)
            block = skip_connection.submodule
        self.bottom = block

    def features(self, x: Tensor) -> list[Tensor]:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.bottom(x)
        levels = []
        for up in self.ups:
            x = up(torch.cat([skips.pop(), x], dim=1))
            levels.append(x)
        return levels


class MonaiDynUNet(SegmentationNetwork):
    """MONAI's DynUNet, the plain U-Net of nnU-Net (Isensee 2021): at most 320 channels."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        strides: Sequence[Stride],
        filters: int = 32,
        norm: Normalisation = "instance",
        dropout: float = 0.0,
    ) -> None:
        from monai.networks.nets import DynUNet

        if len(strides) < 2:
            raise SSLSegError("dynunet needs at least two downsampling levels", remedy="Use a larger patch.")
        channels = [min(filters * 2**level, 320) for level in range(len(strides) + 1)]
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            level_channels=channels[-2::-1],
            strides=strides,
        )
        network = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[3] * (len(strides) + 1),
            strides=[(1, 1, 1), *strides],
            upsample_kernel_size=strides,
            filters=channels,
            norm_name=_NORMS[norm],
            dropout=dropout or None,
        )
        self.downs = nn.ModuleList([network.input_block, *network.downsamples])
        self.bottom = network.bottleneck
        self.ups = network.upsamples

    def features(self, x: Tensor) -> list[Tensor]:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.bottom(x)
        levels = []
        for up in self.ups:
            x = up(x, skips.pop())
            levels.append(x)
        return levels


class MonaiSegResNet(SegmentationNetwork):
    """MONAI's SegResNet (Myronenko 2018) without its autoencoder; halves all three axes at every level."""

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        strides: Sequence[Stride],
        filters: int = 16,
        norm: Normalisation = "group",
        dropout: float = 0.0,
    ) -> None:
        from monai.networks.nets import SegResNet

        if any(stride != (2, 2, 2) for stride in strides):
            raise SSLSegError(
                "segresnet halves all axes at every level, so it cannot follow anisotropic strides",
                remedy="Choose the network vnet, unet or dynunet, or an isotropic spacing.",
            )
        channels = [filters * 2**level for level in range(len(strides))]
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            level_channels=channels[::-1],
            strides=strides,
        )
        self.network = SegResNet(
            init_filters=filters,
            in_channels=in_channels,
            norm=_NORMS[norm],
            blocks_down=(1, 2, 2, 4, 4, 4, 4)[: len(strides) + 1],
            blocks_up=(1,) * len(strides),
            dropout_prob=dropout or None,
        )
        del self.network.conv_final[2]

    def features(self, x: Tensor) -> list[Tensor]:
        x, skips = self.network.encode(x)
        skips.pop()
        levels = []
        for up, block in zip(self.network.up_samples, self.network.up_layers, strict=True):
            x = block(up(x) + skips.pop())
            levels.append(x)
        levels[-1] = self.network.conv_final(x)
        return levels

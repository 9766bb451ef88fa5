"""A 3D convolution that oneDNN's bfloat16 kernels cannot corrupt."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SafeConv3d(nn.Conv3d):
    """nn.Conv3d that computes in float32 on the CPU where the image is thinner than the kernel.

    There oneDNN's bfloat16 weight gradient (torch 2.13, AVX-512, for example depth 2 under a 3x3x3 kernel)
    leaves its buffers: gradients become garbage or NaN, and with 7x7x7 kernels the process dies. Deep levels
    of ordinary patches are that thin, and too small for the precision to cost time.
    """

    def forward(self, x: Tensor) -> Tensor:
        thin = any(side < kernel for side, kernel in zip(x.shape[2:], self.kernel_size, strict=True))
        if thin and x.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        return super().forward(x)


def make_convolutions_safe(network: nn.Module) -> None:
    """Turn each nn.Conv3d of `network`, whoever built it, into a SafeConv3d with the same weights."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            # The class alone differs, and unlike a patched method it survives deepcopy.
            module.__class__ = SafeConv3d

"""Batch normalisation folded into the convolutions, for prediction."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sslseg.networks.base import SegmentationNetwork


def fold_batch_norm(network: SegmentationNetwork) -> SegmentationNetwork:
    """A copy in eval mode in which each BatchNorm that directly follows a convolution is part of it.

    Logits agree with the network's in eval mode up to rounding. Only neighbours inside (nested) sequences are
    folded: there the order of the layers is the order of the computation. Other normalisations stay.
    """
    folded = copy.deepcopy(network).eval()
    sequences = [module for module in folded.modules() if isinstance(module, nn.Sequential)]
    for sequence in sequences:
        for (conv_parent, conv_name), (norm_parent, norm_name) in pairwise(list(_chain(sequence))):
            conv, norm = conv_parent[conv_name], norm_parent[norm_name]
            if isinstance(conv, nn.Conv3d | nn.ConvTranspose3d) and isinstance(norm, nn.BatchNorm3d):
                transposed = isinstance(conv, nn.ConvTranspose3d)
                conv_parent[conv_name] = fuse_conv_bn_eval(conv, norm, transpose=transposed)
                norm_parent[norm_name] = nn.Identity()
    return folded


def _chain(sequence: nn.Sequential) -> Iterator[tuple[dict[str, nn.Module], str]]:
    """The layers of nested sequences in the order they run, each as (mapping that holds it, its name)."""
    for name, module in sequence._modules.items():
        if isinstance(module, nn.Sequential):
            yield from _chain(module)
        elif module is not None:
            yield sequence._modules, name

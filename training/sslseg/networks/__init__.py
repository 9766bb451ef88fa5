"""Segmentation networks by name. Importing this package loads neither torch nor MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sslseg.contract.errors import SSLSegError

if TYPE_CHECKING:
    from sslseg.networks.base import Initialisation, Normalisation, SegmentationNetwork, Stride

NETWORKS = {
    "vnet": "V-Net with 16 filters, the network of the field's comparisons",
    "resnet34_vnet": "3D ResNet-34 encoder with the V-Net decoder, partner of vnet in two-network methods",
    "unet": "MONAI's residual U-Net, the fastest",
    "dynunet": "MONAI's DynUNet, the U-Net of nnU-Net: most capacity, slowest on a CPU",
    "segresnet": "MONAI's SegResNet, isotropic spacing only",
}
NETWORK_NAMES = tuple(NETWORKS)
DEFAULT_STRIDES: tuple[Stride, ...] = ((2, 2, 2),) * 4

_CLASSES = {
    "vnet": ("vnet", "VNet"),
    "resnet34_vnet": ("resnet34_vnet", "ResNet34VNet"),
    "unet": ("monai_networks", "MonaiUNet"),
    "dynunet": ("monai_networks", "MonaiDynUNet"),
    "segresnet": ("monai_networks", "MonaiSegResNet"),
}


def build_network(
    name: str,
    *,
    in_channels: int = 1,
    out_channels: int,
    strides: Sequence[Sequence[int]] = DEFAULT_STRIDES,
    filters: int | None = None,
    norm: Normalisation | None = None,
    dropout: float | None = None,
    init: Initialisation = "kaiming",
) -> SegmentationNetwork:
    """A freshly initialised network; its weights are drawn from torch's global generator.

    Args:
        name: one of `NETWORK_NAMES`.
        in_channels: image channels.
        out_channels: classes C, background included.
        strides: downsampling (z, y, x) of each level, finest first; (1, 2, 2) spares a thick axis.
        filters: channels at full resolution, doubled at each level; None is the network's published width.
        norm: "batch", "instance" or "group"; None is the network's published choice.
        dropout: probability between 0 and 1; None is the network's published value.
        init: distribution of the initial weights, "kaiming" or "xavier".

    Raises:
        SSLSegError: unknown name or option value, or strides the network cannot follow.
    """
    _one_of("network", name, NETWORK_NAMES)
    _one_of("initialisation", init, ("kaiming", "xavier"))
    levels = [tuple(int(factor) for factor in stride) for stride in strides]
    if not 1 <= len(levels) <= 6 or any(len(level) != 3 or not set(level) <= {1, 2} for level in levels):
        raise SSLSegError(
            f"The strides {levels} are not one to six triples (z, y, x) of ones and twos",
            remedy="Use for example (2, 2, 2) per level.",
        )
    options: dict[str, Any] = {"filters": filters, "norm": norm, "dropout": dropout}
    options = {key: value for key, value in options.items() if value is not None}
    if "norm" in options:
        _one_of("normalisation", options["norm"], ("batch", "instance", "group"))
    if not 0 <= options.get("dropout", 0) < 1:
        raise SSLSegError(f"The dropout {dropout} is not a probability below 1", remedy="Use 0 to 0.9.")

    from sslseg.networks.base import NetworkSpec, initialise
    from sslseg.networks.convolution import make_convolutions_safe

    module, class_name = _CLASSES[name]
    network_class = getattr(import_module(f".{module}", __package__), class_name)
    network = network_class(in_channels=in_channels, out_channels=out_channels, strides=levels, **options)
    initialise(network, init)
    make_convolutions_safe(network)
    # The initial weights are no part of what the network is: a saved model brings its own.
    shape = {
        "in_channels": in_channels,
        "out_channels": out_channels,
        "strides": [list(level) for level in levels],
    }
    network.spec = NetworkSpec(name, shape | options)
    return network


def _one_of(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise SSLSegError(f"There is no {what} '{value}'", remedy=f"Choose one of: {', '.join(allowed)}.")

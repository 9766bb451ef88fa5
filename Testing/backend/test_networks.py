from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch

from sslseg.contract.errors import SSLSegError
from sslseg.networks import DEFAULT_STRIDES, NETWORK_NAMES, build_network
from sslseg.networks.folding import fold_batch_norm

THICK_SLICES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
CHANNELS_LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def small(name: str, **options):
    """A network of the given kind that runs in milliseconds."""
    return build_network(name, **{"out_channels": 3, "filters": 8, **options})


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "count"), [("vnet", 9_448_866), ("resnet34_vnet", 17_930_354)])
def test_has_the_published_number_of_parameters(name: str, count: int):
    assert parameters(build_network(name, out_channels=2)) == count


def test_the_vnet_grows_by_its_head_only_with_more_classes():
    assert parameters(build_network("vnet", out_channels=14)) == 9_448_866 + 12 * 17


@pytest.mark.parametrize("name", NETWORK_NAMES)
@pytest.mark.parametrize("patch", [(32, 32, 32), (16, 48, 32)])
def test_logits_are_the_head_of_the_last_decoder_level(name: str, patch: tuple[int, int, int]):
    network = small(name, in_channels=2).eval()
    x = torch.rand(1, 2, *patch)
    with torch.no_grad():
        levels = network.features(x)
        logits = network(x)
    assert logits.shape == (1, 3, *patch)
    assert torch.equal(logits, network.head(levels[-1]))
    assert tuple(level.shape[1] for level in levels) == network.level_channels
    assert network.level_channels[-1] == network.feature_channels == network.head.in_channels


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_four_decoder_levels_double_in_resolution(name: str):
    network = small(name)
    with torch.no_grad():
        levels = network.features(torch.rand(2, 1, 32, 32, 32))
    assert [tuple(level.shape[2:]) for level in levels] == [(side,) * 3 for side in (4, 8, 16, 32)]
    assert network.stride == (16, 16, 16)


def test_the_two_architectures_have_the_same_decoder_channels():
    first, second = (build_network(name, out_channels=2) for name in ("vnet", "resnet34_vnet"))
    assert first.level_channels == second.level_channels == (128, 64, 32, 16)


@pytest.mark.parametrize("name", [name for name in NETWORK_NAMES if name != "segresnet"])
def test_spares_the_axis_of_thick_slices(name: str):
    network = small(name, strides=THICK_SLICES)
    assert network.stride == (4, 8, 8)
    with torch.no_grad():
        levels = network.features(torch.rand(2, 1, 8, 32, 32))
    assert [tuple(level.shape[2:]) for level in levels] == [(4, 8, 8), (8, 16, 16), (8, 32, 32)]


def test_segresnet_refuses_anisotropic_strides():
    with pytest.raises(SSLSegError, match="anisotropic"):
        small("segresnet", strides=THICK_SLICES)


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_every_weight_learns(name: str):
    network = small(name, strides=DEFAULT_STRIDES[:3], dropout=0.1)
    network(torch.rand(2, 1, 16, 16, 16)).square().mean().backward()
    idle = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert idle == []


@pytest.mark.parametrize("name", ["vnet", "resnet34_vnet", "unet", "segresnet"])
def test_keeps_channels_last_under_bfloat16(name: str):
    network = small(name).to(memory_format=CHANNELS_LAST)
    x = torch.rand(2, 1, 32, 32, 32).to(memory_format=CHANNELS_LAST)
    with torch.autocast("cpu", torch.bfloat16):
        levels = network.features(x)
        logits = network.head(levels[-1])
    for tensor in (*levels, logits):
        assert tensor.dtype == torch.bfloat16
        assert tensor.is_contiguous(memory_format=CHANNELS_LAST)
    logits.float().square().mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


@pytest.mark.parametrize("norm", ["batch", "instance", "group"])
@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_normalisation_is_a_choice(name: str, norm: str):
    kinds = {
        "batch": torch.nn.BatchNorm3d,
        "instance": torch.nn.InstanceNorm3d,
        "group": torch.nn.GroupNorm,
    }
    modules = list(small(name, norm=norm, strides=DEFAULT_STRIDES[:2]).modules())
    present = {key for key, kind in kinds.items() if any(isinstance(module, kind) for module in modules)}
    assert present == {norm}


def test_dropout_randomises_training_only_and_can_be_switched_off():
    x = torch.rand(2, 1, 16, 16, 16)
    published = small("vnet", strides=DEFAULT_STRIDES[:2])
    assert not torch.equal(published(x), published(x))
    assert torch.equal(published.eval()(x), published(x))
    without = small("vnet", strides=DEFAULT_STRIDES[:2], dropout=0.0)
    assert torch.equal(without(x), without(x))


def test_initial_weights_follow_their_distribution():
    deviations = {}
    for init in ("kaiming", "xavier"):
        network = build_network("vnet", out_channels=2, init=init)
        conv = network.blocks[3][3]
        assert conv.weight.shape == (128, 128, 3, 3, 3)
        assert torch.count_nonzero(conv.bias) == 0
        deviations[init] = conv.weight.std().item()
    fan = 128 * 27
    assert deviations["kaiming"] == pytest.approx((2 / fan) ** 0.5, rel=0.02)
    assert deviations["xavier"] == pytest.approx((1 / fan) ** 0.5, rel=0.02)


def test_one_seed_gives_one_network():
    pair = []
    for _ in range(2):
        torch.manual_seed(7)
        pair.append(small("unet"))
    first, second = (network.state_dict() for network in pair)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "side"), [*((name, 2) for name in NETWORK_NAMES), ("resnet34_vnet", 3), ("resnet34_vnet", 5)]
)
def test_weight_gradients_in_bfloat16_are_right_where_the_image_is_thin(name: str, side: int):
    network = small(name, strides=DEFAULT_STRIDES[:2], filters=16)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)]
    conv = max(convolutions, key=lambda module: module.kernel_size)
    assert max(conv.kernel_size) > side
    x = torch.randn(2, conv.in_channels, side, 8, 8)
    gradients = []
    for enabled in (False, True):
        # Freed memory full of NaN shows a kernel that reads what it never wrote.
        poison = [torch.full((2**power,), torch.nan) for power in range(6, 20) for _ in range(24)]
        del poison
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out = conv(x)
        conv.zero_grad()
        out.float().square().sum().backward()
        gradients.append(conv.weight.grad.clone())
    exact, rounded = gradients
    assert (rounded - exact).norm() < 0.05 * exact.norm()


def test_the_safe_convolution_survives_copying():
    network = small("unet", strides=DEFAULT_STRIDES[:2])
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert torch.count_nonzero(twin(torch.rand(1, 1, 8, 8, 8))) == 0


@pytest.mark.parametrize("strides", [DEFAULT_STRIDES, THICK_SLICES])
@pytest.mark.parametrize("name", ["vnet", "resnet34_vnet", "unet"])
def test_folded_batch_norm_gives_the_same_logits(name: str, strides):
    network = small(name, strides=strides)
    for _ in range(3):  # moves the running statistics away from 0 and 1
        network(torch.rand(2, 1, 16, 32, 32))
    folded = fold_batch_norm(network)
    assert sum(isinstance(module, torch.nn.BatchNorm3d) for module in folded.modules()) == 0
    assert network.training
    assert not folded.training
    network.eval()
    x = torch.rand(1, 1, 16, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network(x), atol=1e-4, rtol=1e-4)


def test_folding_leaves_other_normalisations_alone():
    network = small("segresnet", strides=DEFAULT_STRIDES[:2]).eval()
    x = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(fold_batch_norm(network)(x), network(x))


@pytest.mark.parametrize("patch", [(32, 32, 24), (8, 32, 32), (0, 16, 16), (16, 16, 16)])
def test_refuses_a_patch_that_does_not_fit(patch: tuple[int, int, int]):
    network = small("vnet")
    network.check_patch((16, 128, 128))
    with pytest.raises(SSLSegError, match="patch"):
        network.check_patch(patch)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("u-net", {}, "no network 'u-net'.*vnet, resnet34_vnet"),
        ("vnet", {"init": "zeros"}, "no initialisation"),
        ("vnet", {"norm": "layer"}, "no normalisation"),
        ("vnet", {"dropout": 1.0}, "dropout"),
        ("vnet", {"strides": ()}, "strides"),
        ("vnet", {"strides": ((2, 2),)}, "strides"),
        ("vnet", {"strides": ((3, 2, 2),)}, "strides"),
        ("resnet34_vnet", {"strides": ((2, 2, 2),) * 5}, "4 levels"),
        ("dynunet", {"strides": ((2, 2, 2),)}, "two"),
    ],
)
def test_refuses_what_it_cannot_build(name: str, options: dict, message: str):
    with pytest.raises(SSLSegError, match=message):
        small(name, **options)


def test_listing_the_networks_loads_neither_torch_nor_monai():
    code = "import sys, sslseg.networks; assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_vnet_needs_no_monai():
    code = (
        "import sys; from sslseg.networks import build_network; build_network('vnet', out_channels=2);"
        "assert 'monai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

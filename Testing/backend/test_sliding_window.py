"""The sliding window against plain references: one pass over everything, sums over whole volumes, MONAI."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sslseg.inference import sliding_window as module
from sslseg.inference.sliding_window import (
    Ensemble,
    most_probable,
    segment_patch_grid,
    sliding_window,
    window_starts,
)
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork

CPU = torch.device("cpu")
CLASSES = 3


class Pointwise(SegmentationNetwork):
    """Looks at one voxel at a time, so that its output depends on no window."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=CLASSES, level_channels=[1], strides=[(1, 1, 1)])
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([-4.0, 1.0, 3.0]).reshape(CLASSES, 1, 1, 1, 1))
            self.head.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]


def a_network(seed: int = 0, name: str = "vnet") -> SegmentationNetwork:
    """Small, with statistics of normalisation that are not the trivial ones."""
    torch.manual_seed(seed)
    network = build_network(name, out_channels=CLASSES, strides=((2, 2, 2), (2, 2, 2)), filters=4)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    return network


def an_image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 1, shape).astype(np.float32)


def whole(
    networks: list[SegmentationNetwork], image: np.ndarray, window: tuple[int, int, int], **options
) -> Tensor:
    """The slabs of a volume put together, (Z, C, Y, X)."""
    ensemble = Ensemble(networks, CPU, bfloat16=options.pop("bfloat16", False))
    slabs = [
        (slab.start, slab.probabilities.clone())
        for slab in sliding_window(ensemble, image, window, **options)
    ]
    assert [start for start, _ in slabs] == np.cumsum([0] + [len(p) for _, p in slabs[:-1]]).tolist()
    return torch.cat([probabilities for _, probabilities in slabs])


def directly(network: SegmentationNetwork, image: np.ndarray) -> Tensor:
    """One pass over the whole volume, (Z, C, Y, X)."""
    with torch.no_grad():
        return network.eval()(torch.from_numpy(image)[None, None]).softmax(1)[0].transpose(0, 1)


@given(st.integers(1, 300), st.integers(1, 96), st.floats(0, 0.9))
def test_windows_cover_an_axis_and_end_flush(length: int, window: int, overlap: float) -> None:
    starts = window_starts(length, window, overlap)
    if length <= window:
        assert starts == [0]
        return
    assert starts[0] == 0
    assert starts[-1] + window == length
    steps = np.diff(starts)
    assert (steps >= 1).all()
    # Rounding may place a window half a voxel further than an even spacing would.
    assert (steps <= max(1, math.floor(window * (1 - overlap))) + 1).all()
    assert len(starts) == math.ceil((length - window) / max(1, int(window * (1 - overlap)))) + 1


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.integers(1, 19)] * 3),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.integers(1, 5),
)
def test_weights_of_overlapping_windows_sum_to_one(
    shape: tuple[int, int, int], window: tuple[int, int, int], overlap: float, batch: int
) -> None:
    image = an_image(*shape)
    found = whole([Pointwise()], image, window, overlap=overlap, batch=batch)
    torch.testing.assert_close(found, directly(Pointwise(), image), rtol=1e-4, atol=1e-5)


def test_agrees_with_monai_where_the_windows_coincide() -> None:
    from monai.inferers import sliding_window_inference

    network, image, window = a_network().eval(), an_image(24, 32, 40), (16, 16, 16)
    gaussian = torch.exp(-0.5 * ((torch.arange(16) - 7.5) / 2) ** 2)
    with torch.no_grad():
        expected = sliding_window_inference(
            torch.from_numpy(image)[None, None],
            window,
            2,
            lambda x: network(x).softmax(1),
            overlap=0.5,
            # Given outright: MONAI's own map is cut off below, which flattens it near the faces of a window.
            roi_weight_map=torch.einsum("z,y,x->zyx", gaussian, gaussian, gaussian),
        )
    found = whole([network], image, window)
    torch.testing.assert_close(found, expected[0].transpose(0, 1), rtol=1e-3, atol=1e-4)


def test_one_window_is_the_network_itself() -> None:
    image = an_image(16, 24, 16)
    found = whole([a_network()], image, image.shape)
    torch.testing.assert_close(found, directly(a_network(), image), rtol=1e-4, atol=1e-5)


def test_pads_a_small_volume_with_air_on_both_sides() -> None:
    image = an_image(5, 16, 11)
    padded = np.pad(image, ((5, 6), (0, 0), (2, 3)))
    expected = directly(a_network(), padded)[5:10, :, :, 2:13]
    torch.testing.assert_close(whole([a_network()], image, (16, 16, 16)), expected, rtol=1e-4, atol=1e-5)


def test_takes_the_mean_of_the_networks_probabilities() -> None:
    first, second = a_network(1), a_network(2, "resnet34_vnet")
    image = an_image(16, 16, 16)
    expected = (directly(first, image) + directly(second, image)) / 2
    torch.testing.assert_close(whole([first, second], image, (16, 16, 16)), expected, rtol=1e-4, atol=1e-5)


def test_an_int16_image_means_the_same_as_a_float_image() -> None:
    stored = np.random.default_rng(0).integers(1, 32768, (8, 20, 12), dtype=np.int16)
    image = (stored / 32767).astype(np.float32)
    torch.testing.assert_close(
        whole([a_network()], stored, (8, 8, 8)), whole([a_network()], image, (8, 8, 8)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["vnet", "unet"])
def test_bfloat16_finds_nearly_the_same_classes(name: str) -> None:
    network, image = a_network(name=name), an_image(16, 32, 32)
    exact = whole([network], image, (16, 16, 16))
    rough = whole([network], image, (16, 16, 16), bfloat16=True)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.01
    assert (most_probable(rough) == most_probable(exact)).float().mean() > 0.97


def test_empty_windows_are_background_and_reach_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    predict = Ensemble.__call__

    def watched(self: Ensemble, windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return predict(self, windows)

    monkeypatch.setattr(Ensemble, "__call__", watched)
    image = an_image(8, 8, 32)
    image[:, :, 16:] = 0
    found = whole([Pointwise()], image, (8, 8, 8), overlap=0.0)
    assert sum(seen) == 2
    assert (found[:, 0, :, 16:] == 1).all()
    assert (found[:, 1:, :, 16:] == 0).all()
    assert found[:, 0, :, :16].max() < 1


def test_tells_the_progress_and_can_be_stopped_by_it() -> None:
    told = []
    image = an_image(16, 8, 24)
    whole([Pointwise()], image, (8, 8, 8), overlap=0.0, batch=2, progress=lambda *p: told.append(p))
    assert told == [(2, 6), (3, 6), (5, 6), (6, 6)]

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        whole([Pointwise()], image, (8, 8, 8), progress=stop)


def test_needs_no_more_memory_for_a_taller_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    zeros = torch.zeros

    def watched(*size: int, **options) -> Tensor:
        sizes.append(math.prod(size))
        return zeros(*size, **options)

    monkeypatch.setattr(module.torch, "zeros", watched)
    for height in (16, 160):
        ensemble = Ensemble([Pointwise()], CPU, bfloat16=False)
        longest = max(
            len(slab.probabilities) for slab in sliding_window(ensemble, an_image(height, 8, 8), (8, 8, 8))
        )
        assert longest <= 8
    assert set(sizes) == {8 * CLASSES * 8 * 8}


def test_segmenting_during_training_leaves_no_trace() -> None:
    network = a_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random_state = torch.get_rng_state()
    image = an_image(12, 20, 16)
    found = segment_patch_grid([network], image, patch_size=(8, 8, 8), classes=CLASSES, precision="float32")
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_segments_with_the_class_of_the_largest_probability() -> None:
    network, image = a_network(), an_image(12, 20, 16)
    expected = whole([network], image, (8, 8, 8)).argmax(1)
    found = segment_patch_grid([network], image, patch_size=(8, 8, 8), precision="float32")
    np.testing.assert_array_equal(found, expected.numpy())
    assert len(np.unique(found)) > 1


def test_refuses_networks_of_another_number_of_classes() -> None:
    with pytest.raises(ValueError, match="3 classes, not 5"):
        segment_patch_grid([a_network()], an_image(8, 8, 8), patch_size=(8, 8, 8), classes=5)

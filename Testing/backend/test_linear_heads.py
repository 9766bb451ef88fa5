"""The loss of many heads at once, against the plain loss of one head after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sslseg.losses import linear_heads
from sslseg.losses.linear_heads import heads_loss
from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods.cgs_heads import relabelling

ORGANS, SIZE = 4, (5, 6, 7)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # Several pieces per sample, the last one shorter.
    monkeypatch.setattr(linear_heads, "VOXELS_IN_CACHE", 64)


@pytest.fixture
def feature() -> Tensor:
    torch.manual_seed(0)
    values = torch.randn(3, 6, *SIZE).to(memory_format=torch.channels_last_3d)
    return values.requires_grad_()


@pytest.fixture
def head() -> nn.Conv3d:
    torch.manual_seed(1)
    return nn.Conv3d(6, 3 * ORGANS, 1)


@pytest.fixture
def labels() -> Tensor:
    draw = torch.Generator().manual_seed(2)
    values = torch.randint(0, ORGANS + 1, (3, 2, *SIZE), generator=draw)
    values[torch.rand(values.shape, generator=draw) < 0.3] = 255
    return values.to(torch.uint8)


def relabelled(label: Tensor, organ: int) -> Tensor:
    """phi_k, written down voxel set by voxel set."""
    result = torch.full(label.shape, 2)
    result[label == 0] = 0
    result[label == organ] = 1
    result[label == 255] = 255
    return result


def gradients(loss: Tensor, *wanted: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, wanted))


def test_masked_heads_together_equal_a_loop_of_heads_and_label_maps(
    feature: Tensor, head: nn.Conv3d, labels: Tensor
):
    together = heads_loss(feature, head, labels, relabelling(ORGANS), over_all_voxels=True)
    logits = head(feature).unflatten(1, (ORGANS, 3))
    loop = sum(
        segmentation_loss(
            logits[:, k],
            relabelled(labels[:, t], k + 1).masked_fill(labels[:, t] == 255, 0),
            mask=labels[:, t] != 255,
        )
        for k in range(ORGANS)
        for t in range(2)
    )
    wanted = (feature, head.weight, head.bias)
    torch.testing.assert_close(together, loop / ORGANS, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(together, *wanted), gradients(loop / ORGANS, *wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_logits_and_the_head_that_makes_them_have_the_same_loss(
    feature: Tensor, head: nn.Conv3d, labels: Tensor
):
    phi = relabelling(ORGANS)
    of_head = heads_loss(feature, head, labels, phi)
    of_logits = heads_loss(head(feature), None, labels, phi)
    torch.testing.assert_close(of_head, of_logits)
    torch.testing.assert_close(gradients(of_head, feature)[0], gradients(of_logits, feature)[0])


def test_a_partly_annotated_sample_teaches_what_is_certain(feature: Tensor, head: nn.Conv3d, labels: Tensor):
    """Sample 1 lacks organ 2: specialist 2 skips it, the others learn 'mine or not mine' from it."""
    known = torch.ones(3, ORGANS + 1, dtype=torch.bool)
    known[1, 2] = False
    label = labels[:, :1]
    together = heads_loss(
        feature, head, label, relabelling(ORGANS), takes_part=known[:, 1:], merged=~known.all(1)
    )
    logits = head(feature).unflatten(1, (ORGANS, 3))
    loop = 0.0
    for k in range(ORGANS):
        z, y = logits[:, k], relabelled(label[:, 0], k + 1)
        not_mine = torch.logaddexp(z[1, 0], z[1, 2])
        z = torch.stack([z[0], torch.stack([not_mine, z[1, 1], z[1, 2]]), z[2]])
        y[1][y[1] == 2] = 0
        knows = torch.ones(3, 3, dtype=torch.bool)
        knows[1] = torch.tensor([True, True, False]) & known[1, k + 1]
        loop = loop + segmentation_loss(z, y, knows) / ORGANS
    torch.testing.assert_close(together, loop, rtol=1e-5, atol=1e-5)
    wanted = (feature, head.weight, head.bias)
    for ours, theirs in zip(gradients(together, *wanted), gradients(loop, *wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_background_of_a_partly_annotated_sample_leaves_background_against_rest_open(labels: Tensor):
    """The two logits are pulled in proportion to their probabilities, whatever their ratio."""
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    background = torch.zeros(1, 1, 4, 4, 4, dtype=torch.uint8)
    loss = heads_loss(logits, None, background, relabelling(1), merged=torch.tensor([True]))
    gradient = gradients(loss, logits)[0]
    p = logits.detach().softmax(1)
    torch.testing.assert_close(gradient[:, 0] * p[:, 2], gradient[:, 2] * p[:, 0])
    assert (gradient[:, 1] > 0).all()


def test_no_gradient_outside_the_labels(feature: Tensor, head: nn.Conv3d, labels: Tensor):
    gradient = gradients(
        heads_loss(feature, head, labels, relabelling(ORGANS), over_all_voxels=True), feature
    )
    unused = (labels == 255).all(1)
    assert unused.any()
    assert (gradient[0].movedim(1, -1)[unused] == 0).all()
    assert (gradient[0].movedim(1, -1)[~unused] != 0).any(-1).all()


def test_a_batch_without_labels_costs_nothing(feature: Tensor, head: nn.Conv3d, labels: Tensor):
    loss = heads_loss(feature, head, torch.full_like(labels, 255), relabelling(ORGANS))
    assert loss.item() == 0
    assert all((g == 0).all() for g in gradients(loss, feature, head.weight, head.bias))


def test_cross_entropy_of_a_masked_label_is_averaged_over_all_voxels():
    logits = torch.zeros(1, 2, 4, 4, 4, requires_grad=True)
    label = torch.full((1, 1, 4, 4, 4), 255, dtype=torch.uint8)
    label[0, 0, 0] = 1
    same = torch.arange(2)[None]
    dice = 0.5 * (1 - 1e-5 / (16 * 0.25 + 1e-5)) + 0.5 * (1 - 16 / (16 * 0.25 + 16))
    quarter, whole = (heads_loss(logits, None, label, same, over_all_voxels=all_) for all_ in (True, False))
    log_two = torch.tensor(2.0).log().item()
    assert quarter.item() == pytest.approx(log_two / 4 + dice, rel=1e-5)
    assert whole.item() == pytest.approx(log_two + dice, rel=1e-5)


def test_computes_in_float32_under_autocast(feature: Tensor, head: nn.Conv3d, labels: Tensor):
    phi = relabelling(ORGANS)
    exact = heads_loss(feature, head, labels, phi)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(heads_loss(feature, head, labels, phi), exact)
        low = heads_loss(feature.bfloat16(), head, labels, phi)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=1e-2, atol=1e-2)
    assert gradients(low, head.weight)[0].dtype == torch.float32

from __future__ import annotations

import math

import pytest
import torch

from sslseg.losses import (
    entropy,
    kl_divergence,
    masked_mean,
    segmentation_loss,
    segmentation_terms,
    softmax_mse,
)

SHAPE = (3, 4, 5)
FORMS = ("squared", "plain")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def random_batch(classes: int, batch: int = 2, dtype: torch.dtype = torch.float64):
    logits = torch.randn(batch, classes, *SHAPE, dtype=dtype, requires_grad=True)
    return logits, torch.randint(0, classes, (batch, *SHAPE))


def gradient(loss: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, of)[0]


def naive_terms(logits, target, known, mask, weights, form):
    """The definition written out with one-hot labels, for one head and float64."""
    classes = logits.shape[1]
    if known is not None:
        logits = logits.masked_fill(~known[:, :, None, None, None], -torch.inf)
    valid = target != 255
    label = target.masked_fill(~valid, 0)
    if known is not None:
        valid = valid & torch.stack([row[index] for row, index in zip(known, label, strict=True)])
    onehot = torch.nn.functional.one_hot(label, classes).movedim(-1, 1).double()
    used = (valid & mask).unsqueeze(1).double()
    p = logits.softmax(1)
    surprise = -torch.where(onehot > 0, logits.log_softmax(1), 0.0).nan_to_num(0, 0, 0)
    weight = weights.view(1, -1, 1, 1, 1)
    ce = (surprise * weight * used).sum() / (onehot * weight * valid.unsqueeze(1)).sum()
    dims = (0, 2, 3, 4)
    predicted = ((p**2 if form == "squared" else p) * used).sum(dims)
    coefficient = (2 * (p * onehot * used).sum(dims) + 1e-5) / (predicted + (onehot * used).sum(dims) + 1e-5)
    share = weights if known is None else weights * known.any(0)
    return ce, (share * (1 - coefficient)).sum() / share.sum(), coefficient


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("organs", [1, 2, 15])
def test_agrees_with_monai_on_fully_annotated_batches(form: str, organs: int):
    from monai.losses import DiceCELoss

    logits, target = random_batch(organs + 1)
    monai = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=form == "squared", batch=True)
    expected = monai(logits, target.unsqueeze(1))
    loss = segmentation_loss(logits, target, dice=form)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(gradient(loss, logits), gradient(expected, logits), atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_agrees_with_its_definition_on_partial_masked_weighted_batches(form: str):
    logits, target = random_batch(5, batch=3)
    target[0, 0] = 255
    known = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [1, 1, 1, 0, 0]], dtype=torch.bool)
    mask = torch.rand(target.shape) > 0.3
    weights = torch.rand(5, dtype=torch.float64)
    terms = segmentation_terms(logits, target, known, mask=mask, class_weights=weights, dice=form)
    expected = naive_terms(logits, target, known, mask, weights, form)
    for value, reference in zip(terms, expected, strict=True):
        torch.testing.assert_close(value, reference)
    torch.testing.assert_close(
        gradient(terms.cross_entropy + terms.dice_loss, logits),
        gradient(expected[0] + expected[1], logits),
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_the_derivative(form: str):
    logits = torch.randn(2, 3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 2, 2, 3))
    target[1, 0, 0] = 255
    known = torch.tensor([[True, True, False], [True, True, True]])
    mask = torch.rand(target.shape) > 0.3
    weights = torch.rand(3)
    assert torch.autograd.gradcheck(
        lambda z: tuple(segmentation_terms(z, target, known, mask=mask, class_weights=weights, dice=form)),
        logits,
    )


@pytest.mark.parametrize("form", FORMS)
def test_heads_together_equal_a_loop_over_heads(form: str):
    logits = torch.randn(2, 4, 3, *SHAPE, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 4, *SHAPE))
    target[:, 2, 1] = 255
    known = torch.rand(2, 4, 3) > 0.3
    known[..., 0] = True
    mask = torch.rand(target.shape) > 0.3
    together = segmentation_loss(logits, target, known, mask=mask, dice=form)
    loop = torch.stack(
        [
            segmentation_loss(logits[:, g], target[:, g], known[:, g], mask=mask[:, g], dice=form)
            for g in range(4)
        ]
    ).mean()
    torch.testing.assert_close(together, loop)
    torch.testing.assert_close(gradient(together, logits), gradient(loop, logits))
    assert segmentation_terms(logits, target).dice.shape == (4, 3)


def test_ignored_voxels_get_no_gradient_and_leave_the_rest_alone():
    logits, target = random_batch(4)
    target[:, 0] = 255
    loss = segmentation_loss(logits, target)
    slopes = gradient(loss, logits)
    assert torch.count_nonzero(slopes[:, :, 0]) == 0
    assert torch.count_nonzero(slopes[:, :, 1:]) == slopes[:, :, 1:].numel()
    cropped = logits[:, :, 1:]
    torch.testing.assert_close(loss, segmentation_loss(cropped, target[:, 1:]))


def test_unknown_classes_get_exactly_no_gradient():
    logits, target = random_batch(4)
    target[0][target[0] == 2] = 0
    known = torch.tensor([[True, True, False, True], [True, True, True, True]])
    slopes = gradient(segmentation_loss(logits, target, known), logits)
    assert torch.count_nonzero(slopes[0, 2]) == 0
    assert torch.count_nonzero(slopes[1, 2]) > 0
    assert torch.count_nonzero(slopes[0, [0, 1, 3]]) > 0


def test_the_value_of_an_unknown_logit_is_irrelevant():
    logits, target = random_batch(4)
    target[0][target[0] == 2] = 0
    known = torch.tensor([[True, True, False, True], [True, True, True, True]])
    changed = logits.detach().clone()
    changed[0, 2] += 50
    assert segmentation_loss(logits, target, known) == segmentation_loss(changed, target, known)


def test_a_class_that_nobody_annotated_does_not_change_the_loss():
    logits, target = random_batch(3)
    known = torch.tensor([[True, True, True, False]] * 2)
    wider = torch.cat([logits, torch.randn(2, 1, *SHAPE, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(segmentation_loss(wider, target, known), segmentation_loss(logits, target))


def test_a_label_of_an_unknown_class_counts_as_ignored():
    logits, target = random_batch(3)
    known = torch.tensor([[True, True, False], [True, True, True]])
    ignored = target.clone()
    ignored[0][target[0] == 2] = 255
    assert segmentation_loss(logits, target, known) == segmentation_loss(logits, ignored, known)


def test_nothing_outside_the_mask_gets_gradient():
    logits, target = random_batch(4)
    mask = torch.rand(target.shape) > 0.5
    slopes = gradient(segmentation_loss(logits, target, mask=mask), logits).movedim(1, -1)
    assert torch.count_nonzero(slopes[~mask]) == 0
    assert torch.count_nonzero(slopes[mask]) == slopes[mask].numel()


def test_masked_cross_entropy_is_divided_by_all_voxels():
    logits, target = random_batch(4)
    mask = torch.rand(target.shape) > 0.5
    per_voxel = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    value = segmentation_loss(logits, target, mask=mask.float(), dice_weight=0)
    torch.testing.assert_close(value, (per_voxel * mask).mean())


def test_class_weights_follow_torch_in_cross_entropy_and_their_scale_is_irrelevant():
    logits, target = random_batch(4)
    weights = torch.rand(4, dtype=torch.float64)
    terms = segmentation_terms(logits, target, class_weights=weights)
    torch.testing.assert_close(
        terms.cross_entropy, torch.nn.functional.cross_entropy(logits, target, weight=weights)
    )
    loss = segmentation_loss(logits, target, class_weights=weights)
    torch.testing.assert_close(segmentation_loss(logits, target, class_weights=7 * weights), loss)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nothing", ["ignored", "masked", "weightless"])
def test_a_batch_without_a_usable_voxel_yields_exactly_zero(form: str, nothing: str):
    logits, target = random_batch(3, dtype=torch.float32)
    options = {
        "ignored": {},
        "masked": {"mask": torch.zeros_like(target)},
        "weightless": {"class_weights": torch.zeros(3)},
    }[nothing]
    if nothing == "ignored":
        target.fill_(255)
    loss = segmentation_loss(logits, target, dice=form, **options)
    assert loss.item() == 0
    assert torch.count_nonzero(gradient(loss, logits)) == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_stays_finite_with_absent_classes_and_extreme_logits(form: str, scale: float):
    logits = (scale * torch.randn(2, 15, *SHAPE)).requires_grad_()
    target = torch.zeros(2, *SHAPE, dtype=torch.long)  # background only
    loss = segmentation_loss(logits, target, dice=form)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient(loss, logits)).all()


def test_a_perfect_prediction_costs_nothing_even_if_a_class_is_absent():
    target = torch.randint(0, 3, (2, *SHAPE))
    logits = 200 * torch.nn.functional.one_hot(target, 5).movedim(-1, 1).float()
    terms = segmentation_terms(logits, target)
    assert terms.cross_entropy == 0
    assert terms.dice_loss == 0
    assert torch.equal(terms.dice, torch.ones(5))


@pytest.mark.parametrize("target_type", [torch.uint8, torch.int32, torch.int64])
def test_bfloat16_logits_are_computed_in_float32(target_type: torch.dtype):
    coarse = torch.randn(2, 4, *SHAPE).bfloat16().to(memory_format=torch.channels_last_3d).requires_grad_()
    target = torch.randint(0, 4, (2, *SHAPE)).to(target_type)
    with torch.autocast("cpu", torch.bfloat16):
        loss = segmentation_loss(coarse, target)
    exact = coarse.detach().float().requires_grad_()
    expected = segmentation_loss(exact, target)
    assert loss.dtype == torch.float32
    assert loss == expected
    assert torch.equal(gradient(loss, coarse), gradient(expected, exact).bfloat16())


def test_gradients_add_up_over_two_backward_passes():
    logits, target = random_batch(3)
    loss = segmentation_loss(logits, target)
    first = torch.autograd.grad(loss, logits, retain_graph=True)[0]
    assert torch.equal(first, gradient(loss, logits))


def test_keeps_little_more_than_one_tensor_of_probabilities_for_backward():
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    logits = torch.randn(1, 14, 16, 16, 16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        segmentation_loss(logits, torch.randint(0, 14, (1, 16, 16, 16)))
    assert sum(kept.values()) < 1.15 * logits.untyped_storage().nbytes()


def test_softmax_mse_averages_over_the_mask():
    logits, _ = random_batch(3, dtype=torch.float32)
    other = torch.randn(2, 3, *SHAPE).softmax(1)
    difference = (logits.softmax(1) - other) ** 2
    torch.testing.assert_close(softmax_mse(logits, other), difference.mean())
    mask = torch.rand(2, *SHAPE) > 0.5
    torch.testing.assert_close(softmax_mse(logits, other, mask), difference.movedim(1, -1)[mask].mean())
    assert softmax_mse(logits, other, torch.zeros_like(mask)) == 0


def test_kl_divergence_is_that_of_torch_and_zero_for_equals():
    p, q = torch.randn(2, 2, 4, *SHAPE)
    expected = torch.nn.functional.kl_div(
        q.log_softmax(1), p.log_softmax(1), reduction="none", log_target=True
    ).sum(1)
    torch.testing.assert_close(kl_divergence(p, q), expected, atol=1e-6, rtol=1e-5)
    assert torch.count_nonzero(kl_divergence(p, p)) == 0
    assert kl_divergence(p.bfloat16(), q.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("classes", [2, 5, 16])
def test_entropy_runs_from_certain_to_uniform(classes: int):
    uniform = torch.full((1, classes, *SHAPE), 1 / classes)
    certain = torch.zeros(1, classes, *SHAPE)
    certain[:, 0] = 1
    certain.requires_grad_()
    torch.testing.assert_close(entropy(uniform), torch.ones(1, *SHAPE))
    assert entropy(certain).max() < 1e-5
    assert torch.isfinite(gradient(entropy(certain).sum(), certain)).all()
    skewed = torch.tensor([0.9, 0.1]).view(1, 2, 1, 1, 1)
    expected = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert entropy(skewed).item() == pytest.approx(expected, rel=1e-5)


def test_masked_mean_accepts_weights():
    values = torch.tensor([1.0, 2.0, 4.0])
    assert masked_mean(values, torch.tensor([1.0, 0.0, 3.0])) == pytest.approx(13 / 4)

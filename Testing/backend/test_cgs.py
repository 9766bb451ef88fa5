"""Collaborative generalist and specialists."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslseg.losses.segmentation import segmentation_loss
from sslseg.methods import build_method
from sslseg.methods.base import RunSettings, seed_generators
from sslseg.methods.cgs import CGS
from sslseg.methods.cgs_heads import Specialists, relabelling
from sslseg.methods.cgs_pseudo_labels import (
    PseudoLabels,
    fused_scores,
    heads_agree,
    own_labels,
    pseudo_labels,
)
from sslseg.networks import build_network

TERMS = ["supervised", "supervised_specialists", "pseudo", "pseudo_specialists"]


@pytest.fixture
def make(network_factory: Callable[..., Any]) -> Callable[..., CGS]:
    def method(
        classes: int = 3,
        *,
        seed: int = 0,
        steps: int = 10,
        network: dict[str, Any] | None = None,
        **settings: Any,
    ) -> CGS:
        run = RunSettings(steps=steps, seed=seed, learning_rate=0.05)
        factory = network_factory(classes, **(network or {}))
        built = build_method("cgs", factory, classes=classes, run=run, settings=settings)
        assert isinstance(built, CGS)
        return built.train()

    return method


def losses(method: CGS, batch: dict[str, Tensor], step: int = 3) -> dict[str, Tensor]:
    seed_generators(method.run.seed, step)
    return method.losses(batch, step)


def perfect_specialists(label: Tensor, organs: int) -> Tensor:
    """Probabilities (B, K, 3, D, H, W) of heads that know the truth."""
    return F.one_hot(relabelling(organs)[:, label], 3).movedim(-1, 1).movedim(2, 0).float()


@pytest.mark.parametrize("organs", [1, 2, 3, 4])
def test_the_sum_test_is_the_truth_table_of_inter_head_error_detection(organs: int):
    table = list(itertools.product(range(3), repeat=organs))
    expected = [
        all(a == 0 for a in row) or (row.count(1) == 1 and row.count(2) == organs - 1) for row in table
    ]
    own = torch.tensor(table, dtype=torch.uint8).T.reshape(1, organs, -1, 1, 1)
    assert heads_agree(own).flatten().tolist() == expected


@pytest.mark.parametrize("organs", [1, 3])
def test_perfect_specialists_fuse_back_to_the_label(organs: int):
    label = torch.randint(0, organs + 1, (2, 4, 4, 4))
    specialists = perfect_specialists(label, organs)
    assert torch.equal(fused_scores(specialists).argmax(1), label)
    assert torch.equal(own_labels(specialists).long(), relabelling(organs)[:, label].movedim(0, 1))
    assert heads_agree(own_labels(specialists)).all()


def test_relabelling_names_background_target_and_rest():
    assert relabelling(3).tolist() == [[0, 1, 2, 2], [0, 2, 1, 2], [0, 2, 2, 1]]


def test_own_labels_are_the_argmax():
    probabilities = torch.rand(2, 3, 3, 4, 4, 4).softmax(2)
    assert torch.equal(own_labels(probabilities).long(), probabilities.argmax(2))


def test_the_three_pseudo_labels_of_a_hand_made_example():
    """Four voxels, two organs: all agree; an unsure generalist; two claims; background against the fusion."""
    generalist = torch.tensor([[0.01, 0.98, 0.01], [0.2, 0.7, 0.1], [0.01, 0.01, 0.98], [0.98, 0.01, 0.01]])
    first = torch.tensor([[0.0, 0.9, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1], [0.45, 0.44, 0.11]])
    second = torch.tensor([[0.1, 0.0, 0.9], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.4, 0.3, 0.3]])
    found = pseudo_labels(
        generalist.T.reshape(1, 3, 1, 1, 4).log(),
        torch.stack([first.T, second.T]).clamp_min(1e-9).reshape(1, 2, 3, 1, 1, 4).log(),
        0.95,
    )
    expected = PseudoLabels(
        generalist=torch.tensor([1, 255, 2, 0]),
        # The last voxel: both heads say background, but Q_0 = 0.425 < Q_1 = 0.44.
        specialists=torch.tensor([1, 2, 255, 1]),
        own=torch.tensor([1, 2, 255, 0]),
        consensus=torch.tensor([1, 255, 255, 255]),
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.flatten().tolist() == theirs.tolist()


@pytest.mark.parametrize("kind", ["shared", "paper"])
def test_specialists_together_equal_separate_heads(kind: str):
    network = build_network("vnet", out_channels=4, strides=((2, 2, 2),), filters=4)
    heads = Specialists(network, 3, kind).train()  # type: ignore[arg-type]
    feature = torch.randn(2, 4, 6, 6, 6)
    together = heads(feature)
    width, convolution, norm = 4, heads.hidden[0], heads.hidden[1]
    for k in range(3):
        mine = slice(k * width, (k + 1) * width) if kind == "paper" else slice(None)
        hidden = F.conv3d(feature, convolution.weight[mine], convolution.bias[mine])
        hidden = F.batch_norm(hidden, None, None, norm.weight[mine], norm.bias[mine], training=True)
        out = heads.output.weight[3 * k : 3 * k + 3], heads.output.bias[3 * k : 3 * k + 3]
        logits = F.conv3d(F.leaky_relu(hidden, 0.01), *out, padding=1 if kind == "paper" else 0)
        torch.testing.assert_close(together[:, k], logits, rtol=1e-5, atol=1e-5)


def test_a_specialist_of_the_paper_has_739_parameters_in_slices():
    network = build_network("vnet", out_channels=4, strides=((1, 2, 2),) * 2)
    heads = Specialists(network, 3, "paper")
    assert sum(weight.numel() for weight in heads.parameters()) == 3 * 739


@pytest.mark.parametrize("kind", ["shared", "paper"])
def test_ships_a_plain_network(kind: str, make: Any):
    method = make(specialist_head=kind)
    plain = method.make_network()
    (shipped,) = method.inference_networks()
    assert shipped.state_dict().keys() == plain.state_dict().keys()
    assert sum(w.numel() for w in shipped.parameters()) == sum(w.numel() for w in plain.parameters())


@pytest.mark.parametrize("kind", ["shared", "paper"])
@pytest.mark.parametrize("term", TERMS)
def test_a_term_reaches_its_heads_and_never_the_teacher(term: str, kind: str, make: Any, tiny_batch: Any):
    # Without a threshold there are pseudo-labels from the first step on.
    method = make(specialist_head=kind, threshold=0.0)
    losses(method, tiny_batch(3))[term].backward()
    of_specialists = term.endswith("specialists")
    body = [weight for name, weight in method.network.named_parameters() if not name.startswith("head")]
    assert all(weight.grad is not None for weight in body)
    assert all((w.grad is not None) == of_specialists for w in method.specialists.parameters())
    assert all((w.grad is None) == of_specialists for w in method.network.head.parameters())
    assert all(w.grad is None for w in method.teacher.parameters())
    assert all(w.grad is None for w in method.teacher_specialists.parameters())


def test_the_loss_is_the_sum_of_the_paper(make: Any, tiny_batch: Any):
    method, batch = make(4, network={"dropout": 0.0}), tiny_batch(4)
    labels = method._pseudo_labels(batch)
    mixed, labels = method._strong_view(batch["unlabelled"], labels, 3)
    feature = method.network.features(torch.cat([batch["image"], mixed]))[-1]
    generalist, specialists = method.network.head(feature), method.specialists(feature)
    phi = relabelling(3)

    def masked(logits: Tensor, label: Tensor, organ: int | None) -> Tensor:
        mask = label != 255
        label = label.long().masked_fill(~mask, 0)
        return segmentation_loss(logits, label if organ is None else phi[organ][label], mask=mask)

    ramp = 0.1 * math.exp(-5 * 0.7**2)
    expected = {
        "supervised": segmentation_loss(generalist[:2], batch["label"]),
        "supervised_specialists": sum(
            segmentation_loss(specialists[:2, k], phi[k][batch["label"]]) for k in range(3)
        )
        / 3,
        "pseudo": ramp
        * sum(
            masked(generalist[2:], y, None) for y in (labels.generalist, labels.specialists, labels.consensus)
        ),
        "pseudo_specialists": ramp
        * sum(
            masked(specialists[2:, k], y, k)
            for k in range(3)
            for y in (labels.generalist, labels.own, labels.consensus)
        )
        / 3,
    }
    found = losses(method, batch)
    assert list(found) == TERMS
    for name in TERMS:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_image_and_pseudo_labels_are_cut_by_the_same_box(make: Any, tiny_batch: Any):
    weak = tiny_batch(3)["unlabelled"]
    # Each voxel's label names the patch that it comes from.
    origin = torch.stack([torch.zeros(8, 8, 8), torch.ones(8, 8, 8)]).to(torch.uint8)
    strong, plain = make(cutmix=False)._strong_view(weak, PseudoLabels(*[origin] * 4), 3)
    mixed, cut = make()._strong_view(weak, PseudoLabels(*[origin] * 4), 3)
    assert torch.equal(plain.own, origin) and not torch.equal(strong, weak)
    assert all(torch.equal(label, cut.own) for label in cut)
    for sample in range(2):
        pasted = cut.own[sample] != sample
        assert 0 < pasted.sum() < pasted.numel() / 2
        assert torch.equal(mixed[sample, 0], torch.where(pasted, strong[1 - sample, 0], strong[sample, 0]))


@pytest.mark.parametrize("kind", ["shared", "paper"])
def test_a_specialist_learns_nothing_where_its_organ_is_not_annotated(kind: str, make: Any, tiny_batch: Any):
    method, batch = make(3, specialist_head=kind, consistency=0.0), tiny_batch(3)
    batch["known"][:, 2] = False
    batch["label"][batch["label"] == 2] = 0
    sum(losses(method, batch).values()).backward()
    of_head = method.specialists.output.weight.grad
    assert (of_head[3:] == 0).all() and (of_head[:3] != 0).any()
    assert (method.network.head.weight.grad[2] == 0).all()


def test_unannotated_voxels_teach_nothing(make: Any, tiny_batch: Any):
    method, batch = make(consistency=0.0), tiny_batch(3)
    batch["label"][:] = 255
    terms = losses(method, batch)
    sum(terms.values()).backward()
    assert all(term.item() == 0 for term in terms.values())
    assert all((weight.grad == 0).all() for weight in method.specialists.parameters())


def test_the_faithful_passes_change_statistics_but_add_no_term(make: Any, tiny_batch: Any):
    fast, faithful = make(), make(faithful=True)
    terms = [losses(method, tiny_batch(3)) for method in (fast, faithful)]
    assert list(terms[0]) == list(terms[1])
    counted = [method.specialists.hidden[1].num_batches_tracked.item() for method in (fast, faithful)]
    assert counted == [1, 2]


def test_the_teacher_averages_network_and_specialists(make: Any, tiny_batch: Any, run_steps: Any):
    method = make()
    run_steps(method, [tiny_batch(3)])
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (method.network, method.teacher),
        (method.specialists, method.teacher_specialists),
    ]
    for student, teacher in pairs:
        assert all(torch.equal(a, b) for a, b in zip(student.parameters(), teacher.parameters(), strict=True))
        assert not teacher.training and student.training
    assert make(teacher_in_train_mode=True).teacher_specialists.training


@pytest.mark.parametrize("organs", [1, 2, 15])
@pytest.mark.parametrize("kind", ["shared", "paper"])
@pytest.mark.parametrize("what", ["organs", "background", "unknown organ", "one patch"])
def test_trains_with_any_number_of_organs(
    organs: int, kind: str, what: str, make: Any, tiny_batch: Any, run_steps: Any
):
    batch = tiny_batch(organs + 1, unlabelled=1 if what == "one patch" else 2)
    if what == "background":
        batch["label"].zero_()
    if what == "unknown organ":
        batch["known"][0, 1] = False
        batch["label"][0][batch["label"][0] == 1] = 0
    measured = run_steps(make(organs + 1, specialist_head=kind), [batch] * 2)
    assert all(math.isfinite(value) for terms in measured for value in terms.values())


@pytest.mark.parametrize("kind", ["shared", "paper"])
@pytest.mark.parametrize("name", ["vnet", "unet"])
def test_trains_on_thick_slices(name: str, kind: str, make: Any, tiny_batch: Any, run_steps: Any):
    method = make(network={"name": name, "strides": ((1, 2, 2), (1, 2, 2))}, specialist_head=kind)
    measured = run_steps(method, [tiny_batch(3, size=(3, 16, 16)), tiny_batch(3, size=(1, 16, 16))])
    assert all(math.isfinite(value) for terms in measured for value in terms.values())


def test_losses_follow_from_seed_and_step(make: Any, tiny_batch: Any):
    def measured(seed: int, step: int) -> float:
        return sum(losses(make(seed=seed), tiny_batch(3), step).values()).item()

    assert measured(1, 4) == measured(1, 4)
    assert len({measured(1, 4), measured(1, 5), measured(2, 4)}) == 3


def test_a_resumed_run_continues_identically(make: Any, tiny_batch: Any, run_steps: Any):
    method = make()
    run_steps(method, [tiny_batch(3)] * 2)
    resumed = make(seed=0)
    resumed.load_state_dict(method.state_dict())
    more = [tiny_batch(3, seed=1)] * 2
    assert run_steps(method, more, first_step=2) == run_steps(resumed, more, first_step=2)


def test_learns_in_bfloat16(make: Any, tiny_batch: Any, run_steps: Any):
    measured = run_steps(make(steps=200, network={"dropout": 0.0}), [tiny_batch(3)] * 200, bfloat16=True)
    assert all(math.isfinite(value) for terms in measured for value in terms.values())
    assert measured[-1]["supervised"] < 0.5 * measured[0]["supervised"]
    assert measured[-1]["supervised_specialists"] < 0.5 * measured[0]["supervised_specialists"]

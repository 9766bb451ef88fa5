"""What the tests of the training methods share: a tiny batch, tiny networks, a few steps of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from sslseg.methods.base import Batch, Method, seed_generators
from sslseg.methods.ema import update_teacher
from sslseg.methods.schedules import ema_decay
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork


@pytest.fixture
def network_factory() -> Callable[..., Callable[..., SegmentationNetwork]]:
    """`network_factory(classes, name="vnet", ...)` is a `make_network` of small networks for tiny patches."""

    def factory(classes: int, name: str = "vnet", **defaults: Any) -> Callable[..., SegmentationNetwork]:
        usual = {"name": name, "strides": ((2, 2, 2),) * 2, "filters": 4, "out_channels": classes}

        def make_network(**options: Any) -> SegmentationNetwork:
            return build_network(**(usual | defaults | options))

        return make_network

    return factory


@pytest.fixture
def tiny_batch() -> Callable[..., Batch]:
    """`tiny_batch(classes, ...)`: boxes of organs whose brightness tells them apart, in noise."""

    def batch(
        classes: int,
        *,
        size: tuple[int, int, int] = (8, 8, 8),
        labelled: int = 2,
        unlabelled: int = 2,
        seed: int = 0,
    ) -> Batch:
        draw = torch.Generator().manual_seed(seed)
        label = torch.zeros(labelled + unlabelled, *size, dtype=torch.long)
        for sample in label:
            for organ in range(1, classes):
                first = [int(torch.randint(side, (), generator=draw)) for side in size]
                z, y, x = (slice(f, f + max(1, side // 2)) for f, side in zip(first, size, strict=True))
                sample[z, y, x] = organ
        noise = torch.rand(label.shape, generator=draw)
        image = (0.8 * label / (classes - 1) + 0.2 * noise)[:, None]
        return {
            "image": image[:labelled],
            "label": label[:labelled],
            "known": torch.ones(labelled, classes, dtype=torch.bool),
            "unlabelled": image[labelled:],
        }

    return batch


@pytest.fixture
def run_steps() -> Callable[..., list[dict[str, float]]]:
    """`run_steps(method, batches)` trains as the trainer does, and returns the terms of every step."""

    def run(
        method: Method, batches: Iterable[Batch], *, first_step: int = 0, bfloat16: bool = False
    ) -> list[dict[str, float]]:
        configured = method.configure_optimizers()
        optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        method.train()
        measured = []
        for step, batch in enumerate(batches, start=first_step):
            seed_generators(method.run.seed, step)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                terms = method.losses(batch, step)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            scheduler.step()
            for pair in method.ema_pairs():
                update_teacher(pair, ema_decay(step, method.run.steps, pair.decay))
            measured.append({name: float(term.detach()) for name, term in terms.items()})
        return measured

    return run

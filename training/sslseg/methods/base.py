"""What every method shares: optimiser, learning rate, teachers, randomness, logging; not the losses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import lightning
import torch
from torch import Tensor, nn

from sslseg.methods.ema import EmaPair, update_teacher
from sslseg.methods.schedules import ema_decay, poly_decay
from sslseg.methods.settings import MethodSettings
from sslseg.networks.base import SegmentationNetwork

Batch = dict[str, Tensor]
"""`image (L,1,D,H,W)`, `label (L,D,H,W)`, `known (L,C)`; `unlabelled (U,1,D,H,W)` and, for methods with
`uses_shifted_crop`, `shifted (U,1,D,H,W)` and `shift (U,3)`."""

WEIGHTS_BEFORE_TRAINING = -1
"""The step under whose number the initial weights are drawn."""


@dataclass(frozen=True)
class RunSettings:
    """What is the same for every method of a run.

    Attributes:
        steps: optimiser steps T.
        seed: every random number follows from it and the step.
        optimizer: "sgd" (Nesterov) as in the papers, or "adamw".
        learning_rate: at step 0; it decays to 0 as (1 - t/T)^0.9.
        momentum: of SGD.
        weight_decay: L2 penalty of SGD, decoupled decay of AdamW.
        gradient_clip: largest norm of the gradient; 0 does not limit it.
        log_every: steps between two loggings of the losses, the only steps that wait for the device.
    """

    steps: int
    seed: int = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    gradient_clip: float = 0.0
    log_every: int = 10


class NetworkFactory(Protocol):
    """Makes networks of the run's architecture, strides and classes; keywords change what they name.

    `make_network()`, `make_network(name="resnet34_vnet", init="xavier")`: the keywords of `build_network`.
    """

    def __call__(self, **options: Any) -> SegmentationNetwork: ...


class Method(lightning.LightningModule):
    """A way to train segmentation networks.

    A subclass makes its networks in `__init__`, computes its weighted loss terms in `losses`, names its
    teachers in `ema_pairs` and says in `inference_networks` what is shipped. The base sums the terms and does
    one backward pass, so terms of several networks reach only their own network as long as pseudo-labels are
    detached. State beyond weights belongs into buffers: they are in every checkpoint.

    Args:
        make_network: makes a network with `classes` outputs.
        classes: C, background included.
        run: settings every method shares.
        settings: an instance of the class's `Settings`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    uses_unlabelled: ClassVar[bool] = True
    uses_shifted_crop: ClassVar[bool] = False

    def __init__(
        self, make_network: NetworkFactory, classes: int, run: RunSettings, settings: MethodSettings
    ) -> None:
        super().__init__()
        self.make_network = make_network
        self.classes = classes
        self.run = run
        self.settings: Any = settings
        self.step_losses: dict[str, Tensor] = {}
        seed_generators(run.seed, WEIGHTS_BEFORE_TRAINING)

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """The weighted terms of the loss by name; their sum is minimised."""
        raise NotImplementedError

    def inference_networks(self) -> Sequence[SegmentationNetwork]:
        """The networks that are shipped; a prediction is the mean of their softmax."""
        raise NotImplementedError

    def ema_pairs(self) -> Sequence[EmaPair]:
        """The teachers, updated after every optimiser step."""
        return ()

    @property
    def teachers_in_train_mode(self) -> bool:
        """Whether teachers normalise with the statistics of their batch, as the reference codes do."""
        return False

    def learning_rate_factor(self, step: int) -> float:
        """Learning rate at `step` as a share of the first one."""
        return poly_decay(step, self.run.steps)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        step = self.global_step
        # Dropout and whatever else a method draws depend on the step alone: a resumed run repeats them.
        seed_generators(self.run.seed, step)
        terms = self.losses(batch, step)
        total = torch.stack(list(terms.values())).sum()
        self.step_losses = {name: term.detach() for name, term in terms.items()} | {"total": total.detach()}
        if step % self.run.log_every == 0:
            self.log_dict({f"loss/{name}": term for name, term in self.step_losses.items()})
        return total

    def optimizer_step(
        self, epoch: int, batch_index: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        step = self.global_step
        super().optimizer_step(epoch, batch_index, optimizer, optimizer_closure)
        # Here and not in a later hook: what runs at the end of the step saves or measures the teacher.
        for pair in self.ema_pairs():
            update_teacher(pair, ema_decay(step, self.run.steps, pair.decay))

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, *arguments: Any, **named: Any
    ) -> None:
        # The trainer's own clipping refuses fused optimisers under autocast, but bfloat16 scales nothing.
        if self.run.gradient_clip:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            torch.nn.utils.clip_grad_norm_(weights, self.run.gradient_clip)

    def configure_optimizers(self) -> Any:
        weights = [parameter for parameter in self.parameters() if parameter.requires_grad]
        run = self.run
        optimizer: torch.optim.Optimizer
        if run.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                weights,
                lr=run.learning_rate,
                momentum=run.momentum,
                nesterov=True,
                weight_decay=run.weight_decay,
                fused=_can_fuse(weights),
            )
        else:
            optimizer = torch.optim.AdamW(
                weights, lr=run.learning_rate, weight_decay=run.weight_decay, fused=_can_fuse(weights)
            )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self.learning_rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train(self, mode: bool = True) -> Method:
        super().train(mode)
        for pair in self.ema_pairs():
            pair.teacher.train(mode and self.teachers_in_train_mode)
        return self

    def measured_losses(self) -> dict[str, float]:
        """The terms of the last step as numbers; waits for the device once."""
        if not self.step_losses:
            return {}
        values = torch.stack([term.float() for term in self.step_losses.values()]).tolist()
        return dict(zip(self.step_losses, values, strict=True))


@contextmanager
def pseudo_labelling() -> Iterator[None]:
    """Forward passes without gradient inside a training step: pseudo-labels carry none.

    Autocast keeps the low-precision copies of weights; copies made without gradient would cut the network off
    from its loss later in the same step, so they are not kept.
    """
    keep = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(keep)


def forward_together(network: nn.Module, *inputs: Tensor) -> tuple[Tensor, ...]:
    """One forward pass of `network` over several batches `(B_i, 1, D, H, W)`, and its output for each.

    Normalisation layers see all of them as one batch.
    """
    return network(torch.cat(inputs)).split([len(batch) for batch in inputs])


def seed_generators(seed: int, step: int) -> None:
    """Make torch's global generators of all devices a function of (seed, step)."""
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest()
    torch.manual_seed(int.from_bytes(digest, "little") >> 1)


def _can_fuse(weights: list[nn.Parameter]) -> bool:
    return all(weight.device.type in ("cpu", "cuda") for weight in weights)

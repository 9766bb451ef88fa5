"""Fitting a method to preprocessed cases: the Lightning trainer and what it is given."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch

from sslseg.bundle.metadata import Annotation, ValidationPoint
from sslseg.bundle.model_folder import TrainedModel
from sslseg.contract.events import EventSink
from sslseg.contract.files import write_json
from sslseg.contract.settings import Precision, TrainSettings
from sslseg.contract.strict import to_json
from sslseg.data.augment import Augmenter
from sslseg.data.plan import Plan
from sslseg.data.sampling import PatchSampler
from sslseg.data.store import StoredCase
from sslseg.methods import build_method
from sslseg.methods.base import Method, RunSettings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.train.callbacks import Checkpoints, Measurements, OwnSigterm, ProgressReport
from sslseg.train.data_module import PatchDataModule
from sslseg.train.presets import Recipe
from sslseg.train.validation import Split, measure
from sslseg.train.warm_start import load_weights


@dataclass(frozen=True)
class PreparedRun:
    """What is settled before the first step; kept beside the checkpoint, for a resumed run must not differ.

    Attributes:
        schema: of the file.
        version: of the file.
        recipe: steps, network, batch, optimiser.
        split: the cases by use.
        plan: preprocessing, patch and strides.
        bfloat16: arithmetic of the convolutions.
        annotations: the annotated cases of the split as they were.
        learned_before: digests of the cases that the model it started from has learned from.
    """

    schema: str
    version: int
    recipe: Recipe
    split: Split
    plan: Plan
    bfloat16: bool
    annotations: tuple[Annotation, ...] = ()
    learned_before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stores:
    """The preprocessed cases by use."""

    labelled: list[StoredCase]
    unlabelled: list[StoredCase]
    validation: list[StoredCase]


@dataclass(frozen=True)
class Fitted:
    """A run that came to its end, or was stopped."""

    method: Method
    steps: int
    cancelled: bool
    measured: list[ValidationPoint]
    seconds: float
    seconds_per_step: float


@dataclass
class Fitting:
    """What every fit of a run has in common.

    Attributes:
        settings: what the user chose.
        prepared: what was settled before the first step; its batch shrinks when memory runs out.
        device: where to train.
        events: gets progress, validation and warning.
        cancel: whether to stop.
        run_path: where `prepared` is kept.
        checkpoint_seconds: time between two checkpoints.
        begin_with: model whose weights the networks start with, unless there is a checkpoint.
        part: which of the trainings of the run the next fit is, from 1.
        parts: how many there are.
    """

    settings: TrainSettings
    prepared: PreparedRun
    device: torch.device
    events: EventSink
    cancel: Callable[[], bool]
    run_path: Path
    checkpoint_seconds: float
    begin_with: TrainedModel | None = None
    part: int = 1
    parts: int = 1

    def fit(self, stores: Stores, checkpoint_path: Path) -> Fitted:
        """Train from `checkpoint_path` or from the beginning; with smaller batches where memory is short."""
        while True:
            try:
                return _fit(self, stores, checkpoint_path)
            except torch.OutOfMemoryError:
                smaller = _with_smaller_batch(self.prepared, self.events)
                if smaller is None:
                    raise
                self.prepared = smaller
                write_json(self.run_path, to_json(smaller))
                torch.cuda.empty_cache()


def _fit(fitting: Fitting, stores: Stores, checkpoint_path: Path) -> Fitted:
    settings, prepared, device, events = fitting.settings, fitting.prepared, fitting.device, fitting.events
    recipe, plan = prepared.recipe, prepared.plan
    method = _method(settings, prepared)
    if fitting.begin_with is not None and not checkpoint_path.exists():
        fresh = load_weights(method, fitting.begin_with)
        if fresh:
            message = (
                f"The model '{fitting.begin_with.name}' has too few networks: {fresh} more begin untrained."
            )
            events.write("warning", message=message)
    precision: Precision = "bfloat16" if prepared.bfloat16 else "float32"
    measurements = Measurements(
        events,
        lambda m: measure(
            m.inference_networks(), stores.validation, plan, device=device, precision=precision
        ),
        cases=len(stores.validation),
        every=recipe.validation_every,
        steps=recipe.steps,
    )
    report = ProgressReport(events, recipe.steps, part=fitting.part, parts=fitting.parts)
    checkpoints = Checkpoints(checkpoint_path, fitting.cancel, seconds=fitting.checkpoint_seconds)
    with _quiet_lightning():
        trainer = lightning.Trainer(
            **_placement(device),
            precision="bf16-mixed" if prepared.bfloat16 else "32-true",
            max_steps=recipe.steps,
            # The order matters: a checkpoint holds what was measured at its step.
            callbacks=[measurements, report, checkpoints, OwnSigterm()],
            benchmark=device.type == "cuda",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(
            method,
            datamodule=_data(settings, prepared, stores, type(method), device),
            ckpt_path=checkpoint_path if checkpoint_path.exists() else None,
            weights_only=True,
        )
    return Fitted(
        method,
        steps=trainer.global_step,
        cancelled=checkpoints.cancelled,
        measured=measurements.measured,
        seconds=checkpoints.seconds_spent,
        seconds_per_step=(checkpoints.seconds_spent - measurements.seconds_spent)
        / max(1, trainer.global_step),
    )


def _method(settings: TrainSettings, prepared: PreparedRun) -> Method:
    recipe, plan = prepared.recipe, prepared.plan

    def make_network(name: str = recipe.network, **options: Any) -> SegmentationNetwork:
        options.setdefault("out_channels", plan.classes)
        network = build_network(name, strides=plan.strides, **options)
        network.check_patch(plan.patch_size)
        return network

    return build_method(
        settings.method,
        make_network,
        classes=plan.classes,
        run=RunSettings(
            steps=recipe.steps,
            seed=settings.seed,
            optimizer=recipe.optimizer,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            gradient_clip=recipe.gradient_clip,
        ),
        settings=settings.method_settings,
    )


def _data(
    settings: TrainSettings,
    prepared: PreparedRun,
    stores: Stores,
    method: type[Method],
    device: torch.device,
) -> PatchDataModule:
    recipe, plan = prepared.recipe, prepared.plan
    sampler = PatchSampler(
        stores.labelled,
        stores.unlabelled,
        patch_size=plan.patch_size,
        labelled_batch=recipe.labelled_batch,
        unlabelled_batch=recipe.unlabelled_batch if method.uses_unlabelled else 0,
        seed=settings.seed,
        shifted_crop=method.uses_shifted_crop,
    )
    augmenter = Augmenter(
        patch_size=plan.patch_size,
        spacing=plan.spacing,
        mirror_axes=plan.mirror_axes,
        seed=settings.seed,
        device=device,
    )
    return PatchDataModule(sampler, augmenter, recipe.steps)


def _with_smaller_batch(prepared: PreparedRun, events: EventSink) -> PreparedRun | None:
    """Half the patches a step, or None if there is one of each already."""
    recipe = prepared.recipe
    halved = dataclasses.replace(
        recipe,
        labelled_batch=max(1, recipe.labelled_batch // 2),
        unlabelled_batch=max(1, recipe.unlabelled_batch // 2),
    )
    if halved == recipe:
        return None
    events.write(
        "warning",
        message=(
            "The memory of the device is too small for the batch. The training goes on with "
            f"{halved.labelled_batch} labelled and {halved.unlabelled_batch} unlabelled patches a step."
        ),
    )
    return dataclasses.replace(prepared, recipe=halved)


def _placement(device: torch.device) -> dict[str, Any]:
    """Lightning's words for the device."""
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's greetings and its advice for other kinds of loops out of the log of the job."""
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        log.setLevel(level)

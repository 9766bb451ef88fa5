"""A training run from beginning to end: `train`."""

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

from sslseg.bundle.metadata import ModelRecord, ValidationPoint
from sslseg.bundle.model_folder import save_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.events import EventSink
from sslseg.contract.files import read_json, write_json
from sslseg.contract.settings import Precision, TrainSettings
from sslseg.contract.strict import from_json, to_json
from sslseg.data.augment import Augmenter
from sslseg.data.fingerprint import fingerprint_cohort
from sslseg.data.plan import Plan, make_plan
from sslseg.data.sampling import PatchSampler
from sslseg.data.store import StoredCase, open_store
from sslseg.methods import build_method, method_class
from sslseg.methods.base import Method, RunSettings
from sslseg.methods.settings import parse_settings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.devices import describe_device, peak_memory, resolve_device, use_bfloat16
from sslseg.train.callbacks import Checkpoints, Measurements, ProgressReport
from sslseg.train.data_module import PatchDataModule
from sslseg.train.presets import Recipe, make_recipe
from sslseg.train.validation import Split, describe_measurement, measure, split_cases

SCHEMA = "sslseg.run"
VERSION = 1


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
    """

    schema: str
    version: int
    recipe: Recipe
    split: Split
    plan: Plan
    bfloat16: bool


@dataclass(frozen=True)
class _Stores:
    """The preprocessed cases by use."""

    labelled: list[StoredCase]
    unlabelled: list[StoredCase]
    validation: list[StoredCase]


class _CancelledError(Exception):
    """Somebody wants the run to stop while the data are being prepared."""


def train(
    cohort: Cohort,
    settings: TrainSettings,
    events: EventSink,
    *,
    checkpoint_path: Path,
    cancel: Callable[[], bool] = lambda: False,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
) -> ModelRecord | None:
    """Train a model and write it to `cohort.model_folder(settings.model)`.

    A run that was cancelled or killed goes on from its checkpoint, and on a CPU ends with the very weights
    that it would have ended with undisturbed.

    Args:
        cohort: what to train on; its test cases are not looked at.
        settings: what the user chose.
        events: gets started, progress, validation, warning, artifact and cancelled.
        checkpoint_path: file of the checkpoint; what else a resumed run needs lies beside it.
        cancel: whether to stop; asked at every step, so it must be cheap.
        resume: go on from the checkpoint if there is one, instead of starting anew.
        checkpoint_seconds: time between two checkpoints.

    Returns:
        The record of the run, or None when it was cancelled.

    Raises:
        SSLSegError: a setting does not fit, there is nothing to learn from, a volume cannot be read, or the
            training diverged.
    """
    method_type = method_class(settings.method)
    parse_settings(method_type.Settings, settings.method_settings)
    device = resolve_device(settings.device)
    events.write(
        "started",
        command="train",
        device=describe_device(device),
        method=settings.method,
        model=settings.model,
    )
    run_path = checkpoint_path.with_name("run.json")
    if not resume:
        checkpoint_path.unlink(missing_ok=True)
        run_path.unlink(missing_ok=True)
    try:
        prepared = _prepare(cohort, settings, device, run_path, events, cancel)
        if not prepared.split.validation:
            events.write("warning", message=describe_measurement(0))
        stores = _open_stores(cohort, prepared, _preparation(events, prepared.recipe.steps, cancel))
    except _CancelledError:
        events.write("cancelled", step=0)
        return None
    while True:
        try:
            fitted = _fit(
                settings, prepared, stores, device, events, checkpoint_path, cancel, checkpoint_seconds
            )
            break
        except torch.OutOfMemoryError:
            smaller = _with_smaller_batch(prepared, events)
            if smaller is None:
                raise
            prepared = smaller
            write_json(run_path, to_json(prepared))
            torch.cuda.empty_cache()
    if fitted.cancelled:
        events.write("cancelled", step=fitted.steps)
        return None
    record = _record(settings, prepared, device, fitted)
    folder = cohort.model_folder(settings.model)
    save_model(folder, networks=fitted.method.inference_networks(), plan=prepared.plan, record=record)
    events.write("artifact", path=str(folder), kind="model")
    return record


def _prepare(
    cohort: Cohort,
    settings: TrainSettings,
    device: torch.device,
    path: Path,
    events: EventSink,
    cancel: Callable[[], bool],
) -> PreparedRun:
    """What was settled when the run began, or settle it now."""
    if path.exists():
        return from_json(PreparedRun, read_json(path), file=path)
    recipe = make_recipe(settings, device.type)
    split = split_cases(cohort, settings.validation_cases, settings.seed)
    fingerprint = fingerprint_cohort(cohort, progress=_preparation(events, recipe.steps, cancel))
    plan = make_plan(
        fingerprint,
        device=device.type,
        memory_bytes=_memory(device, recipe),
        patch_size=settings.patch_size,
    )
    bfloat16 = use_bfloat16(device, settings.precision)
    prepared = PreparedRun(SCHEMA, VERSION, recipe, split, plan, bfloat16)
    write_json(path, to_json(prepared))
    return prepared


def _memory(device: torch.device, recipe: Recipe) -> int | None:
    """What a step may take, in bytes; None if nothing limits it but the plan."""
    limits = [] if recipe.memory_bytes is None else [recipe.memory_bytes]
    if device.type == "cuda":
        limits.append(torch.cuda.get_device_properties(device).total_memory)
    return min(limits, default=None)


def _open_stores(cohort: Cohort, prepared: PreparedRun, progress: Callable[[int, int], None]) -> _Stores:
    split = prepared.split
    ids = [*split.labelled, *split.unlabelled, *split.validation]
    stored = {
        case.id: case
        for case in open_store(cohort, prepared.plan, [cohort.case(i) for i in ids], progress=progress)
    }
    return _Stores(
        [stored[i] for i in split.labelled],
        [stored[i] for i in split.unlabelled],
        [stored[i] for i in split.validation],
    )


def _preparation(events: EventSink, steps: int, cancel: Callable[[], bool]) -> Callable[[int, int], None]:
    def progress(done: int, cases: int) -> None:
        if cancel():
            raise _CancelledError
        events.write(
            "progress", step=0, steps=steps, seconds_left=None, phase="preparing", done=done, total=cases
        )

    return progress


@dataclass(frozen=True)
class _Fitted:
    """A run that came to its end, or was stopped."""

    method: Method
    steps: int
    cancelled: bool
    measured: list[ValidationPoint]
    seconds: float
    seconds_per_step: float


def _fit(
    settings: TrainSettings,
    prepared: PreparedRun,
    stores: _Stores,
    device: torch.device,
    events: EventSink,
    checkpoint_path: Path,
    cancel: Callable[[], bool],
    checkpoint_seconds: float,
) -> _Fitted:
    recipe, plan = prepared.recipe, prepared.plan
    method = _method(settings, prepared)
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
    checkpoints = Checkpoints(checkpoint_path, cancel, seconds=checkpoint_seconds)
    with _quiet_lightning():
        trainer = lightning.Trainer(
            **_placement(device),
            precision="bf16-mixed" if prepared.bfloat16 else "32-true",
            max_steps=recipe.steps,
            # The order matters: a checkpoint holds what was measured at its step.
            callbacks=[measurements, ProgressReport(events, recipe.steps), checkpoints],
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
    return _Fitted(
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
    stores: _Stores,
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


def _record(
    settings: TrainSettings, prepared: PreparedRun, device: torch.device, fitted: _Fitted
) -> ModelRecord:
    split = prepared.split
    return ModelRecord(
        method=settings.method,
        steps=fitted.steps,
        seed=settings.seed,
        labelled=len(split.labelled),
        unlabelled=len(split.unlabelled) if type(fitted.method).uses_unlabelled else 0,
        validation_cases=len(split.validation),
        dice=fitted.measured[-1].dice if fitted.measured else {},
        validation=fitted.measured,
        seconds=round(fitted.seconds, 1),
        seconds_per_step=round(fitted.seconds_per_step, 4),
        peak_memory_bytes=peak_memory(device),
        device=describe_device(device),
        settings={
            **to_json(settings),
            **to_json(prepared.recipe),
            "precision": "bfloat16" if prepared.bfloat16 else "float32",
            "method_settings": to_json(fitted.method.settings),
        },
    )


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

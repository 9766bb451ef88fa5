"""A training run from beginning to end: `train`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from sslseg.bundle.metadata import ModelRecord, ValidationPoint
from sslseg.bundle.model_folder import save_model
from sslseg.bundle.rounds import annotations_of
from sslseg.contract.cohort import Cohort
from sslseg.contract.events import EventSink
from sslseg.contract.files import read_json, write_json
from sslseg.contract.settings import TrainSettings
from sslseg.contract.strict import from_json, to_json
from sslseg.data.fingerprint import fingerprint_cohort
from sslseg.data.plan import make_plan
from sslseg.data.store import open_store
from sslseg.methods import method_class
from sslseg.methods.settings import parse_settings
from sslseg.networks.devices import describe_device, peak_memory, resolve_device, use_bfloat16
from sslseg.train.fitting import Fitted, Fitting, PreparedRun, Stores
from sslseg.train.leave_one_out import leave_one_out
from sslseg.train.postprocess_choice import choose_rules
from sslseg.train.presets import Recipe, make_recipe
from sslseg.train.validation import Split, describe_measurement, split_cases
from sslseg.train.warm_start import Beginning

SCHEMA = "sslseg.run"
VERSION = 1


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
    beginning = None
    if settings.start_from is not None and not checkpoint_path.exists():
        beginning = Beginning.of(cohort, settings.start_from)
    try:
        prepared = _prepare(cohort, settings, device, run_path, events, cancel, beginning)
        if not prepared.split.validation and not settings.leave_one_out:
            events.write("warning", message=describe_measurement(0))
        stores = _open_stores(cohort, prepared, _preparation(events, prepared.recipe.steps, cancel))
    except _CancelledError:
        events.write("cancelled", step=0)
        return None
    begin_with = None if beginning is None else beginning.model
    fitting = Fitting(settings, prepared, device, events, cancel, run_path, checkpoint_seconds, begin_with)
    crossed = None
    if settings.leave_one_out and not stores.validation:
        crossed = leave_one_out(fitting, stores, checkpoint_path.parent)
        if crossed is None:
            return None
    fitted = fitting.fit(stores, checkpoint_path)
    if fitted.cancelled:
        events.write("cancelled", step=fitted.steps)
        return None
    record = _record(fitting, fitted, crossed)
    folder = cohort.model_folder(settings.model)
    networks = fitted.method.inference_networks()
    rules = choose_rules(
        cohort,
        [*stores.labelled, *stores.validation],
        stores.validation,
        networks,
        prepared.plan,
        device=device,
        precision="bfloat16" if prepared.bfloat16 else "float32",
    )
    save_model(folder, networks=networks, plan=prepared.plan, record=record, rules=rules)
    events.write("artifact", path=str(folder), kind="model")
    return record


def _prepare(
    cohort: Cohort,
    settings: TrainSettings,
    device: torch.device,
    path: Path,
    events: EventSink,
    cancel: Callable[[], bool],
    beginning: Beginning | None,
) -> PreparedRun:
    """What was settled when the run began, or settle it now."""
    if path.exists():
        return from_json(PreparedRun, read_json(path), file=path)
    recipe = make_recipe(settings, device.type)
    learned, measured = ((), ()) if beginning is None else (beginning.learned, beginning.measured)
    split = split_cases(cohort, settings.validation_cases, settings.seed, learned=learned, measured=measured)
    fingerprint = fingerprint_cohort(cohort, progress=_preparation(events, recipe.steps, cancel))
    if beginning is None:
        plan = make_plan(
            fingerprint,
            device=device.type,
            memory_bytes=_memory(device, recipe),
            patch_size=settings.patch_size,
        )
    else:
        plan, recipe = beginning.plan(fingerprint, settings), beginning.recipe(recipe, settings)
    prepared = PreparedRun(
        SCHEMA,
        VERSION,
        recipe,
        split,
        plan,
        use_bfloat16(device, settings.precision),
        annotations=tuple(annotations_of(cohort, _uses(split))),
        learned_before=() if beginning is None else tuple(sorted(beginning.model.record.learned_from)),
    )
    write_json(path, to_json(prepared))
    return prepared


def _uses(split: Split) -> list[tuple[str, Literal["training", "validation"]]]:
    return [(case, "training") for case in split.labelled] + [
        (case, "validation") for case in split.validation
    ]


def _memory(device: torch.device, recipe: Recipe) -> int | None:
    """What a step may take, in bytes; None if nothing limits it but the plan."""
    limits = [] if recipe.memory_bytes is None else [recipe.memory_bytes]
    if device.type == "cuda":
        limits.append(torch.cuda.get_device_properties(device).total_memory)
    return min(limits, default=None)


def _open_stores(cohort: Cohort, prepared: PreparedRun, progress: Callable[[int, int], None]) -> Stores:
    split = prepared.split
    ids = [*split.labelled, *split.unlabelled, *split.validation]
    stored = {
        case.id: case
        for case in open_store(cohort, prepared.plan, [cohort.case(i) for i in ids], progress=progress)
    }
    return Stores(
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


def _record(fitting: Fitting, fitted: Fitted, crossed: ValidationPoint | None) -> ModelRecord:
    settings, prepared, device = fitting.settings, fitting.prepared, fitting.device
    split = prepared.split
    measured = fitted.measured if crossed is None else [crossed]
    return ModelRecord(
        method=settings.method,
        steps=fitted.steps,
        seed=settings.seed,
        labelled=len(split.labelled),
        unlabelled=len(split.unlabelled) if type(fitted.method).uses_unlabelled else 0,
        validation_cases=len(split.validation) if crossed is None else len(split.labelled),
        leave_one_out=crossed is not None,
        dice=measured[-1].dice if measured else {},
        validation=measured,
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
        started_from=settings.start_from,
        annotations=list(prepared.annotations),
        learned_before=list(prepared.learned_before),
        finished=round(time.time(), 3),
    )

"""What a model folder says about itself: MONAI bundle metadata and a README."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib import metadata as packages
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sslseg.contract.postprocess import OrganRule
    from sslseg.data.plan import Plan

MONAI_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
INTENDED_USE = "Research and teaching. Not a medical device; every result needs to be checked by an expert."


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a model's result depends on."""
    names = ("sslseg", "torch", "monai", "lightning", "numpy", "SimpleITK")
    versions = {"python": platform.python_version()}
    for name in names:
        try:
            versions[name] = packages.version(name)
        except packages.PackageNotFoundError:
            continue
    return versions


@dataclass(frozen=True)
class ValidationPoint:
    """Dice per organ (0..1, mean over the validation cases) after `step` steps; None where undefined."""

    step: int
    dice: dict[str, float | None]


@dataclass(frozen=True)
class Annotation:
    """One annotated case of a run; nothing that names it outside its cohort.

    Attributes:
        case: digest of the case's id, see `sslseg.contract.models.case_digest`.
        content: digest of its annotation; a corrected case has another one.
        use: whether it was trained on or measured on.
    """

    case: str
    content: str
    use: Literal["training", "validation"]


@dataclass(frozen=True)
class ModelRecord:
    """How a model came about: counts and settings, never the name of a case.

    Attributes:
        method: name of the training method.
        steps: optimiser steps done.
        seed: every random number followed from it.
        labelled: cases whose label was trained on.
        unlabelled: cases that were trained on without a label.
        validation_cases: annotated cases held back to measure; none of them was trained on.
        leave_one_out: each of those cases was measured by a model of its own, trained without it; the shipped
            model was trained on all of them.
        dice: mean Dice (0..1) of the shipped weights per organ over the validation cases; None: undefined.
        validation: how that went during training.
        seconds: wall-clock time of the training.
        seconds_per_step: of an optimiser step, without validation.
        peak_memory_bytes: largest memory of the device; of the process where that is the CPU.
        device: what it was trained on, such as "cpu (2 threads)".
        settings: every setting of the run.
        versions: versions of the packages.
        started_from: name of the model whose weights it began with; None: its weights were drawn.
        annotations: the annotated cases as they were when the run began.
        learned_before: digests of the cases whose labels the model it started from, and those before, learned from.
        finished: when, in seconds since the epoch.
    """

    method: str
    steps: int
    seed: int
    labelled: int
    unlabelled: int
    validation_cases: int = 0
    leave_one_out: bool = False
    dice: dict[str, float | None] = field(default_factory=dict)
    validation: list[ValidationPoint] = field(default_factory=list)
    seconds: float = 0.0
    seconds_per_step: float = 0.0
    peak_memory_bytes: int = 0
    device: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed_versions)
    started_from: str | None = None
    annotations: list[Annotation] = field(default_factory=list)
    learned_before: list[str] = field(default_factory=list)
    finished: float = 0.0

    @property
    def learned_from(self) -> set[str]:
        """Digests of the cases whose labels are in the weights, by this run or by one before."""
        return {entry.case for entry in self.annotations if entry.use == "training"} | {*self.learned_before}


def bundle_metadata(name: str, networks: list[str], plan: Plan, record: ModelRecord) -> dict[str, Any]:
    """`configs/metadata.json` of a MONAI bundle.

    Args:
        name: name of the model.
        networks: names of its networks, whose softmax outputs are averaged.
        plan: what the networks expect of an image.
        record: how they were trained.
    """
    organs = [label.name for label in plan.labels]
    shape = list(plan.patch_size)
    spacing = " x ".join(f"{side:.3g}" for side in plan.spacing)
    return {
        "schema": MONAI_SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "trained"},
        "monai_version": record.versions.get("monai", ""),
        "pytorch_version": record.versions.get("torch", ""),
        "numpy_version": record.versions.get("numpy", ""),
        "required_packages_version": {
            key: value for key, value in record.versions.items() if key in ("sslseg", "SimpleITK")
        },
        "name": name,
        "task": f"Segmentation of {', '.join(organs)} in {plan.modality}",
        "description": (
            f"{' and '.join(networks)}, trained with the method {record.method} on {record.labelled} annotated "
            f"and {record.unlabelled} unlabelled cases; patches of {shape} voxels of {spacing} mm."
        ),
        "authors": "the users of SSLSegmentation who trained this model",
        "copyright": "",
        "intended_use": INTENDED_USE,
        "data_type": plan.modality,
        "image_classes": f"one channel of {plan.modality}, scaled to [0, 1]",
        "label_classes": ", ".join(
            ["0 is background", *(f"{label.value} is {label.name}" for label in plan.labels)]
        ),
        "eval_metrics": {f"dice_{organ}": value for organ, value in record.dice.items() if value is not None},
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if plan.modality == "CT" else "magnitude",
                    "modality": plan.modality,
                    "num_channels": 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(organs) + 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(i): organ for i, organ in enumerate(["background", *organs])},
                }
            },
        },
    }


def readme(
    name: str, networks: list[str], plan: Plan, record: ModelRecord, rules: Sequence[OrganRule] = ()
) -> str:
    """`docs/README.md`: what the model is, what it is for, how it was trained, how good it is."""
    return f"""# {name}

Segments {len(plan.labels)} organ(s) in {plan.modality} volumes: {", ".join(lb.name for lb in plan.labels)}.

## Intended use

{INTENDED_USE}

## How it was trained

| | |
|---|---|
| Method | {record.method} |
| Network | {", ".join(networks)}{" (the mean of their probabilities)" if len(networks) > 1 else ""} |
| Annotated cases | {record.labelled} |
| Unlabelled cases | {record.unlabelled} |
| Steps | {record.steps} |
| Seed | {record.seed} |
| Started from | {record.started_from or "weights drawn at random"} |
| Voxel spacing (z, y, x) | {" x ".join(f"{side:.3g}" for side in plan.spacing)} mm |
| Patch (z, y, x) | {" x ".join(map(str, plan.patch_size))} voxels |
| Versions | {", ".join(f"{key} {value}" for key, value in record.versions.items())} |

## How good it was found to be

{_results(plan, record)}

## What is done to its predictions

{_rules(rules, record)}

## Files

`sslseg.json` holds the plan, the networks and the record of the run; `models/model.pt` the weights (state
dictionaries, read with `weights_only=True`); `configs/metadata.json` describes inputs and outputs for MONAI's
tools. Predict with `sslseg predict`.
"""


def _rules(rules: Sequence[OrganRule], record: ModelRecord) -> str:
    if not rules:
        return "Nothing: every voxel gets its most probable organ."
    measured = record.validation_cases and not record.leave_one_out
    harmless = ", and because it does not lower the Dice of the cases held back" if measured else ""
    return "\n".join(
        [
            f"Every voxel gets its most probable organ. Then, because the annotated cases look so{harmless}:",
            "",
            *(f"* {rule.in_words()}" for rule in rules),
            "",
            "The Dice above is that before. `sslseg predict --no-postprocess` leaves this out.",
        ]
    )


def _results(plan: Plan, record: ModelRecord) -> str:
    if not record.validation_cases or not record.dice:
        return "It was not measured: no annotated case was held back from the training."
    rows = []
    for label in plan.labels:
        dice = record.dice.get(label.name)
        rows.append(f"| {label.name} | {label.value} | {'not measured' if dice is None else f'{dice:.3f}'} |")
    count = record.validation_cases
    few = " So few cases say little about other patients." if count < 10 else ""
    how = (
        "each measured by a model trained without it; this one was trained on all of them"
        if record.leave_one_out
        else "held back from the training"
    )
    return "\n".join(
        [
            f"Mean Dice over {count} annotated case(s), {how}.{few}",
            "",
            "| organ | value | Dice |",
            "|---|---|---|",
            *rows,
        ]
    )

"""How long and with what a run trains: presets by device, and what the user set instead."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from sslseg.contract.settings import TrainSettings


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run beside its plan and its method.

    Attributes:
        steps: optimiser steps.
        network: name of the network.
        labelled_batch: labelled patches in a step.
        unlabelled_batch: unlabelled patches in a step, for methods that use them.
        optimizer: "sgd" or "adamw".
        learning_rate: initial one.
        weight_decay: of the optimiser.
        gradient_clip: largest norm of the gradient; 0 does not limit it.
        validation_every: steps between two measurements.
        memory_bytes: memory that a step may take, which bounds the patch; None leaves it to the device.
    """

    steps: int
    network: str
    labelled_batch: int = 2
    unlabelled_batch: int = 2
    optimizer: Literal["sgd", "adamw"] = "adamw"
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    validation_every: int = 500
    memory_bytes: int | None = None


GIB = 2**30

# AdamW with a clipped gradient finds small organs within a few hundred steps, where the SGD of the papers has
# not left the background yet; over tens of thousands of steps that SGD is what published figures rest on.
_OF_THE_PAPERS: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "gradient_clip": 0.0,
}
_CPU = {
    "quick": Recipe(600, "unet", validation_every=200, memory_bytes=int(1.2 * GIB)),
    "standard": Recipe(3000, "unet"),
    "thorough": Recipe(6000, "vnet", validation_every=1000),
}
_GPU = {
    "quick": Recipe(1000, "unet", memory_bytes=8 * GIB),
    "standard": Recipe(6000, "vnet", validation_every=1000),
    "thorough": Recipe(30_000, "vnet", validation_every=3000, **_OF_THE_PAPERS),
}


def make_recipe(settings: TrainSettings, device: str) -> Recipe:
    """The preset for a type of device (cpu, cuda, mps), changed by the fields that `settings` sets."""
    preset = (_CPU if device == "cpu" else _GPU)[settings.preset]
    chosen = {
        field.name: value
        for field in dataclasses.fields(Recipe)
        if (value := getattr(settings, field.name, None)) is not None
    }
    return dataclasses.replace(preset, **chosen)

"""How long and with what a run trains: presets by device, and what the user set instead."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

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
    """

    steps: int
    network: str
    labelled_batch: int = 2
    unlabelled_batch: int = 2
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    weight_decay: float = 1e-4
    gradient_clip: float = 0.0
    validation_every: int = 1000


_CPU = {
    "quick": Recipe(
        300,
        "unet",
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=0.01,
        gradient_clip=1.0,
        validation_every=100,
    ),
    "standard": Recipe(
        2000,
        "unet",
        optimizer="adamw",
        learning_rate=3e-3,
        weight_decay=0.01,
        gradient_clip=1.0,
        validation_every=500,
    ),
    "thorough": Recipe(6000, "vnet", validation_every=1000),
}
_GPU = {
    "quick": dataclasses.replace(_CPU["quick"], steps=1000, validation_every=250),
    "standard": Recipe(6000, "vnet", validation_every=1000),
    "thorough": Recipe(30_000, "vnet", validation_every=3000),
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

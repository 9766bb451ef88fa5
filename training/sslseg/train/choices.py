"""What the code offers, described for forms: the source of `contract/choices.json`."""

from __future__ import annotations

import re

from sslseg.contract.choices import (
    Choices,
    MethodDescription,
    NetworkDescription,
    PresetDescription,
)
from sslseg.contract.settings import PRESETS, TrainSettings
from sslseg.methods import METHODS
from sslseg.methods.settings import describe_settings
from sslseg.networks import NETWORKS
from sslseg.train.presets import make_recipe


def describe_choices() -> Choices:
    """The methods, networks and presets of this version; loads torch."""
    return Choices(
        methods=tuple(
            MethodDescription(
                name,
                _title(method.__name__),
                method.summary,
                method.uses_unlabelled,
                tuple(describe_settings(method.Settings)),
            )
            for name, method in METHODS.items()
        ),
        networks=tuple(NetworkDescription(name, summary) for name, summary in NETWORKS.items()),
        presets=tuple(_preset(name, device) for name in PRESETS for device in ("cpu", "gpu")),
    )


def _title(class_name: str) -> str:
    """MeanTeacher to Mean teacher; CPS stays."""
    first, *others = re.split(r"(?<=[a-z])(?=[A-Z])", class_name)
    return " ".join([first, *(word.lower() for word in others)])


def _preset(name: str, device: str) -> PresetDescription:
    settings = TrainSettings(method="any", model="any", preset=name)  # type: ignore[arg-type]
    recipe = make_recipe(settings, "cpu" if device == "cpu" else "cuda")
    return PresetDescription(name, device, recipe.steps, recipe.network)  # type: ignore[arg-type]

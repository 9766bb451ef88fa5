"""What a training can be made of, for whoever shows a form without loading torch: methods, networks, presets.

`choices.json` is written by `sslseg methods --write` from the code; a test keeps it true.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.strict import from_json

PATH = Path(__file__).with_name("choices.json")

Source = Literal["paper", "released code", "field", "own decision"]


@dataclass(frozen=True)
class SettingDescription:
    """What a form or a help text shows of one setting of a method.

    Attributes:
        name: as in `TrainSettings.method_settings`.
        kind: number, whole number, switch, choice, text.
        default: its default.
        help: what it does, in one clause.
        source: where the default comes from.
        minimum: smallest allowed value, or None.
        maximum: largest allowed value, or None.
        choices: the allowed values of a choice.
    """

    name: str
    kind: str
    default: Any
    help: str
    source: Source
    minimum: float | None
    maximum: float | None
    choices: tuple[Any, ...]


@dataclass(frozen=True)
class MethodDescription:
    """A method.

    Attributes:
        name: as in `TrainSettings.method`.
        title: how a form calls it.
        summary: what it does, and when to choose it.
        uses_unlabelled: whether it learns from cases without annotation.
        settings: its settings.
    """

    name: str
    title: str
    summary: str
    uses_unlabelled: bool
    settings: tuple[SettingDescription, ...]


@dataclass(frozen=True)
class NetworkDescription:
    """A network: its name as in `TrainSettings.network`, and what it is."""

    name: str
    summary: str


@dataclass(frozen=True)
class PresetDescription:
    """What a preset stands for on one type of device.

    Attributes:
        name: quick, standard, thorough.
        device: cpu or gpu.
        steps: optimiser steps.
        network: name of the network.
    """

    name: str
    device: Literal["cpu", "gpu"]
    steps: int
    network: str


@dataclass(frozen=True)
class Choices:
    """All that a form offers."""

    methods: tuple[MethodDescription, ...]
    networks: tuple[NetworkDescription, ...]
    presets: tuple[PresetDescription, ...]

    def method(self, name: str) -> MethodDescription:
        """The method of that name.

        Raises:
            SSLSegError: there is none.
        """
        for method in self.methods:
            if method.name == name:
                return method
        raise SSLSegError(
            f"There is no method '{name}'",
            remedy=f"Choose one of: {', '.join(method.name for method in self.methods)}.",
        )

    def preset(self, name: str, device: str) -> PresetDescription:
        """What a preset stands for on a device such as cpu, cuda:0, mps.

        Raises:
            SSLSegError: there is none.
        """
        kind = "cpu" if device == "cpu" else "gpu"
        for preset in self.presets:
            if (preset.name, preset.device) == (name, kind):
                return preset
        raise SSLSegError(f"There is no preset '{name}'")


def read_choices(path: Path = PATH) -> Choices:
    """What this version of the backend offers.

    Raises:
        SSLSegError: the file is missing or damaged.
    """
    return from_json(Choices, read_json(path, remedy="Install the extension again."), file=path)

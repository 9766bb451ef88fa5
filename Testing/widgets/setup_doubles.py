"""What the setup of the module needs around it: settings, an installer, a Python that answers as a test wants."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import REQUIREMENTS, Requirement

GOOD = {
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "torch": "2.13.0+cpu",
    "monai": "1.6.1",
    "lightning": "2.6.6",
    "SimpleITK": "",
    "pydicom": "3.0.2",
    "slicerio": "1.4.0",
    "connected-components-3d": "4.1.1",
    "matplotlib": "3.11.2",
    "Jinja2": "3.1.6",
    "typer": "0.29.2",
    "rich": "15.0.0",
}
"""Versions of packages that do."""


class ASettings:
    """The application's settings."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def value(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self.values[key] = value


class AnInstaller:
    """Installs nothing and remembers what it was asked to install."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.why = ""
        self.failure: SSLSegError | None = None

    def obstacle(self, requirements: Sequence[Requirement]) -> str:
        return self.why

    def install(self, requirements: Sequence[Requirement]) -> None:
        self.asked.append([requirement.name for requirement in requirements])
        if self.failure is not None:
            raise self.failure


def probe_answer(python: str = "3.12.10", **packages: str | None) -> str:
    """What the probe prints in a Python that has everything but what `packages` says otherwise."""
    found = {requirement.name: GOOD.get(requirement.name, "999") for requirement in REQUIREMENTS}
    return json.dumps({"python": python, "packages": found | packages}) + "\n"

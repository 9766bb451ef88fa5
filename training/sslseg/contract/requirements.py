"""The packages that the backend needs, and whether this Python has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Requirement:
    """One package.

    Attributes:
        name: as pip knows it.
        module: as Python imports it.
        specifier: the versions that work, as in pyproject.toml, such as ">=2.8,!=2.9.*".
    """

    name: str
    module: str
    specifier: str

    def installed(self) -> str | None:
        """The version in this Python, or None."""
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None

    def problem(self) -> str | None:
        """What is wrong with it in this Python, in a sentence; None where it fits."""
        version = self.installed()
        if version is None:
            return f"The package '{self.name}' is missing. Install {self.name}{self.specifier}."
        if not satisfies(version, self.specifier):
            return (
                f"The package '{self.name}' has version {version}, which does not fit. "
                f"Install {self.name}{self.specifier}."
            )
        return None


PYTHON = ">=3.11,<3.13"
REQUIREMENTS = (
    Requirement("numpy", "numpy", ">=2"),
    Requirement("scipy", "scipy", ">=1.13"),
    Requirement("torch", "torch", ">=2.8,!=2.9.*"),
    Requirement("monai", "monai", ">=1.6"),
    Requirement("lightning", "lightning", ">=2.6"),
    Requirement("SimpleITK", "SimpleITK", ">=2.4"),
    Requirement("pydicom", "pydicom", ">=3"),
    Requirement("slicerio", "slicerio", ">=1.1"),
    Requirement("connected-components-3d", "cc3d", ">=3.18"),
    Requirement("matplotlib", "matplotlib", ">=3.9"),
    Requirement("Jinja2", "jinja2", ">=3.1"),
    Requirement("typer", "typer", ">=0.15"),
    Requirement("rich", "rich", ">=13.9"),
)
"""As in pyproject.toml; repeated, because a backend that lies beside the module is not installed."""


def satisfies(version: str, specifier: str) -> bool:
    """Whether `version` fits a specifier of `>=`, `<` and `!=` clauses; suffixes such as `+cu128` do not count."""
    have = _numbers(version)
    for clause in specifier.split(","):
        found = re.fullmatch(r"\s*(>=|<|!=)\s*([\d.]+?)(\.\*)?\s*", clause)
        if found is None:
            raise ValueError(f"'{clause}' is no clause of a specifier")
        operator, text, wildcard = found.groups()
        wanted = _numbers(text)
        width = len(wanted) if wildcard else max(len(wanted), len(have))
        left, right = _padded(have, width), _padded(wanted, width)
        if not {">=": left >= right, "<": left < right, "!=": left != right}[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in leading[0].split(".")) if leading else (0,)


def _padded(numbers: tuple[int, ...], width: int) -> tuple[int, ...]:
    return (*numbers, *[0] * width)[:width]

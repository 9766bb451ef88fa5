"""What a Python has of what the backend needs, in words."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import PYTHON, REQUIREMENTS, Requirement, satisfies
from SSLSegmentationLib.logic.BackgroundCommand import Outcome

PROBE = Path(__file__).with_name("probe.py")

_NAMES = {
    "python": "Python",
    "torch": "PyTorch",
    "monai": "MONAI",
    "lightning": "Lightning",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "matplotlib": "Matplotlib",
    "typer": "Typer",
    "rich": "Rich",
}
_PLACES = ("bin/python3", "bin/python", "python.exe", "Scripts/python.exe")
"""Where the interpreter lies in the folder of an environment."""


def nameOf(package: str) -> str:
    """The name by which a person knows a package."""
    return _NAMES.get(package, package)


@dataclass(frozen=True)
class Finding:
    """One package that the backend needs, and the version that is there.

    Attributes:
        requirement: what is needed.
        version: what was found; None: not installed; empty: installed, but it does not tell its version.
    """

    requirement: Requirement
    version: str | None

    @property
    def isGood(self) -> bool:
        return self.version == "" or (
            self.version is not None and satisfies(self.version, self.requirement.specifier)
        )

    @property
    def name(self) -> str:
        return nameOf(self.requirement.name)

    @property
    def sentence(self) -> str:
        """The state in words, without the name."""
        needed = specifierWords(self.requirement.specifier)
        if self.version is None:
            return _("not installed, needs {needed}").format(needed=needed)
        if self.version == "":
            return _("installed")
        if self.isGood:
            return self.version
        return _("{version} does not fit, needs {needed}").format(version=self.version, needed=needed)


@dataclass(frozen=True)
class PythonFindings:
    """What the probe found in one Python.

    Attributes:
        python: its version.
        findings: the packages, in the order of the list of requirements.
        problem: why nothing was found, in sentences; empty if something was.
    """

    python: str
    findings: tuple[Finding, ...]
    problem: str = ""

    @property
    def missing(self) -> list[Requirement]:
        """What has to be installed or replaced."""
        return [finding.requirement for finding in self.findings if not finding.isGood]

    @classmethod
    def of(cls, outcome: Outcome, seconds: float) -> PythonFindings:
        """Read what the probe printed.

        Args:
            outcome: how it ended.
            seconds: how long it was given.
        """
        if outcome.exitCode is None:
            return cls(
                "",
                (),
                _(
                    "This program did not answer within {seconds} seconds, so it does not seem to be Python. "
                    "Choose a Python {needed}."
                ).format(seconds=round(seconds), needed=specifierWords(PYTHON)),
            )
        answer = outcome.answer()
        if answer is None or "python" not in answer:
            return cls(
                "",
                (),
                _("This program does not answer as Python does. Choose a Python {needed}.").format(
                    needed=specifierWords(PYTHON)
                ),
            )
        version = str(answer["python"])
        if not satisfies(version, PYTHON):
            problem = _("This is Python {version}; the backend needs Python {needed}.")
            return cls(version, (), problem.format(version=version, needed=specifierWords(PYTHON)))
        versions = answer.get("packages") or {}
        return cls(version, tuple(Finding(needed, versions.get(needed.name)) for needed in REQUIREMENTS))


def probeCommand(python: Path) -> list[str]:
    """The command that lets a Python tell what it has."""
    pairs = [f"{requirement.name}={requirement.module}" for requirement in REQUIREMENTS]
    return [str(python), str(PROBE), *pairs]


def findPython(path: Path) -> Path:
    """The interpreter that a person means by a path: the program, or the folder of its environment.

    Raises:
        SSLSegError: there is none.
    """
    if path.is_dir():
        found = next((path / place for place in _PLACES if (path / place).is_file()), None)
        if found is None:
            raise SSLSegError(
                _("There is no Python in this folder"),
                file=path,
                remedy=_("Choose the folder of a virtual or conda environment, or the program python in it."),
            )
        return found
    if not path.is_file():
        raise SSLSegError(
            _("There is no such file"),
            file=path,
            remedy=_("Check the path, or choose the program with the button."),
        )
    return path


def specifierWords(specifier: str) -> str:
    """The versions that do, as people say them: ">=2.8,!=2.9.*" is "2.8 or later, but not 2.9"."""
    words = []
    for part in specifier.split(","):
        bound = part.strip().lstrip("<>=!").removesuffix(".*")
        if part.startswith(">="):
            words.append(_("{version} or later").format(version=bound))
        elif part.startswith("!="):
            words.append(_("but not {version}").format(version=bound))
        else:
            words.append(_("before {version}").format(version=bound))
    return ", ".join(words)


def ownPython() -> Path:
    """The Python that comes with Slicer, as a program of its own."""
    return Path(shutil.which("PythonSlicer") or sys.executable)

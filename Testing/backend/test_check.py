"""`sslseg check` answers in sentences, whatever is missing."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sslseg.check import computer
from sslseg.check.computer import check_computer
from sslseg.contract import requirements
from sslseg.contract.requirements import PYTHON, REQUIREMENTS, Requirement, satisfies

ROOT = Path(__file__).parents[2]


def _without_packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a Python that has nothing but the standard library."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "sslseg.cli.app", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "training")},
    )


def test_a_computer_that_works_tells_its_device_memory_and_versions() -> None:
    found = check_computer("cpu")
    assert found.ok, found.errors
    assert found.device.startswith("cpu")
    assert found.memory_gb is not None and found.memory_gb > 0.5
    assert found.seconds is not None and found.seconds < 20
    assert set(found.versions) == {"python", "torch", "monai", "lightning", "SimpleITK", "sslseg"}
    assert json.loads(found.as_json())["versions"] == found.versions
    assert "It works: cpu" in found.as_text()


def test_a_python_without_any_package_lists_them_all_without_a_traceback() -> None:
    process = _without_packages("check", "--json")
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    found = json.loads(process.stdout)
    assert found["ok"] is False
    assert found["errors"] == [
        f"The package '{r.name}' is missing. Install {r.name}{r.specifier}." for r in REQUIREMENTS
    ]
    assert found["versions"]["torch"] is None


def test_other_commands_point_to_the_check_when_packages_are_missing() -> None:
    process = _without_packages("status", "cohort")
    assert process.returncode == 2
    assert process.stderr == "The package 'typer' is missing. 'sslseg check' lists what else is.\n"


def test_a_version_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = requirements.metadata.version
    monkeypatch.setattr(
        requirements.metadata, "version", lambda name: "2.9.1+cu128" if name == "torch" else version(name)
    )
    found = check_computer("cpu")
    assert found.errors == [
        "The package 'torch' has version 2.9.1+cu128, which does not fit. Install torch>=2.8,!=2.9.*."
    ]
    assert not found.ok
    assert found.device == ""


def test_a_package_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    load = importlib.import_module

    def broken(name: str) -> Any:
        if name == "scipy":
            raise ImportError("libopenblas.so: cannot open shared object file\nand more")
        return load(name)

    monkeypatch.setattr(computer.importlib, "import_module", broken)
    assert check_computer("cpu").errors == [
        "The package 'scipy' is installed but cannot be loaded "
        "(ImportError: libopenblas.so: cannot open shared object file). Install it anew."
    ]


def test_a_device_that_is_not_there_is_refused() -> None:
    found = check_computer("cuda:99")
    assert not found.ok
    assert "so not 'cuda:99'" in found.errors[0]


def test_a_device_that_cannot_compute_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: Any) -> float:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(computer, "_job", fail)
    found = check_computer("cpu")
    assert not found.ok
    assert found.errors[0].startswith("The computation failed on the device 'cpu' (RuntimeError: no kernel")


@pytest.mark.parametrize(
    ("version", "specifier", "fits"),
    [
        ("2.13.0+cpu", ">=2.8,!=2.9.*", True),
        ("2.8", ">=2.8,!=2.9.*", True),
        ("2.9", ">=2.8,!=2.9.*", False),
        ("2.9.1", ">=2.8,!=2.9.*", False),
        ("2.7.1", ">=2.8", False),
        ("10.0rc1", ">=2", True),
        ("2.13.0", ">=2.8,<2.13", False),
        ("2.12.5", ">=2.8,<2.13", True),
        ("unknown", ">=1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, specifier: str, fits: bool) -> None:
    assert satisfies(version, specifier) is fits


def test_a_specifier_that_is_not_understood_is_an_error_of_the_program() -> None:
    with pytest.raises(ValueError, match="~=2"):
        satisfies("2.0", "~=2.0")


def test_the_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [f"{r.name}{r.specifier}" for r in REQUIREMENTS] == project["dependencies"]
    assert project["requires-python"] == PYTHON


def test_a_python_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computer.platform, "python_version", lambda: "3.10.12")
    assert check_computer("cpu").errors == [
        "The backend does not run on Python 3.10.12. Use Python >=3.11,<3.13."
    ]


def test_a_package_that_is_not_there_has_no_version() -> None:
    assert Requirement("no-such-package-of-ours", "x", ">=1").installed() is None

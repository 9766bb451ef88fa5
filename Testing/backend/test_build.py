"""What CMake installs, and what the extension index is told."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slicer_build import MODULES, write_slicer

ROOT = Path(__file__).parents[2]
RAW = "https://raw.githubusercontent.com/SSLSegmentation/SSLSegmentation/main/"


def _files_in_git(folder: str) -> set[str]:
    """Files below a folder that git knows and that are there, relative to the top."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(
        ["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"git does not answer here: {listed.stderr.strip()}")
    return {line for line in listed.stdout.splitlines() if (ROOT / line).exists()}


def _list(path: str, name: str) -> set[str]:
    """A list of files in a CMake file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = re.search(rf"\b{name}\s([^)]*)\)", text)
    assert found is not None, f"{path} has no list {name}"
    files = found[1].split()
    assert len(files) == len(set(files)), f"{path} lists a file twice"
    return set(files)


def _variable(name: str) -> str:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf'set\({name} "([^"]*)"\)', text)
    assert found is not None, name
    return found[1]


def _cmake(*arguments: object) -> None:
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("there is no cmake on this computer")
    done = subprocess.run([cmake, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def _runs_in_slicer(path: Path) -> bool:
    """Whether a file holds tests of `unittest`: Slicer has no pytest."""
    if not (path.name.startswith("test_") and path.suffix == ".py"):
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    methods = (inner for node in tree.body if isinstance(node, ast.ClassDef) for inner in node.body)
    return "pytest" not in imported and any(
        isinstance(method, ast.FunctionDef) and method.name.startswith("test_") for method in methods
    )


def test_every_file_of_the_backend_is_listed() -> None:
    listed = _list("training/files.cmake", "SSLSEG_PYTHON_SCRIPTS")
    resources = _list("training/files.cmake", "SSLSEG_PYTHON_RESOURCES")
    assert all(name.endswith(".py") for name in listed)
    assert listed | resources == _files_in_git("training/sslseg")


def test_every_file_of_the_module_is_listed() -> None:
    listed = _list("SSLSegmentation/CMakeLists.txt", "MODULE_PYTHON_SCRIPTS")
    listed |= _list("SSLSegmentation/CMakeLists.txt", "MODULE_PYTHON_RESOURCES")
    expected = {name.removeprefix("SSLSegmentation/") for name in _files_in_git("SSLSegmentation")}
    assert listed == expected - {"CMakeLists.txt"}


def test_every_organ_preset_is_listed() -> None:
    assert _list("Resources/files.cmake", "EXTENSION_RESOURCES") == _files_in_git("Resources/OrganPresets")


@pytest.mark.parametrize("folder", ["widgets", "slicer_core", "system"])
def test_every_test_that_runs_inside_slicer_is_registered(folder: str) -> None:
    expected = {
        Path(name).name for name in _files_in_git(f"Testing/{folder}") if _runs_in_slicer(ROOT / name)
    }
    path = f"Testing/{folder}/CMakeLists.txt"
    registered = _list(path, "add_module_tests\\(") if (ROOT / path).exists() else set()
    assert registered == expected


def test_without_slicer_the_backend_is_installed(tmp_path: Path) -> None:
    _cmake("-S", ROOT, "-B", tmp_path / "build", f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'installed'}")
    _cmake("--install", tmp_path / "build")
    training = tmp_path / "installed" / "lib" / "SSLSegmentation" / "training"
    assert (training / "sslseg" / "report" / "templates" / "report.html.j2").exists()
    code = "import sslseg.contract.cohort as c; print(c.__file__)"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(training)},
    ).stdout
    assert Path(printed.strip()).is_relative_to(training)


def test_with_slicer_the_module_finds_backend_and_resources_beside_itself(tmp_path: Path) -> None:
    slicer = write_slicer(tmp_path / "slicer")
    _cmake("-S", ROOT, "-B", tmp_path / "build", f"-DSlicer_DIR={slicer}")
    modules = tmp_path / "build" / MODULES
    code = (
        "import SSLSegmentationLib, sslseg.contract.cohort as cohort\n"
        "from SSLSegmentationLib.logic import Paths\n"
        "print(cohort.__file__, Paths.backendFolder(), Paths.resourceFolder(), Paths.uiPath('SetupPanel'),\n"
        "      Paths.iconPath('SSLSegmentation'), sep='\\n')"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(modules)},
    ).stdout
    places = [Path(line) for line in printed.splitlines()]
    assert len(places) == 5
    assert all(place.is_relative_to(modules.resolve()) and place.exists() for place in places), printed
    assert list((places[2] / "OrganPresets").glob("*.json"))
    registered = (tmp_path / "build" / "tests.txt").read_text().splitlines()
    assert str(ROOT / "Testing" / "widgets" / "test_setup_logic.py") in registered
    assert all(Path(script).exists() for script in registered)


def test_the_catalogue_entry_says_what_the_build_says() -> None:
    entry: dict[str, Any] = json.loads((ROOT / "Resources" / "SSLSegmentation.json").read_text())
    kinds = {
        "$schema": str, "category": str, "scm_url": str, "scm_revision": str, "scm_type": str,
        "build_dependencies": list, "build_subdirectory": str, "enabled": bool, "tier": int,
        "dicom_support_rule": str,
    }  # fmt: skip
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(kinds)
    assert all(isinstance(value, kinds[name]) for name, value in entry.items())
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] == _variable("EXTENSION_CATEGORY")
    assert entry["scm_url"] == _variable("EXTENSION_HOMEPAGE") + ".git"
    assert entry["scm_type"] == "git"
    assert entry["build_dependencies"] == _variable("EXTENSION_DEPENDS").split()
    assert 1 <= entry["tier"] <= 5


def test_the_pictures_that_the_index_shows_are_there() -> None:
    addresses = [_variable("EXTENSION_ICONURL"), *_variable("EXTENSION_SCREENSHOTURLS").split()]
    assert len(addresses) > 1
    for address in addresses:
        assert address.startswith(RAW)
        assert (ROOT / address.removeprefix(RAW)).is_file(), address


@pytest.mark.parametrize(
    "icon", ["Resources/SSLSegmentation.png", "SSLSegmentation/Resources/Icons/SSLSegmentation.png"]
)
def test_icons_have_128_pixels(icon: str) -> None:
    header = (ROOT / icon).read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)

"""The rules of the Slicer module's structure, read off its files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[2] / "SSLSegmentation"
FILES = sorted(MODULE.rglob("*.py"))

# What Slicer brings along and every module may import when it is loaded.
OF_SLICER = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "numpy", "SimpleITK", "SampleData"}
OF_THE_GUI = {"ctk"}


def _in(folder: str) -> list[Path]:
    return sorted((MODULE / "SSLSegmentationLib" / folder).glob("*.py"))


def _imports(nodes: list[ast.stmt] | Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _at_file_scope(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when the file is imported; what only type checkers read does not."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield from (
            (inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom))
            if isinstance(node, ast.If | ast.Try | ast.With)
            else [node]
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_third_party_is_imported_when_the_module_is_loaded(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name in _imports(list(_at_file_scope(tree))):
        root = name.split(".")[0]
        ours = root == "SSLSegmentationLib" or name.startswith("sslseg.contract") or name == "sslseg"
        assert root in sys.stdlib_module_names or root in OF_SLICER or ours, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_backend_is_never_imported_in_the_process_of_slicer(path: Path) -> None:
    for name in _imports(ast.walk(ast.parse(path.read_text(encoding="utf-8")))):
        root = name.split(".")[0]
        assert root not in {"torch", "monai", "lightning"}, f"{path.name} imports {name}"
        assert root != "sslseg" or name.startswith("sslseg.contract") or name == "sslseg", (
            f"{path.name}: {name}"
        )


@pytest.mark.parametrize("path", [*_in("logic"), *_in("batch")], ids=lambda p: p.name)
def test_logic_knows_no_widgets(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for name in _imports(ast.walk(ast.parse(text))):
        assert name.split(".")[0] not in OF_THE_GUI, f"{path.name} imports {name}"
        assert "widgets" not in name.split("."), f"{path.name} imports {name}"
    assert "loadUI" not in text


@pytest.mark.parametrize("path", _in("batch"), ids=lambda p: p.name)
def test_a_batch_shows_no_window_and_asks_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "qt" not in {name.split(".")[0] for name in _imports(ast.walk(tree))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert not name.endswith(("Display", "messageBox")) and name != "input", f"{path.name}: {name}"


def test_nothing_lies_beside_the_module_that_slicer_would_take_for_another_one() -> None:
    assert [path.name for path in MODULE.glob("*.py")] == ["SSLSegmentation.py"]


def test_files_fit_in_a_sitting_and_registration_only_registers() -> None:
    long = {path.name: n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 450}
    assert not long
    registration = MODULE / "SSLSegmentation.py"
    assert len(registration.read_text(encoding="utf-8").splitlines()) <= 140


def test_the_scene_is_never_cleared() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert not name.endswith("mrmlScene.Clear"), f"{path.name} clears the scene"

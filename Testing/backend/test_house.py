"""The rules that hold the house up, read off the imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "training" / "sslseg"

# What each package may import of the others; what is not listed here may not exist.
ALLOWED = {
    "contract": set(),
    "losses": {"contract"},
    "transforms": {"contract"},
    "networks": {"contract"},
    "data": {"contract", "transforms"},
    "methods": {"contract", "networks", "losses", "transforms"},
    "inference": {"contract", "data", "networks", "losses"},
    "bundle": {"contract", "data", "networks"},
    "evaluate": {"contract", "data"},
    "report": {"contract", "data", "bundle", "evaluate", "predict"},
    "phantoms": {"contract", "data"},
    "check": {"contract", "networks", "losses", "inference"},
    "train": {"contract", "data", "networks", "methods", "inference", "bundle", "evaluate"},
    "quality": {"contract", "data", "inference", "bundle"},
    "predict": {"contract", "data", "networks", "inference", "bundle", "quality"},
    "rank": {"contract", "evaluate", "quality", "predict"},
    "export": {"contract", "data", "networks", "inference", "bundle"},
    "jobs": {"contract", "data", "train", "predict", "export", "rank"},
    "demo": {"contract", "data", "methods", "evaluate", "report", "bundle", "bench", "phantoms", "jobs"},
    "bench": {
        "contract", "data", "transforms", "methods", "networks", "losses", "inference", "bundle",
        "train", "predict", "evaluate", "report", "jobs", "phantoms", "quality", "rank",
    },
    "loop": {"contract", "data", "jobs"},
    "cli": {
        "contract", "data", "methods", "networks", "inference", "bundle",
        "train", "predict", "jobs", "evaluate", "report", "demo", "bench", "check", "phantoms", "loop", "export",
    },
}  # fmt: skip


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _packages() -> list[str]:
    return sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py")))


@pytest.mark.parametrize("package", _packages())
def test_imports_run_one_way(package: str) -> None:
    wrong = []
    for path in (PACKAGE / package).rglob("*.py"):
        for name in _imports(path):
            parts = name.split(".")
            ours = parts[0] == "sslseg" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir()
            if ours and parts[1] not in ALLOWED[package] | {package}:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_the_contract_needs_the_standard_library_only() -> None:
    for path in (PACKAGE / "contract").rglob("*.py"):
        for name in _imports(path):
            root = name.split(".")[0]
            assert root in sys.stdlib_module_names or name.startswith("sslseg.contract"), (
                f"{path.name}: {name}"
            )


def test_no_file_outgrows_a_sitting() -> None:
    long = {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 450}
    assert not long


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in {"eval", "exec", "pickle.load", "pickle.loads"}, f"{path.name} calls {name}"
            if name == "torch.load":
                safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                assert safe, f"{path.name} loads more than weights"
            if name == "np.load":
                assert not any(
                    k.arg == "allow_pickle" and ast.unparse(k.value) == "True" for k in node.keywords
                )

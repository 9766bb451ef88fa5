"""What the README promises about the code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sslseg
from sslseg.methods import METHODS
from sslseg.methods.base import RunSettings

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_method_in_the_readme_trains(
    tmp_path: Path,
    network_factory: Callable[..., Any],
    tiny_batch: Callable[..., Any],
    run_steps: Callable[..., Any],
) -> None:
    (source,) = (block for block in BLOCKS if "(Method)" in block)
    path = tmp_path / "pseudo_label.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("pseudo_label", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    settings = module.PseudoLabelSettings(threshold=0.5)
    method = module.PseudoLabel(network_factory(3), 3, RunSettings(steps=2), settings)
    terms = run_steps(method, [tiny_batch(3)] * 2)
    assert set(terms[0]) == {"supervised", "pseudo"}
    assert terms[1]["supervised"] < terms[0]["supervised"]


def test_the_functions_in_the_readme_take_what_it_gives_them() -> None:
    (source,) = (block for block in BLOCKS if "import sslseg" in block)
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func).startswith("sslseg.")]
    assert len(ours) == 5
    for call in ours:
        function = getattr(sslseg, ast.unparse(call.func).removeprefix("sslseg."))
        names = {str(keyword.arg): None for keyword in call.keywords}
        inspect.signature(function).bind(*call.args, **names)


def test_the_readme_says_of_each_method_what_the_command_line_says() -> None:
    for name, method in METHODS.items():
        assert f"| `{name}` | {method.summary.split('. ')[0]}" in README, name


def test_every_folder_of_the_code_is_in_the_readme() -> None:
    package = CHECKOUT / "training" / "sslseg"
    for folder in package.iterdir():
        if any(folder.glob("*.py")):
            assert f"{folder.name}/" in README, folder.name


def test_every_picture_is_there_small_and_shown() -> None:
    shown = set(re.findall(r"!\[[^\]]+\]\((Resources/Screenshots/[^)]+)\)", README))
    there = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "Resources" / "Screenshots").iterdir()}
    assert shown == there
    assert all((CHECKOUT / path).stat().st_size < 300_000 for path in there)


def test_the_program_says_what_the_readme_gives_a_remedy_for() -> None:
    table = README.partition("## When something goes wrong")[2].partition("\n## ")[0]
    sentences = re.findall(r'^\| "(.*?)"', table, re.MULTILINE)
    assert len(sentences) > 10
    said = _said_in(CHECKOUT / "SSLSegmentation") | _said_in(CHECKOUT / "training" / "sslseg")
    for sentence in sentences:
        parts = [part.strip(" ,;.") for part in sentence.split("…")]
        assert any(all(part in text for part in parts) for text in said), sentence


def _said_in(folder: Path) -> set[str]:
    """Every text in the code of a folder, parts that are put together at run time joined."""
    texts: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                texts.add("".join(str(part.value) for part in node.values if isinstance(part, ast.Constant)))
    return texts

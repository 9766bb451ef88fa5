"""`slicer.packaging`: which packages are there is what a test says; nothing is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

satisfied: set[str] = set()
"""Requirements that `pip_check` finds; only the stand-in has this."""

asked: list[Any] = []
"""Requirements that somebody wanted installed; only the stand-in has this."""


def _listed(requirements: Any) -> list[str]:
    if isinstance(requirements, (tuple, set)):
        raise TypeError(f"requirements must be a string, a Requirement or a list, not {type(requirements)}")
    return [str(r) for r in requirements] if isinstance(requirements, list) else [str(requirements)]


def pip_check(req: Any) -> bool:
    return all(requirement in satisfied for requirement in _listed(req))


def pip_ensure(
    requirements: Any,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Record the wish, and count the requirements as satisfied from now on."""
    asked.append((_listed(requirements), {"constraints": constraints, "requester": requester}))
    satisfied.update(_listed(requirements))
    return skip_packages


def pip_install(
    requirements: Any,
    constraints: str | Path | None = None,
    no_deps_requirements: Any = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    parent: Any = None,
    logCallback: Any = None,
    completedCallback: Any = None,
) -> list[str] | None:
    return pip_ensure(requirements, constraints, skip_packages, requester=requester)

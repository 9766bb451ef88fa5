"""`slicer.packaging`: which packages are there is what a test says; nothing is installed."""

from __future__ import annotations

from typing import Any

satisfied: set[str] = set()
"""Requirements that `pip_check` finds; only the stand-in has this."""

asked: list[Any] = []
"""Requirements that somebody wanted installed; only the stand-in has this."""


def _listed(requirements: Any) -> list[str]:
    return [str(r) for r in requirements] if isinstance(requirements, (list, tuple)) else [str(requirements)]


def pip_check(requirements: Any, **_: Any) -> bool:
    return all(requirement in satisfied for requirement in _listed(requirements))


def pip_ensure(requirements: Any, **keywords: Any) -> None:
    """Record the wish, and count the requirements as satisfied from now on."""
    asked.append((_listed(requirements), keywords))
    satisfied.update(_listed(requirements))


def pip_install(requirements: Any, **keywords: Any) -> None:
    pip_ensure(requirements, **keywords)

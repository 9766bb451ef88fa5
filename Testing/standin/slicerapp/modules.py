"""`slicer.modules`: an entry for each module, which answers `.logic()`."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

from .core import Core


class Module:
    """What `slicer.modules.volumes` is: the module as the application loaded it."""

    def __init__(self, name: str, logic: Any, path: str = "") -> None:
        self.name = name
        self.title = name
        self.path = path
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        """Modules of the double have no panel."""


class Modules(types.SimpleNamespace):
    """Entries by lower-case name, as the application has them."""

    def __init__(self, core: Core) -> None:
        super().__init__(**{name.lower(): Module(name, logic) for name, logic in core.logics.items()})

    def add(self, name: str, path: Path | str, logic: Any = None) -> Module:
        """Register a scripted module that a test loads."""
        module = Module(name, logic, str(path))
        setattr(self, name.lower(), module)
        return module

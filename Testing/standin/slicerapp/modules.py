"""`slicer.modules`: an entry for each module, which answers `.logic()`."""

from __future__ import annotations

import importlib.util
import sys
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
        self._panel: Any = None

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> Any:
        """The panel of a scripted module, made when it is first asked for; other modules of the double have none."""
        if self._panel is None and self.path.endswith(".py"):
            import qt
            import slicer

            self._panel = slicer.qMRMLWidget()
            self._panel.setLayout(qt.QVBoxLayout())
            self._panel.setMRMLScene(slicer.mrmlScene)
            setUpPanel(self.name, self.path, self._panel)
        return self._panel


def setUpPanel(name: str, path: str, panel: Any) -> None:
    """Read the file of a scripted module, and let its widget class fill the panel."""
    import slicer

    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    source = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    leavePanel(name, panel)
    widget = getattr(source, f"{name}Widget")(panel)
    widget.setup()
    setattr(slicer.modules, f"{name}Widget", widget)


def leavePanel(name: str, panel: Any) -> None:
    """Take the widget of before out of the panel."""
    import slicer

    before = getattr(slicer.modules, f"{name}Widget", None)
    if before is None:
        return
    for child in panel.children():
        if child.isWidgetType():
            child.hide()
    before.cleanup()
    while panel.layout().count():
        panel.layout().takeAt(0)


class Modules(types.SimpleNamespace):
    """Entries by lower-case name, as the application has them."""

    def __init__(self, core: Core) -> None:
        super().__init__(**{name.lower(): Module(name, logic) for name, logic in core.logics.items()})

    def add(self, name: str, path: Path | str, logic: Any = None) -> Module:
        """Register a scripted module that a test loads."""
        module = Module(name, logic, str(path))
        setattr(self, name.lower(), module)
        return module

"""Panels from `.ui` files, modules and settings."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from .loader import loadPanel
from .modules import setUpPanel
from .nodes import MRMLNodeNotFoundException

__all__ = [
    "MRMLNodeNotFoundException", "childWidgetVariables", "findChild", "findChildren", "getModule", "getModuleGui",
    "getModuleLogic", "getModuleWidget", "loadUI", "mainWindow", "modulePath", "reloadScriptedModule", "selectModule",
    "selectedModule", "settingsValue", "toBool", "toFloat", "toInt",
]  # fmt: skip


def loadUI(path: Any) -> Any:
    """The widget of a `.ui` file; its ctk and qMRML widgets are the doubles."""
    return loadPanel(str(path))


def findChildren(
    widget: Any = None, name: str = "", text: str = "", title: str = "", className: str = ""
) -> list[Any]:
    """The widget and all below it that fit every given pattern."""
    wanted = {"name": name, "text": text, "title": title, "className": className}
    wanted = {key: pattern for key, pattern in wanted.items() if pattern}
    found, waiting = [], [widget] if widget else []
    while waiting:
        current = waiting.pop()
        waiting += current.children()
        values = {key: getattr(current, key, None) for key in wanted}
        if "className" in values:
            values["className"] = current.className()
        if all(
            isinstance(values[key], str) and fnmatch.fnmatchcase(values[key], wanted[key]) for key in wanted
        ):
            found.append(current)
    return found


def findChild(widget: Any, name: str) -> Any:
    found = findChildren(widget, name=name)
    if not found:
        raise RuntimeError(f"Widget named {name} does not exists.")
    return found[0]


def childWidgetVariables(widget: Any) -> Any:
    """An object with every named widget below a panel as an attribute."""
    variables = type("", (), {})()
    for child in findChildren(widget):
        if child.name:
            setattr(variables, child.name, child)
    return variables


def mainWindow() -> None:
    """There is none, as with `--no-main-window`."""


def getModule(moduleName: str) -> Any:
    import slicer

    module = getattr(slicer.modules, moduleName.lower(), None)
    if module is None:
        raise RuntimeError(f"Could not find module with name '{moduleName}'")
    return module


def getModuleLogic(module: Any) -> Any:
    return (getModule(module) if isinstance(module, str) else module).logic()


def getModuleGui(module: Any) -> Any:
    return (getModule(module) if isinstance(module, str) else module).widgetRepresentation()


def getModuleWidget(module: Any) -> Any:
    """The object of Python behind the panel of a scripted module."""
    import slicer

    getModuleGui(module)
    return getattr(slicer.modules, f"{module if isinstance(module, str) else module.name}Widget")


def reloadScriptedModule(moduleName: str) -> None:
    """Read the file of a module anew, and put a new widget into its panel; Slicer does not enter that."""
    module = getModule(moduleName)
    setUpPanel(module.name, module.path, module.widgetRepresentation())


def modulePath(moduleName: str) -> str:
    return getModule(moduleName).path


_selected: list[str] = []


def selectModule(module: Any) -> None:
    """Remember which module was asked for; `selectedModule` answers it."""
    _selected[:] = [module if isinstance(module, str) else module.name]


def selectedModule() -> str:
    return _selected[0] if _selected else ""


def settingsValue(
    key: str, default: Any, converter: Callable[[Any], Any] = lambda value: value, settings: Any = None
) -> Any:
    """A setting, or the default where it is missing or cannot be converted."""
    import slicer

    settings = settings or slicer.app.settings()
    try:
        return converter(settings.value(key)) if settings.contains(key) else default
    except (TypeError, ValueError):
        return default


def toBool(value: Any) -> bool:
    if isinstance(value, str):
        lower = value.lower()
        if lower in ("true", "1"):
            return True
        if lower in ("false", "0", ""):
            return False
        raise ValueError(f"unexpected boolean: {value}")
    return bool(value)


def toInt(value: Any) -> int:
    return int(value)


def toFloat(value: Any) -> float:
    return float(value)

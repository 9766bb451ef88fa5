"""`slicer.ScriptedLoadableModule`: the four base classes of a scripted module."""

from __future__ import annotations

import logging
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer

__all__ = [
    "ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]  # fmt: skip


class ScriptedLoadableModule:
    """What the application learns of a module: title, categories, help. `parent` is given by the application."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = self.__class__.__name__
        parent.title = ""
        parent.categories = []
        parent.dependencies = []
        parent.contributors = []
        parent.helpText = ""
        parent.acknowledgementText = ""
        for ending in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f'<p>For more information see the <a href="{docPage or self.moduleName}">online documentation</a>.</p>'


class ScriptedLoadableModuleWidget:
    """The panel of a module. Without a parent it makes one and sets itself up."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = self.__class__.__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue(
            "Developer/DeveloperMode", False, converter=slicer.util.toBool
        )
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        else:
            self.parent = parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Modules add their panel here; the developer's section of the real class is left out."""

    def cleanup(self) -> None:
        """Called when the panel goes."""

    def onReload(self) -> None:
        """A developer changed the files of the module."""
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    """Keeps the parameters of a module in one node of the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = self.__class__.__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        scene = slicer.mrmlScene
        node = None
        if self.isSingletonParameterNode:
            node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None and node.GetAttribute("ModuleName") != self.moduleName:
                node.SetAttribute("ModuleName", self.moduleName)
        elif self.getAllParameterNodes():
            node = self.getAllParameterNodes()[0]
        return node if node is not None else scene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's own test."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        logging.info(message)

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:
        """The double has no window to take."""

    def runTest(self) -> None:
        logging.warning("No test is defined in %s", self.__class__.__name__)

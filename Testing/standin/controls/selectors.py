"""Doubles of the qMRML widgets that hold a scene or choose a node of it."""

from __future__ import annotations

from typing import Any

import slicer_core
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene; the root of every module panel."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of given classes; follows the scene."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observers: list[int] = []
        self._values: dict[str, Any] = {
            "noneEnabled": False, "addEnabled": True, "removeEnabled": True, "renameEnabled": False,
            "editEnabled": False, "showHidden": False, "showChildNodeTypes": True, "selectNodeUponCreation": True,
            "noneDisplay": "None", "baseName": "",
        }  # fmt: skip
        self._types: list[str] = []
        self._node: Any = None
        self._combo = QtWidgets.QComboBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._onActivated)
        self.destroyed.connect(self._forgetScene)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._forgetScene()
        self._scene = scene
        if scene is not None:
            events = (slicer_core.vtkMRMLScene.NodeAddedEvent, slicer_core.vtkMRMLScene.NodeRemovedEvent,
                      slicer_core.vtkMRMLScene.EndCloseEvent, slicer_core.vtkMRMLScene.EndImportEvent)  # fmt: skip
            self._observers = [scene.AddObserver(event, lambda *_: self._refill()) for event in events]
        self._refill()

    def _forgetScene(self) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._observers = []

    def _candidates(self) -> list[Any]:
        if self._scene is None:
            return []
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [node for node in nodes if self._fits(node)]

    def _fits(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._values["showHidden"]:
            return False
        exact = not self._values["showChildNodeTypes"]
        return any(node.GetClassName() == kind or (not exact and node.IsA(kind)) for kind in self._types)

    def _refill(self) -> None:
        nodes = self._candidates()
        self._combo.clear()
        if self._values["noneEnabled"]:
            self._combo.addItem(self._values["noneDisplay"], None)
        for node in nodes:
            self._combo.addItem(node.GetName(), node.GetID())
        if self._node in nodes:
            self._combo.setCurrentIndex(self._combo.findData(self._node.GetID()))
        else:
            self.setCurrentNode(nodes[0] if nodes and not self._values["noneEnabled"] else None)

    def _onActivated(self, index: int) -> None:
        nodeId = self._combo.itemData(index)
        self.setCurrentNode(self._scene.GetNodeByID(nodeId) if nodeId else None)
        self.nodeActivated.emit(self._node)

    def currentNode(self) -> Any:
        return self._node

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node)
        if node is self._node:
            return
        self._node = node
        nodeId = node.GetID() if node is not None else None
        self._combo.setCurrentIndex(
            self._combo.findData(nodeId) if nodeId or self._values["noneEnabled"] else -1
        )
        self.currentNodeChanged.emit(node)
        self.currentNodeIDChanged.emit(nodeId or "")

    def _currentNodeID(self) -> str:
        return self._node.GetID() if self._node is not None else ""

    def setCurrentNodeID(self, nodeId: str) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(nodeId) if self._scene is not None and nodeId else None)

    def nodeCount(self) -> int:
        return len(self._candidates())

    def addNode(self) -> Any:
        node = self._scene.AddNewNodeByClass(self._types[0], self._values["baseName"])
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def setNodeTypes(self, types: list[str]) -> None:
        self._types = list(types)
        self._refill()

    def _set(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._refill()

    nodeTypes = Property("QStringList", lambda self: self._types, setNodeTypes)
    currentNodeID = Property(str, _currentNodeID, setCurrentNodeID)
    noneEnabled = Property(bool, lambda s: s._values["noneEnabled"], lambda s, v: s._set("noneEnabled", v))
    addEnabled = Property(bool, lambda s: s._values["addEnabled"], lambda s, v: s._set("addEnabled", v))
    removeEnabled = Property(
        bool, lambda s: s._values["removeEnabled"], lambda s, v: s._set("removeEnabled", v)
    )
    renameEnabled = Property(
        bool, lambda s: s._values["renameEnabled"], lambda s, v: s._set("renameEnabled", v)
    )
    editEnabled = Property(bool, lambda s: s._values["editEnabled"], lambda s, v: s._set("editEnabled", v))
    showHidden = Property(bool, lambda s: s._values["showHidden"], lambda s, v: s._set("showHidden", v))
    showChildNodeTypes = Property(
        bool, lambda s: s._values["showChildNodeTypes"], lambda s, v: s._set("showChildNodeTypes", v)
    )
    selectNodeUponCreation = Property(
        bool, lambda s: s._values["selectNodeUponCreation"], lambda s, v: s._set("selectNodeUponCreation", v)
    )
    noneDisplay = Property(str, lambda s: s._values["noneDisplay"], lambda s, v: s._set("noneDisplay", v))
    baseName = Property(str, lambda s: s._values["baseName"], lambda s, v: s._set("baseName", v))

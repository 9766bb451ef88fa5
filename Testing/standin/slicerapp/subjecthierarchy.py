"""What the application's subject hierarchy does by itself: an item for every node that a user would see as data."""

from __future__ import annotations

from typing import Any

import slicer_core
import vtk

_SHOWN = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLPlotChartNode")


class SubjectHierarchy:
    """Follows the nodes of a scene; the real one is part of a Qt plugin."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        kind = slicer_core.vtkMRMLScene
        self._tags = [
            scene.AddObserver(kind.NodeAddedEvent, self._onAdded),
            scene.AddObserver(kind.NodeAboutToBeRemovedEvent, self._onRemoved),
            scene.AddObserver(kind.EndImportEvent, lambda *_: self._onImported()),
        ]

    def _node(self) -> Any:
        return slicer_core.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onAdded(self, _scene: Any, _event: str, node: Any) -> None:
        if not self._scene.IsImporting():
            self._add(node)

    def _add(self, node: Any) -> None:
        if node.GetHideFromEditors() or not any(node.IsA(kind) for kind in _SHOWN):
            return
        hierarchy = self._node()
        if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onRemoved(self, _scene: Any, _event: str, node: Any) -> None:
        hierarchy = None if self._scene.IsClosing() else self._node()
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    def _onImported(self) -> None:
        for index in range(self._scene.GetNumberOfNodes()):
            self._add(self._scene.GetNthNode(index))

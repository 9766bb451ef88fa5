"""The slice views while a case is open: what the user had in them comes back when it is closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk


@dataclass(frozen=True)
class _View:
    """What one slice view showed: ids of the volumes of its layers, their opacity, and where it looked."""

    background: str | None
    foreground: str | None
    label: str | None
    foregroundOpacity: float
    labelOpacity: float
    sliceToRas: tuple[float, ...]
    fieldOfView: tuple[float, ...]
    origin: tuple[float, ...]


class SliceViews:
    """Shows a volume in all slice views and gives them back afterwards."""

    def __init__(self) -> None:
        self._before: dict[str, _View] = {}

    def show(self, volumeNode: Any) -> None:
        """Put a volume into the background of every slice view, and fit the views to it."""
        for logic in _logics():
            composite = logic.GetSliceCompositeNode()
            self._before.setdefault(composite.GetID(), _remember(logic))
            composite.SetBackgroundVolumeID(volumeNode.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(None)
            logic.FitSliceToBackground()

    def overlay(self, volumeNode: Any | None, opacity: float) -> None:
        """Lay a volume over the case; None takes it away."""
        for logic in _logics():
            composite = logic.GetSliceCompositeNode()
            composite.SetForegroundVolumeID(None if volumeNode is None else volumeNode.GetID())
            composite.SetForegroundOpacity(opacity if volumeNode is not None else 0.0)

    def restore(self, volumeNode: Any) -> None:
        """Give back the views that still show the volume; what the user has changed since stays."""
        for logic in _logics():
            composite = logic.GetSliceCompositeNode()
            before = self._before.get(composite.GetID())
            if before is not None and composite.GetBackgroundVolumeID() == volumeNode.GetID():
                _giveBack(logic, before)
        self._before = {}

    def forget(self) -> None:
        """Give nothing back: the scene is gone."""
        self._before = {}


def jumpTo(position: tuple[float, float, float]) -> None:
    """Show a position (RAS, mm) in all slice views."""
    for logic in _logics():
        node = logic.GetSliceNode()
        if node is not None:
            node.JumpSliceByCentering(*position) if _isOutside(
                node, position
            ) else node.JumpSliceByOffsetting(*position)


def _isOutside(node: Any, position: tuple[float, float, float]) -> bool:
    rasToSlice = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(node.GetSliceToRAS(), rasToSlice)
    x, y, _z, _one = rasToSlice.MultiplyPoint((*position, 1.0))
    width, height, _depth = node.GetFieldOfView()
    left, bottom, _near = node.GetXYZOrigin()
    return abs(x - left) > width / 2 or abs(y - bottom) > height / 2


def _logics() -> list[Any]:
    collection = slicer.app.applicationLogic().GetSliceLogics()
    if collection is None:
        return []
    logics = [collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems())]
    return [logic for logic in logics if logic.GetSliceCompositeNode() is not None]


def _remember(logic: Any) -> _View:
    composite, node = logic.GetSliceCompositeNode(), logic.GetSliceNode()
    matrix = node.GetSliceToRAS()
    return _View(
        composite.GetBackgroundVolumeID(),
        composite.GetForegroundVolumeID(),
        composite.GetLabelVolumeID(),
        composite.GetForegroundOpacity(),
        composite.GetLabelOpacity(),
        tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4)),
        tuple(node.GetFieldOfView()),
        tuple(node.GetXYZOrigin()),
    )


def _giveBack(logic: Any, view: _View) -> None:
    composite, node = logic.GetSliceCompositeNode(), logic.GetSliceNode()

    def present(nodeId: str | None) -> str | None:
        return nodeId if nodeId and slicer.mrmlScene.GetNodeByID(nodeId) is not None else None

    composite.SetBackgroundVolumeID(present(view.background))
    composite.SetForegroundVolumeID(present(view.foreground))
    composite.SetLabelVolumeID(present(view.label))
    composite.SetForegroundOpacity(view.foregroundOpacity)
    composite.SetLabelOpacity(view.labelOpacity)
    node.GetSliceToRAS().DeepCopy(view.sliceToRas)
    node.UpdateMatrices()
    node.SetFieldOfView(*view.fieldOfView)
    node.SetXYZOrigin(*view.origin)

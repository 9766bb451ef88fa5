"""Doubles of the qMRML slice, 3D and table views: they hold their nodes; nothing is drawn."""

from __future__ import annotations

from typing import Any

from PySide6 import QtWidgets

from .selectors import qMRMLWidget


class qMRMLTableView(qMRMLWidget):
    """Shows a table node."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None

    def mrmlTableNode(self) -> Any:
        return self._node

    def setMRMLTableNode(self, node: Any) -> None:
        self._node = node

    def setMRMLTableViewNode(self, node: Any) -> None:
        self.setMRMLTableNode(node.GetTableNode() if node is not None else None)


class _SliceController(QtWidgets.QWidget):
    """The bar above a slice view."""

    def __init__(self, logic: Any) -> None:
        super().__init__()
        self._logic = logic

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToAll()

    def setSliceVisible(self, shown: bool) -> None:
        self._logic.GetSliceNode().SetSliceVisible(shown)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()


class qMRMLSliceWidget(qMRMLWidget):
    """A slice view: its logic and nodes, no picture."""

    def __init__(self, logic: Any = None) -> None:
        super().__init__()
        self._logic = logic
        self._controller = _SliceController(logic)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceController(self) -> QtWidgets.QWidget:
        return self._controller

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToAll()


class qMRMLThreeDView(qMRMLWidget):
    """The 3D view itself; it has no picture."""

    def __init__(self, logic: Any = None) -> None:
        super().__init__()
        self._logic = logic

    def mrmlViewNode(self) -> Any:
        return self._logic.GetViewNode()

    def resetFocalPoint(self) -> None:
        """There is no camera before a picture is rendered."""

    def resetCamera(self) -> None:
        """There is no camera before a picture is rendered."""


class qMRMLThreeDWidget(qMRMLWidget):
    """A 3D view with its bar of controls."""

    def __init__(self, logic: Any = None) -> None:
        super().__init__()
        self._view = qMRMLThreeDView(logic)

    def threeDView(self) -> QtWidgets.QWidget:
        return self._view

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()

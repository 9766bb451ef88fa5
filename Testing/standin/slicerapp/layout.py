"""The layout manager: slice, 3D, table and plot views that exist without a window."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from ..controls.plots import qMRMLPlotWidget
from ..controls.views import qMRMLSliceWidget, qMRMLTableView, qMRMLThreeDWidget
from .core import SLICE_VIEWS, Core


class qSlicerLayoutManager(QtCore.QObject):
    """Slice views by name, one 3D view, and plot and table views as soon as a node asks for them."""

    layoutChanged = Signal(int)

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core
        self._node = core.layoutLogic.GetLayoutNode()
        self._shown = self._node.GetViewArrangement()
        self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._onModified())
        self._viewport = QtWidgets.QWidget()
        logics = core.applicationLogic.GetSliceLogics()
        self._slices = {
            name: qMRMLSliceWidget(logics.GetItemAsObject(i)) for i, name in enumerate(SLICE_VIEWS)
        }
        self._threeD = qMRMLThreeDWidget(core.applicationLogic.GetViewLogics().GetItemAsObject(0))
        self._plots: list[qMRMLPlotWidget] = []
        self._tables: list[qMRMLTableView] = []

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def sliceWidget(self, name: str) -> QtWidgets.QWidget | None:
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._core.applicationLogic.GetSliceLogics()

    def threeDWidget(self, index: int) -> QtWidgets.QWidget | None:
        return self._threeD if index == 0 else None

    def plotWidget(self, index: int) -> QtWidgets.QWidget | None:
        self._follow("vtkMRMLPlotViewNode", self._plots, qMRMLPlotWidget, "setMRMLPlotViewNode")
        return self._plots[index] if index < len(self._plots) else None

    def tableWidget(self, index: int) -> QtWidgets.QWidget | None:
        self._follow("vtkMRMLTableViewNode", self._tables, qMRMLTableView, "setMRMLTableViewNode")
        return self._tables[index] if index < len(self._tables) else None

    def _follow(self, nodeClass: str, widgets: list[Any], kind: type, setter: str) -> None:
        for index in range(len(widgets), self._core.scene.GetNumberOfNodesByClass(nodeClass)):
            widget = kind()
            getattr(widget, setter)(self._core.scene.GetNthNodeByClass(index, nodeClass))
            widgets.append(widget)

    def _onModified(self) -> None:
        if self._shown != self._node.GetViewArrangement():
            self._shown = self._node.GetViewArrangement()
            self.layoutChanged.emit(self._shown)

    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)

    def layoutLogic(self) -> Any:
        return self._core.layoutLogic

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self) -> None:
        """The camera of the off-screen 3D view is set when it is rendered."""

    layout = Property(int, lambda self: self._node.GetViewArrangement(), setLayout)
    threeDViewCount = Property(int, lambda self: 1)
    plotViewCount = Property(
        int, lambda self: self._core.scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")
    )
    tableViewCount = Property(
        int, lambda self: self._core.scene.GetNumberOfNodesByClass("vtkMRMLTableViewNode")
    )

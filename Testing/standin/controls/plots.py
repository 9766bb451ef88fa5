"""A double of the plot view that draws the curves of its chart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import slicer_core
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util import numpy_support

from .selectors import qMRMLWidget

_DASHES = {
    "LineStyleNone": QtCore.Qt.PenStyle.NoPen,
    "LineStyleDash": QtCore.Qt.PenStyle.DashLine,
    "LineStyleDot": QtCore.Qt.PenStyle.DotLine,
    "LineStyleDashDot": QtCore.Qt.PenStyle.DashDotLine,
    "LineStyleDashDotDot": QtCore.Qt.PenStyle.DashDotDotLine,
}


class _Curve:
    """One series of a chart: numbers, colour and name."""

    def __init__(self, node: Any) -> None:
        self.name = node.GetName() or ""
        self.color = QtGui.QColor.fromRgbF(*node.GetColor())
        styles = {getattr(slicer_core.vtkMRMLPlotSeriesNode, name): dash for name, dash in _DASHES.items()}
        self.dash = styles.get(node.GetLineStyle(), QtCore.Qt.PenStyle.SolidLine)
        table = node.GetTableNode()
        self.y = self._column(table, node.GetYColumnName())
        self.x = (
            self._column(table, node.GetXColumnName()) if node.GetXColumnName() else np.arange(len(self.y))
        )
        count = min(len(self.x), len(self.y))
        good = np.isfinite(self.x[:count]) & np.isfinite(self.y[:count])
        self.x, self.y = self.x[:count][good], self.y[:count][good]

    @staticmethod
    def _column(table: Any, name: str) -> np.ndarray:
        column = table.GetTable().GetColumnByName(name) if table is not None and name else None
        if column is None or not column.IsNumeric():
            return np.empty(0)
        return numpy_support.vtk_to_numpy(column).astype(float)


class qMRMLPlotView(QtWidgets.QWidget):
    """Shows the chart of a plot view node: axes, curves, titles and a legend.

    What it shows can be asked of `chart()` alone: `mrmlScene()` and `mrmlPlotViewNode()` are there for C++ only.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._node: Any = None
        self.setMinimumHeight(120)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(380, 240)

    def setMRMLScene(self, scene: Any) -> None:
        if scene is None:
            self.setMRMLPlotViewNode(None)

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._node = node
        self.update()

    def fitToContent(self) -> None:
        self.update()

    def chart(self) -> Any:
        """What VTK draws: a plot for each series."""
        chart = vtk.vtkChartXY()
        for curve in self._curves():
            chart.AddPlot(vtk.vtkChart.LINE).SetLabel(curve.name)
        return chart

    def _chart(self) -> Any:
        return self._node.GetPlotChartNode() if self._node is not None else None

    def _curves(self) -> list[_Curve]:
        chart = self._chart()
        if chart is None:
            return []
        series = [chart.GetNthPlotSeriesNode(i) for i in range(chart.GetNumberOfPlotSeriesNodes())]
        return [_Curve(node) for node in series if node is not None]

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QtGui.QColor("white"))
        chart = self._chart()
        if chart is None:
            return
        painter.setPen(QtGui.QColor("#202020"))
        center = QtCore.Qt.AlignmentFlag.AlignCenter
        frame = QtCore.QRectF(self.rect()).adjusted(52, 24, -12, -38)
        if chart.GetTitleVisibility():
            painter.drawText(QtCore.QRectF(0, 2, self.width(), 20), center, chart.GetTitle() or "")
        painter.drawText(
            QtCore.QRectF(0, self.height() - 18, self.width(), 16), center, chart.GetXAxisTitle() or ""
        )
        painter.save()
        painter.translate(2, frame.center().y() + 100)
        painter.rotate(-90)
        painter.drawText(QtCore.QRectF(0, 0, 200, 14), center, chart.GetYAxisTitle() or "")
        painter.restore()
        curves = [curve for curve in self._curves() if len(curve.x)]
        if curves:
            self._draw(painter, frame, curves)
        painter.setPen(QtGui.QColor("#606060"))
        painter.drawRect(frame)

    def _draw(self, painter: QtGui.QPainter, frame: QtCore.QRectF, curves: list[_Curve]) -> None:
        chart = self._chart()
        lowX, highX = _range([curve.x for curve in curves])
        lowY, highY = _range([curve.y for curve in curves])
        if not chart.GetXAxisRangeAuto():
            lowX, highX = chart.GetXAxisRange()
        if not chart.GetYAxisRangeAuto():
            lowY, highY = chart.GetYAxisRange()

        def place(x: float, y: float) -> QtCore.QPointF:
            return QtCore.QPointF(
                frame.left() + (x - lowX) / (highX - lowX) * frame.width(),
                frame.bottom() - (y - lowY) / (highY - lowY) * frame.height(),
            )

        middle = QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
        for y in _ticks(lowY, highY):
            painter.setPen(QtGui.QColor("#e2e2e2"))
            painter.drawLine(place(lowX, y), place(highX, y))
            painter.setPen(QtGui.QColor("#404040"))
            painter.drawText(
                QtCore.QRectF(14, place(lowX, y).y() - 8, frame.left() - 18, 16), middle, f"{y:.3g}"
            )
        for x in _ticks(lowX, highX):
            below = QtCore.QRectF(place(x, lowY).x() - 30, frame.bottom() + 2, 60, 16)
            painter.drawText(below, QtCore.Qt.AlignmentFlag.AlignCenter, f"{x:.4g}")
        for number, curve in enumerate(curves):
            painter.setPen(QtGui.QPen(curve.color, 2, curve.dash))
            points = [place(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
            painter.drawPolyline(QtGui.QPolygonF(points))
            if chart.GetLegendVisibility():
                top = frame.top() + 12 + 15 * number
                painter.drawLine(
                    QtCore.QPointF(frame.right() - 112, top), QtCore.QPointF(frame.right() - 94, top)
                )
                painter.setPen(QtGui.QColor("#202020"))
                painter.drawText(QtCore.QPointF(frame.right() - 90, top + 4), curve.name[:16])


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between the two, at most six."""
    power = 10 ** math.floor(math.log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if (high - low) / (power * factor) <= 5)
    return [
        number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _range(columns: list[np.ndarray]) -> tuple[float, float]:
    low, high = min(float(c.min()) for c in columns), max(float(c.max()) for c in columns)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


class qMRMLPlotWidget(qMRMLWidget):
    """A plot view with its bar of controls."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = qMRMLPlotView(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)

    def plotView(self) -> qMRMLPlotView:
        return self._view

    def mrmlPlotViewNode(self) -> Any:
        return self._view._node

    def setMRMLPlotViewNode(self, node: Any) -> None:
        self._view.setMRMLPlotViewNode(node)

"""What Slicer's plot view would show of a chart node, drawn with the same VTK chart."""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from vtkmodules.util import numpy_support

BACKGROUND = (255, 253, 246, 255)
"""Of qMRMLPlotView, in Slicer's light and dark style alike."""
_MARKERS = {
    "none": vtk.vtkPlotPoints.NONE,
    "cross": vtk.vtkPlotPoints.CROSS,
    "plus": vtk.vtkPlotPoints.PLUS,
    "square": vtk.vtkPlotPoints.SQUARE,
    "circle": vtk.vtkPlotPoints.CIRCLE,
    "diamond": vtk.vtkPlotPoints.DIAMOND,
}


def renderChart(chartNode: Any, size: tuple[int, int]) -> np.ndarray:
    """The chart as a picture (height, width, 3), uint8.

    Args:
        chartNode: a vtkMRMLPlotChartNode; series that lack their table or column are left out, as in Slicer.
        size: width and height in pixels.
    """
    view = vtk.vtkContextView()
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(*size)
    view.GetRenderer().SetBackground(*(channel / 255 for channel in BACKGROUND[:3]))
    chart = vtk.vtkChartXY()
    view.GetScene().AddItem(chart)
    for index in range(chartNode.GetNumberOfPlotSeriesNodes()):
        _addPlot(chart, chartNode.GetNthPlotSeriesNode(index))
    chart.SetShowLegend(bool(chartNode.GetLegendVisibility()))
    chart.SetTitle((chartNode.GetTitle() or "") if chartNode.GetTitleVisibility() else "")
    _setAxis(
        chart.GetAxis(vtk.vtkAxis.BOTTOM),
        chartNode,
        chartNode.GetXAxisTitle() if chartNode.GetXAxisTitleVisibility() else "",
        None if chartNode.GetXAxisRangeAuto() else chartNode.GetXAxisRange(),
    )
    _setAxis(
        chart.GetAxis(vtk.vtkAxis.LEFT),
        chartNode,
        chartNode.GetYAxisTitle() if chartNode.GetYAxisTitleVisibility() else "",
        None if chartNode.GetYAxisRangeAuto() else chartNode.GetYAxisRange(),
    )
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    window.Finalize()
    return pixels.reshape(height, width, -1)[::-1, :, :3].copy()


def _addPlot(chart: Any, series: Any) -> None:
    table = None if series is None or series.GetTableNode() is None else series.GetTableNode().GetTable()
    columns = [] if series is None else [series.GetXColumnName(), series.GetYColumnName()]
    if table is None or any(table.GetColumnByName(name) is None for name in columns):
        return
    plot = chart.AddPlot(vtk.vtkChart.LINE)
    plot.SetInputData(table, *columns)
    plot.SetWidth(series.GetLineWidth())
    red, green, blue = series.GetColor()
    plot.SetColorF(red, green, blue)
    plot.SetLabel(series.GetName())
    plot.SetMarkerSize(series.GetMarkerSize())
    plot.SetMarkerStyle(_MARKERS[series.GetMarkerStyleAsString(series.GetMarkerStyle())])


def _setAxis(axis: Any, chartNode: Any, title: str | None, limits: tuple[float, float] | None) -> None:
    axis.SetTitle(title or "")
    axis.SetGridVisible(bool(chartNode.GetGridVisibility()))
    axis.GetTitleProperties().SetFontSize(chartNode.GetAxisTitleFontSize())
    axis.GetTitleProperties().SetBold(False)
    axis.GetLabelProperties().SetFontSize(chartNode.GetAxisLabelFontSize())
    if limits is not None:
        axis.SetBehavior(vtk.vtkAxis.FIXED)
        axis.SetUnscaledRange(*limits)

"""Live curves of a training in Slicer's own plots: the losses, and the Dice of each organ."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import slicer
import vtk
from slicer.i18n import tr as _

from SSLSegmentationLib.logic.SceneNodes import OWNED, addNode, removeNode
from SSLSegmentationLib.logic.StepSeries import StepSeries

CURVES = "curves"
"""Role of the nodes that belong to the curves."""
Kind = Literal["dice", "loss"]
Color = tuple[float, float, float]

STEP = "step"
VIEW_NAME = "SSLSegmentationCurves"
LIGHTEST = 0.6
"""Luminance above which a colour is darkened: plots are drawn on near white whatever Slicer's style is."""
ALIKE = 0.25
"""Two colours (red, green, blue; 0 to 1) that are nearer to each other than this are told apart by dashes as well."""
LINE_STYLES = ("LineStyleSolid", "LineStyleDash", "LineStyleDot")
# Mid tones: their names are shown on Slicer's light and dark background.
LOSS_COLORS: tuple[Color, ...] = (
    (0.12, 0.47, 0.71),
    (0.84, 0.37, 0.00),
    (0.17, 0.63, 0.17),
    (0.58, 0.40, 0.74),
    (0.55, 0.34, 0.29),
    (0.74, 0.49, 0.09),
)


class Curves(Protocol):
    """What is drawn: of a JobMonitor, its series."""

    @property
    def losses(self) -> StepSeries: ...
    @property
    def validation(self) -> StepSeries: ...


@dataclass
class _Drawn:
    """What the table of a chart holds."""

    series: StepSeries | None = None
    revision: int = -1
    rows: int = 0


class _Chart:
    """One chart with its table and a plot series a column; made when there is something to draw."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._drawn = _Drawn()
        self._table: Any = None
        self._chart: Any = None
        self._plots: dict[str, Any] = {}
        self.colors: dict[str, Color] = {}
        """Of each curve, as it is drawn."""
        self.dashes: dict[str, int] = {}
        """Of each curve: number of its style among LINE_STYLES."""

    @property
    def node(self) -> Any:
        """The chart node; made anew when the scene was closed, or a part of it was removed."""
        if not self.isMade:
            self._make()
        return self._chart

    @property
    def isMade(self) -> bool:
        """Whether there has been something to draw since the scene was opened."""
        nodes = [self._chart, self._table, *self._plots.values()]
        return all(node is not None and slicer.mrmlScene.IsNodePresent(node) for node in nodes)

    def draw(self, series: StepSeries, colors: Mapping[str, Color]) -> None:
        """Bring the chart up to `series`: rows that came at the end are added, anything else is drawn anew."""
        if not len(series) and not self.isMade:
            return
        chart, drawn = self.node, self._drawn
        if drawn.series is series and (drawn.revision, drawn.rows) == (series.revision, len(series)):
            return
        # One update of the views for all columns together.
        modifying = chart.StartModify()
        if drawn.series is not series or drawn.revision != series.revision:
            self._reset(series, colors)
        self._append(series)
        if self._kind == "dice" and len(series):
            # From the beginning, whenever the first measurement was.
            chart.SetXAxisRange(0.0, float(series.rows[-1][0]))
        self._drawn = _Drawn(series, series.revision, len(series))
        self._table.GetTable().Modified()
        self._table.Modified()
        chart.EndModify(modifying)

    def remove(self) -> None:
        """Take the nodes out of the scene."""
        for node in [self._chart, *self._plots.values(), self._table]:
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                removeNode(node)
        self._forget()

    def _forget(self) -> None:
        self._drawn, self._table, self._chart, self._plots = _Drawn(), None, None, {}

    def _make(self) -> None:
        self.remove()
        isDice = self._kind == "dice"
        title = _("Dice on the held-back cases") if isDice else _("Losses")
        self._table = _addHidden(slicer.vtkMRMLTableNode(), title)
        self._chart = addNode("vtkMRMLPlotChartNode", title, CURVES)
        self._chart.SetSaveWithScene(False)
        self._chart.SetTitleVisibility(False)
        self._chart.SetXAxisTitle(_("step"))
        self._chart.SetYAxisTitle(_("Dice") if isDice else _("loss"))
        self._chart.SetAxisTitleFontSize(12)
        self._chart.SetAxisLabelFontSize(11)
        self._chart.SetLegendVisibility(False)
        if isDice:
            self._chart.SetXAxisRangeAuto(False)
            self._chart.SetYAxisRangeAuto(False)
            self._chart.SetYAxisRange(0.0, 1.0)

    def _reset(self, series: StepSeries, colors: Mapping[str, Color]) -> None:
        """Empty the table, and have a column and a plot series for every name."""
        table = self._table.GetTable()
        table.Initialize()
        names = sorted(series.names, key=lambda name: name != "total")
        for name in [STEP, *names]:
            column = vtk.vtkDoubleArray()
            column.SetName(name)
            table.AddColumn(column)
        for name in [known for known in self._plots if known not in names]:
            plot = self._plots.pop(name)
            self._chart.RemovePlotSeriesNodeID(plot.GetID())
            removeNode(plot)
        cycle = itertools.cycle(LOSS_COLORS)
        self.colors = {name: readable(colors.get(name) or next(cycle)) for name in names}
        self.dashes = dict(zip(names, dashesOf(list(self.colors.values())), strict=True))
        for name in names:
            if name not in self._plots:
                self._plots[name] = self._makePlot(name)
            self._plots[name].SetColor(*self.colors[name])
            style = LINE_STYLES[self.dashes[name]]
            self._plots[name].SetLineStyle(getattr(slicer.vtkMRMLPlotSeriesNode, style))

    def _makePlot(self, name: str) -> Any:
        plot = _addHidden(slicer.vtkMRMLPlotSeriesNode(), name)
        plot.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        plot.SetXColumnName(STEP)
        plot.SetYColumnName(name)
        plot.SetLineWidth(3 if name == "total" else 2)
        # A single point has no line yet.
        dots = self._kind == "dice"
        node = slicer.vtkMRMLPlotSeriesNode
        plot.SetMarkerStyle(node.MarkerStyleCircle if dots else node.MarkerStyleNone)
        plot.SetMarkerSize(6)
        plot.SetAndObserveTableNodeID(self._table.GetID())
        self._chart.AddAndObservePlotSeriesNodeID(plot.GetID())
        return plot

    def _append(self, series: StepSeries) -> None:
        table = self._table.GetTable()
        columns = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
        if not columns:
            return
        steps, *others = columns
        for step, values in series.rows[steps.GetNumberOfTuples() :]:
            steps.InsertNextValue(step)
            for column in others:
                value = values.get(column.GetName())
                column.InsertNextValue(math.nan if value is None else value)
        for column in columns:
            column.Modified()


class CurveLogic:
    """The curves of one training at a time.

    ```
    curves = CurveLogic()
    plotView.setMRMLPlotViewNode(curves.viewNode())
    curves.show(monitor, {"liver": (0.8, 0.3, 0.2)})      # again whenever there may be news; costs little
    curves.choose("loss")
    ```
    All nodes are the module's own, are not saved with the scene, and are made anew after the scene was closed.
    """

    def __init__(self) -> None:
        self.chosen: Kind = "dice"
        self._charts: dict[Kind, _Chart] = {"dice": _Chart("dice"), "loss": _Chart("loss")}
        self._view: Any = None
        self._owner: Any = None
        self._layoutBefore: int | None = None
        self._layoutShown: int | None = None
        self._chartBefore: str | None = None

    def viewNode(self) -> Any:
        """The node for a plot view in a panel; another one after the scene was closed."""
        # Closing the scene empties a view node and leaves it there; its parent goes.
        parts = (self._view, self._owner)
        if not all(node is not None and slicer.mrmlScene.IsNodePresent(node) for node in parts):
            self._makeView()
            self._point()
        return self._view

    def show(self, curves: Curves | None, organColors: Mapping[str, Color]) -> None:
        """Draw the curves of a training as they are now; None draws nothing.

        Args:
            curves: a JobMonitor, or whatever has its series.
            organColors: red, green, blue, 0 to 1, by the name of the organ.
        """
        validation, losses = (
            (StepSeries(), StepSeries()) if curves is None else (curves.validation, curves.losses)
        )
        self._charts["dice"].draw(validation, organColors)
        self._charts["loss"].draw(losses, {})
        self._point()

    def choose(self, kind: Kind) -> None:
        """Which of the two charts is in the view of the panel, and in Slicer's layout if it is shown there."""
        self.chosen = kind
        self._point()
        if self.isInLayout:
            self._propagate(self._charts[kind].node.GetID())

    def colors(self, kind: Kind) -> dict[str, Color]:
        """The colour of each curve of a chart, as it is drawn."""
        return dict(self._charts[kind].colors)

    def dashes(self, kind: Kind) -> dict[str, int]:
        """The line style of each curve of a chart: its number among LINE_STYLES."""
        return dict(self._charts[kind].dashes)

    @property
    def isInLayout(self) -> bool:
        """Whether the layout of Slicer's views is the one that `showInLayout` chose."""
        layouts = slicer.app.layoutManager()
        return layouts is not None and self._layoutShown is not None and layouts.layout == self._layoutShown

    def showInLayout(self) -> None:
        """Show the chosen chart large, among Slicer's views."""
        layouts = slicer.app.layoutManager()
        if layouts is None:
            return
        if not self.isInLayout:
            self._layoutBefore = layouts.layout
            self._chartBefore = _selectionNode().GetActivePlotChartID()
        self._layoutShown = slicer.modules.plots.logic().GetLayoutWithPlot(layouts.layout)
        layouts.setLayout(self._layoutShown)
        for chart in self._charts.values():
            chart.node.SetLegendVisibility(True)
        self._propagate(self._charts[self.chosen].node.GetID())

    def restoreLayout(self) -> None:
        """Put the views back as `showInLayout` found them, unless the user has arranged them otherwise since."""
        if self.isInLayout and self._layoutBefore is not None:
            self._propagate(self._chartBefore)
            slicer.app.layoutManager().setLayout(self._layoutBefore)
        for chart in self._charts.values():
            if chart.isMade:
                chart.node.SetLegendVisibility(False)
        self._layoutBefore = self._layoutShown = self._chartBefore = None

    def close(self) -> None:
        """Put the layout back and take everything out of the scene."""
        if self._layoutShown is not None:
            self.restoreLayout()
        for chart in self._charts.values():
            chart.remove()
        self._removeView()

    def _point(self) -> None:
        """Let the view of the panel show the chosen chart, if there is one."""
        if self._view is None and not any(chart.isMade for chart in self._charts.values()):
            return  # there is nothing to be shown in it yet
        chart = self._charts[self.chosen]
        wanted = chart.node.GetID() if chart.isMade else None
        if self.viewNode().GetPlotChartNodeID() != wanted:
            self._view.SetPlotChartNodeID(wanted)

    def _makeView(self) -> None:
        self._removeView()
        # A view with a parent of its own is left alone by Slicer's layout.
        self._owner = _addHidden(slicer.vtkMRMLScriptedModuleNode(), VIEW_NAME)
        view = slicer.vtkMRMLPlotViewNode()
        view.SetLayoutName(VIEW_NAME)
        view.SetLayoutLabel("C")
        view.SetAndObserveParentLayoutNodeID(self._owner.GetID())
        # Charts that other modules show are not for this view.
        view.SetDoPropagatePlotChartSelection(False)
        self._view = _addHidden(view, VIEW_NAME)

    def _removeView(self) -> None:
        for node in (self._view, self._owner):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._view = self._owner = None

    def _propagate(self, chartId: str | None) -> None:
        _selectionNode().SetActivePlotChartID(chartId)
        slicer.app.applicationLogic().PropagatePlotChartSelection()


def readable(color: Color) -> Color:
    """The colour, darkened where it is too light to be seen as a line on near white."""
    red, green, blue = color
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    share = min(1.0, LIGHTEST / luminance) if luminance > 0 else 1.0
    return red * share, green * share, blue * share


def dashesOf(colors: Sequence[Color]) -> list[int]:
    """A line style for each colour, another one for each that is like an earlier colour: numbers of LINE_STYLES."""
    found: list[int] = []
    for color in colors:
        alike = {
            number for number, other in zip(found, colors, strict=False) if math.dist(color, other) < ALIKE
        }
        found.append(next((number for number in range(len(LINE_STYLES)) if number not in alike), 0))
    return found


def _addHidden(node: Any, name: str) -> Any:
    """Add a node that is neither listed nor saved: it is made anew whenever it is needed."""
    node.SetName(name)
    node.SetAttribute(OWNED, CURVES)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    return slicer.mrmlScene.AddNode(node)


def _selectionNode() -> Any:
    return slicer.app.applicationLogic().GetSelectionNode()

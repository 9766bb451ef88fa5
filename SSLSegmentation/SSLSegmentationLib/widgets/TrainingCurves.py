"""The live curves of a training, in the Train section: a plot, what is in it, and a way to see it large."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from SSLSegmentationLib.logic.CurveLogic import Color, CurveLogic, Kind
from SSLSegmentationLib.logic.JobMonitor import JobMonitor

PLOT_HEIGHT = 210
"""Pixels: enough for a curve, and the buttons stay in sight."""

PLOT_PLACE = 1
"""Between the buttons and the figures."""

LINE_SAMPLES = ("—", "\u2011\u2011", "···")
"""Beside a name, in the order of LINE_STYLES; hyphens that do not break."""


class TrainingCurves:
    """Shows the curves of one training.

    Args:
        ui: the widgets of TrainPanel.ui.
        curveLogic: draws them.
    """

    def __init__(self, ui: Any, curveLogic: CurveLogic) -> None:
        self._ui = ui
        self._curves = curveLogic
        self._plot: Any = None
        self._plottedNode: Any = None
        self._training: JobMonitor | None = None
        self._colors: Mapping[str, Color] = {}
        self._isChosen = False
        ui.curvesWidget.visible = False
        ui.lossButton.checked = True
        curveLogic.choose("loss")
        ui.diceButton.connect("clicked(bool)", self.onDice)
        ui.lossButton.connect("clicked(bool)", self.onLosses)
        ui.largeButton.connect("clicked(bool)", self.onLarge)
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(scene.StartCloseEvent, self._onSceneStartClose),
            scene.AddObserver(scene.EndCloseEvent, self._onSceneEndClose),
        ]

    def show(self, training: JobMonitor | None, organColors: Mapping[str, Color]) -> None:
        """Show the curves of a training as they are now; None, or one that has told nothing, hides them."""
        if training is not self._training:
            self._training, self._isChosen = training, False
            if training is not None:
                training.loadHistory()
        self._colors = organColors
        hasDice = training is not None and len(training.validation) > 0
        hasCurves = training is not None and (hasDice or len(training.losses) > 0)
        self._ui.curvesWidget.visible = hasCurves
        self._ui.diceButton.enabled = hasDice
        if training is None:
            # As when the cohort is closed: nothing of it stays in the scene.
            self._detach()
            self._curves.close()
            return
        if not hasCurves:
            self._curves.show(None, {})
            return
        if not self._isChosen:
            # Dice is what a person wants to know, as soon as it is known.
            self._choose("dice" if hasDice else "loss")
        self._showPlot()
        self._curves.show(training, organColors)
        self._ui.largeButton.checked = self._curves.isInLayout
        self._ui.figuresLabel.text = self._figures(training)

    def leave(self) -> None:
        """Put Slicer's views back as they were."""
        if self._curves.isInLayout:
            self._curves.restoreLayout()
        self._ui.largeButton.checked = False

    def cleanup(self) -> None:
        """Take everything out of the scene."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._detach()
        self._curves.close()

    def onDice(self) -> None:
        """Show the Dice."""
        self._isChosen = True
        self._choose("dice")
        self.show(self._training, self._colors)

    def onLosses(self) -> None:
        """Show the losses."""
        self._isChosen = True
        self._choose("loss")
        self.show(self._training, self._colors)

    def onLarge(self) -> None:
        """Show the curves among Slicer's views, or put those back."""
        if self._ui.largeButton.checked:
            self._curves.showInLayout()
        else:
            self._curves.restoreLayout()
        self._ui.largeButton.checked = self._curves.isInLayout

    def _choose(self, kind: Kind) -> None:
        (self._ui.diceButton if kind == "dice" else self._ui.lossButton).checked = True
        if self._curves.chosen != kind:
            self._curves.choose(kind)

    def _showPlot(self) -> None:
        """Make the plot when it is first needed: an empty one would cost a graphics context in every Slicer."""
        if self._plot is None:
            self._plot = slicer.qMRMLPlotView()
            self._plot.setMRMLScene(slicer.mrmlScene)
            self._plot.setMinimumHeight(PLOT_HEIGHT)
            self._ui.curvesWidget.layout().insertWidget(PLOT_PLACE, self._plot)
        node = self._curves.viewNode()
        # Remembered here, as a plot view tells C++ alone what it shows.
        if self._plottedNode is not node:
            self._plot.setMRMLPlotViewNode(node)
            self._plottedNode = node

    def _detach(self) -> None:
        if self._plot is not None:
            self._plot.setMRMLPlotViewNode(None)
        self._plottedNode = None

    def _figures(self, training: JobMonitor) -> str:
        """The newest figures, each with a sample of its curve; this is the legend of the plot, too."""
        isDice = self._curves.chosen == "dice"
        series = training.validation if isDice else training.losses
        values = (training.story.latestDice if isDice else training.story.latestLosses) or {}
        colors, dashes = self._curves.colors(self._curves.chosen), self._curves.dashes(self._curves.chosen)
        digits = 2 if isDice else 3
        names = [name for name in colors if name in series.names]
        # A space that does not break keeps a name beside its figure.
        figures = [
            "&nbsp;".join(
                (
                    f'<b style="color:{_hex(colors[name])}">{LINE_SAMPLES[dashes[name]]}</b>',
                    html.escape(name).replace(" ", "&nbsp;"),
                    _("none") if values.get(name) is None else f"{values[name]:.{digits}f}",
                )
            )
            for name in names
        ]
        text = "&nbsp; ".join(figures)
        if not isDice:
            return text
        known = [value for value in values.values() if value is not None]
        if known:
            text = _("Mean {dice}").format(dice=f"<b>{sum(known) / len(known):.2f}</b>") + "&nbsp; " + text
        return f"{text}<br>{html.escape(training.story.measurement)}" if training.story.measurement else text

    def _onSceneStartClose(self, caller: Any, event: Any) -> None:
        self._detach()

    def _onSceneEndClose(self, caller: Any, event: Any) -> None:
        self.show(self._training, self._colors)


def _hex(color: Color) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color)

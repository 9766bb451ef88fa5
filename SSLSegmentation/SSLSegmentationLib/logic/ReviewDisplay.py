"""How the open case is drawn while it is reviewed: its prediction, its uncertainty, its surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import slicer

from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SurfaceBuilder import SURFACE

UNCERTAINTY_COLORS = "vtkMRMLColorTableNodeWarm1"
LEAST_UNCERTAINTY = 15
"""Percent of the largest possible entropy; below, the scan is seen undisturbed."""


class OpenCase(Protocol):
    """What is needed of CaseLogic."""

    opened: Signal
    aboutToClose: Signal

    @property
    def segmentationNode(self) -> Any: ...
    @property
    def uncertaintyNode(self) -> Any: ...


@dataclass(frozen=True)
class DisplaySettings:
    """What a person wants to see; it stays the same from case to case.

    Attributes:
        outline: the borders of the organs.
        fill: the organs, see-through.
        opacity: of the fill, 0..1.
        uncertainty: the uncertainty map over the scan.
        uncertaintyOpacity: of that map, 0..1.
        surfaces: the organs in the 3D views.
    """

    outline: bool = True
    fill: bool = True
    opacity: float = 0.3
    uncertainty: bool = False
    uncertaintyOpacity: float = 0.6
    surfaces: bool = False


class ReviewDisplay:
    """Draws the open case as the settings say while `isActive`; gives the slice views back as they were.

    ```
    display = ReviewDisplay(caseLogic)
    display.start()
    display.change(uncertainty=True)
    display.stop()
    ```
    """

    def __init__(self, caseLogic: OpenCase, settings: DisplaySettings | None = None) -> None:
        self.settings = settings or DisplaySettings()
        self.isActive = False
        self._case = caseLogic
        self._before: dict[str, tuple[str | None, float]] = {}
        caseLogic.opened.connect(self._onOpened)
        caseLogic.aboutToClose.connect(self._onAboutToClose)

    @property
    def hasUncertainty(self) -> bool:
        return self._case.uncertaintyNode is not None

    def close(self) -> None:
        """Watch the open case no more."""
        self.stop()
        self._case.opened.disconnect(self._onOpened)
        self._case.aboutToClose.disconnect(self._onAboutToClose)

    def start(self) -> None:
        """Draw the open case, and those that are opened from now on."""
        self.isActive = True
        self.apply()

    def stop(self) -> None:
        """Take the uncertainty map off the slice views; the segmentation stays as it is drawn."""
        self._restore()
        self.isActive = False

    def change(self, **settings: Any) -> None:
        """Change some of the settings, such as `change(outline=False, opacity=0.5)`."""
        self.settings = replace(self.settings, **settings)
        self.apply()

    def apply(self) -> None:
        """Draw the open case as the settings say."""
        if not self.isActive:
            return
        self._drawSegmentation()
        if self.settings.uncertainty and self._case.uncertaintyNode is not None:
            self._drawUncertainty(self._case.uncertaintyNode)
        else:
            self._restore()

    def _drawSegmentation(self) -> None:
        node = self._case.segmentationNode
        display = None if node is None else node.GetDisplayNode()
        if display is None:
            return
        settings = self.settings
        display.SetVisibility2DOutline(settings.outline)
        display.SetVisibility2DFill(settings.fill)
        display.SetOpacity2DFill(settings.opacity)
        display.SetVisibility3D(settings.surfaces)
        if settings.surfaces:
            display.SetPreferredDisplayRepresentationName3D(SURFACE)

    def _drawUncertainty(self, node: Any) -> None:
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(UNCERTAINTY_COLORS)
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(0, 100)
        display.SetThreshold(LEAST_UNCERTAINTY, 100)
        display.ApplyThresholdOn()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            known = self._before.setdefault(
                composite.GetID(), (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
            )
            if known[0] == node.GetID():  # a saved scene: it was ours before
                self._before[composite.GetID()] = (None, 0.0)
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(self.settings.uncertaintyOpacity)

    def _restore(self) -> None:
        """Put the foreground volumes back that the user had; one that was changed meanwhile stays."""
        node = self._case.uncertaintyNode
        ours = None if node is None else node.GetID()
        for compositeId, (volumeId, opacity) in self._before.items():
            composite = slicer.mrmlScene.GetNodeByID(compositeId)
            if composite is None or composite.GetForegroundVolumeID() not in (ours, None):
                continue
            there = volumeId is not None and slicer.mrmlScene.GetNodeByID(volumeId) is not None
            composite.SetForegroundVolumeID(volumeId if there else None)
            composite.SetForegroundOpacity(opacity)
        self._before = {}

    def _onOpened(self, _caseId: str) -> None:
        self.apply()

    def _onAboutToClose(self, _caseId: str) -> None:
        self._restore()

"""How the open case is drawn while it is reviewed: its prediction, how unsure the model is, where it is least sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import slicer

from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.SliceViews import jumpTo
from SSLSegmentationLib.logic.SurfaceBuilder import SURFACE
from SSLSegmentationLib.logic.WorstPlace import worstPlace

HEAT = "vtkMRMLColorTableNodeIron"
"""From red to yellow, and bright throughout: over a scan no part of it looks like tissue."""
LEAST_UNSURE, MOST_UNSURE = 20.0, 80.0
"""Percent: the scan stays as it is where the model is surer than the one, and is yellow from the other on."""


class OpenCase(Protocol):
    """What is needed of CaseLogic."""

    opened: Signal
    uncertaintyLoaded: Signal

    @property
    def caseId(self) -> str | None: ...
    @property
    def segmentationNode(self) -> Any: ...
    @property
    def uncertaintyNode(self) -> Any: ...
    def loadUncertainty(self) -> bool: ...
    def segmentId(self, organ: str) -> str | None: ...
    def jumpToOrgan(self, organ: str) -> bool: ...


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
    """Draws the open case as the settings say, while `isActive`.

    ```
    display = ReviewDisplay(caseLogic)
    display.start()
    display.change(uncertainty=True)
    display.showWorstPlace("liver")
    display.stop()
    ```
    The uncertainty map is read when somebody first wants it, in the time that is left.
    """

    def __init__(self, caseLogic: OpenCase, settings: DisplaySettings | None = None) -> None:
        self.settings = settings or DisplaySettings()
        self.isActive = False
        self._case = caseLogic
        self._onceLoaded: Callable[[], Any] | None = None
        caseLogic.opened.connect(self._onOpened)
        caseLogic.uncertaintyLoaded.connect(self._onUncertaintyLoaded)

    def close(self) -> None:
        """Watch the open case no more."""
        self.stop()
        self._case.opened.disconnect(self._onOpened)
        self._case.uncertaintyLoaded.disconnect(self._onUncertaintyLoaded)

    def start(self) -> None:
        """Draw the open case, and those that are opened from now on."""
        self.isActive = True
        self.apply()

    def stop(self) -> None:
        """Take the uncertainty map off the slice views; the organs stay as they are drawn."""
        self._overlay(shown=False)
        self.isActive = False

    def change(self, **settings: Any) -> None:
        """Change some of the settings, such as `change(outline=False, opacity=0.5)`."""
        self.settings = replace(self.settings, **settings)
        self.apply()

    def apply(self) -> None:
        """Draw the open case as the settings say."""
        if not self.isActive or self._case.caseId is None:
            return
        settings = self.settings
        node = self._case.segmentationNode
        display = None if node is None else node.GetDisplayNode()
        if display is not None:
            display.SetVisibility2DOutline(settings.outline)
            display.SetVisibility2DFill(settings.fill)
            display.SetOpacity2DFill(settings.opacity)
            display.SetVisibility3D(settings.surfaces)
            if settings.surfaces:
                display.SetPreferredDisplayRepresentationName3D(SURFACE)
        if settings.uncertainty and self._case.uncertaintyNode is None:
            self._case.loadUncertainty()
        else:
            self._overlay(shown=settings.uncertainty)

    def showWorstPlace(self, organ: str) -> bool:
        """Show where in an organ the model is least sure, once its map is read; the organ's middle if it left none.

        False if the organ is not drawn.
        """
        if self._case.uncertaintyNode is None and self._case.loadUncertainty():
            self._onceLoaded = lambda: self.showWorstPlace(organ)
            return True
        segmentId = self._case.segmentId(organ)
        place = None
        if segmentId is not None and self._case.uncertaintyNode is not None:
            place = worstPlace(self._case.segmentationNode, segmentId, self._case.uncertaintyNode)
        if place is None:
            return self._case.jumpToOrgan(organ)
        jumpTo(place)
        return True

    def _overlay(self, *, shown: bool) -> None:
        """Lay the uncertainty map over the scan; taking it away touches no other volume."""
        node = self._case.uncertaintyNode
        if node is None:
            return
        if shown:
            _heat(node.GetDisplayNode())
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            if shown:
                composite.SetForegroundVolumeID(node.GetID())
                composite.SetForegroundOpacity(self.settings.uncertaintyOpacity)
            elif composite.GetForegroundVolumeID() == node.GetID():
                composite.SetForegroundVolumeID(None)

    def _onOpened(self, _caseId: str) -> None:
        self._onceLoaded = None
        self.apply()

    def _onUncertaintyLoaded(self) -> None:
        self.apply()
        then, self._onceLoaded = self._onceLoaded, None
        if then is not None:
            then()


def _heat(display: Any) -> None:
    """Draw an uncertainty map in colours that lie over a scan, and only where the model is unsure."""
    modifying = display.StartModify()
    display.SetAndObserveColorNodeID(HEAT)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(LEAST_UNSURE, MOST_UNSURE)
    display.SetAutoThreshold(False)
    display.SetThreshold(LEAST_UNSURE, 100.0)
    display.SetApplyThreshold(True)
    display.EndModify(modifying)

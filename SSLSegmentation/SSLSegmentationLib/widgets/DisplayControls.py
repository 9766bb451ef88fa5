"""The controls of how the open case is drawn while it is reviewed, its 3D surfaces included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.cohort import ReviewState
from SSLSegmentationLib.logic.ReviewDisplay import ReviewDisplay
from SSLSegmentationLib.logic.ReviewLogic import OrganCard
from SSLSegmentationLib.logic.SurfaceBuilder import SurfaceBuilder, dropSurface

STEP_MILLISECONDS = 5
"""Between two steps the event loop runs, so that the GUI answers."""


class DisplayControls:
    """Hands the check boxes and sliders of the panel to a `ReviewDisplay`, and builds the surfaces.

    Args:
        ui: the widgets of the panel.
        caseLogic: the open case.
        cards: returns its organs.
    """

    def __init__(self, ui: Any, caseLogic: Any, cards: Callable[[], list[OrganCard]]) -> None:
        self.ui = ui
        self.display = ReviewDisplay(caseLogic)
        self.builder = SurfaceBuilder()
        self._case = caseLogic
        self._cards = cards
        self._building: tuple[str, list[str]] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(STEP_MILLISECONDS)
        self._timer.connect("timeout()", self._onTimeout)
        self._showSettings()
        self.ui.outlineCheckBox.connect("toggled(bool)", self._onChanged)
        self.ui.fillCheckBox.connect("toggled(bool)", self._onChanged)
        self.ui.uncertaintyCheckBox.connect("toggled(bool)", self._onChanged)
        self.ui.surfacesCheckBox.connect("toggled(bool)", self._onChanged)
        self.ui.surfacesCheckBox.connect("toggled(bool)", self.buildSurfaces)
        self.ui.opacitySlider.connect("valueChanged(int)", self._onChanged)
        self.ui.uncertaintySlider.connect("valueChanged(int)", self._onChanged)

    def start(self) -> None:
        """The panel is shown."""
        self.display.start()
        self.buildSurfaces()

    def stop(self) -> None:
        """Another module is shown."""
        self._endBuilding()
        self.display.stop()

    def close(self) -> None:
        self._endBuilding()
        self.display.close()

    def buildSurfaces(self) -> None:
        """Build the surfaces that are missing, from now on; to be called when a case was opened or a decision made.

        An organ that is being corrected has none: Slicer would build it anew with every stroke, in one go.
        """
        node = self._case.segmentationNode
        if node is None or not self.display.settings.surfaces or not self.display.isActive:
            self._endBuilding()
            return
        wanted = []
        for card in self._cards():
            segmentId = self._case.segmentId(card.label.name)
            if segmentId is None:
                continue
            if card.status is ReviewState.IN_PROGRESS:
                dropSurface(node, segmentId)
            else:
                wanted.append(segmentId)
        if self._building != (node.GetID(), wanted) or not self.builder.isBusy:
            self._building = (node.GetID(), wanted)
            self.builder.start(node, wanted)
            self._timer.start()

    def _endBuilding(self) -> None:
        self._timer.stop()
        self.builder.stop()
        self.ui.surfacesLabel.text = ""

    def _showSettings(self) -> None:
        settings = self.display.settings
        self.ui.outlineCheckBox.checked = settings.outline
        self.ui.fillCheckBox.checked = settings.fill
        self.ui.opacitySlider.value = round(100 * settings.opacity)
        self.ui.uncertaintyCheckBox.checked = settings.uncertainty
        self.ui.uncertaintySlider.value = round(100 * settings.uncertaintyOpacity)
        self.ui.surfacesCheckBox.checked = settings.surfaces
        self._enable()

    def _enable(self) -> None:
        self.ui.opacitySlider.enabled = self.ui.fillCheckBox.checked
        self.ui.uncertaintySlider.enabled = self.ui.uncertaintyCheckBox.checked

    def _onChanged(self) -> None:
        self.display.change(
            outline=self.ui.outlineCheckBox.checked,
            fill=self.ui.fillCheckBox.checked,
            opacity=self.ui.opacitySlider.value / 100,
            uncertainty=self.ui.uncertaintyCheckBox.checked,
            uncertaintyOpacity=self.ui.uncertaintySlider.value / 100,
            surfaces=self.ui.surfacesCheckBox.checked,
        )
        self._enable()

    def _onTimeout(self) -> None:
        if not self.builder.step():
            self._timer.stop()
        left = self.builder.total - self.builder.done
        text = _("{done} of {total}").format(done=self.builder.done, total=self.builder.total)
        self.ui.surfacesLabel.text = text if left else ""

"""The advanced settings of a training, in the Train section."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from sslseg.contract.choices import Choices
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.widgets.MethodSettingsForm import MethodSettingsForm

AUTOMATIC_DEVICE = "auto"
DEVICES = ("cpu", "cuda", "mps")


class AdvancedTraining:
    """Fills and reads the widgets of the group of advanced settings.

    Args:
        ui: the widgets of TrainPanel.ui.
        choices: the networks and methods to choose from.

    Attributes:
        changed: emitted when something that bears on the time a training takes was changed.
    """

    def __init__(self, ui: Any, choices: Choices) -> None:
        self.changed = Signal()
        self._ui = ui
        self._choices = choices
        self._method = MethodSettingsForm(ui.methodSettingsWidget)
        ui.networkCombo.addItem(_("as the preset"), "")
        for network in choices.networks:
            ui.networkCombo.addItem(f"{network.name}: {network.summary}", network.name)
        ui.deviceCombo.addItem(_("automatic"))
        ui.deviceCombo.addItems(list(DEVICES))
        self.setStart(None)
        ui.networkCombo.connect("currentIndexChanged(int)", self._onChanged)
        ui.stepsSpin.connect("valueChanged(int)", self._onChanged)
        ui.deviceCombo.connect("currentTextChanged(QString)", self._onChanged)
        ui.leaveOneOutCheck.connect("toggled(bool)", self._onChanged)
        ui.defaultsButton.connect("clicked(bool)", self.reset)

    def showMethod(self, name: str) -> None:
        """Show the settings of a method."""
        self._method.showMethod(self._choices.method(name))

    def setStart(self, model: str | None) -> None:
        """A training that goes on from a model cannot leave out what that has learned from."""
        check = self._ui.leaveOneOutCheck
        if model is not None:
            check.checked = False
        check.enabled = model is None
        check.toolTip = (
            _(
                "With no case held back: train once without each annotated case and measure on it, then once on all. "
                "Takes as many times longer as there are annotated cases, and one more."
            )
            if model is None
            else _("'{model}' has learned from the cases that would be left out.").format(model=model)
        )

    def fields(self) -> dict[str, Any]:
        """The advanced fields of TrainSettings, as they are set."""
        ui = self._ui
        device = ui.deviceCombo.currentText.strip()
        heldBack = ui.heldBackSpin.value
        return {
            "network": ui.networkCombo.currentData or None,
            "steps": ui.stepsSpin.value or None,
            "device": AUTOMATIC_DEVICE if device in ("", _("automatic")) else device,
            "seed": ui.seedSpin.value,
            "validation_cases": None if heldBack < 0 else heldBack,
            "leave_one_out": ui.leaveOneOutCheck.checked,
            "method_settings": self._method.values(),
        }

    def reset(self) -> None:
        """Put everything back to its default."""
        ui = self._ui
        ui.networkCombo.currentIndex = 0
        ui.stepsSpin.value = ui.stepsSpin.minimum
        ui.deviceCombo.currentIndex = 0
        ui.seedSpin.value = 0
        ui.heldBackSpin.value = ui.heldBackSpin.minimum
        ui.leaveOneOutCheck.checked = False
        self._method.reset()

    def _onChanged(self) -> None:
        self.changed.emit()

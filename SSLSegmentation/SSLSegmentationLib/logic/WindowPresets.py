"""Windows in which images are usually looked at."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _


def presets(modality: str, measured: tuple[float, float]) -> list[tuple[str, tuple[float, float]]]:
    """Names, and the intensities between which to show the image: HU for CT.

    Args:
        modality: CT or MR.
        measured: between which most of this image lies.
    """
    automatic = (_("Automatic"), measured)
    if modality != "CT":
        low, high = measured
        width = high - low
        return [
            automatic,
            (_("Brighter"), (low, low + 0.6 * width)),
            (_("Softer"), (low - 0.2 * width, high + 0.4 * width)),
        ]
    return [
        (_("Soft tissue"), (-160.0, 240.0)),
        (_("Lung"), (-1350.0, 150.0)),
        (_("Bone"), (-450.0, 1050.0)),
        (_("Brain"), (0.0, 80.0)),
        automatic,
    ]


def showBetween(volumeNode: Any, bounds: tuple[float, float]) -> None:
    """Show a volume between two intensities."""
    display = volumeNode.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*bounds)

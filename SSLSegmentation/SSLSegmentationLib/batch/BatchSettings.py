"""The application's settings as a batch sees them: it reads them and leaves them as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from SSLSegmentationLib.logic.CohortLogic import Settings
from SSLSegmentationLib.logic.SetupLogic import PYTHON_KEY


class BatchSettings:
    """Settings whose changes are forgotten: a batch must not change which cohorts or which Python a person finds.

    Args:
        python: the Python to run the backend with; None takes the one that was chosen in the Setup section.
        settings: what is read; None takes Slicer's.
    """

    def __init__(self, python: Path | None = None, settings: Settings | None = None) -> None:
        self._settings: Settings = settings or slicer.app.userSettings()
        self._changed: dict[str, Any] = {} if python is None else {PYTHON_KEY: str(python)}

    def value(self, key: str, default: Any = None) -> Any:
        return self._changed[key] if key in self._changed else self._settings.value(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self._changed[key] = value

"""Where the module's files lie: in a source checkout one folder up, in an installed extension beside the module."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

MODULE_FOLDER = Path(__file__).resolve().parents[2]
"""The folder of SSLSegmentation.py."""


def _extensionFolder() -> Path:
    """The folder that holds `training` and the extension's `Resources`."""
    installed = (MODULE_FOLDER / "training" / "sslseg" / "contract").is_dir()
    return MODULE_FOLDER if installed else MODULE_FOLDER.parent


def backendFolder() -> Path:
    """The folder to put on a Python's path so that it can import `sslseg`."""
    return _extensionFolder() / "training"


def resourceFolder() -> Path:
    """The extension's resources: organ presets, screenshots."""
    return _extensionFolder() / "Resources"


def uiPath(name: str) -> Path:
    """The description of a panel, such as `uiPath("SetupPanel")`."""
    return MODULE_FOLDER / "Resources" / "UI" / f"{name}.ui"


def iconPath(name: str) -> Path:
    """A picture of the module, such as `iconPath("SSLSegmentation")`."""
    return MODULE_FOLDER / "Resources" / "Icons" / f"{name}.png"


def withBackend(variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables with which a Python finds `sslseg`."""
    paths = filter(None, (str(backendFolder()), variables.get("PYTHONPATH", "")))
    return {**variables, "PYTHONPATH": os.pathsep.join(paths)}


def ensureContract() -> None:
    """Make `import sslseg.contract` work, with the backend of this extension before any other."""
    folder = str(backendFolder())
    if folder not in sys.path:
        sys.path.insert(0, folder)

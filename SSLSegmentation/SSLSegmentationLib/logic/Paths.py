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
    """Environment variables with which a Python finds `sslseg`, and writes and reads text as the module does."""
    paths = filter(None, (str(backendFolder()), variables.get("PYTHONPATH", "")))
    return {**variables, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}


def withoutSlicer(variables: Mapping[str, str], slicerHome: Path) -> dict[str, str]:
    """Environment variables for a Python that is not Slicer's.

    Where Slicer has no launcher, as on macOS, what it was started with holds what it has set since for its own Python.
    """
    rest = dict(variables)
    if Path(rest.get("PYTHONHOME", "")).is_relative_to(slicerHome):
        rest.pop("PYTHONHOME", None)
        rest.pop("PYTHONNOUSERSITE", None)
    paths = rest.pop("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if path and not Path(path).is_relative_to(slicerHome)]
    return {**rest, "PYTHONPATH": os.pathsep.join(others)} if others else rest


def ensureContract() -> None:
    """Make `import sslseg.contract` work, with the backend of this extension before any other."""
    folder = str(backendFolder())
    if folder not in sys.path:
        sys.path.insert(0, folder)

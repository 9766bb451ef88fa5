"""`slicer.i18n`: texts stay as they are, and asking for one costs what it costs in Slicer."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path

from PySide6 import QtCore


def tr(text: str) -> str:
    """The text in the language of the user, looked up by the file that asks for it."""
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    source = inspect.getsourcefile(caller) if caller is not None else None
    return translate(_context(source or ""), text)


def translate(context: str, text: str) -> str:
    translated = QtCore.QCoreApplication.translate(context, text)
    # A translation that lost a placeholder is not used.
    return translated if translated.count("{") == text.count("{") else text


@functools.cache
def _context(source: str) -> str:
    """The name of a file with the packages that it lies in."""
    path = Path(source)
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names)

"""Putting the stand-in into `sys.modules`."""

from __future__ import annotations

import os
import sys
import time
import types
from pathlib import Path

MODULE_FOLDER = Path(__file__).parents[2] / "SSLSegmentation"


def slicerIsHere() -> bool:
    """Whether this Python runs inside the Slicer application."""
    return "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app")


def install() -> None:
    """Make `slicer`, `qt`, `ctk`, `SampleData` and the parts of `slicer` importable; does nothing the second time.

    Inside Slicer it does nothing at all.
    """
    if str(MODULE_FOLDER) not in sys.path:
        sys.path.insert(0, str(MODULE_FOLDER))
    if slicerIsHere():
        return
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

    import slicer_core

    from .controls import CTK, QMRML
    from .pythonqt.classes import classOf
    from .pythonqt.namespace import QtModule
    from .pythonqt.values import toPython
    from .rendering import useEgl
    from .slicerapp.application import qSlicerApplication
    from .slicerapp.core import boot
    from .slicerapp.modules import Modules

    useEgl()
    _silence()
    sys.modules["qt"] = QtModule()
    ctk = sys.modules["ctk"] = types.ModuleType("ctk")
    for name, kind in CTK.items():
        setattr(ctk, name, classOf(kind))

    core = boot()
    slicer = types.ModuleType("slicer", "The real MRML core with doubles around it")
    slicer.__path__ = []
    for name in dir(slicer_core):
        if name.startswith("vtk"):
            setattr(slicer, name, getattr(slicer_core, name))
    for name, kind in QMRML.items():
        setattr(slicer, name, classOf(kind))
    sys.modules["slicer"] = slicer
    slicer.mrmlScene = core.scene
    slicer.app = toPython(qSlicerApplication(core))
    slicer.modules = Modules(core)
    slicer.selfTests = {}

    from .slicerapp import i18n, packaging, parameternode, sampledata, scriptedmodule, util

    for name, part in (
        ("util", util),
        ("ScriptedLoadableModule", scriptedmodule),
        ("parameterNodeWrapper", parameternode),
        ("packaging", packaging),
        ("i18n", i18n),
    ):
        setattr(slicer, name, part)
        sys.modules[f"slicer.{name}"] = part
    sys.modules["SampleData"] = sampledata


def _silence() -> None:
    """Keep one remark of the off-screen platform, said for every window, off the terminal."""
    from PySide6 import QtCore

    def show(_kind: QtCore.QtMsgType, _context: QtCore.QMessageLogContext, text: str) -> None:
        if "propagateSizeHints" not in text:
            print(text, file=sys.stderr)

    QtCore.qInstallMessageHandler(show)


def slotErrors() -> list[str]:
    """Tracebacks of exceptions in slots and event handlers since the last call."""
    from .pythonqt import signals

    found = signals.errors[:]
    signals.errors.clear()
    return found


def processEvents(milliseconds: int = 0) -> None:
    """Run the event loop for a while, timers included."""
    from PySide6 import QtCore

    ends = time.monotonic() + milliseconds / 1000
    QtCore.QCoreApplication.processEvents()
    while time.monotonic() < ends:
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 5)
        time.sleep(0.001)

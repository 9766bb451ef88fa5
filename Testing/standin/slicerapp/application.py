"""`slicer.app`: the application object, a `QApplication` with what Slicer adds to it."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .core import Core
from .layout import qSlicerLayoutManager


class _CommandOptions:
    runPythonAndExit = False
    noMainWindow = True


class _ModuleManager(QtCore.QObject):
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)
    moduleUnloaded = Signal(str)


class _ExtensionsManagerModel:
    """Knows the extensions that a test says are installed."""

    def __init__(self) -> None:
        self.installed: set[str] = set()
        self.installExtensionFromServerAnswer = False

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self.installed

    def installExtensionFromServer(self, name: str, *_: Any) -> bool:
        if self.installExtensionFromServerAnswer:
            self.installed.add(name)
        return self.installExtensionFromServerAnswer


class qSlicerApplication(QtWidgets.QApplication):
    """Started once a process by `standin.install()`; settings and temporary files lie in a folder of this process."""

    startupCompleted = Signal()

    def __init__(self, core: Core) -> None:
        super().__init__(["Slicer"])
        self.setStyle("Fusion")
        self._core = core
        self._layout: qSlicerLayoutManager | None = qSlicerLayoutManager(core)
        self._modules = _ModuleManager(self)
        self._extensions = _ExtensionsManagerModel()
        self._options = _CommandOptions()
        self.setOrganizationName("standin")
        self.setApplicationName("Slicer")
        self.setApplicationVersion("5.13.0")
        folder = str(core.temporaryPath)
        form = QtCore.QSettings.Format.IniFormat
        QtCore.QSettings.setDefaultFormat(form)
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(form, scope, folder)
        self._settings = QtCore.QSettings(self)
        atexit.register(self._settings.sync)

    def settings(self) -> QtCore.QSettings:
        return self._settings

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    def revisionUserSettings(self) -> QtCore.QSettings:
        return self._settings

    def mrmlScene(self) -> Any:
        return self._core.scene

    def applicationLogic(self) -> Any:
        return self._core.applicationLogic

    def layoutManager(self) -> QtCore.QObject | None:
        return self._layout

    def closeViews(self) -> None:
        """Be as with `--no-main-window`: nothing is shown anywhere; only the stand-in has this."""
        self._layout = None
        logic, scene = self._core.applicationLogic, self._core.scene
        logic.SetSliceLogics(None)
        logic.SetViewLogics(None)
        for name in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode", "vtkMRMLViewNode", "vtkMRMLCameraNode"):
            while scene.GetNumberOfNodesByClass(name):
                scene.RemoveNode(scene.GetNthNodeByClass(0, name))

    def moduleManager(self) -> QtCore.QObject:
        return self._modules

    def extensionsManagerModel(self) -> _ExtensionsManagerModel:
        return self._extensions

    def commandOptions(self) -> _CommandOptions:
        return self._options

    def testingEnabled(self) -> bool:
        return True

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def mainWindow(self) -> None:
        return None

    def pauseRender(self) -> None:
        """The double renders on request only."""

    def resumeRender(self) -> None:
        """The double renders on request only."""

    def _temporaryPath(self) -> str:
        return self._core.applicationLogic.GetTemporaryPath()

    def setTemporaryPath(self, path: str) -> None:
        self._core.applicationLogic.SetTemporaryPath(path)

    temporaryPath = Property(str, _temporaryPath, setTemporaryPath)
    slicerHome = Property(str, lambda self: sys.prefix)
    slicerUserSettingsFilePath = Property(str, lambda self: self._settings.fileName())
    defaultScenePath = Property(str, lambda self: str(self._core.temporaryPath))
    cachePath = Property(str, lambda self: str(self._core.temporaryPath / "cache"))
    revision = Property(str, lambda self: "0")
    repositoryRevision = Property(str, lambda self: "0")
    majorVersion = Property(int, lambda self: 5)
    minorVersion = Property(int, lambda self: 13)
    os = Property(
        str, lambda self: {"linux": "linux", "win32": "win", "darwin": "macosx"}.get(sys.platform, "")
    )
    arch = Property(str, lambda self: "amd64")

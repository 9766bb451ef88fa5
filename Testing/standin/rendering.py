"""Pictures without a screen: slice and 3D views of the scene through VTK's EGL, and widgets in both palettes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer_core
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util import numpy_support

from .pythonqt.values import toQt

_SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")
_THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)
_DIRECTIONS = {
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}


def useEgl() -> None:
    """Let VTK open its windows without an X server where there is none."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def renderSlice(
    view: str,
    path: Path | str | None = None,
    size: tuple[int, int] = (400, 400),
    offset: float | None = None,
    fit: bool = True,
) -> np.ndarray:
    """One slice view: volumes, and outlines and fills of segmentations.

    Args:
        view: `Red`, `Green` or `Yellow`.
        path: of the PNG file, if one is wanted.
        size: width and height in pixels.
        offset: of the slice in mm along its normal; by default where the view is.
        fit: whether the view is fitted to the volumes first; otherwise it shows what it shows.

    Returns:
        The picture (height, width, 3), uint8.
    """
    import slicer

    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(view)
    node = logic.GetSliceNode()
    node.SetDimensions(*size, 1)
    if fit:
        logic.FitSliceToAll(*size)
    if offset is not None:
        logic.SetSliceOffset(offset)
    node.UpdateMatrices()
    logic.UpdatePipeline()
    renderer = vtk.vtkRenderer()
    renderer.GetActiveCamera().ParallelProjectionOn()
    if logic.GetImageDataConnection() is not None:
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
    factory = slicer_core.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    with _window(renderer, size) as window, _managers(factory, _SLICE_MANAGERS, renderer, node):
        return _picture(window, path)


def render3D(
    path: Path | str | None = None,
    size: tuple[int, int] = (400, 400),
    direction: str = "A",
    box: bool = False,
    zoom: float = 1.4,
    azimuth: float = 0.0,
    elevation: float = 0.0,
    fill: bool = False,
) -> np.ndarray:
    """The 3D view: closed surfaces of segmentations, and models.

    Args:
        path: of the PNG file, if one is wanted.
        size: width and height in pixels.
        direction: from where one looks: A, P, R, L, S or I.
        box: whether the box and the letters of the axes are shown.
        zoom: 1 shows the bounds of everything with a margin.
        azimuth: degrees by which one has gone around it, counterclockwise as seen from above.
        elevation: degrees by which one looks down on it.
        fill: let what is seen fill the picture, instead of a zoom.

    Returns:
        The picture (height, width, 3), uint8.
    """
    import slicer

    node = slicer.app.applicationLogic().GetViewLogics().GetItemAsObject(0).GetViewNode()
    node.SetBoxVisible(box)
    node.SetAxisLabelsVisible(box)
    renderer = vtk.vtkRenderer()
    factory = slicer_core.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    with _window(renderer, size) as window, _managers(factory, _THREED_MANAGERS, renderer, node):
        camera = renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(*_DIRECTIONS[direction])
        camera.SetViewUp(*((0, 1, 0) if direction in "SI" else (0, 0, 1)))
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        if fill:
            renderer.ResetCameraScreenSpace()
        else:
            renderer.ResetCamera()
            camera.Zoom(zoom)
        renderer.ResetCameraClippingRange()
        return _picture(window, path)


def renderViews(path: Path | str | None = None, size: tuple[int, int] = (400, 400)) -> np.ndarray:
    """The four-up layout: Red and 3D above Yellow and Green, `size` each."""
    upper = np.hstack([renderSlice("Red", size=size), render3D(size=size)])
    lower = np.hstack([renderSlice("Green", size=size), renderSlice("Yellow", size=size)])
    pixels = np.vstack([upper, lower])
    if path is not None:
        writePng(pixels, path)
    return pixels


def writePng(pixels: np.ndarray, path: Path | str) -> None:
    """Write a picture (height, width, 3), uint8."""
    height, width, _ = pixels.shape
    packed = np.ascontiguousarray(pixels)
    image = QtGui.QImage(packed.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888)
    if not image.save(str(path), "PNG"):
        raise OSError(f"{path} cannot be written")


@contextmanager
def _window(renderer: Any, size: tuple[int, int]) -> Iterator[Any]:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    window.SetMultiSamples(0)
    window.AddRenderer(renderer)
    # The displayable managers expect an interactor; without one they crash.
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    yield window
    window.Finalize()


@contextmanager
def _managers(factory: Any, names: tuple[str, ...], renderer: Any, node: Any) -> Iterator[None]:
    """The displayable managers of Slicer draw the nodes of the scene into a renderer."""
    import slicer

    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = slicer_core.vtkMRMLDisplayableManagerGroup()
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(node)
    yield
    group.SetMRMLDisplayableNode(None)


def _picture(window: Any, path: Path | str | None) -> np.ndarray:
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = (
        numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
    )
    if path is not None:
        writePng(pixels, path)
    return pixels


def darkPalette() -> QtGui.QPalette:
    """As Slicer's dark style."""
    role, palette = QtGui.QPalette.ColorRole, QtGui.QPalette()
    for name, color in {
        "Window": "#323232", "WindowText": "#e6e6e6", "Base": "#242424", "AlternateBase": "#2d2d2d", "Text": "#e6e6e6",
        "Button": "#3c3c3c", "ButtonText": "#e6e6e6", "BrightText": "#ffffff", "Highlight": "#2a6db5",
        "HighlightedText": "#ffffff", "ToolTipBase": "#323232", "ToolTipText": "#e6e6e6", "Link": "#6fb1ff",
        "PlaceholderText": "#8c8c8c", "Light": "#5a5a5a", "Midlight": "#4a4a4a", "Mid": "#5c5c5c", "Dark": "#1e1e1e",
        "Shadow": "#141414",
    }.items():  # fmt: skip
        palette.setColor(getattr(role, name), QtGui.QColor(color))
    for name in ("WindowText", "Text", "ButtonText"):
        palette.setColor(QtGui.QPalette.ColorGroup.Disabled, getattr(role, name), QtGui.QColor("#7d7d7d"))
    return palette


def grabWidget(
    widget: Any,
    path: Path | str | None = None,
    dark: bool = False,
    width: int = 400,
    height: int | None = None,
) -> QtGui.QImage:
    """A widget as it looks at a given width, as tall as it wants to be unless `height` says otherwise.

    The widget may be a wrapper of `qt` or a PySide6 widget. What does not fit into the width is cut off, as on screen.
    """
    native = toQt(widget)
    application = QtWidgets.QApplication.instance()
    before = application.palette()
    application.setPalette(darkPalette() if dark else application.style().standardPalette())
    shown = native.isVisible()
    try:
        native.setAttribute(QtCore.Qt.WidgetAttribute.WA_DontShowOnScreen, True)
        native.setMinimumWidth(0)
        native.resize(width, height or 10)
        native.show()
        for _ in range(3):
            application.processEvents()
            native.resize(width, height or _wantedHeight(native, width))
        application.processEvents()
        image = native.grab(QtCore.QRect(0, 0, width, native.height())).toImage()
    finally:
        native.setVisible(shown)
        application.setPalette(before)
    if path is not None and not image.save(str(path)):
        raise OSError(f"{path} cannot be written")
    return image


def _wantedHeight(native: QtWidgets.QWidget, width: int) -> int:
    flexible = native.hasHeightForWidth()
    return max(
        native.heightForWidth(width) if flexible else native.sizeHint().height(),
        native.minimumSizeHint().height(),
    )

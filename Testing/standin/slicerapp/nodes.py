"""Finding, observing and showing nodes of the scene."""

from __future__ import annotations

import contextlib
import fnmatch
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import slicer_core


class MRMLNodeNotFoundException(Exception):  # noqa: N818 - the name in Slicer
    """`getNode` found nothing."""


def _scene(scene: Any) -> Any:
    import slicer

    return scene if scene is not None else slicer.mrmlScene


def getNodes(pattern: str = "*", scene: Any = None, useLists: bool = False) -> dict[str, Any]:
    """Nodes by name whose name or id fits the pattern; with `useLists`, all of each name."""
    scene = _scene(scene)
    found: dict[str, Any] = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        name = node.GetName() or ""
        if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(node.GetID(), pattern):
            if useLists:
                found.setdefault(name, []).append(node)
            else:
                found[name] = node
    return found


def getNode(pattern: str = "*", index: int = 0, scene: Any = None) -> Any:
    nodes = list(getNodes(pattern, scene).values())
    if not nodes:
        raise MRMLNodeNotFoundException(f"could not find nodes in the scene by name or id '{pattern or ''}'")
    return nodes[index]


def getNodesByClass(className: str, scene: Any = None) -> list[Any]:
    scene = _scene(scene)
    return [scene.GetNthNodeByClass(i, className) for i in range(scene.GetNumberOfNodesByClass(className))]


def getFirstNodeByName(name: str, className: str | None = None) -> Any | None:
    import slicer

    scene = slicer.mrmlScene
    return scene.GetFirstNode(name, className) if className else scene.GetFirstNodeByName(name)


def getFirstNodeByClassByName(className: str, name: str, scene: Any = None) -> Any | None:
    return _scene(scene).GetFirstNode(name, className)


@contextlib.contextmanager
def NodeModify(node: Any) -> Iterator[Any]:
    """Many changes, one modified event."""
    modifying = node.StartModify()
    try:
        yield node
    finally:
        node.EndModify(modifying)


@contextlib.contextmanager
def RenderBlocker() -> Iterator[None]:
    import slicer

    slicer.app.pauseRender()
    try:
        yield
    finally:
        slicer.app.resumeRender()


class VTKObservationMixin:
    """Observations that end with `removeObservers()` or with the object."""

    def __init__(self) -> None:
        super().__init__()
        self.__observations: list[tuple[Any, Any, Any, int]] = []

    @property
    def Observations(self) -> list[tuple[Any, Any, Any, int]]:
        return list(self.__observations)

    def addObserver(
        self, object: Any, event: Any, method: Callable[..., Any], group: str = "none", priority: float = 0.0
    ) -> None:
        if self.hasObserver(object, event, method):
            return
        reference = weakref.WeakMethod(method) if hasattr(method, "__self__") else (lambda: method)

        def call(caller: Any, name: str, *data: Any) -> None:
            function = reference()
            if function is not None:
                function(caller, name, *data)

        if hasattr(method, "CallDataType"):
            call.CallDataType = method.CallDataType  # type: ignore[attr-defined]
        self.__observations.append((object, event, method, object.AddObserver(event, call, priority)))

    def hasObserver(self, object: Any, event: Any, method: Callable[..., Any]) -> bool:
        return any((o, e, m) == (object, event, method) for o, e, m, _ in self.__observations)

    def observer(self, event: Any, method: Callable[..., Any], default: Any = None) -> Any:
        return next((o for o, e, m, _ in self.__observations if (e, m) == (event, method)), default)

    def removeObserver(self, object: Any, event: Any, method: Callable[..., Any]) -> None:
        for known in [k for k in self.__observations if k[:3] == (object, event, method)]:
            known[0].RemoveObserver(known[3])
            self.__observations.remove(known)

    def removeObservers(self, method: Callable[..., Any] | None = None) -> None:
        for known in [k for k in self.__observations if method is None or k[2] == method]:
            known[0].RemoveObserver(known[3])
            self.__observations.remove(known)


def resetSliceViews(orientation: dict[str, str] | None = None) -> None:
    import slicer

    for name, wanted in (orientation or {}).items():
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().SetOrientation(wanted)
    slicer.app.layoutManager().resetSliceViews()


def resetThreeDViews() -> None:
    import slicer

    slicer.app.layoutManager().resetThreeDViews()


_KEEP = "keep-current"


def setSliceViewerLayers(
    background: Any = _KEEP,
    foreground: Any = _KEEP,
    label: Any = _KEEP,
    foregroundOpacity: float | None = None,
    labelOpacity: float | None = None,
    fit: bool = False,
    rotateToVolumePlane: bool = False,
) -> None:
    """Choose the volumes of all slice views; a node, an id or None (none), by default what is shown stays."""
    import slicer

    def idOf(volume: Any) -> str | None:
        if volume is None or isinstance(volume, str):
            return volume or None
        return volume.GetID()

    for composite in getNodesByClass("vtkMRMLSliceCompositeNode"):
        for volume, setter in (
            (background, composite.SetBackgroundVolumeID),
            (foreground, composite.SetForegroundVolumeID),
            (label, composite.SetLabelVolumeID),
        ):
            if not isinstance(volume, str) or volume != _KEEP:
                setter(idOf(volume))
        if foregroundOpacity is not None:
            composite.SetForegroundOpacity(foregroundOpacity)
        if labelOpacity is not None:
            composite.SetLabelOpacity(labelOpacity)
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        if rotateToVolumePlane and isinstance(background, slicer_core.vtkMRMLVolumeNode):
            manager.sliceWidget(name).mrmlSliceNode().RotateToVolumePlane(background)
        if fit:
            manager.sliceWidget(name).sliceLogic().FitSliceToAll()

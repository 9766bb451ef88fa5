"""What happens to the open case in the scene without us: drawing, removed nodes, a scene that is closed or loaded."""

from __future__ import annotations

from typing import Any, Protocol

import slicer
import vtk


class CaseInScene(Protocol):
    """Who is told."""

    volumeNode: Any | None
    segmentationNode: Any | None

    def onDrawn(self) -> None:
        """Voxels have changed, or segments were added or removed."""

    def onDescribed(self) -> None:
        """A name, a colour, a status or another tag of a segment has changed."""

    def onNodeAboutToBeRemoved(self, node: Any) -> None:
        """Somebody removes the image or the segmentation."""

    def onSceneAboutToClose(self) -> None: ...

    def onSceneImported(self) -> None:
        """A saved scene was loaded."""


class CaseWatcher:
    """Observes the scene for as long as it lives, and the segmentation of the open case.

    Args:
        case: is told.
    """

    def __init__(self, case: CaseInScene) -> None:
        self._case = case
        self._segmentation: tuple[Any, list[int]] | None = None

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def removed(_caller: Any, _event: str, node: Any) -> None:
            if node is not None and node in (case.volumeNode, case.segmentationNode):
                case.onNodeAboutToBeRemoved(node)

        scene = slicer.mrmlScene
        self._sceneTags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed),
            scene.AddObserver(scene.StartCloseEvent, lambda *_: case.onSceneAboutToClose()),
            scene.AddObserver(scene.EndImportEvent, lambda *_: case.onSceneImported()),
        ]

    def watch(self, segmentationNode: Any) -> None:
        """Watch this segmentation from now on."""
        self.unwatch()
        events = slicer.vtkSegmentation
        tags = [
            segmentationNode.AddObserver(event, self._drawn)
            for event in (events.SourceRepresentationModified, events.SegmentAdded, events.SegmentRemoved)
        ]
        tags.append(segmentationNode.AddObserver(events.SegmentModified, self._described))
        self._segmentation = segmentationNode, tags

    def unwatch(self) -> None:
        """Watch no segmentation."""
        if self._segmentation is not None:
            node, tags = self._segmentation
            for tag in tags:
                node.RemoveObserver(tag)
            self._segmentation = None

    def close(self) -> None:
        """Watch nothing any more."""
        self.unwatch()
        for tag in self._sceneTags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._sceneTags = []

    def _drawn(self, *_arguments: Any) -> None:
        self._case.onDrawn()

    def _described(self, *_arguments: Any) -> None:
        self._case.onDescribed()

"""A scene or a volume, open in Slicer for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.formats import SEGMENTATION_SUFFIX
from SSLSegmentationLib.batch.Sources import Source, stemOf
from SSLSegmentationLib.logic.SceneImport import sceneSegmentations, sceneVolumes, segmentationOf


@dataclass(frozen=True)
class OpenedVolume:
    """A volume of a file that is open.

    Attributes:
        node: the image.
        segmentationNode: what was drawn on it, or None.
        note: why there is none although something was drawn, in a sentence; else empty.
    """

    node: Any
    segmentationNode: Any | None = None
    note: str = ""

    @property
    def name(self) -> str:
        return self.node.GetName() or ""


@contextlib.contextmanager
def opened(source: Source) -> Iterator[list[OpenedVolume]]:
    """Open a file in the scene; all that came with it is gone from the scene afterwards.

    In a scene every image is a volume, with the segmentation that lies over it. Beside any other file a `.seg.nrrd` of
    the same name is its segmentation.

    Raises:
        SSLSegError: Slicer cannot open the file, or it holds no volume.
    """
    with _addedNodes():
        before = set(sceneVolumes())
        earlier = set(sceneSegmentations())
        _load(source)
        volumes = [node for node in sceneVolumes() if node not in before]
        segmentations = [node for node in sceneSegmentations() if node not in earlier]
        if not volumes:
            raise SSLSegError(
                _("There is no volume in the file"), file=source.path, remedy=_("Leave it out.")
            )
        yield [_withSegmentation(node, volumes, segmentations) for node in volumes]


def besideVolume(path: Path) -> Path:
    """Where the segmentation of a volume lies: `head.seg.nrrd` beside `head.mgz`."""
    return path.with_name(stemOf(path) + SEGMENTATION_SUFFIX)


@contextlib.contextmanager
def segmentationsOf(path: Path) -> Iterator[list[Any]]:
    """The segmentations of a scene or of a `.seg.nrrd` file.

    Raises:
        SSLSegError: Slicer cannot open the file.
    """
    with _addedNodes():
        earlier = set(sceneSegmentations())
        source = Source(path.absolute(), Path(path.name))
        if source.isScene:
            _load(source)
        else:
            _try(path, lambda: slicer.util.loadSegmentation(str(path)))
        yield [node for node in sceneSegmentations() if node not in earlier]


def _load(source: Source) -> None:
    path = source.path
    if source.isScene:
        _try(path, lambda: slicer.util.loadScene(str(path), {"clear": False}))
        return
    # Every file is a volume of its own: else slices named like each other would become one.
    volume = _try(path, lambda: slicer.util.loadVolume(str(path), {"singleFile": True, "show": False}))
    drawn = besideVolume(path)
    if drawn.exists():
        segmentation = _try(drawn, lambda: slicer.util.loadSegmentation(str(drawn)))
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)


def _try(path: Path, load: Any) -> Any:
    folder = Path.cwd()
    try:
        loaded = load()
    except RuntimeError as error:
        raise _unreadable(path) from error
    finally:
        # Slicer is left in a folder that is gone when it unpacks a damaged bundle, and opens no other one from there.
        os.chdir(folder)
    if loaded is False:
        raise _unreadable(path)
    return loaded


def _unreadable(path: Path) -> SSLSegError:
    return SSLSegError(
        _("Slicer cannot open the file"),
        file=path,
        remedy=_("Copy it again from its source; the log of Slicer has the details."),
    )


def _withSegmentation(node: Any, volumes: list[Any], segmentations: list[Any]) -> OpenedVolume:
    drawn = segmentationOf(node)
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    if drawn in segmentations:
        return OpenedVolume(node, drawn)
    over = [one for one in segmentations if one.GetNodeReference(role) is node]
    if over:
        names = ", ".join(one.GetName() for one in over)
        return OpenedVolume(
            node,
            None,
            _("Several segmentations lie over it, and none was taken: {names}.").format(names=names),
        )
    # Where there is one of each, they belong together even if nothing says so.
    alone = len(volumes) == len(segmentations) == 1 and segmentations[0].GetNodeReference(role) is None
    return OpenedVolume(node, segmentations[0] if alone else None)


@contextlib.contextmanager
def _addedNodes() -> Iterator[None]:
    """Nodes that are added to the scene meanwhile are removed at the end."""
    scene = slicer.mrmlScene
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    try:
        yield
    finally:
        nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        for node in reversed(nodes):
            # Slicer has one of each singleton, such as a view, and keeps it.
            if node.GetID() not in before and not node.GetSingletonTag() and scene.IsNodePresent(node):
                scene.RemoveNode(node)

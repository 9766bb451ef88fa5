"""Loading and saving nodes through their storage nodes."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any


def _name(filename: str, properties: dict[str, Any], endings: tuple[str, ...]) -> str:
    if properties.get("name"):
        return properties["name"]
    name = Path(filename).name
    for ending in endings:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def _failed(filename: str, fileType: str) -> RuntimeError:
    return RuntimeError(f"Failed to load node from file: {filename}\nThe file type is {fileType}.")


def loadVolume(filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> Any:
    """A volume from NRRD, NIfTI, MetaImage, …; `properties`: name, labelmap, singleFile, show."""
    import slicer

    filename, properties = str(filename), dict(properties or {})
    logic = slicer.modules.volumes.logic()
    options = int(bool(properties.get("labelmap"))) * logic.LabelMap
    options |= int(bool(properties.get("singleFile"))) * logic.SingleFile
    name = _name(filename, properties, (".seg.nrrd", ".nii.gz", ".nrrd", ".nii", ".mha", ".mhd"))
    node = logic.AddArchetypeVolume(filename, name, options) if Path(filename).is_file() else None
    if node is None:
        raise _failed(filename, "VolumeFile")
    if properties.get("show", True) and not properties.get("labelmap"):
        slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def loadLabelVolume(filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> Any:
    return loadVolume(filename, {**(properties or {}), "labelmap": True})


def loadSegmentation(filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> Any:
    """A segmentation from `.seg.nrrd`, or from a label map with a segment per value."""
    import slicer

    filename, properties = str(filename), dict(properties or {})
    name = _name(filename, properties, (".seg.nrrd", ".nii.gz", ".nrrd", ".nii"))
    logic = slicer.modules.segmentations.logic()
    node = logic.LoadSegmentationFromFile(filename, True, name) if Path(filename).is_file() else None
    if node is None:
        raise _failed(filename, "SegmentationFile")
    return node


def loadColorTable(filename: str | os.PathLike[str]) -> Any:
    import slicer

    node = slicer.modules.colors.logic().LoadColorFile(
        str(filename), _name(str(filename), {}, (".ctbl", ".txt"))
    )
    if node is None:
        raise _failed(str(filename), "ColorTableFile")
    return node


def loadScene(filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> bool:
    """A `.mrml` or `.mrb` file; `properties`: clear (the scene first, by default not)."""
    import slicer

    scene = slicer.mrmlScene
    if (properties or {}).get("clear"):
        scene.Clear(False)
    if str(filename).lower().endswith(".mrb"):
        return bool(scene.ReadFromMRB(str(filename), False))
    scene.SetURL(str(filename))
    if not scene.Import():
        raise _failed(str(filename), "SceneFile")
    return True


def loadNodeFromFile(
    filename: str | os.PathLike[str], filetype: str | None = None, properties: Any = None
) -> Any:
    if filetype == "SegmentationFile":
        return loadSegmentation(filename, properties)
    if filetype in (None, "VolumeFile"):
        return loadVolume(filename, properties)
    raise _failed(str(filename), str(filetype))


def saveNode(node: Any, filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> bool:
    """Write a node through its storage node; the ending of the file name decides the format."""
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(filename))
    if "useCompression" in (properties or {}):
        storage.SetUseCompression(bool(properties["useCompression"]))
    return bool(storage.WriteData(node))


def exportNode(
    node: Any, filename: str | os.PathLike[str], properties: dict[str, Any] | None = None, world: bool = False
) -> bool:
    """Write a node without touching its storage node in the scene."""
    storage = node.CreateDefaultStorageNode()
    storage.UnRegister(None)
    storage.SetFileName(str(filename))
    if "useCompression" in (properties or {}):
        storage.SetUseCompression(bool(properties["useCompression"]))
    return bool(storage.WriteData(node))


def saveScene(filename: str | os.PathLike[str], properties: dict[str, Any] | None = None) -> bool:
    """Write the scene: a `.mrb` with all data, or a `.mrml` file."""
    import slicer

    if str(filename).lower().endswith(".mrb"):
        return bool(slicer.mrmlScene.WriteToMRB(str(filename), None))
    slicer.mrmlScene.SetURL(str(filename))
    return bool(slicer.mrmlScene.Commit())


def tempDirectory(
    key: str = "__SlicerTemp__", tempDir: str | None = None, includeDateTime: bool = True
) -> str:
    """Make a folder that nobody else uses, below Slicer's temporary folder."""
    import slicer

    base = tempDir or slicer.app.temporaryPath
    stamp = datetime.now().strftime("%Y-%m-%d_%H+%M+%S.%f") if includeDateTime else ""
    return tempfile.mkdtemp(prefix=f"{key}{stamp}", dir=base)

"""The MRML core of Slicer, started from `slicer-core` as the application starts it: scene, logics, default nodes."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer_core
import vtk

from .subjecthierarchy import SubjectHierarchy

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
SLICE_COLORS = {"Red": (0.953, 0.290, 0.200), "Green": (0.431, 0.690, 0.294), "Yellow": (0.929, 0.835, 0.298)}

_LOGICS = {
    "Terminologies": slicer_core.vtkSlicerTerminologiesModuleLogic,
    "SubjectHierarchy": slicer_core.vtkSlicerSubjectHierarchyModuleLogic,
    "Segmentations": slicer_core.vtkSlicerSegmentationsModuleLogic,
    "SegmentEditor": slicer_core.vtkSlicerSegmentEditorLogic,
    "Volumes": slicer_core.vtkSlicerVolumesLogic,
    "Models": slicer_core.vtkSlicerModelsLogic,
    "Tables": slicer_core.vtkSlicerTablesLogic,
    "Plots": slicer_core.vtkSlicerPlotsLogic,
    "Texts": slicer_core.vtkSlicerTextsLogic,
    "Cameras": slicer_core.vtkSlicerCamerasModuleLogic,
    "Units": slicer_core.vtkSlicerUnitsLogic,
}
"""The module logics that `slicer.modules.<name>.logic()` answers with, in the order in which they need each other."""


_SCHEMAS = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas"


@dataclass
class Core:
    scene: Any
    applicationLogic: Any
    logics: dict[str, Any] = field(default_factory=dict)
    temporaryPath: Path = Path()
    subjectHierarchy: SubjectHierarchy | None = None
    layoutLogic: Any = None


def boot() -> Core:
    """A scene with colour tables, slice and 3D views, selection and subject hierarchy, and the logics around it."""
    folder = Path(tempfile.mkdtemp(prefix="Slicer-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    scene = slicer_core.vtkMRMLScene()
    # Views that outlive the volumes they show crash the process when it ends.
    atexit.register(scene.Clear, 0)
    application = slicer_core.vtkSlicerApplicationLogic()
    application.SetTemporaryPath(str(folder))
    application.SetMRMLScene(scene)
    colors = slicer_core.vtkMRMLColorLogic()
    colors.SetMRMLApplicationLogic(application)
    colors.SetMRMLScene(scene)
    application.SetColorLogic(colors)
    colors.AddDefaultColorNodes()
    _files(scene, folder)
    core = Core(scene, application, {"Colors": colors}, folder)
    for name, kind in _LOGICS.items():
        logic = kind()
        if name == "Terminologies":
            _terminologies(logic, folder)
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        core.logics[name] = logic
    _views(core)
    core.subjectHierarchy = SubjectHierarchy(scene)
    return core


def _files(scene: Any, folder: Path) -> None:
    """What reading and writing `.mrb` files needs."""
    cache = slicer_core.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(folder / "RemoteIO"))
    cache.SetMRMLScene(scene)
    scene.SetCacheManager(cache)
    manager = slicer_core.vtkDataIOManager()
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def _views(core: Core) -> None:
    slicer_core.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(core.scene)
    slices, views = vtk.vtkCollection(), vtk.vtkCollection()
    core.applicationLogic.SetSliceLogics(slices)
    core.applicationLogic.SetViewLogics(views)
    for name, orientation in SLICE_VIEWS.items():
        logic = slicer_core.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(core.applicationLogic)
        logic.SetMRMLScene(core.scene)
        slices.AddItem(logic)
        node = logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        node.SetLayoutColor(*SLICE_COLORS[name])
        node.SetMappedInLayout(1)
        node.SetDimensions(256, 256, 1)
    logic = slicer_core.vtkMRMLViewLogic()
    logic.SetMRMLApplicationLogic(core.applicationLogic)
    logic.SetMRMLScene(core.scene)
    views.AddItem(logic)
    node = logic.AddViewNode("1")
    node.SetMappedInLayout(1)
    node.SetName("View1")
    logic.SetName("1")
    core.layoutLogic = slicer_core.vtkMRMLLayoutLogic()
    core.layoutLogic.SetMRMLApplicationLogic(core.applicationLogic)
    core.layoutLogic.SetMRMLScene(core.scene)
    core.layoutLogic.GetLayoutNode().SetViewArrangement(slicer_core.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def _terminologies(logic: Any, folder: Path) -> None:
    """Slicer's terminology files are not part of `slicer-core`: small ones of the same form take their place."""
    tissue = {"CodingSchemeDesignator": "SCT", "CodeValue": "85756007", "CodeMeaning": "Tissue"}
    kind = {**tissue, "recommendedDisplayRGBValue": [128, 174, 128], "3dSlicerLabel": "tissue"}
    share = folder / "Terminologies"
    share.mkdir()
    for name, title in (
        (
            "SegmentationCategoryTypeModifier-SlicerGeneralAnatomy",
            "Segmentation category and type - 3D Slicer General Anatomy list",
        ),
        (
            "SegmentationCategoryTypeModifier-DICOM-Master",
            "Segmentation category and type - DICOM master list",
        ),
    ):
        content = {
            "@schema": f"{_SCHEMAS}/segment-context-schema.json#",
            "SegmentationCategoryTypeContextName": title,
            "SegmentationCodes": {"Category": [{**tissue, "showAnatomy": True, "Type": [kind]}]},
        }
        (share / f"{name}.term.json").write_text(json.dumps(content))
    regions = {
        "@schema": f"{_SCHEMAS}/anatomic-context-schema.json#",
        "AnatomicContextName": "Anatomic codes - DICOM master list",
        "AnatomicCodes": {"AnatomicRegion": []},
    }
    (share / "AnatomicRegionAndModifier-DICOM-Master.term.json").write_text(json.dumps(regions))
    logic.SetModuleShareDirectory(str(share))

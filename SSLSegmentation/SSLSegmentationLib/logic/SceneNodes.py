"""What the module owns in the scene: marked by an attribute, in a folder of its own, removed by nobody else."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

OWNED = "SSLSegmentation.Owned"
"""Attribute of every node that the module made; its value is the role of the node."""
CASE = "SSLSegmentation.Case"
COHORT = "SSLSegmentation.Cohort"
FOLDER_NAME = "SSLSegmentation"

VOLUME, SEGMENTATION, UNCERTAINTY = "volume", "segmentation", "uncertainty"


def addNode(className: str, name: str, role: str, caseId: str = "", cohort: str = "") -> Any:
    """Add a node that the module owns, inside its folder of the subject hierarchy.

    Args:
        className: such as "vtkMRMLScalarVolumeNode".
        name: as the user sees it.
        role: what it is for; `ownedNodes` finds it by this.
        caseId: the case it belongs to.
        cohort: name of the cohort of the case.
    """
    node = slicer.mrmlScene.AddNewNodeByClass(className, slicer.mrmlScene.GenerateUniqueName(name))
    node.SetAttribute(OWNED, role)
    if caseId:
        node.SetAttribute(CASE, caseId)
        node.SetAttribute(COHORT, cohort)
    _intoFolder(node)
    return node


def ownedNodes(role: str | None = None, caseId: str | None = None) -> list[Any]:
    """The nodes that the module made, also those that came with a saved scene."""
    found = []
    for index in range(slicer.mrmlScene.GetNumberOfNodes()):
        node = slicer.mrmlScene.GetNthNode(index)
        owned = node.GetAttribute(OWNED)
        if owned is None or (role is not None and owned != role):
            continue
        if caseId is None or node.GetAttribute(CASE) == caseId:
            found.append(node)
    return found


def removeNode(node: Any, *, owned: bool = False) -> None:
    """Remove a node of ours with its display and storage nodes, and the folder once it is empty.

    Args:
        node: one that is not ours, or is no longer in the scene, stays untouched.
        owned: it is ours without being marked so, such as a display node.
    """
    scene = slicer.mrmlScene
    if node is None or not scene.IsNodePresent(node) or not (owned or node.GetAttribute(OWNED)):
        return
    attached = attachedNodes(node)
    if node.IsA("vtkMRMLSegmentationNode"):
        _dropVoxels(node)
    scene.RemoveNode(node)
    for other in attached:
        if scene.IsNodePresent(other):
            scene.RemoveNode(other)
    _removeEmptyFolder()


def attachedNodes(node: Any) -> list[Any]:
    """The display and storage nodes of a node."""
    attached = []
    if node.IsA("vtkMRMLDisplayableNode"):
        attached += [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        attached += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
    return [other for other in attached if other is not None]


def disown(node: Any) -> None:
    """Leave a node to the user: from now on it is one like any other."""
    for attribute in (OWNED, CASE, COHORT):
        node.RemoveAttribute(attribute)


def _dropVoxels(segmentationNode: Any) -> None:
    """Segments that share a label map are wiped out of it one by one when they are removed: that takes a second."""
    segmentation = segmentationNode.GetSegmentation()
    for index in range(segmentation.GetNumberOfSegments()):
        segmentation.GetNthSegment(index).RemoveAllRepresentations()


def _intoFolder(node: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    item = hierarchy.GetItemByDataNode(node)
    if item == hierarchy.GetInvalidItemID():
        return
    folder = _folder(hierarchy)
    if folder is None:
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), FOLDER_NAME)
        hierarchy.SetItemAttribute(folder, OWNED, "folder")
    hierarchy.SetItemParent(item, folder)


def _folder(hierarchy: Any) -> int | None:
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, False)
    for index in range(items.GetNumberOfIds()):
        if hierarchy.GetItemAttribute(items.GetId(index), OWNED) == "folder":
            return items.GetId(index)
    return None


def _removeEmptyFolder() -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = None if hierarchy is None else _folder(hierarchy)
    if folder is not None and hierarchy.GetNumberOfItemChildren(folder) == 0:
        hierarchy.RemoveItem(folder)

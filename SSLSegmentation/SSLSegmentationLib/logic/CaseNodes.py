"""The nodes of the open case: its image, its segmentation, and the uncertainty of a prediction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import slicer
import vtk

from sslseg.contract.labels import Label
from sslseg.contract.staging import StagedVolume
from SSLSegmentationLib.logic.SceneNodes import SEGMENTATION, UNCERTAINTY, VOLUME, addNode
from SSLSegmentationLib.logic.SegmentationNode import createSegments
from SSLSegmentationLib.logic.VolumeLoader import LoadedVolume

SOFT_TISSUE = (-160.0, 240.0)
"""HU between which a CT is shown at first."""


def createVolumeNode(loaded: LoadedVolume, caseId: str, cohort: str, modality: str) -> Any:
    """Show an image in a new node that takes over its memory."""
    node = addNode("vtkMRMLScalarVolumeNode", caseId, VOLUME, caseId, cohort)
    window = SOFT_TISSUE if modality == "CT" else loaded.staged.window
    _fill(node, loaded, window, "vtkMRMLColorTableNodeGrey")
    return node


def createUncertaintyNode(loaded: LoadedVolume, caseId: str, cohort: str) -> Any:
    """Hold how unsure a prediction is, in percent, as a volume that may be laid over the image."""
    node = addNode("vtkMRMLScalarVolumeNode", f"{caseId} uncertainty", UNCERTAINTY, caseId, cohort)
    _fill(node, loaded, (0.0, 100.0), "vtkMRMLColorTableNodeGrey")
    return node


def createSegmentationNode(
    volumeNode: Any, labels: Iterable[Label], drawn: LoadedVolume | None, caseId: str, cohort: str
) -> Any:
    """A segment for each organ, over the image."""
    node = addNode("vtkMRMLSegmentationNode", f"{caseId} segmentation", SEGMENTATION, caseId, cohort)
    node.CreateDefaultDisplayNodes()
    createSegments(node, volumeNode, labels, drawn)
    return node


def toRas(staged: StagedVolume) -> np.ndarray:
    """The 4x4 matrix from voxel indices (i, j, k) to RAS, mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(staged.direction, (3, 3)) * staged.spacing
    matrix[:3, 3] = staged.origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def liesOn(volumeNode: Any, staged: StagedVolume) -> bool:
    """Whether a node of the scene has the grid of the image, to 1e-4 mm."""
    if volumeNode.GetImageData() is None or tuple(volumeNode.GetImageData().GetDimensions()) != tuple(
        staged.size
    ):
        return False
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]).T
    corners[:3] *= np.array(staged.size)[:, None] - 1.0
    return bool(np.abs((found - toRas(staged)) @ corners).max() <= 1e-4)


def _fill(node: Any, loaded: LoadedVolume, window: tuple[float, float], colors: str) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(*loaded.staged.size)
    image.GetPointData().SetScalars(loaded.scalars)
    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, toRas(loaded.staged)[row, column])
    # A display node of our own: the default one would look at every voxel for a window.
    display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    display.SetAndObserveColorNodeID(colors)
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)
    node.SetAndObserveDisplayNodeID(display.GetID())

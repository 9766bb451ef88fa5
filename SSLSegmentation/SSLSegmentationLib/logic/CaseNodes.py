"""The nodes of the open case: its image, its segmentation, and the uncertainty of a prediction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import slicer
import vtk

from sslseg.contract.labels import Label
from SSLSegmentationLib.logic.Grid import Grid
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
    volumeNode: Any, grid: Grid, labels: Iterable[Label], drawn: LoadedVolume | None, caseId: str, cohort: str
) -> Any:
    """A segment for each organ, over the image."""
    node = addNode("vtkMRMLSegmentationNode", f"{caseId} segmentation", SEGMENTATION, caseId, cohort)
    node.CreateDefaultDisplayNodes()
    createSegments(node, volumeNode, grid, labels, drawn)
    return node


def _fill(node: Any, loaded: LoadedVolume, window: tuple[float, float], colors: str) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(*loaded.staged.size)
    image.GetPointData().SetScalars(loaded.scalars)
    # A display node of our own: the default one would look at every voxel for a window.
    display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*window)
    display.SetAndObserveColorNodeID(colors)
    node.SetIJKToRASMatrix(Grid.of(loaded.staged).matrix())
    node.SetAndObserveImageData(image)
    node.SetAndObserveDisplayNodeID(display.GetID())

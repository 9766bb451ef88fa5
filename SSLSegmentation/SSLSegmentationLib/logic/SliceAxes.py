"""Slices of an image as a person sees them in the slice views, and as the image counts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _


@dataclass(frozen=True)
class ViewedSlice:
    """Which slice of an image a view shows.

    Attributes:
        axis: index axis of the image that is closest to the direction one looks along.
        index: number of the slice along it, from 0; the nearest one inside the image.
    """

    axis: str
    index: int


def viewNames() -> list[str]:
    """Names of the slice views that are shown, such as Red, Green and Yellow."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return [node.GetLayoutName() for node in nodes if node.IsMappedInLayout()]


def viewTitle(name: str) -> str:
    """A view as a person knows it, such as "Red (axial)"."""
    node = _sliceNode(name)
    orientation = "" if node is None else node.GetOrientation()
    return f"{name} ({orientation.lower()})" if orientation else name


def viewedSlice(volumeNode: Any, name: str) -> ViewedSlice | None:
    """The slice of the image that a view shows; None if there is no such view.

    An oblique view counts as the axis it is closest to, at the middle of what it shows.
    """
    node = _sliceNode(name)
    if node is None or volumeNode is None or volumeNode.GetImageData() is None:
        return None
    toRas, toSlice = vtk.vtkMatrix4x4(), node.GetSliceToRAS()
    volumeNode.GetIJKToRASMatrix(toRas)
    axes = slicer.util.arrayFromVTKMatrix(toRas)
    view = slicer.util.arrayFromVTKMatrix(toSlice)
    directions = axes[:3, :3] / np.linalg.norm(axes[:3, :3], axis=0)
    number = int(np.abs(directions.T @ view[:3, 2]).argmax())
    middle = np.linalg.inv(axes) @ view[:, 3]
    size = volumeNode.GetImageData().GetDimensions()[number]
    return ViewedSlice("ijk"[number], int(np.clip(np.rint(middle[number]), 0, size - 1)))


def inWords(indices: list[int]) -> str:
    """Numbers of slices, neighbours drawn together: "3-7, 12"."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def axisInWords(volumeNode: Any, axis: str) -> str:
    """The slices perpendicular to an index axis, by the plane they are closest to."""
    toRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(toRas)
    column = slicer.util.arrayFromVTKMatrix(toRas)[:3, "ijk".index(axis)]
    return (_("sagittal"), _("coronal"), _("axial"))[int(np.abs(column).argmax())]


def _sliceNode(name: str) -> Any | None:
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetLayoutName() == name:
            return node
    return None

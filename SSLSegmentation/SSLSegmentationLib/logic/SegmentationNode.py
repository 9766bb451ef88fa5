"""The organs of a cohort as the segments of a segmentation node, and back to one label map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from sslseg.contract.labels import BACKGROUND, Label
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.SegmentArrays import segmentVoxels
from SSLSegmentationLib.logic.VolumeLoader import LoadedVolume

BINARY = "Binary labelmap"
_LOOKED_AT = 200_000
"""Voxels that are enough to find the middle of an organ."""


@dataclass
class Layer:
    """A label map of the scene, copied.

    Attributes:
        voxels: (D, H, W).
        start: (z, y, x) of its first voxel in the whole grid; may be negative.
        organs: (value in this layer, declared value), in the order of the organs.
    """

    voxels: np.ndarray
    start: tuple[int, int, int]
    organs: list[tuple[int, int]]


@dataclass
class Snapshot:
    """The segments at one moment, apart from the scene: work can go on with it for as long as it takes.

    Attributes:
        shape: (D, H, W) of the whole grid.
        layers: in any order.
        declared: values of the organs in their order; where organs overlap, the later one wins.
    """

    shape: tuple[int, int, int]
    layers: list[Layer]
    declared: list[int]

    def plane(self, z: int) -> tuple[np.ndarray, bool]:
        """(H, W) uint8 with declared values, and whether organs overlap in it."""
        merged = np.zeros(self.shape[1:], np.uint8)
        parts = []
        for layer in self.layers:
            part = _part(layer, z, self.shape)
            if part is not None:
                parts.append((layer, *part))
        if len(parts) == 1:
            layer, box, drawn = parts[0]
            merged[box] = _declared(layer, drawn)
            return merged, False
        overlap = False
        for value in self.declared:
            for layer, box, drawn in parts:
                for inLayer, declared in layer.organs:
                    if declared == value:
                        inside = drawn == inLayer
                        overlap |= bool((merged[box][inside] != BACKGROUND).any())
                        merged[box][inside] = value
        return merged, overlap


def createSegments(
    node: Any, volumeNode: Any, grid: Grid, labels: Iterable[Label], drawn: LoadedVolume | None
) -> None:
    """Fill an empty segmentation node: a segment for each organ, in order, on the grid of the volume.

    All segments share the one label map that was loaded; nothing is computed and nothing copied.
    """
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName(BINARY)
    image = _orientedImage(grid, drawn)
    for label in labels:
        _addSegment(segmentation, label, image, label.value)


def ensureSegments(node: Any, labels: Iterable[Label]) -> bool:
    """Give every organ its segment, name, colour and terminology again; True if one was missing."""
    segmentation = node.GetSegmentation()
    missing = False
    for index, label in enumerate(labels):
        segment = segmentation.GetSegment(segmentId(label))
        if segment is None:
            missing = True
            _addSegment(segmentation, label, _emptyImage(node), 1)
            segmentation.SetSegmentIndex(segmentId(label), index)
        else:
            _describe(segment, label)
    return missing


def segmentId(label: Label) -> str:
    """A segment is known by the value of its organ: names may be changed."""
    return f"Segment_{label.value}"


def strangeSegments(node: Any, labels: Iterable[Label]) -> list[str]:
    """Names of segments that are no organ of the cohort."""
    known = {segmentId(label) for label in labels}
    segmentation = node.GetSegmentation()
    return [
        segmentation.GetSegment(segment).GetName()
        for segment in segmentation.GetSegmentIDs()
        if segment not in known
    ]


def hasVoxels(node: Any, label: Label) -> bool:
    """Whether anything is drawn as the organ."""
    image, value = _labelMap(node, label)
    if image is None:
        return False
    return any((plane == value).any() for plane in _voxels(image))


def drawnSlices(node: Any, grid: Grid, label: Label, axis: str) -> list[int]:
    """Numbers of the slices along an index axis (i, j, k) of the grid that hold voxels of the organ."""
    image, value = _labelMap(node, label)
    if image is None:
        return []
    image = _aligned(image, grid)
    number = "ijk".index(axis)
    others = tuple(other for other in range(3) if other != 2 - number)
    inside = np.flatnonzero((_voxels(image) == value).any(axis=others)) + image.GetExtent()[2 * number]
    return [int(index) for index in inside if 0 <= index < grid.size[number]]


def center(node: Any, label: Label) -> tuple[float, float, float] | None:
    """A voxel in the middle of the organ, in RAS, mm; None where nothing is drawn."""
    found = segmentVoxels(node, segmentId(label))
    if found is None:
        return None
    # Every few voxels do, as long as the organ is not thinner than that.
    step = max(1, round((found.labels.size / _LOOKED_AT) ** (1 / 3)))
    inside = np.argwhere(found.labels[::step, ::step, ::step] == found.value) * step
    if not len(inside):
        inside = np.argwhere(found.labels == found.value)
    nearest = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
    i, j, k = nearest[::-1] + found.first
    x, y, z, _one = found.toWorld @ (i, j, k, 1.0)
    return float(x), float(y), float(z)


def takeSnapshot(node: Any, grid: Grid, labels: Iterable[Label]) -> Snapshot:
    """Copy what is drawn. Label maps that lie on another grid are resampled onto this one."""
    labels = list(labels)
    layers: dict[Any, Layer] = {}
    for label in labels:
        image, value = _labelMap(node, label)
        if image is None:
            continue
        if image not in layers:
            aligned = _aligned(image, grid)
            extent = aligned.GetExtent()
            layers[image] = Layer(_voxels(aligned).copy(), (extent[4], extent[2], extent[0]), [])
        layers[image].organs.append((value, label.value))
    return Snapshot(grid.shape, list(layers.values()), [label.value for label in labels])


def _addSegment(segmentation: Any, label: Label, image: Any, value: int) -> None:
    segment = slicer.vtkSegment()
    segment.SetLabelValue(value)
    segment.AddRepresentation(BINARY, image)
    _describe(segment, label)
    segmentation.AddSegment(segment, segmentId(label))


def _describe(segment: Any, label: Label) -> None:
    color = tuple(channel / 255 for channel in label.color)
    if segment.GetName() != label.name:
        segment.SetName(label.name)
    if not np.allclose(segment.GetColor(), color, atol=1e-3):
        segment.SetColor(*color)
    if label.terminology:
        tag = slicer.vtkSegment.GetTerminologyEntryTagName()
        present = vtk.reference("")
        if not segment.GetTag(tag, present) or str(present) != label.terminology:
            segment.SetTag(tag, label.terminology)


def _orientedImage(grid: Grid, drawn: LoadedVolume | None) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(grid.matrix())
    if drawn is None or not any(drawn.staged.voxels.values()):
        return _emptied(image)
    image.SetExtent(*(bound for start, stop in drawn.staged.box for bound in (start, stop - 1)))
    image.GetPointData().SetScalars(drawn.scalars)
    return image


def _emptyImage(node: Any) -> Any:
    image = slicer.vtkOrientedImageData()
    first = node.GetSegmentation().GetNthSegment(0)
    other = None if first is None else first.GetRepresentation(BINARY)
    if other is not None:
        toRas = vtk.vtkMatrix4x4()
        other.GetImageToWorldMatrix(toRas)
        image.SetImageToWorldMatrix(toRas)
    return _emptied(image)


def _emptied(image: Any) -> Any:
    image.SetExtent(0, -1, 0, -1, 0, -1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    return image


def _labelMap(node: Any, label: Label) -> tuple[Any, int]:
    """The label map that holds an organ, and the organ's value in it; None where nothing can be drawn."""
    segment = node.GetSegmentation().GetSegment(segmentId(label))
    if segment is None:
        return None, 0
    image = segment.GetRepresentation(BINARY)
    if image is None and node.CreateBinaryLabelmapRepresentation():
        image = segment.GetRepresentation(BINARY)
    if image is None or image.IsEmpty():
        return None, 0
    return image, segment.GetLabelValue()


def _voxels(image: Any) -> np.ndarray:
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def _aligned(image: Any, grid: Grid) -> Any:
    """`image` on the voxels of the grid."""
    toRas = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(toRas)
    between = np.linalg.inv(grid.toRas()) @ slicer.util.arrayFromVTKMatrix(toRas)
    if np.allclose(between, np.eye(4), atol=1e-3):
        return image
    whole, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    whole.SetDimensions(*grid.size)
    whole.SetImageToWorldMatrix(grid.matrix())
    whole.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, whole, resampled)
    return resampled


def _part(layer: Layer, z: int, shape: tuple[int, int, int]) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Where a plane of the grid crosses a layer: the box in the plane, and the layer's voxels there."""
    first = z - layer.start[0]
    if not 0 <= first < layer.voxels.shape[0]:
        return None
    inGrid, inLayer = [], []
    for start, length, side in zip(layer.start[1:], layer.voxels.shape[1:], shape[1:], strict=True):
        low, high = max(start, 0), min(start + length, side)
        if low >= high:
            return None
        inGrid.append(slice(low, high))
        inLayer.append(slice(low - start, high - start))
    return (inGrid[0], inGrid[1]), layer.voxels[first, inLayer[0], inLayer[1]]


def _declared(layer: Layer, drawn: np.ndarray) -> np.ndarray:
    """Declared values in place of the values of a layer; what belongs to no organ becomes background."""
    if drawn.dtype != np.uint8:
        drawn = drawn.astype(np.uint16)
    table = np.zeros(np.iinfo(drawn.dtype).max + 1, np.uint8)
    for inLayer, declared in layer.organs:
        table[inLayer] = declared
    return table[drawn]

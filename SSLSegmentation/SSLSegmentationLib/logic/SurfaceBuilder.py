"""3D surfaces of segments, built in steps so short that the GUI stays fluid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from SSLSegmentationLib.logic.SegmentArrays import SegmentVoxels, segmentVoxels

SURFACE = "Closed surface"
"""Slicer's name of the representation."""
MOST_VOXELS = 1_000_000
"""An organ in a larger box is contoured from averaged voxels: one step must stay below 100 ms."""
STEP_VOXELS = 4_000_000
"""Voxels that are averaged in one step."""
SMOOTHING_STEPS = 15
PASS_BAND = 0.05


class SurfaceBuilder:
    """Gives segments the closed surface that Slicer shows in 3D, organ by organ.

    Slicer's own conversion takes a whole segmentation, or at least a whole segment, in one call. This one cuts the
    segment out, contours, smooths and shades it in separate steps, and averages voxels where an organ is large:

    ```
    builder = SurfaceBuilder()
    builder.start(segmentationNode, segmentIds)
    timer.connect("timeout()", builder.step)      # until it returns False
    ```
    A segment that has a surface keeps it. `done` of `total` segments are through.
    """

    def __init__(self, mostVoxels: int = MOST_VOXELS) -> None:
        self.done = 0
        self.total = 0
        self._mostVoxels = mostVoxels
        self._work: Iterator[None] | None = None

    @property
    def isBusy(self) -> bool:
        return self._work is not None

    def start(self, segmentationNode: Any, segmentIds: Sequence[str]) -> None:
        """Build the surfaces of these segments from now on, and drop what was being built."""
        self.done, self.total = 0, len(segmentIds)
        self._work = self._all(segmentationNode, list(segmentIds))

    def stop(self) -> None:
        """Drop what is being built; finished surfaces stay."""
        self._work = None

    def step(self) -> bool:
        """Do one short piece of work; False when nothing is left."""
        if self._work is None:
            return False
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        return self.isBusy

    def _all(self, node: Any, segmentIds: list[str]) -> Iterator[None]:
        for segmentId in segmentIds:
            if node.GetScene() is None:  # the case was closed meanwhile
                return
            segment = node.GetSegmentation().GetSegment(segmentId)
            if segment is not None and segment.GetRepresentation(SURFACE) is None:
                yield from self._one(node, segmentId)
            self.done += 1

    def _one(self, node: Any, segmentId: str) -> Iterator[None]:
        voxels = segmentVoxels(node, segmentId)
        if voxels is None:
            return
        source = _ContourSource(voxels, self._mostVoxels)
        yield from source.fill()
        contour = source.contour()
        yield
        smooth = vtk.vtkWindowedSincPolyDataFilter()
        smooth.SetInputData(contour)
        smooth.SetNumberOfIterations(SMOOTHING_STEPS)
        smooth.SetPassBand(PASS_BAND)
        smooth.BoundarySmoothingOff()
        smooth.FeatureEdgeSmoothingOff()
        smooth.NonManifoldSmoothingOn()
        smooth.NormalizeCoordinatesOn()
        smooth.Update()
        yield
        normals = vtk.vtkPolyDataNormals()
        normals.SetInputData(smooth.GetOutput())
        normals.SplittingOff()
        normals.ConsistencyOff()
        normals.Update()
        segment = node.GetSegmentation().GetSegment(segmentId)
        if node.GetScene() is not None and segment is not None:
            segment.AddRepresentation(SURFACE, normals.GetOutput())
        yield


class _ContourSource:
    """The box of a segment as an image between 0 and 1, averaged in blocks if it is large."""

    def __init__(self, voxels: SegmentVoxels, mostVoxels: int) -> None:
        self._voxels = voxels
        self._factor = max(1, math.ceil((voxels.labels.size / mostVoxels) ** (1 / 3)))
        # The border that padding adds keeps a segment closed that reaches the edge of the volume.
        shape = [math.ceil(size / self._factor) + 2 for size in voxels.labels.shape]
        self._image = np.zeros(shape, np.float32)

    def fill(self) -> Iterator[None]:
        """Average the voxels, some rows of blocks at a time."""
        labels, factor = self._voxels.labels, self._factor
        rows = max(1, STEP_VOXELS // (factor * labels[0].size))
        for first in range(0, self._image.shape[0] - 2, rows):
            part = labels[first * factor : (first + rows) * factor] == self._voxels.value
            image = self._image[first + 1 : first + 1 + rows, 1:-1, 1:-1][: math.ceil(len(part) / factor)]
            if factor == 1:
                image[:] = part
            else:
                part = np.pad(part, [(0, -size % factor) for size in part.shape])
                depth, height, width = image.shape
                image[:] = part.reshape(depth, factor, height, factor, width, factor).mean(
                    (1, 3, 5), np.float32
                )
            yield

    def contour(self) -> Any:
        """The surface, in millimetres."""
        image = vtk.vtkImageData()
        image.SetDimensions(*self._image.shape[::-1])
        image.GetPointData().SetScalars(numpy_to_vtk(self._image.ravel(), deep=True))
        edges = vtk.vtkFlyingEdges3D()
        edges.SetInputData(image)
        edges.SetValue(0, 0.5)
        edges.ComputeNormalsOff()
        edges.ComputeGradientsOff()
        edges.ComputeScalarsOff()
        toWorld = self._voxels.toWorld @ self._toIndex()
        transform = vtk.vtkTransform()
        transform.SetMatrix(slicer.util.vtkMatrixFromArray(toWorld))
        moved = vtk.vtkTransformPolyDataFilter()
        moved.SetInputConnection(edges.GetOutputPort())
        moved.SetTransform(transform)
        if np.linalg.det(toWorld[:3, :3]) > 0:
            moved.Update()
            return moved.GetOutput()
        turned = vtk.vtkReverseSense()
        turned.SetInputConnection(moved.GetOutputPort())
        turned.Update()
        return turned.GetOutput()

    def _toIndex(self) -> np.ndarray[Any, Any]:
        """From a block's index, the border counted, to the index of the voxel at its middle."""
        matrix = np.diag([float(self._factor)] * 3 + [1.0])
        matrix[:3, 3] = np.array(self._voxels.first) - self._factor + (self._factor - 1) / 2
        return matrix


def dropSurface(segmentationNode: Any, segmentId: str) -> None:
    """Take the surface of a segment away, if it has one."""
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is not None and segment.GetRepresentation(SURFACE) is not None:
        segment.RemoveRepresentation(SURFACE)

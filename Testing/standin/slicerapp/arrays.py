"""NumPy arrays of volumes, segments, models and tables; those of volumes are (slice, row, column)."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer_core
import vtk
from vtkmodules.util import numpy_support

from .nodes import getNode


def arrayFromVolume(volumeNode: Any) -> np.ndarray:
    """The voxels as (K, J, I) or (K, J, I, component); changes need `arrayFromVolumeModified`."""
    image = volumeNode.GetImageData()
    if image is None:
        raise RuntimeError("Voxels could not be accessed: the volume has no image data")
    columns, rows, slices = image.GetDimensions()
    components = image.GetNumberOfScalarComponents()
    shape = (slices, rows, columns) if components == 1 else (slices, rows, columns, components)
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)


def arrayFromVolumeModified(volumeNode: Any) -> None:
    volumeNode.GetImageData().GetPointData().GetScalars().Modified()
    volumeNode.Modified()


def updateVolumeFromArray(volumeNode: Any, narray: np.ndarray) -> None:
    """Set the voxels to a copy of an array; dimensions and type become those of the array."""
    if narray.ndim not in (3, 4):
        raise RuntimeError("Unsupported number of dimensions: " + str(narray.ndim))
    components = narray.shape[3] if narray.ndim == 4 else 1
    image = volumeNode.GetImageData()
    if image is None:
        image = vtk.vtkImageData()
        volumeNode.SetAndObserveImageData(image)
    kind = numpy_support.get_vtk_array_type(narray.dtype)
    image.SetDimensions(narray.shape[2], narray.shape[1], narray.shape[0])
    image.AllocateScalars(kind, components)
    arrayFromVolume(volumeNode)[:] = narray
    arrayFromVolumeModified(volumeNode)


def addVolumeFromArray(
    narray: np.ndarray, ijkToRAS: Any = None, name: str | None = None, nodeClassName: str | None = None
) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(nodeClassName or "vtkMRMLScalarVolumeNode", name or "")
    if ijkToRAS is not None:
        matrix = ijkToRAS
        if not isinstance(ijkToRAS, vtk.vtkMatrix4x4):
            matrix = vtk.vtkMatrix4x4()
            matrix.DeepCopy(np.asarray(ijkToRAS, float).ravel())
        node.SetIJKToRASMatrix(matrix)
    updateVolumeFromArray(node, narray)
    node.CreateDefaultDisplayNodes()
    return node


def array(pattern: str = "", index: int = 0) -> np.ndarray:
    node = getNode(pattern, index)
    if node.IsA("vtkMRMLVolumeNode"):
        return arrayFromVolume(node)
    return arrayFromModelPoints(node)


def arrayFromModelPoints(modelNode: Any) -> np.ndarray:
    return numpy_support.vtk_to_numpy(modelNode.GetPolyData().GetPoints().GetData())


def _reference(segmentationNode: Any, volumeNode: Any) -> Any:
    if volumeNode is None:
        volumeNode = segmentationNode.GetNodeReference(
            slicer_core.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        )
    if volumeNode is None:
        raise RuntimeError("No reference volume is specified in the segmentation node")
    return volumeNode


def arrayFromSegmentBinaryLabelmap(
    segmentationNode: Any, segmentId: str, referenceVolumeNode: Any = None
) -> np.ndarray:
    """The segment on the grid of the reference volume as (K, J, I), 1 inside and 0 outside; a copy."""
    import slicer

    reference = _reference(segmentationNode, referenceVolumeNode)
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segmentId)
    grid = slicer.modules.segmentations.logic().CreateOrientedImageDataFromVolumeNode(reference)
    grid.UnRegister(None)
    image = slicer_core.vtkOrientedImageData()
    extent = slicer_core.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not segmentationNode.GenerateMergedLabelmapForAllSegments(image, extent, grid, ids):
        raise RuntimeError("Export of segment failed.")
    columns, rows, slices = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns).copy()


def arrayFromSegmentInternalBinaryLabelmap(segmentationNode: Any, segmentId: str) -> np.ndarray:
    """The label map that holds the segment as (K, J, I), a view of its voxels; other segments may share it."""
    image = segmentationNode.GetBinaryLabelmapInternalRepresentation(segmentId)
    columns, rows, slices = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns)


def updateSegmentBinaryLabelmapFromArray(
    narray: np.ndarray, segmentationNode: Any, segmentId: str, referenceVolumeNode: Any = None
) -> None:
    """Replace a segment by the non-zero voxels of an array on the grid of the reference volume."""
    import slicer

    reference = _reference(segmentationNode, referenceVolumeNode)
    mask = np.ascontiguousarray(narray)
    image = slicer_core.vtkOrientedImageData()
    image.SetDimensions(mask.shape[2], mask.shape[1], mask.shape[0])
    image.AllocateScalars(numpy_support.get_vtk_array_type(mask.dtype), 1)
    numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    matrix = vtk.vtkMatrix4x4()
    reference.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    logic = slicer.modules.segmentations.logic()
    if not logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, logic.MODE_REPLACE):
        raise RuntimeError("Failed to add segment to segmentation.")


def arrayFromTableColumn(tableNode: Any, columnName: str) -> np.ndarray:
    return numpy_support.vtk_to_numpy(tableNode.GetTable().GetColumnByName(columnName))


def updateTableFromArray(
    tableNode: Any,
    narrays: Any,
    columnNames: str | list[str] | None = None,
    setDefaultColumnTypes: bool = False,
) -> Any:
    """One column per array (or per column of a 2D array); the table node is made if it is None."""
    import slicer

    if tableNode is None:
        tableNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    if isinstance(narrays, np.ndarray):
        narrays = [narrays] if narrays.ndim == 1 else list(narrays.T)
    names = [columnNames] if isinstance(columnNames, str) else list(columnNames or [])
    modifying = tableNode.StartModify()
    tableNode.RemoveAllColumns()
    for index, column in enumerate(narrays):
        values = numpy_support.numpy_to_vtk(np.ascontiguousarray(column), deep=True)
        values.SetName(names[index] if index < len(names) else f"Column {index + 1}")
        tableNode.AddColumn(values)
    tableNode.EndModify(modifying)
    return tableNode


def arrayFromVTKMatrix(vmatrix: Any) -> np.ndarray:
    """A copy of a vtkMatrix4x4 or vtkMatrix3x3."""
    size = 4 if vmatrix.IsA("vtkMatrix4x4") else 3
    return np.array([[vmatrix.GetElement(row, column) for column in range(size)] for row in range(size)])


def vtkMatrixFromArray(narray: np.ndarray) -> Any:
    """A vtkMatrix4x4 or vtkMatrix3x3 of an array of that size."""
    vmatrix = vtk.vtkMatrix4x4() if narray.shape == (4, 4) else vtk.vtkMatrix3x3()
    for (row, column), value in np.ndenumerate(narray):
        vmatrix.SetElement(row, column, float(value))
    return vmatrix

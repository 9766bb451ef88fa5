"""Volumes of the scene become cases of the cohort, with the segmentations that belong to them as annotations."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from sslseg.contract.case_ids import NewIds
from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, normalised_name
from SSLSegmentationLib.logic.CohortLogic import EDIT_SECONDS, CohortLogic
from SSLSegmentationLib.logic.LabelMapWriter import Grid, Written, writeLabelMap
from SSLSegmentationLib.logic.NrrdWriter import writeNrrd
from SSLSegmentationLib.logic.SceneNodes import OWNED
from SSLSegmentationLib.logic.SegmentationNode import BINARY, segmentId, takeSnapshot

STRAIGHT = 1e-3
"""How far the axes of a grid may be from a right angle, as a cosine."""
SOURCE = "scene"


@dataclass(frozen=True)
class Imported:
    """What became of a volume.

    Attributes:
        caseId: of the new case.
        notes: sentences on what was left out.
    """

    caseId: str
    notes: tuple[str, ...] = ()


def sceneVolumes() -> list[Any]:
    """Volumes of the scene that may become cases: images, but not label maps and not the open case's own."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in nodes if not node.IsA("vtkMRMLLabelMapVolumeNode") and not _isHidden(node)]


def sceneSegmentations() -> list[Any]:
    """Segmentations of the scene that may be taken over as annotations."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if not _isHidden(node)]


def segmentationOf(volumeNode: Any) -> Any | None:
    """The segmentation that was drawn on a volume; None where there is none or more than one."""
    drawn = [
        node
        for node in sceneSegmentations()
        if node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volumeNode
    ]
    return drawn[0] if len(drawn) == 1 else None


def matchSegments(segmentationNode: Any, labels: Iterable[Label]) -> tuple[dict[str, str], list[str]]:
    """Which segment is which organ.

    A segment is an organ by its name, whatever its capitals, spaces, hyphens and underscores; or else by its
    terminology.

    Returns:
        Id of the segment by the name of the organ, and the names of the segments that are no organ of the cohort.
    """
    segmentation = segmentationNode.GetSegmentation()
    free = {one: segmentation.GetSegment(one) for one in segmentation.GetSegmentIDs()}
    found: dict[str, str] = {}
    for sameOrgan in (_hasSameName, _hasSameTerm):
        for label in labels:
            if label.name in found:
                continue
            match = next((one for one, segment in free.items() if sameOrgan(segment, label)), None)
            if match is not None:
                found[label.name] = match
                del free[match]
    return found, [segment.GetName() for segment in free.values()]


def importSteps(
    cohortLogic: CohortLogic, volumeNode: Any, segmentationNode: Any | None = None
) -> Generator[bool, None, Imported]:
    """Add a volume of the scene to the open cohort; work for `SlicedWork`, and nothing is there before its end.

    Args:
        cohortLogic: the open cohort; it stays the target even if another one is opened meanwhile.
        volumeNode: an image; it may be moved and turned by a linear transform.
        segmentationNode: becomes the annotation, as far as its segments are organs of the cohort.

    Raises:
        SSLSegError: no cohort is open, the volume or the segmentation does not fit, the volume is in the cohort
            already, or the folder cannot be written to.
    """
    cohort = cohortLogic.cohort
    if cohort is None:
        raise SSLSegError(_("No cohort is open"), remedy=_("Open one in the Cohort section."))
    voxels, grid = voxelsOf(volumeNode)
    modified = volumeNode.GetImageData().GetMTime()
    with _staging(cohort.folder) as staging:
        image = staging / "image.nrrd"
        digest = yield from writeNrrd(image, voxels, grid)
        label, annotated, notes = None, [], []
        if segmentationNode is not None:
            label = staging / "label.nii.gz"
            annotated, notes = yield from _writeAnnotation(label, segmentationNode, volumeNode, cohort, grid)
        if volumeNode.GetImageData() is None or volumeNode.GetImageData().GetMTime() != modified:
            raise SSLSegError(
                _("The volume was changed while it was being added"), remedy=_("Add it once more.")
            )
        caseId = _addCase(cohort.folder, image, label if annotated else None, annotated, digest)
    cohortLogic.refresh()
    return Imported(caseId, tuple(notes))


def gridOf(volumeNode: Any) -> Grid:
    """Where the voxels of a volume lie in the world, LPS, its parent transforms included.

    Raises:
        SSLSegError: the volume is bent or sheared by its transforms.
    """
    toWorld = _transformToWorld(volumeNode)
    if toWorld is None:
        raise SSLSegError(
            _("The volume '{name}' is bent by a transform").format(name=volumeNode.GetName()),
            remedy=_("Harden the transform on it in the module Transforms, then add it."),
        )
    return _gridThrough(volumeNode, toWorld)


def _isHidden(node: Any) -> bool:
    return bool(node.GetAttribute(OWNED) or node.GetHideFromEditors())


def _gridThrough(volumeNode: Any, transform: np.ndarray[Any, Any]) -> Grid:
    """Where the voxels lie after a 4 x 4 transform in RAS."""
    ijkToRas = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(ijkToRas)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ transform @ slicer.util.arrayFromVTKMatrix(ijkToRas)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / spacing
    if not np.isfinite(direction).all() or np.abs(direction.T @ direction - np.eye(3)).max() > STRAIGHT:
        raise SSLSegError(
            _("The voxels of the volume '{name}' are no straight grid").format(name=volumeNode.GetName()),
            remedy=_("Harden its transform in the module Transforms, or resample it, then add it."),
        )
    return Grid(
        volumeNode.GetImageData().GetDimensions(),
        tuple(spacing.tolist()),
        tuple(matrix[:3, 3].tolist()),
        tuple(direction.ravel().tolist()),
    )


def _hasSameName(segment: Any, label: Label) -> bool:
    return normalised_name(segment.GetName()) == normalised_name(label.name)


def _hasSameTerm(segment: Any, label: Label) -> bool:
    entry = vtk.reference("")
    segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    mine, theirs = _codes(label.terminology or ""), _codes(str(entry))
    return bool(mine) and mine == theirs


def _codes(entry: str) -> tuple[str, ...]:
    """Scheme and code of type and modifier of a serialised terminology entry; empty where it names no structure."""
    fields = entry.split("~")
    if len(fields) < 4 or not fields[2].strip("^"):
        return ()
    return tuple(part for field in fields[2:4] for part in field.split("^")[:2])


def voxelsOf(volumeNode: Any) -> tuple[np.ndarray[Any, Any], Grid]:
    """The voxels (D, H, W) of a volume, as they lie in the scene's memory, and where they lie.

    Raises:
        SSLSegError: it is empty, of several channels, a single slice, bent or sheared.
    """
    image = volumeNode.GetImageData()
    scalars = None if image is None else image.GetPointData().GetScalars()
    name = volumeNode.GetName()
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise SSLSegError(
            _("The volume '{name}' is empty").format(name=name), remedy=_("Choose another one.")
        )
    if scalars.GetNumberOfComponents() != 1:
        raise SSLSegError(
            _("The volume '{name}' has several values in each voxel").format(name=name),
            remedy=_("Choose a volume of one channel."),
        )
    if min(image.GetDimensions()) < 2:
        raise SSLSegError(
            _("'{name}' is a single slice, not a volume").format(name=name),
            remedy=_("Choose a whole volume."),
        )
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(scalars).reshape(k, j, i), gridOf(volumeNode)


def _transformToWorld(node: Any) -> np.ndarray[Any, Any] | None:
    """The (4, 4) matrix of all parent transforms, or None if one of them is not linear."""
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent is not None and not parent.GetMatrixTransformToWorld(matrix):
        return None
    if parent is not None and not parent.IsTransformToWorldLinear():
        return None
    return slicer.util.arrayFromVTKMatrix(matrix)


def _writeAnnotation(
    path: Path, segmentationNode: Any, volumeNode: Any, cohort: Cohort, grid: Grid
) -> Generator[bool, None, tuple[list[str], list[str]]]:
    """Write what is drawn; the organs that are, and sentences on what was left out."""
    if segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        raise SSLSegError(
            _("'{segmentation}' and '{volume}' are not moved by the same transform").format(
                segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            ),
            remedy=_("Harden the transforms of both in the module Transforms, then add them."),
        )
    found, strangers = matchSegments(segmentationNode, cohort.labels)
    notes = []
    if strangers:
        names = ", ".join(strangers)
        notes.append(_("No organ of the cohort, and left out: {names}.").format(names=names))
    labels = [label for label in cohort.labels if label.name in found]
    if not labels:
        return [], notes
    # Both are moved by the same transform, so without it they lie on each other as well.
    here = _gridThrough(volumeNode, np.eye(4))
    snapshot = takeSnapshot(_organsOnly(segmentationNode, volumeNode, labels, found), here, labels)
    yield False
    written: Written = yield from writeLabelMap(path, snapshot, grid, None)
    if written.overlaps:
        notes.append(_("Segments overlap: where they do, the organ further down the list was taken."))
    return [label.name for label in labels if label.value in written.present], notes


def _organsOnly(segmentationNode: Any, volumeNode: Any, labels: list[Label], found: dict[str, str]) -> Any:
    """A segmentation apart from the scene with the organs alone, which shares the user's label maps."""
    source = segmentationNode.GetSegmentation()
    if not source.ContainsRepresentation(BINARY):
        copy = slicer.vtkMRMLSegmentationNode()
        copy.GetSegmentation().DeepCopy(source)
        copy.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        if not copy.CreateBinaryLabelmapRepresentation():
            raise SSLSegError(
                _("The segments of '{name}' cannot be turned into voxels").format(
                    name=segmentationNode.GetName()
                ),
                remedy=_("Create the binary label map in the module Segmentations, then add it."),
            )
        source = copy.GetSegmentation()
    organs = slicer.vtkMRMLSegmentationNode()
    organs.GetSegmentation().SetSourceRepresentationName(BINARY)
    for label in labels:
        theirs = source.GetSegment(found[label.name])
        segment = slicer.vtkSegment()
        segment.SetLabelValue(theirs.GetLabelValue())
        segment.AddRepresentation(BINARY, theirs.GetRepresentation(BINARY))
        organs.GetSegmentation().AddSegment(segment, segmentId(label))
    return organs


@contextlib.contextmanager
def _staging(folder: Path) -> Generator[Path, None, None]:
    """A folder on the cohort's own disk for files whose case has no id yet; gone afterwards."""
    try:
        (folder / "cache").mkdir(exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".importing-", dir=folder / "cache"))
    except OSError as error:
        raise SSLSegError(
            _("The cohort cannot be written to ({reason})").format(reason=error.strerror or error),
            file=folder,
            remedy=_("Check that the folder is there, is writable, and the disk has free space."),
        ) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _addCase(folder: Path, image: Path, label: Path | None, annotated: list[str], digest: str) -> str:
    moved: list[Path] = []

    def move(staged: Path, name: str) -> str:
        place = folder / name
        place.parent.mkdir(exist_ok=True)
        staged.replace(place)
        moved.append(place)
        return name

    try:
        with Cohort.edit(folder, timeout=EDIT_SECONDS) as cohort:
            twin = next((case for case in cohort.cases if case.provenance.get("sha256") == digest), None)
            if twin is not None:
                raise SSLSegError(
                    _("The volume is in the cohort already, as {case}").format(case=twin.id),
                    remedy=_("Open that case to annotate it."),
                )
            caseId = NewIds(cohort).next()
            case = Case(caseId, move(image, f"images/{caseId}.nrrd"))
            case.provenance = {"source": SOURCE, "sha256": digest}
            if label is not None:
                case.label, case.annotated = move(label, f"labels/{caseId}.nii.gz"), annotated
            cohort.cases.append(case)
    except BaseException as error:
        # No case would know of them.
        for path in moved:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SSLSegError(
                _("The files of the case cannot be written ({reason})").format(
                    reason=error.strerror or error
                ),
                file=folder,
                remedy=_("Check that the folder is writable and the disk has free space."),
            ) from error
        raise
    return caseId

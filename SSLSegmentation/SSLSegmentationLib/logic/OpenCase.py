"""What belongs to the case that is open: its files, its nodes, and how it leaves the scene again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from sslseg.contract.cohort import Cohort
from sslseg.contract.labels import Label
from SSLSegmentationLib.logic import SceneNodes, SegmentationNode
from SSLSegmentationLib.logic.CaseNodes import createSegmentationNode, createVolumeNode
from SSLSegmentationLib.logic.CaseOpening import OpenedCase
from SSLSegmentationLib.logic.CaseStore import CaseStore
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.OrganMarks import OrganMark, readMark, setMark
from SSLSegmentationLib.logic.PendingSave import PendingSave
from SSLSegmentationLib.logic.SliceViews import SliceViews
from SSLSegmentationLib.logic.VolumeLoader import LoadedVolume


@dataclass
class OpenCase:
    """A case in the scene.

    Attributes:
        cohort: it belongs to, as it was when the case was opened.
        store: its files.
        content: what was read.
        grid: of its image.
        intensities: between which most of its image lies.
        labels: the organs.
        volumeNode, segmentationNode, uncertaintyNode: in the scene.
        fromScene: whether the nodes came with a saved scene.
        isModified: whether anything differs from what is saved.
        changes: counts changes of any kind.
        drawn: counts changes of voxels.
        drafted: the number of these that the draft holds; None while there is no draft.
        marks: of the organs, when anybody last looked.
    """

    cohort: Cohort
    store: CaseStore
    content: OpenedCase
    labels: list[Label]
    volumeNode: Any = None
    segmentationNode: Any = None
    uncertaintyNode: Any | None = None
    fromScene: bool = False
    isModified: bool = False
    changes: int = 0
    drawn: int = 0
    drafted: int | None = None
    marks: dict[str, OrganMark] = field(default_factory=dict)
    grid: Grid = field(init=False)
    intensities: tuple[float, float] = field(init=False)
    _ignored: np.ndarray | None = field(init=False)
    _views: SliceViews = field(default_factory=SliceViews)

    def __post_init__(self) -> None:
        assert self.content.image is not None
        self.grid = Grid.of(self.content.image.staged)
        self.intensities = self.content.image.staged.window
        self._ignored = None if self.content.drawn is None else self.content.drawn.ignored

    @property
    def caseId(self) -> str:
        return self.store.caseId

    def adoptSteps(self) -> Generator[bool, None, None]:
        """Take over the nodes of this case that came with a saved scene, if they lie on its image.

        Where their drawing differs from the one that was read, theirs stays, and the case counts as modified.
        """
        volumes = self._nodesOfScene(SceneNodes.VOLUME)
        segmentations = self._nodesOfScene(SceneNodes.SEGMENTATION)
        if not volumes or not segmentations or not self.grid.isThatOf(volumes[0]):
            return
        SegmentationNode.ensureSegments(segmentations[0], self.labels)
        self.volumeNode, self.segmentationNode = volumes[0], segmentations[0]
        self.fromScene = True
        differs = self.readMarks() != self.content.marks
        drawn = SegmentationNode.takeSnapshot(self.segmentationNode, self.grid, self.labels)
        for z in range(drawn.shape[0]):
            differs = differs or not np.array_equal(
                drawn.plane(z)[0], _plane(self.content.drawn, z, drawn.shape)
            )
            yield False
        if differs:
            self.isModified = True
            self.content.sentences.append(
                _(
                    "The scene brought a drawing of {case} that differs from the saved one. Save keeps it, Revert goes "
                    "back to the saved one."
                ).format(case=self.caseId)
            )

    def show(self) -> None:
        """Put the case into the scene, beside whatever is there."""
        # Cases that came with a saved scene and are not this one are the user's from now on.
        for node in SceneNodes.ownedNodes():
            if node.GetAttribute(SceneNodes.CASE) and node not in (self.volumeNode, self.segmentationNode):
                SceneNodes.disown(node)
        if not self.fromScene:
            name, modality = self.cohort.name, self.cohort.modality
            self.volumeNode = createVolumeNode(self.content.image, self.caseId, name, modality)
            self.segmentationNode = createSegmentationNode(
                self.volumeNode, self.grid, self.labels, self.content.drawn, self.caseId, name
            )
            for organ, segment in self.segments().items():
                setMark(segment, self.content.marks[organ])
        # From now on the nodes have the voxels, and may let go of them.
        self.content.image = self.content.drawn = None
        self.marks = self.readMarks()
        self._views.show(self.volumeNode)

    def segments(self) -> dict[str, Any]:
        """The segment of each organ that has one."""
        segmentation = self.segmentationNode.GetSegmentation()
        found = {
            label.name: segmentation.GetSegment(SegmentationNode.segmentId(label)) for label in self.labels
        }
        return {organ: segment for organ, segment in found.items() if segment is not None}

    def readMarks(self) -> dict[str, OrganMark]:
        """The marks of all organs as the segments have them."""
        segments = self.segments()
        return {
            label.name: readMark(segments[label.name]) if label.name in segments else OrganMark()
            for label in self.labels
        }

    def pendingSave(self, confirm: Callable[[str], bool] | None) -> PendingSave:
        """A copy of what is drawn and marked now, ready to be saved."""
        snapshot = SegmentationNode.takeSnapshot(self.segmentationNode, self.grid, self.labels)
        save = PendingSave(
            self.store,
            snapshot,
            self.grid,
            self._ignored,
            self.labels,
            self.readMarks(),
            self.content.source,
            confirm,
            self.changes,
        )
        strange = SegmentationNode.strangeSegments(self.segmentationNode, self.labels)
        if strange:
            save.notes.append(
                _("Not saved, because they are no organs of the cohort: {segments}.").format(
                    segments=", ".join(strange)
                )
            )
        return save

    def draftSteps(self) -> Generator[bool, None, None]:
        """Keep what is drawn and marked as the draft; work for `SlicedWork`.

        Raises:
            SSLSegError: the draft cannot be written.
        """
        if self.drafted == self.drawn and self.store.saveMarks(self.readMarks(), self.content.source):
            return
        drawn = self.drawn
        yield from self.pendingSave(None).steps(commit=False)
        self.drafted = drawn

    def take(self, save: PendingSave) -> None:
        """The case was saved: what has changed since the copy was taken is still to be saved."""
        self.drafted = None
        self.isModified = self.changes != save.changes
        if not self.isModified:
            for organ, segment in self.segments().items():
                setMark(segment, save.marks[organ])
            self.marks = self.readMarks()

    def nodes(self) -> list[Any]:
        """The nodes in the scene, the image last."""
        return [
            node
            for node in (self.uncertaintyNode, self.segmentationNode, self.volumeNode)
            if node is not None
        ]

    def giveViewsBack(self) -> None:
        """Show in the slice views what was in them before."""
        self._views.restore(self.volumeNode)

    def leave(self) -> None:
        """Take the case out of the scene, and give the slice views back."""
        self.giveViewsBack()
        for node in self.nodes():
            SceneNodes.removeNode(node)

    def _nodesOfScene(self, role: str) -> list[Any]:
        return [
            node
            for node in SceneNodes.ownedNodes(role, self.caseId)
            if node.GetAttribute(SceneNodes.COHORT) == self.cohort.name
        ]


def caseOfScene(cohort: Cohort) -> str | None:
    """Id of the case of this cohort that came with a saved scene; None if none did."""
    known = {case.id for case in cohort.cases}
    for node in SceneNodes.ownedNodes(SceneNodes.SEGMENTATION):
        if (
            node.GetAttribute(SceneNodes.COHORT) == cohort.name
            and node.GetAttribute(SceneNodes.CASE) in known
        ):
            return str(node.GetAttribute(SceneNodes.CASE))
    return None


def _plane(drawn: LoadedVolume | None, z: int, shape: tuple[int, int, int]) -> np.ndarray:
    """(H, W) of the whole grid."""
    plane = np.zeros(shape[1:], np.uint8)
    if drawn is not None:
        (left, right), (front, back), (low, high) = drawn.staged.box
        if low <= z < high:
            plane[front:back, left:right] = drawn.voxels[z - low]
    return plane

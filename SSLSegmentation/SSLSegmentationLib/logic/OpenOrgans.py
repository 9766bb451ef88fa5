"""The organs of the open case: what is drawn of them and what was said of them."""

from __future__ import annotations

from typing import Any

from sslseg.contract.cohort import AnnotatedSlices, ReviewState
from sslseg.contract.labels import Label
from SSLSegmentationLib.logic import SegmentationNode
from SSLSegmentationLib.logic.OpenCase import OpenCase
from SSLSegmentationLib.logic.OrganMarks import Mark, OrganMark, readMark, setMark
from SSLSegmentationLib.logic.SliceViews import jumpTo


class OpenOrgans:
    """The open case and its organs as segments, by the names they have in the cohort."""

    _open: OpenCase | None = None

    @property
    def caseId(self) -> str | None:
        """Id of the open case."""
        return None if self._open is None else self._open.caseId

    @property
    def volumeNode(self) -> Any | None:
        """The image of the open case."""
        return None if self._open is None else self._open.volumeNode

    @property
    def segmentationNode(self) -> Any | None:
        """The organs of the open case."""
        return None if self._open is None else self._open.segmentationNode

    @property
    def uncertaintyNode(self) -> Any | None:
        """How unsure the model is, once it was loaded."""
        return None if self._open is None else self._open.uncertaintyNode

    @property
    def labels(self) -> list[Label]:
        """The organs of the open case, in order."""
        return [] if self._open is None else self._open.labels

    @property
    def source(self) -> str:
        """What the drawing began with, in words."""
        return "" if self._open is None else self._open.content.source

    @property
    def showsPrediction(self) -> bool:
        """Whether the drawing of the open case began with a prediction."""
        return self._open is not None and self._open.content.isPrediction

    @property
    def intensities(self) -> tuple[float, float]:
        """Between which most of the image of the open case lies."""
        return (0.0, 1.0) if self._open is None else self._open.intensities

    @property
    def isModified(self) -> bool:
        """Whether anything of the open case is not saved."""
        return self._open is not None and self._open.isModified

    def segmentId(self, organ: str) -> str | None:
        """Id of an organ's segment; None if no case is open."""
        label = self._label(organ)
        return None if label is None else SegmentationNode.segmentId(label)

    def organMark(self, organ: str) -> OrganMark:
        """What was said of an organ of the open case."""
        segment = self._segment(organ)
        return OrganMark() if segment is None else readMark(segment)

    def marks(self) -> dict[str, OrganMark]:
        """What was said of every organ of the open case, in order."""
        return {label.name: self.organMark(label.name) for label in self.labels}

    def setMark(self, organ: str, mark: Mark, slices: AnnotatedSlices | None = None) -> None:
        """Say what the annotation of an organ tells: complete, absent, only these slices, or not done."""
        done = ReviewState.COMPLETED if mark in (Mark.COMPLETE, Mark.ABSENT) else ReviewState.IN_PROGRESS
        if mark is Mark.NOT_DONE and not self.hasVoxels(organ):
            done = ReviewState.NOT_STARTED
        self._setMark(organ, OrganMark(done, mark is Mark.ABSENT, slices if mark is Mark.SLICES else None))

    def organStatus(self, organ: str) -> ReviewState:
        """Slicer's status of the organ's segment."""
        return self.organMark(organ).status

    def setOrganStatus(self, organ: str, status: ReviewState) -> None:
        """Set the status; an organ that is completed without being drawn counts as absent."""
        absent = status is ReviewState.COMPLETED and not self.hasVoxels(organ)
        slices = None if status is ReviewState.COMPLETED else self.organMark(organ).slices
        self._setMark(organ, OrganMark(status, absent, slices))

    def hasVoxels(self, organ: str) -> bool:
        """Whether the organ is drawn in the open case."""
        label = self._label(organ)
        return label is not None and SegmentationNode.hasVoxels(self.segmentationNode, label)

    def drawnSlices(self, organ: str, axis: str) -> list[int]:
        """Slices along an index axis (i, j, k) of the image that hold voxels of the organ."""
        label = self._label(organ)
        if self._open is None or label is None:
            return []
        return SegmentationNode.drawnSlices(self.segmentationNode, self._open.grid, label, axis)

    def jumpToOrgan(self, organ: str) -> bool:
        """Show the middle of an organ in the slice views; False if it is not drawn."""
        label = self._label(organ)
        middle = None if label is None else SegmentationNode.center(self.segmentationNode, label)
        if middle is not None:
            jumpTo(middle)
        return middle is not None

    def _setMark(self, organ: str, mark: OrganMark) -> None:
        segment = self._segment(organ)
        if segment is not None:
            setMark(segment, mark)

    def _label(self, organ: str) -> Label | None:
        return next((label for label in self.labels if label.name == organ), None)

    def _segment(self, organ: str) -> Any | None:
        label = self._label(organ)
        if label is None or self.segmentationNode is None:
            return None
        return self.segmentationNode.GetSegmentation().GetSegment(SegmentationNode.segmentId(label))

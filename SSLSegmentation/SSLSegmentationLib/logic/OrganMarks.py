"""What a person said of an organ of a case, and how it is kept: in the segments while the case is open, in cohort.json
when it is closed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from sslseg.contract.cohort import AnnotatedSlices, Case, ReviewState

ABSENT_TAG = "SSLSegmentation.Absent"
SLICES_TAG = "SSLSegmentation.Slices"

_STATUS = {
    ReviewState.NOT_STARTED: 0,
    ReviewState.IN_PROGRESS: 1,
    ReviewState.COMPLETED: 2,
    ReviewState.FLAGGED: 3,
}
"""Slicer's segment status: NotStarted, InProgress, Completed, Flagged."""
_REVIEW = {status: review for review, status in _STATUS.items()}


class Mark(enum.Enum):
    """What the annotation of an organ tells a training."""

    NOT_DONE = "not done"
    COMPLETE = "complete"
    ABSENT = "absent"
    SLICES = "only these slices"


@dataclass(frozen=True)
class OrganMark:
    """What is known of one organ of one case.

    Attributes:
        status: how far a person has looked at it.
        absent: whether it was said not to be in the scan.
        slices: on which slices it was annotated, when not on all.
    """

    status: ReviewState = ReviewState.NOT_STARTED
    absent: bool = False
    slices: AnnotatedSlices | None = None

    @property
    def mark(self) -> Mark:
        if self.status is ReviewState.COMPLETED:
            return Mark.ABSENT if self.absent else Mark.COMPLETE
        if self.slices is not None and self.slices.indices and self.status is not ReviewState.FLAGGED:
            return Mark.SLICES
        return Mark.NOT_DONE

    @property
    def isAnnotated(self) -> bool:
        return self.mark is not Mark.NOT_DONE


def marksOfCase(case: Case, organs: Iterable[str], voxels: Mapping[str, int]) -> dict[str, OrganMark]:
    """The marks as cohort.json has them.

    Args:
        case: of the cohort.
        organs: all organs of the cohort.
        voxels: number of voxels of each organ in the label map.
    """
    marks = {}
    for organ in organs:
        status = case.organ_review.get(organ, case.review)
        slices = case.slices.get(organ) if organ in case.annotated else None
        if organ not in case.annotated:
            # Only what was annotated counts as complete, whatever the review of the whole case says.
            if status is ReviewState.COMPLETED:
                status = ReviewState.IN_PROGRESS
        elif slices is not None:
            status = ReviewState.FLAGGED if status is ReviewState.FLAGGED else ReviewState.IN_PROGRESS
        elif status is not ReviewState.FLAGGED:
            status = ReviewState.COMPLETED
        absent = status is ReviewState.COMPLETED and not voxels.get(organ, 0)
        marks[organ] = OrganMark(status, absent, slices)
    return marks


def writeMarks(case: Case, marks: Mapping[str, OrganMark]) -> None:
    """Put the marks into a case of the cohort that is being edited."""
    case.annotated = [organ for organ, mark in marks.items() if mark.isAnnotated]
    case.slices = {
        organ: mark.slices
        for organ, mark in marks.items()
        if mark.mark is Mark.SLICES and mark.slices is not None
    }
    case.review = reviewOfCase(mark.status for mark in marks.values())
    case.organ_review = {
        organ: mark.status for organ, mark in marks.items() if mark.status is not case.review
    }


def reviewOfCase(statuses: Iterable[ReviewState]) -> ReviewState:
    """The state of a case from those of its organs."""
    found = set(statuses)
    if ReviewState.FLAGGED in found:
        return ReviewState.FLAGGED
    if len(found) == 1:
        return found.pop()
    return ReviewState.IN_PROGRESS


def readMark(segment: Any) -> OrganMark:
    """The mark of a segment of the scene."""
    status = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
    return OrganMark(
        _REVIEW.get(status, ReviewState.NOT_STARTED), _tag(segment, ABSENT_TAG) == "1", _slices(segment)
    )


def setMark(segment: Any, mark: OrganMark) -> None:
    """Write a mark into a segment: its status is Slicer's own, the rest are tags that `.seg.nrrd` keeps."""
    if readMark(segment) == mark:
        return
    _setTag(segment, ABSENT_TAG, "1" if mark.absent else "")
    # No colon: Slicer's file format separates a tag from its value by one.
    numbers = "" if mark.slices is None else " ".join([mark.slices.axis, *map(str, mark.slices.indices)])
    _setTag(segment, SLICES_TAG, numbers)
    slicer.vtkSlicerSegmentationsModuleLogic.SetSegmentStatus(segment, _STATUS[mark.status])


def _slices(segment: Any) -> AnnotatedSlices | None:
    axis, *numbers = _tag(segment, SLICES_TAG).split() or [""]
    if axis not in ("i", "j", "k") or not all(number.isdigit() for number in numbers):
        return None
    return AnnotatedSlices(axis, [int(number) for number in numbers])


def _tag(segment: Any, name: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _setTag(segment: Any, name: str, value: str) -> None:
    if value:
        segment.SetTag(name, value)
    elif segment.HasTag(name):
        segment.RemoveTag(name)

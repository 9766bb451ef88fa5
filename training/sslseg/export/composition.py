"""What is exported of a case: organ by organ what a person drew or accepted, else what a model predicted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.cohort import Case, Cohort, ReviewState
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label
from sslseg.contract.quality import Verdict, read_quality
from sslseg.contract.settings import ExportSettings
from sslseg.data.geometry import Geometry
from sslseg.data.segmentation_file import (
    Segment,
    Segmentation,
    layered,
    read_segmentation,
    segmentation_to_label_map,
)
from sslseg.data.volumes import probe_volume, read_label_map

Voxels = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
Source = Literal["accepted", "predicted"]

_SLICER_STATUS = {
    ReviewState.NOT_STARTED: "notstarted",
    ReviewState.IN_PROGRESS: "inprogress",
    ReviewState.COMPLETED: "completed",
    ReviewState.FLAGGED: "flagged",
}


@dataclass(frozen=True)
class ExportedOrgan:
    """One organ of an exported case.

    Attributes:
        label: name, value, colour, terminology.
        source: accepted, when a person drew or accepted it; predicted by the model otherwise.
        status: Slicer's segment status: notstarted, inprogress, completed, flagged.
        verdict: of the prediction's quality card; None for an accepted organ, or where there is no card.
        volume_ml: of all its voxels, also of those that another organ shares.
    """

    label: Label
    source: Source
    status: str
    verdict: Verdict | None
    volume_ml: float


@dataclass(frozen=True)
class ExportedCase:
    """A case on the grid of its image, ready to be written.

    Attributes:
        case: where it comes from.
        organs: in the order of the cohort; an organ of which nobody knows anything is not among them.
        segmentation: a segment for each of them, in more than one layer where organs overlap.
    """

    case: Case
    organs: tuple[ExportedOrgan, ...]
    segmentation: Segmentation

    def label_map(self) -> sitk.Image:
        """One value a voxel; where organs overlap, the one that the cohort declares later wins."""
        return segmentation_to_label_map(
            self.segmentation, {organ.label.name: organ.label.value for organ in self.organs}
        )


def compose(
    cohort: Cohort, case: Case, settings: ExportSettings, predicted: frozenset[int] = frozenset()
) -> ExportedCase | None:
    """Put together what is exported of a case; None where there is nothing.

    Accepted is an organ that the case lists as annotated on all its slices. An organ that lay under others in the
    imported segmentation comes back whole, unless the label map shows that it was edited since.

    Args:
        cohort: of the case.
        case: what to export.
        settings: source and model.
        predicted: values of the organs that the model knows.

    Raises:
        SSLSegError: a file is damaged or missing, or does not lie on the grid of the image.
    """
    geometry = probe_volume(cohort.image_path(case), series_uid=case.series).geometry
    drawn = _read(cohort.label_path(case), cohort, geometry)
    found = None
    if settings.source == "best" and settings.model is not None:
        path = cohort.prediction_path(settings.model, case.id)
        found = _read(path if path.exists() else None, cohort, geometry)
    layers = _Layers(cohort.layers_path(case), cohort, drawn, geometry)
    whole = [name for name in case.annotated if name not in case.slices] if drawn is not None else []
    accepted = {label.value for label in cohort.labels if label.name in whole or layers.hides(label)}
    known = {label.value for label in cohort.labels if found is not None and label.value in predicted}
    if not accepted | known:
        return None
    free = None if drawn is None or found is None else ~np.isin(drawn, sorted(accepted))

    def mask(label: Label) -> Mask:
        if label.value in accepted:
            assert drawn is not None
            imported = layers.whole(label)
            return drawn == label.value if imported is None else imported
        assert found is not None
        return found == label.value if free is None else (found == label.value) & free

    verdicts = _verdicts(cohort, case, settings.model) if known - accepted else {}
    chosen = [
        _Chosen(label, _accepted_status(case, label))
        if label.value in accepted
        else _Chosen(
            label,
            _predicted_status(case, label, verdicts.get(label.name)),
            verdicts.get(label.name),
            "predicted",
        )
        for label in cohort.labels
        if label.value in accepted | known
    ]
    segmentation = layered(((one.segment, mask(one.label)) for one in chosen), geometry)
    return ExportedCase(case, tuple(_exported(chosen, segmentation)), segmentation)


@dataclass(frozen=True)
class _Chosen:
    """An organ whose voxels are not measured yet."""

    label: Label
    status: str
    verdict: Verdict | None = None
    source: Source = "accepted"

    @property
    def segment(self) -> Segment:
        label = self.label
        return Segment(label.name, label.value, 0, label.color, label.terminology, self.status)


def _exported(chosen: list[_Chosen], segmentation: Segmentation) -> Iterator[ExportedOrgan]:
    millilitres = math.prod(segmentation.geometry.spacing) / 1000
    for one, segment in zip(chosen, segmentation.segments, strict=True):
        volume = float(np.count_nonzero(segmentation.mask(segment))) * millilitres
        yield ExportedOrgan(one.label, one.source, one.status, one.verdict, volume)


def left_out(case: Case) -> list[str]:
    """Organs of which a person drew some slices only; these count neither as accepted nor as a whole organ."""
    return [organ for organ in case.annotated if organ in case.slices]


class _Layers:
    """The segmentation that the label map of a case was flattened from, if organs overlapped in it.

    Organs are known by their values, which never change; a name may.
    """

    def __init__(self, path: Path | None, cohort: Cohort, drawn: Voxels | None, geometry: Geometry) -> None:
        self._drawn = drawn
        self._segmentation: Segmentation | None = None
        self._segments: dict[int, Segment] = {}
        if path is None or drawn is None:
            return
        self._segmentation = read_segmentation(path)
        mismatch = self._segmentation.geometry.mismatch(geometry, tolerance_mm=0.01 * min(geometry.spacing))
        if mismatch is not None:
            raise SSLSegError(
                f"The overlapping organs do not lie on their image: {mismatch}",
                file=path,
                remedy="Import the case again.",
            )
        self._segments = {segment.value: segment for segment in self._segmentation.segments}
        self._flat = np.zeros_like(drawn)
        for label in cohort.labels:
            if label.value in self._segments:
                self._flat[self._segmentation.mask(self._segments[label.value])] = label.value

    def hides(self, label: Label) -> bool:
        """Whether the organ lies wholly under others, so that the label map never showed it."""
        return self.whole(label) is not None and not np.any(self._flat == label.value)

    def whole(self, label: Label) -> Mask | None:
        """The organ as it was imported, if the label map still shows the same part of it; None otherwise."""
        if self._segmentation is None or label.value not in self._segments:
            return None
        unchanged = np.array_equal(self._flat == label.value, self._drawn == label.value)
        return self._segmentation.mask(self._segments[label.value]) if unchanged else None


def _read(path: Path | None, cohort: Cohort, geometry: Geometry) -> Voxels | None:
    if path is None:
        return None
    labels = read_label_map(path, allowed=cohort.labels.values, reference=geometry)
    return sitk.GetArrayFromImage(labels)


def _verdicts(cohort: Cohort, case: Case, model: str | None) -> dict[str, Verdict]:
    card = None if model is None else read_quality(cohort, model, case.id)
    return {} if card is None else {organ.organ: organ.verdict for organ in card.organs}


def _accepted_status(case: Case, label: Label) -> str:
    """Somebody stands for an accepted organ: it is completed unless they said otherwise."""
    state = case.organ_review.get(label.name, case.review)
    return _SLICER_STATUS[ReviewState.COMPLETED if state is ReviewState.NOT_STARTED else state]


def _predicted_status(case: Case, label: Label, verdict: Verdict | None) -> str:
    """What a person rejected stays flagged; nobody stands for the others, however complete the case is said to be."""
    state = case.organ_review.get(label.name, case.review)
    if state is ReviewState.COMPLETED:
        state = ReviewState.NOT_STARTED
    if state is ReviewState.NOT_STARTED and verdict is Verdict.LIKELY_WRONG:
        state = ReviewState.FLAGGED
    return _SLICER_STATUS[state]

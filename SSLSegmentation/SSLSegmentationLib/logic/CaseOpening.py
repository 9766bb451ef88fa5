"""What is read when a case is opened: the image, and the drawing to begin with."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import Case, Cohort, ReviewState
from sslseg.contract.staging import StageRequest
from SSLSegmentationLib.logic.CaseStore import CaseStore, Draft
from SSLSegmentationLib.logic.OrganMarks import OrganMark, marksOfCase
from SSLSegmentationLib.logic.VolumeLoader import LoadedVolume, VolumeLoader

Source = Literal["auto", "annotation", "prediction"]


@dataclass
class OpenedCase:
    """A case that was read.

    Attributes:
        image: its volume; None once it is in the scene.
        drawn: the label map to begin with; None begins with nothing, or is in the scene.
        marks: of each organ.
        source: what the drawing began with, in words.
        isPrediction: whether that was the prediction of a model that is still there.
        draft: the draft it comes from, if it does.
        sentences: what the user should know.
    """

    image: LoadedVolume | None
    drawn: LoadedVolume | None
    marks: dict[str, OrganMark]
    source: str
    isPrediction: bool
    draft: Draft | None
    sentences: list[str]


@dataclass(frozen=True)
class _Drawing:
    """Where a drawing comes from: which of the two label maps, and which organs are taken from the drawn one."""

    labels: Path | None
    prediction: Path | None
    kept: frozenset[str]
    source: str


def openingSteps(
    cohort: Cohort, caseId: str, source: Source, model: str | None, store: CaseStore, loader: VolumeLoader
) -> Generator[bool, None, OpenedCase]:
    """Read a case; work for `SlicedWork`.

    Args:
        cohort: the open cohort.
        caseId: one of its cases.
        source: begin with the annotation, with the prediction where nothing was annotated, or with what there is:
            a draft, else the annotation, else the prediction. A draft goes first in any case.
        model: whose predictions are used.
        store: of the case.
        loader: reads the volumes.

    Raises:
        SSLSegError: the case is not in the cohort, or a file of it cannot be read.
    """
    case = cohort.case(caseId)
    sentences = []
    draft = store.draft()
    if draft is not None and not store.draftFits(draft):
        sentences.append(
            _(
                "{case} was saved by another program after you had drawn in it: this is the saved one. Your drawing "
                "is kept as {file}."
            ).format(case=caseId, file=store.keepDraftBeside())
        )
        draft = None
    if draft is not None:
        sentences.append(
            _("Restored: what was drawn here until {time} and not saved. Revert drops it.").format(
                time=time.strftime("%x %H:%M", time.localtime(draft.saved))
            )
        )
    label = cohort.label_path(case)
    if label is not None and not label.exists():
        sentences.append(
            _("The label map {file} is no longer there: the case is opened without it.").format(file=label)
        )
    if store.isShared:
        sentences.append(
            _(
                "{case} is open in another Slicer too. Whoever saves second is asked which drawing to keep."
            ).format(case=caseId)
        )
    drawing = (
        _Drawing(store.draftPath, None, frozenset(cohort.labels.names), draft.source)
        if draft is not None
        else _chooseDrawing(cohort, case, source, model)
    )
    loaded = yield from loader.load(cacheFolder(cohort), _requests(cohort, case, drawing))
    loader.forgetAhead()
    drawn = loaded[1] if len(loaded) > 1 else None
    if draft is not None:
        marks = {organ: draft.marks.get(organ, OrganMark()) for organ in cohort.labels.names}
    else:
        counts = {} if drawn is None else drawn.staged.voxels
        voxels = {entry.name: counts.get(str(entry.value), 0) for entry in cohort.labels}
        marks = marksOfCase(case, cohort.labels.names, voxels)
    isPrediction = drawing.source in {_predictionOf(name) for name in cohort.models()}
    return OpenedCase(loaded[0], drawn, marks, drawing.source, isPrediction, draft, sentences)


def preloadSteps(
    cohort: Cohort, caseId: str, source: Source, model: str | None, loader: VolumeLoader
) -> Generator[bool, None, None]:
    """Read a case ahead, so that opening it finds everything in memory."""
    case = cohort.case(caseId)
    drawing = _chooseDrawing(cohort, case, source, model)
    yield from loader.loadAhead(cacheFolder(cohort), _requests(cohort, case, drawing))


def cacheFolder(cohort: Cohort) -> Path:
    """The cache of the cohort; a temporary one where the cohort can only be looked at."""
    if os.access(cohort.folder, os.W_OK):
        return cohort.cache_folder
    return Path(slicer.app.temporaryPath) / "SSLSegmentation"


def _chooseDrawing(cohort: Cohort, case: Case, source: Source, model: str | None) -> _Drawing:
    label = cohort.label_path(case)
    drawn = label if label is not None and label.exists() else None
    predicted = None
    if model is not None and source != "annotation" and cohort.prediction_path(model, case.id).exists():
        predicted = cohort.prediction_path(model, case.id)
    if source == "prediction" and predicted is not None:
        return _Drawing(drawn, predicted, _touched(case, cohort.labels.names), _predictionOf(model))
    if drawn is not None or predicted is None:
        words = case.provenance.get("annotation", _("drawn in Slicer"))
        return _Drawing(drawn, None, frozenset(), words)
    return _Drawing(None, predicted, frozenset(), _predictionOf(model))


def _predictionOf(model: str | None) -> str:
    return _("prediction of the model {model}").format(model=model)


def _touched(case: Case, organs: list[str]) -> frozenset[str]:
    """Organs that a person annotated or has begun with: a prediction never replaces them."""
    states = {organ: case.organ_review.get(organ, case.review) for organ in organs}
    begun = {organ for organ, state in states.items() if state is ReviewState.IN_PROGRESS}
    return frozenset(begun | set(case.annotated))


def _requests(cohort: Cohort, case: Case, drawing: _Drawing) -> list[StageRequest]:
    image = StageRequest(str(cohort.image_path(case)), case.series)
    if drawing.labels is None and drawing.prediction is None:
        return [image]
    return [
        image,
        StageRequest(
            image.image,
            case.series,
            None if drawing.labels is None else str(drawing.labels),
            None if drawing.prediction is None else str(drawing.prediction),
            [label.value for label in cohort.labels if label.name in drawing.kept],
            cohort.labels.values,
        ),
    ]

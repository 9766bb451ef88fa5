"""Scoring: two label maps, or two folders of them, to rows of scores.

An empty prediction is the worst case, never a distance of 0: where an organ is in the reference and the
prediction has none of it, Dice and surface Dice are 0 and every distance is the diagonal of the reference
volume (its shape times its spacing; in voxels, its shape). The same holds for an organ that only the
prediction has. An organ in neither, or one that was not annotated in the case, is not scored and not counted.
Voxels of value 255 in the reference were not annotated and are taken out of both label maps first.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from sslseg.contract.cohort import AnnotatedSlices, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import BACKGROUND, IGNORE
from sslseg.data.annotation import only_slices
from sslseg.evaluate.overlap import LABEL_VALUES, as_labels, count_overlap
from sslseg.evaluate.surface import Definition, SurfacePair, bounding_box
from sslseg.evaluate.table import METRICS, CaseOrganScore, Evaluation, check_definition

DEFAULT_TOLERANCE_MM = 2.0
"""Tolerance of the surface Dice. Every table states the one it was made with."""

Progress = Callable[[int, int, str], None]
"""Called with the number of cases done, the number of cases, and the name of the case just done."""

_Box = tuple[slice, ...]


def score_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    labels: Mapping[str, int],
    spacing: tuple[float, float, float],
    *,
    case: str,
    known: Collection[str] | None = None,
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    definition: Definition = "medpy",
) -> list[CaseOrganScore]:
    """Score every organ of one case.

    Args:
        prediction: label map (D, H, W), whole numbers 0..255; a value that `labels` does not name
            is background.
        reference: label map of the same shape; 255 marks voxels that were not annotated.
        labels: value of each organ by its name.
        spacing: (z, y, x) in mm.
        case: name of the case, for the rows.
        known: names of the organs that were annotated in this case; None means all.
        tolerance_mm: tolerance of the surface Dice.
        definition: `medpy` or `monai`, see `SurfaceDistances.hd95`.

    Returns:
        One row for each organ, in the order of `labels`.

    Raises:
        ValueError: shapes, values, spacing or definition do not fit.
    """
    check_definition(definition)
    if any(not BACKGROUND < value < IGNORE for value in labels.values()):
        raise ValueError(f"label values must lie between 1 and 254: {dict(labels)}")
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"spacing must be three positive lengths, not {spacing}")
    comparison = _Comparison(prediction, reference, spacing)
    rows = []
    for organ, value in labels.items():
        annotated = known is None or organ in known
        scores = comparison.scores(value, tolerance_mm, definition) if annotated else None
        prediction_ml, reference_ml = comparison.millilitres(value)
        rows.append(
            CaseOrganScore(
                case=case,
                organ=organ,
                **(scores or dict.fromkeys(METRICS)),
                reference_ml=reference_ml if annotated else None,
                prediction_ml=prediction_ml,
                empty_prediction=annotated and reference_ml > 0 and prediction_ml == 0,
            )
        )
    return rows


class _Comparison:
    """Two label maps of one case, counted and cropped once for all organs."""

    def __init__(
        self, prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]
    ) -> None:
        predicted, referenced = as_labels(prediction, "prediction"), as_labels(reference, "reference")
        if predicted.shape != referenced.shape or predicted.ndim != 3:
            raise ValueError(f"need label maps of one shape (D, H, W): {predicted.shape}, {referenced.shape}")
        self._spacing = spacing
        self._shape = predicted.shape
        self._ignored: np.ndarray | None = None
        ignored = referenced == IGNORE
        if ignored.any():
            predicted, referenced = np.where(ignored, 0, predicted), np.where(ignored, 0, referenced)
            self._ignored = ignored
        self._overlap = count_overlap(predicted, referenced, ignore=None)
        # Whether an ignored voxel borders an object shows only in the voxels around it.
        box = _grown(bounding_box(predicted | referenced), self._shape)
        self._predicted, self._referenced = predicted[box], referenced[box]
        self._ignored = None if self._ignored is None else self._ignored[box]
        self._boxes = ndimage.find_objects(self._predicted), ndimage.find_objects(self._referenced)

    def millilitres(self, value: int) -> tuple[float, float]:
        """Volume of the organ in the prediction and in the reference."""
        voxel = math.prod(self._spacing) / 1000.0
        return int(self._overlap.prediction[value]) * voxel, int(self._overlap.reference[value]) * voxel

    def scores(self, value: int, tolerance_mm: float, definition: Definition) -> dict[str, float] | None:
        """The five scores of an organ; None where it is in neither label map."""
        in_prediction, in_reference = self._overlap.prediction[value] > 0, self._overlap.reference[value] > 0
        if in_prediction and in_reference:
            pair = self._surfaces(value)
            in_mm = pair.distances(self._spacing)
            in_voxels = in_mm if set(self._spacing) == {1.0} else pair.distances((1.0, 1.0, 1.0))
            return {
                "dice": self._overlap.dice(value),
                "hd95_mm": in_mm.hd95(definition),
                "hd95_voxels": in_voxels.hd95(definition),
                "assd_mm": in_mm.mean(),
                "surface_dice": in_mm.surface_dice(tolerance_mm),
            }
        if in_prediction or in_reference:
            diagonal = math.hypot(*(n * mm for n, mm in zip(self._shape, self._spacing, strict=True)))
            return {
                "dice": 0.0,
                "hd95_mm": diagonal,
                "hd95_voxels": math.hypot(*self._shape),
                "assd_mm": diagonal,
                "surface_dice": 0.0,
            }
        return None

    def _surfaces(self, value: int) -> SurfacePair:
        in_prediction, in_reference = (boxes[value - 1] for boxes in self._boxes)
        box = _grown(_union(in_prediction, in_reference), self._predicted.shape)
        return SurfacePair(
            self._predicted[box] == value,
            self._referenced[box] == value,
            None if self._ignored is None else self._ignored[box],
        )


def _union(first: _Box, second: _Box) -> _Box:
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )


def _grown(box: _Box, shape: tuple[int, ...]) -> _Box:
    """The box with one voxel more on every side, within the volume."""
    return tuple(
        slice(max(s.start - 1, 0), min(s.stop + 1, size)) for s, size in zip(box, shape, strict=True)
    )


@dataclass(frozen=True)
class Pair:
    """The label maps of one case; a prediction of None, or one whose file is not there, is missing.

    Attributes:
        slices: for an organ that was annotated on some slices only: which. It is scored on those.
    """

    case: str
    reference: Path
    prediction: Path | None
    slices: Mapping[str, AnnotatedSlices] = field(default_factory=dict)


def evaluate_folders(
    reference: Path, prediction: Path, labels: Mapping[str, int] | None, **options: Any
) -> Evaluation:
    """Score a folder of predicted label maps against a folder of reference label maps.

    Files belong together when their names are equal without the suffix (`case_1.nii.gz` and `case_1.nrrd`).

    Args:
        reference: folder of reference label maps, one for each case.
        prediction: folder of predicted label maps on the same grids.
        labels: value of each organ by its name; None scores every value that occurs, named `label 1`, ...
        options: see `evaluate_pairs`.

    Raises:
        SSLSegError: a folder is missing or empty; and see `evaluate_pairs`.
    """
    references, predictions = _by_stem(Path(reference)), _by_stem(Path(prediction))
    if not references:
        raise SSLSegError(
            "The folder holds no label map", file=reference, remedy="Give the folder of references."
        )
    pairs = [Pair(case, path, predictions.get(case)) for case, path in sorted(references.items())]
    evaluation = evaluate_pairs(pairs, labels, **options)
    return replace(evaluation, without_reference=tuple(sorted(set(predictions) - set(references))))


def kept_apart(cohort: Cohort, model: str, use: Use = Use.TEST) -> list[Pair]:
    """The labelled test (or validation) cases of a cohort and where a model's predictions of them are.

    Raises:
        SSLSegError: the cohort keeps no such case apart.
    """
    pairs = [
        Pair(case.id, label, cohort.prediction_path(model, case.id), case.slices)
        for case in cohort.cases
        if case.use is use and (label := cohort.label_path(case)) is not None
    ]
    if not pairs:
        raise SSLSegError(
            f"The cohort keeps no labelled {use.value} case apart",
            file=cohort.folder,
            remedy="Compare folders of label maps instead.",
        )
    return pairs


def evaluate_pairs(
    pairs: Sequence[Pair],
    labels: Mapping[str, int] | None,
    *,
    known: Mapping[str, Collection[str]] | None = None,
    absent_is_unknown: bool = False,
    missing: Literal["error", "empty", "skip"] = "error",
    tolerance_mm: float = DEFAULT_TOLERANCE_MM,
    definition: Definition = "medpy",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score predicted label maps, case by case.

    Args:
        pairs: the cases.
        labels: value of each organ by its name; None scores every value that occurs, named `label 1`, ...
        known: names of the annotated organs by case; a case that is not among its keys has them all.
        absent_is_unknown: in every case, take an organ that is not in the reference for not annotated.
        missing: what a case without a prediction is: an `error`, an `empty` prediction of every organ, or `skip`
            to leave it out.
        tolerance_mm: tolerance of the surface Dice.
        definition: `medpy` or `monai`, see `SurfaceDistances.hd95`.
        workers: cases scored at a time; None takes one for each core, at most four, to bound the memory.
        progress: called after each case.

    Raises:
        SSLSegError: a prediction is missing, a file cannot be read, or two label maps of a case lie on
            different grids.
        ValueError: the definition or a label value does not fit.
    """
    check_definition(definition)
    pairs = [pair if _is_predicted(pair) else replace(pair, prediction=None) for pair in pairs]
    absent = [pair for pair in pairs if pair.prediction is None]
    if absent and (missing == "error" or len(absent) == len(pairs)):
        raise _missing_predictions(absent)
    if missing == "skip":
        pairs = [pair for pair in pairs if pair.prediction is not None]

    def score(pair: Pair) -> list[CaseOrganScore]:
        referenced, predicted, spacing = _read_pair(pair)
        names = _found_labels(referenced, predicted) if labels is None else labels
        annotated = None if known is None else known.get(pair.case)
        if absent_is_unknown:
            present = {name for name, value in names.items() if (referenced == value).any()}
            annotated = present if annotated is None else present & set(annotated)
        found = []
        for slices, together in _organs_by_slices(names, pair.slices):
            found += score_case(
                predicted,
                referenced if slices is None else only_slices(referenced, slices, file=pair.reference),
                together,
                spacing,
                case=pair.case,
                known=annotated,
                tolerance_mm=tolerance_mm,
                definition=definition,
            )
        order = list(names)
        return sorted(found, key=lambda row: order.index(row.organ))

    rows: list[CaseOrganScore] = []
    pool = ThreadPoolExecutor(workers or min(4, os.cpu_count() or 1))
    try:
        for done, (pair, scores) in enumerate(zip(pairs, pool.map(score, pairs), strict=True), start=1):
            rows += scores
            if progress is not None:
                progress(done, len(pairs), pair.case)
    finally:
        # After an error nobody waits for the cases that have not begun.
        pool.shutdown(cancel_futures=True)
    return Evaluation(
        rows=tuple(rows),
        tolerance_mm=tolerance_mm,
        definition=definition,
        missing_predictions=tuple(pair.case for pair in absent),
    )


def _organs_by_slices(
    labels: Mapping[str, int], slices: Mapping[str, AnnotatedSlices]
) -> list[tuple[AnnotatedSlices | None, dict[str, int]]]:
    """The organs that were annotated on the same slices, together; None stands for all slices."""
    groups: list[tuple[AnnotatedSlices | None, dict[str, int]]] = []
    for organ, value in labels.items():
        group = next((organs for known, organs in groups if known == slices.get(organ)), None)
        if group is None:
            group = {}
            groups.append((slices.get(organ), group))
        group[organ] = value
    return groups


def _is_predicted(pair: Pair) -> bool:
    return pair.prediction is not None and pair.prediction.exists()


def _by_stem(folder: Path) -> dict[str, Path]:
    from sslseg.data.volumes import find_volumes, volume_stem

    if not folder.is_dir():
        raise SSLSegError("The folder does not exist", file=folder, remedy="Give an existing folder.")
    files: dict[str, Path] = {}
    for path in find_volumes(folder):
        if path.parent != folder:
            continue
        stem = volume_stem(path)
        if stem in files:
            raise SSLSegError(
                f"Two files are called '{stem}': {files[stem].name} and {path.name}",
                file=folder,
                remedy="Remove or rename one of them.",
            )
        files[stem] = path
    return files


def _missing_predictions(absent: list[Pair]) -> SSLSegError:
    names = [pair.case for pair in absent]
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return SSLSegError(
        f"There is no prediction for {len(names)} of the reference cases: {listed}",
        remedy="Predict these cases, or have missing predictions scored as empty ones.",
    )


def _read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Reference and prediction as arrays (D, H, W) and the spacing (z, y, x) in mm."""
    import SimpleITK as sitk

    from sslseg.data.geometry import Geometry
    from sslseg.data.volumes import read_label_map

    values = range(LABEL_VALUES)
    image = read_label_map(pair.reference, allowed=values)
    referenced = sitk.GetArrayFromImage(image)
    x, y, z = image.GetSpacing()
    if pair.prediction is None:
        return referenced, np.zeros_like(referenced), (z, y, x)
    predicted = read_label_map(pair.prediction, allowed=values)
    # The formats round a grid differently; a hundredth of a voxel moves no score.
    mismatch = Geometry.of(predicted).mismatch(Geometry.of(image), tolerance_mm=0.01 * min(x, y, z))
    if mismatch:
        raise SSLSegError(
            f"The prediction does not lie on the grid of its reference {pair.reference.name}: {mismatch}",
            file=pair.prediction,
            remedy="Resample the prediction to the reference's grid (nearest neighbour).",
        )
    return referenced, sitk.GetArrayFromImage(predicted), (z, y, x)


def _found_labels(referenced: np.ndarray, predicted: np.ndarray) -> dict[str, int]:
    values = set(np.unique(referenced).tolist()) | set(np.unique(predicted).tolist())
    return {f"label {value}": value for value in sorted(values - {BACKGROUND, IGNORE})}

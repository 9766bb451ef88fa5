"""What a cohort looks like: the numbers from which a plan is made. Test cases are not looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.labels import Label
from sslseg.contract.strict import from_json, to_json
from sslseg.data.body import AIR_HU, body_box, mr_background, sample
from sslseg.data.cache import ContentKeys, in_parallel

VERSION = 1
"""Raised when a change of the code changes the numbers of a case."""

_QUANTILES = (np.arange(200) + 0.5) / 2
_ORGAN_SAMPLE = 20_000

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class OrganSize:
    """An organ: in how many cases it was wholly annotated, and its median volume there in ml."""

    name: str
    cases: int
    volume_ml: float


@dataclass(frozen=True)
class Fingerprint:
    """Statistics of the training cases. Triples run along the patient's (z, y, x).

    Attributes:
        modality: CT or MR.
        labels: the organs.
        cases: training cases.
        annotated: those of them with an annotation.
        spacing: median, mm.
        fine_spacing: 10th percentile, mm.
        extent: median size of the body box, mm.
        intensity: 0.5th, 50th and 99.5th percentile of the organs, each organ and case weighing the same; of
            the body where nothing is annotated.
        organs: sizes in the order of the labels.
    """

    modality: Literal["CT", "MR"]
    labels: tuple[Label, ...]
    cases: int
    annotated: int
    spacing: Triple
    fine_spacing: Triple
    extent: Triple
    intensity: Triple
    organs: tuple[OrganSize, ...]


@dataclass(frozen=True)
class _CaseFingerprint:
    spacing: Triple
    extent: Triple
    body: list[float]
    organs: dict[str, list[float]]
    volumes_ml: dict[str, float]


def fingerprint_cohort(cohort: Cohort, *, progress: Callable[[int, int], None] | None = None) -> Fingerprint:
    """Look at every training case once; what was seen is remembered in the cache.

    Args:
        cohort: the cohort.
        progress: called with (cases done, cases).

    Raises:
        SSLSegError: there is no training case, or a volume cannot be read.
    """
    cases = [case for case in cohort.cases if case.use is Use.TRAIN]
    if not cases:
        raise SSLSegError(
            "The cohort has no training case", file=cohort.folder, remedy="Add one with 'sslseg import'."
        )
    with ContentKeys(cohort) as keys:
        seen = in_parallel(lambda case: _remembered(cohort, case, keys), cases, progress)
    spacings = np.array([one.spacing for one in seen])
    organs = [one.organs[name] for one in seen for name in sorted(one.organs)]
    values = np.concatenate(organs or [one.body for one in seen])
    return Fingerprint(
        modality=cohort.modality,
        labels=tuple(cohort.labels),
        cases=len(cases),
        annotated=sum(case.is_annotated for case in cases),
        spacing=_triple(np.median(spacings, axis=0)),
        fine_spacing=_triple(np.percentile(spacings, 10, axis=0)),
        extent=_triple(np.median([one.extent for one in seen], axis=0)),
        intensity=_triple(np.percentile(values, (0.5, 50, 99.5))),
        organs=tuple(_organ_size(label.name, seen) for label in cohort.labels),
    )


def _organ_size(name: str, seen: list[_CaseFingerprint]) -> OrganSize:
    volumes = [one.volumes_ml[name] for one in seen if name in one.volumes_ml]
    return OrganSize(name, len(volumes), round(float(np.median(volumes)), 3) if volumes else 0.0)


def _remembered(cohort: Cohort, case: Case, keys: ContentKeys) -> _CaseFingerprint:
    key = keys.of(case, "fingerprint", VERSION, cohort.modality)
    path = cohort.cache_folder / "fingerprints" / f"{key}.json"
    try:
        return from_json(_CaseFingerprint, read_json(path))
    except SSLSegError:
        made = _case_fingerprint(cohort, case)
        write_json(path, to_json(made))
        return made


def _case_fingerprint(cohort: Cohort, case: Case) -> _CaseFingerprint:
    import SimpleITK as sitk

    from sslseg.data.annotation import only_where_annotated
    from sslseg.data.geometry import Geometry
    from sslseg.data.volumes import read_label_map, read_volume
    from sslseg.data.working_grid import WorkingGrid, spacing_along

    image = read_volume(cohort.image_path(case), series_uid=case.series)
    voxels = sitk.GetArrayViewFromImage(image)
    geometry = Geometry.of(image)
    box = body_box(voxels, geometry.spacing[::-1], cohort.modality)
    spacing = spacing_along(geometry)
    shape = WorkingGrid(geometry, box, spacing).shape
    everywhere = sample(voxels)
    air = AIR_HU if cohort.modality == "CT" else mr_background(everywhere)
    organs: dict[str, list[float]] = {}
    volumes: dict[str, float] = {}
    path = cohort.label_path(case)
    if path is not None and case.annotated:
        label_map = read_label_map(path, allowed=cohort.labels.values, reference=image)
        drawn = only_where_annotated(sitk.GetArrayViewFromImage(label_map), case, cohort.labels, file=path)
        for label in cohort.labels:
            if label.name not in case.annotated:
                continue
            inside = voxels[drawn == label.value]
            if inside.size:
                organs[label.name] = _quantiles(sample(inside, _ORGAN_SAMPLE))
            if label.name not in case.slices:
                volumes[label.name] = round(inside.size * float(np.prod(spacing)) / 1000, 3)
    return _CaseFingerprint(
        spacing=spacing,
        extent=_triple(np.multiply(shape, spacing)),
        body=_quantiles(everywhere[everywhere > air] if (everywhere > air).any() else everywhere),
        organs=organs,
        volumes_ml=volumes,
    )


def _quantiles(values: npt.NDArray[Any]) -> list[float]:
    return [round(float(value), 4) for value in np.percentile(values, _QUANTILES)]


def _triple(values: npt.ArrayLike) -> Triple:
    z, y, x = (round(float(value), 4) for value in np.asarray(values))
    return z, y, x

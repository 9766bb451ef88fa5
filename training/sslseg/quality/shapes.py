"""Size, pieces and place of the organs of a label map, and what they are in the annotated cases of a cohort."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.labels import Label
from sslseg.contract.strict import from_json, to_json
from sslseg.data.cache import ContentKeys, in_parallel
from sslseg.data.volumes import read_label_map
from sslseg.inference.postprocess import components

VERSION = 1
"""Raised when a change of the code changes what is measured."""


@dataclass(frozen=True)
class OrganShape:
    """An organ of one label map.

    Attributes:
        volume_ml: its volume.
        components: connected components (26 neighbours).
        largest_share: share of its voxels in the largest one, 0 to 1; 0 when there are none.
        touches_edge: whether it reaches the first or last voxel of the volume along some axis.
        centre: mean place of its voxels in the patient, LPS mm; None when there are none.
    """

    volume_ml: float
    components: int
    largest_share: float
    touches_edge: bool
    centre: tuple[float, float, float] | None


NOTHING = OrganShape(0.0, 0, 0.0, False, None)
"""The shape of an organ that is not there."""


def organ_shapes(label_map: sitk.Image, labels: Sequence[Label]) -> dict[str, OrganShape]:
    """The shape of each organ, by name; each is looked at within its own bounding box.

    Args:
        label_map: declared values on the grid of the scan.
        labels: the organs.
    """
    voxels = sitk.GetArrayViewFromImage(label_map)
    voxel_ml = math.prod(label_map.GetSpacing()) / 1000
    boxes = ndimage.find_objects(voxels)
    shapes = {}
    for label in labels:
        box = boxes[label.value - 1] if label.value <= len(boxes) else None
        if box is None:
            shapes[label.name] = NOTHING
            continue
        mask = voxels[box] == label.value
        sizes = components(mask)[1][1:]
        count = int(sizes.sum())
        shapes[label.name] = OrganShape(
            volume_ml=round(count * voxel_ml, 4),
            components=len(sizes),
            largest_share=round(float(sizes.max()) / count, 4),
            touches_edge=any(
                side.start == 0 or side.stop == size for side, size in zip(box, voxels.shape, strict=True)
            ),
            centre=_centre(mask, box, label_map),
        )
    return shapes


def annotated_shapes(cohort: Cohort) -> list[dict[str, OrganShape]]:
    """Of each annotated case the shapes of the organs that were annotated as a whole; test cases are not looked at.

    What was measured of a case is remembered in the cache. A label map that cannot be read shows nothing.
    """
    cases = [case for case in cohort.cases if case.is_annotated and case.use is not Use.TEST]
    with ContentKeys(cohort) as keys:
        return in_parallel(lambda case: _remembered(cohort, case, keys), cases)


def _remembered(cohort: Cohort, case: Case, keys: ContentKeys) -> dict[str, OrganShape]:
    whole = [
        label for label in cohort.labels if label.name in case.annotated and label.name not in case.slices
    ]
    path = cohort.label_path(case)
    assert path is not None
    try:
        parts = [VERSION, keys.annotation(case), [[label.name, label.value] for label in cohort.labels]]
    except SSLSegError:
        return {}
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    place = cohort.cache_folder / "shapes" / f"{digest}.json"
    try:
        return from_json(_Remembered, read_json(place)).organs
    except SSLSegError:
        pass
    try:
        shapes = organ_shapes(read_label_map(path, allowed=cohort.labels.values), whole)
        write_json(place, to_json(_Remembered(shapes)))
    except SSLSegError:
        return {}
    return shapes


@dataclass(frozen=True)
class _Remembered:
    """A file of the cache."""

    organs: dict[str, OrganShape]


def _centre(mask: np.ndarray, box: tuple[slice, ...], image: sitk.Image) -> tuple[float, float, float]:
    index = []
    for axis, side in enumerate(box):
        along = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        index.append(side.start + float(along @ np.arange(len(along))) / float(along.sum()))
    x, y, z = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    return round(x, 2), round(y, 2), round(z, 2)

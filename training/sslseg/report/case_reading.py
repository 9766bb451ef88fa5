"""From the files of a case to what a report shows of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.image
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.labels import Label
from sslseg.data.thumbnails import make_thumbnail
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.report.content import ReportCase
from sslseg.report.overlays import BACKDROP, case_figure

THUMBNAIL = 220
"""Pixels along each side of a small picture."""
JPEG_QUALITY = 82


def read_report_case(
    cohort: Cohort,
    model: str,
    case: Case,
    *,
    scores: Mapping[str, float | None] | None = None,
    most_voxels: int | None = None,
) -> ReportCase:
    """A predicted case with its annotation and uncertainty, as far as they are there, turned to LPS.

    Args:
        cohort: of the case.
        model: whose prediction.
        case: which case.
        scores: Dice of each organ.
        most_voxels: along each side; of a larger volume every n-th voxel is taken, which a picture does not show.

    Raises:
        SSLSegError: a file is missing or damaged.
    """
    values = cohort.labels.values
    prediction = _turned(read_label_map(cohort.prediction_path(model, case.id), allowed=values))
    steps = [1 if most_voxels is None else -(-side // most_voxels) for side in prediction.GetSize()]
    label, uncertainty = cohort.label_path(case), cohort.uncertainty_path(model, case.id)
    reference = None if label is None else _array(_turned(read_label_map(label, allowed=values)), steps)
    x, y, z = (spacing * step for spacing, step in zip(prediction.GetSpacing(), steps, strict=True))
    return ReportCase(
        case=case.id,
        image=_array(_turned(read_volume(cohort.image_path(case), series_uid=case.series)), steps),
        prediction=_array(prediction, steps),
        reference=reference,
        uncertainty=(
            _array(_turned(read_volume(uncertainty)), steps).astype(np.float32) / 100
            if uncertainty.exists()
            else None
        ),
        spacing=(z, y, x),
        scores=scores or {},
    )


def case_jpeg(case: ReportCase, labels: Sequence[Label]) -> bytes:
    """`case_figure` as a JPEG, about a third of the bytes of a PNG."""
    buffer = io.BytesIO()
    case_figure(case, labels).savefig(buffer, format="jpg", dpi=100, pil_kwargs={"quality": JPEG_QUALITY})
    return buffer.getvalue()


def thumbnail_jpeg(cohort: Cohort, image: sitk.Image, label_map: sitk.Image | None) -> bytes:
    """An axial slice with its organs as a JPEG of some ten kilobytes."""
    return picture_jpeg(make_thumbnail(image, label_map, cohort.labels, side=THUMBNAIL))


def picture_jpeg(thumbnail: NDArray[Any]) -> bytes:
    """A picture (H, W, 4) of `make_thumbnail` before the backdrop of figures, as a JPEG."""
    picture = thumbnail.astype(np.float32)
    opacity = picture[..., 3:] / 255
    backdrop = np.array([int(BACKDROP[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
    flat = picture[..., :3] * opacity + backdrop * (1 - opacity)
    buffer = io.BytesIO()
    matplotlib.image.imsave(
        buffer, flat.round().astype(np.uint8), format="jpg", pil_kwargs={"quality": JPEG_QUALITY}
    )
    return buffer.getvalue()


def _turned(image: sitk.Image) -> sitk.Image:
    return sitk.DICOMOrient(image, "LPS")


def _array(image: sitk.Image, steps: Sequence[int]) -> NDArray[Any]:
    """Voxels (z, y, x), every n-th along each of SimpleITK's axes."""
    i, j, k = steps
    return sitk.GetArrayFromImage(image[::i, ::j, ::k])

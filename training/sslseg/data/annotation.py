"""What a label map tells where an organ was annotated on some slices only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslseg.contract.cohort import AnnotatedSlices, Case
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import BACKGROUND, IGNORE, Label, normalised_name

ARRAY_AXIS = {"i": 2, "j": 1, "k": 0}
"""Axis of an array (D, H, W) by the index axis of its image."""


def only_where_annotated(
    voxels: npt.NDArray[Any], case: Case, labels: Sequence[Label], *, file: Path | None = None
) -> npt.NDArray[Any]:
    """A label map (D, H, W) in which 255 marks what nobody knows because an organ was not annotated there.

    On the slices where such an organ was not annotated, background may be that organ, and what is drawn as that organ
    was not checked: both become 255. Voxels drawn as another organ keep their value.

    Args:
        voxels: declared values, 0 and 255; not changed, and returned itself where all slices were annotated.
        case: what was annotated.
        labels: the organs of the cohort.
        file: the label map, for messages.

    Raises:
        SSLSegError: the case names slices that are not there.
    """
    slices = {
        normalised_name(organ): slices for organ, slices in case.slices.items() if organ in case.annotated
    }
    if not slices:
        return voxels
    known = voxels.copy()
    for label in labels:
        if normalised_name(label.name) not in slices:
            continue
        axis, elsewhere = _other_slices(slices[normalised_name(label.name)], voxels.shape, file)
        for index in elsewhere:
            plane = np.moveaxis(known, axis, 0)[index]
            plane[(plane == BACKGROUND) | (plane == label.value)] = IGNORE
    return known


def only_slices(
    voxels: npt.NDArray[Any], slices: AnnotatedSlices, *, file: Path | None = None
) -> npt.NDArray[Any]:
    """A label map (D, H, W) in which 255 marks every voxel that lies on none of the slices.

    Raises:
        SSLSegError: a slice is not there.
    """
    known = voxels.copy()
    axis, elsewhere = _other_slices(slices, voxels.shape, file)
    np.moveaxis(known, axis, 0)[elsewhere] = IGNORE
    return known


def _other_slices(
    slices: AnnotatedSlices, shape: tuple[int, ...], file: Path | None
) -> tuple[int, npt.NDArray[np.int64]]:
    axis = ARRAY_AXIS[slices.axis]
    outside = [index for index in slices.indices if not 0 <= index < shape[axis]]
    if outside or not slices.indices:
        raise SSLSegError(
            f"The case names slice {outside[0]} of {shape[axis]}" if outside else "The case names no slice",
            file=file,
            remedy=f"Give slices 0 to {shape[axis] - 1} along axis {slices.axis}.",
        )
    return axis, np.setdiff1d(np.arange(shape[axis]), slices.indices)

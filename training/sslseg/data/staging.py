"""Laying volumes out for Slicer, in a process of its own: `python -m sslseg.data.staging CACHE REQUEST...`

Needs numpy, SimpleITK and, for DICOM, pydicom: what Slicer's own Python has.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import write_json
from sslseg.contract.labels import BACKGROUND, IGNORE
from sslseg.contract.staging import ENTRY, IGNORED, VOXELS, StageRequest, read_entry
from sslseg.contract.strict import from_json, to_json
from sslseg.data.body import sample
from sslseg.data.cache import new_entry
from sslseg.data.geometry import Geometry
from sslseg.data.volumes import read_label_map, read_volume

KEPT_ENTRIES = 6
KEPT_BYTES = 4 * 1024**3
"""The entries used last stay: so many in any case, and more as long as they take less room than this."""


def stage(cache: Path, request: StageRequest) -> Path:
    """Make the entry of a request, unless it is there; returns its folder.

    Raises:
        SSLSegError: a file is damaged or does not fit, or the cache cannot be written.
    """
    folder = request.folder(cache)
    if read_entry(folder) is not None:
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # damaged
    if not request.declared:
        _write_volume(folder, request)
    else:
        _write_label_map(folder, request)
    return folder


def tidy_staged(cache: Path) -> None:
    """Remove the entries that were used longest ago, as far as they take too much room."""
    entries = []
    for folder in (cache / "staged").iterdir() if (cache / "staged").is_dir() else ():
        with contextlib.suppress(OSError):
            size = sum(file.stat().st_size for file in folder.iterdir())
            entries.append((folder.stat().st_mtime, size, folder))
    total = 0
    for number, (_, size, folder) in enumerate(sorted(entries, reverse=True)):
        total += size
        if number >= KEPT_ENTRIES and total > KEPT_BYTES:
            shutil.rmtree(folder, ignore_errors=True)


def _write_volume(folder: Path, request: StageRequest) -> None:
    image = read_volume(request.image, series_uid=request.series)
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.itemsize > 4:
        # What VTK would show from twice the memory; no scanner needs the digits.
        voxels = voxels.astype(np.float32)
    lower, upper = np.percentile(sample(voxels), (0.5, 99.5))
    whole = _whole(voxels.shape)
    _write(folder, Geometry.of(image), voxels, whole, window=(float(lower), float(upper)))


def _write_label_map(folder: Path, request: StageRequest) -> None:
    image = read_volume(request.image, series_uid=request.series)
    voxels = np.zeros(image.GetSize()[::-1], np.uint8)
    ignored = None
    if request.prediction is not None:
        predicted = read_label_map(request.prediction, allowed=request.declared, reference=image)
        voxels = sitk.GetArrayFromImage(predicted)
        voxels[np.isin(voxels, [*request.kept, IGNORE])] = BACKGROUND
    if request.labels is not None:
        drawn = sitk.GetArrayFromImage(
            read_label_map(request.labels, allowed=request.declared, reference=image)
        )
        ignored = drawn == IGNORE
        taken = np.isin(drawn, request.kept) if request.prediction is not None else ~ignored
        voxels[taken] = drawn[taken]
    counts = np.bincount(voxels[voxels > 0], minlength=256)
    box = _bounding_box(voxels)
    _write(
        folder,
        Geometry.of(image),
        voxels,
        box,
        counts={str(value): int(counts[value]) for value in request.declared},
        ignored=ignored if ignored is not None and ignored.any() else None,
    )


def _write(
    folder: Path,
    geometry: Geometry,
    voxels: npt.NDArray[Any],
    box: tuple[tuple[int, int], ...],
    *,
    window: tuple[float, float] = (0.0, 1.0),
    counts: dict[str, int] | None = None,
    ignored: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write an entry in one step. `box` runs along (z, y, x) of `voxels`."""
    little = voxels.dtype.newbyteorder("<")
    entry = to_json(geometry) | {
        "pixel_type": little.str,
        "box": [list(side) for side in reversed(box)],
        "window": list(window),
        "voxels": counts or {},
        "ignored": ignored is not None,
    }
    home = folder.parents[2]
    if not home.is_dir():
        # Moved or removed while the volume was read: a new folder in its place would keep it from coming back.
        raise SSLSegError(
            "The folder is no longer there",
            file=home,
            remedy="If the cohort was moved, open it at its new place.",
        )
    with new_entry(folder) as temporary:
        with (temporary / VOXELS).open("wb") as file:
            z, y, x = (slice(*side) for side in box)
            for plane in voxels[z]:
                np.ascontiguousarray(plane[y, x], dtype=little).tofile(file)
        if ignored is not None:
            np.packbits(ignored.reshape(len(ignored), -1), axis=1).tofile(temporary / IGNORED)
        write_json(temporary / ENTRY, entry)


def _whole(shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((0, side) for side in shape)


def _bounding_box(voxels: npt.NDArray[np.uint8]) -> tuple[tuple[int, int], ...]:
    """The box around what is not 0, along (z, y, x); of one voxel where nothing is drawn."""
    sides = []
    lines = np.asarray(voxels.any(axis=0))
    for drawn in (voxels.any(axis=(1, 2)), lines.any(axis=1), lines.any(axis=0)):
        found = np.flatnonzero(drawn)
        sides.append((int(found[0]), int(found[-1]) + 1) if found.size else (0, 1))
    return tuple(sides)


def main(arguments: Sequence[str]) -> int:
    """Make the entries; on an error its sentence is printed as JSON, and the exit code is 2."""
    cache = Path(arguments[0])
    try:
        for text in arguments[1:]:
            stage(cache, from_json(StageRequest, json.loads(text)))
    except SSLSegError as error:
        print(json.dumps({"error": str(error)}))
        return 2
    tidy_staged(cache)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Volumes laid out for showing: uncompressed and checked, so that Slicer reads them in slices and parses nothing.

`python -m sslseg.data.staging CACHE REQUEST...` makes an entry of the cohort's cache for each request. An entry is a
folder named by what it was made from: it is never stale, and may be deleted at any time.

```
cache/staged/<key>/entry.json     what it holds
                   voxels.raw     the box of voxels, the last index slowest, little-endian
                   ignore.raw     label maps with value 255 only: one bit a voxel, each plane padded to whole bytes
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.strict import from_json, to_json

VERSION = 1
"""Raised when a change of the code changes what an entry holds."""

ENTRY, VOXELS, IGNORED = "entry.json", "voxels.raw", "ignore.raw"

_SEVERAL_FILES = {".mhd", ".nhdr", ".hdr", ".img"}
"""Formats that keep header and voxels in two files of the same stem."""


@dataclass(frozen=True)
class StageRequest:
    """What is to be laid out.

    Attributes:
        image: path of the volume; of the volume it belongs to, where a label map is wanted.
        series: DICOM series instance UID, when `image` is a folder of several series.
        labels: path of the label map a person drew, or None.
        prediction: path of the label map a model made, or None.
        kept: values that are taken from `labels` where both label maps are given; the others are the prediction's.
        declared: the values label maps may hold; empty where the volume itself is wanted.
    """

    image: str
    series: str | None = None
    labels: str | None = None
    prediction: str | None = None
    kept: list[int] = field(default_factory=list)
    declared: list[int] = field(default_factory=list)

    def folder(self, cache: Path) -> Path:
        """Where the entry lies, or will lie, below the cache folder of a cohort.

        Raises:
            SSLSegError: a file is not there.
        """
        paths = [self.image, *(path for path in (self.labels, self.prediction) if path is not None)]
        state = [VERSION, to_json(self), [_stamp(Path(path)) for path in paths]]
        return cache / "staged" / hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class StagedVolume:
    """What an entry holds. Sizes and boxes run along the axes i, j, k; positions are in mm, LPS.

    Attributes:
        size: voxels of the whole volume.
        spacing, origin, direction: of the whole volume, as SimpleITK has them; the direction row by row.
        pixel_type: such as "<i2", as numpy writes it.
        box: first voxel and the one after the last, for each axis, of what is stored; the rest is 0.
        window: lower and upper intensity between which most of the volume lies.
        voxels: number of voxels by value, for a label map.
        ignored: whether the label map says of some voxels that nobody annotated them.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, float, float, float, float, float, float, float, float]
    pixel_type: str
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    window: tuple[float, float]
    voxels: dict[str, int] = field(default_factory=dict)
    ignored: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) of what is stored."""
        i, j, k = (stop - start for start, stop in self.box)
        return k, j, i


def read_entry(folder: Path) -> StagedVolume | None:
    """What the entry holds, which then counts as used now; None where it has to be made."""
    try:
        staged = from_json(StagedVolume, read_json(folder / ENTRY))
        if (folder / VOXELS).stat().st_size != math.prod(staged.shape) * int(staged.pixel_type[2:]):
            return None
    except (SSLSegError, OSError):
        return None
    with contextlib.suppress(OSError):  # somebody else's cohort may be read-only
        os.utime(folder)
    return staged


def _stamp(path: Path) -> list[list[str | int]]:
    """Name, size and time of change of every file of a volume."""
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                found = sorted((entry.name, entry.stat()) for entry in entries if entry.is_file())
        elif path.suffix.lower() in _SEVERAL_FILES:
            found = [(part.name, part.stat()) for part in sorted(path.parent.glob(f"{path.stem}.*"))]
        else:
            found = [(path.name, path.stat())]
    except OSError as error:
        raise SSLSegError(
            f"The file cannot be read ({error.strerror})",
            file=path,
            remedy="Put it back, or remove its case from the cohort.",
        ) from error
    return [[name, state.st_size, state.st_mtime_ns] for name, state in found]

"""Preprocessed volumes on disk, read patch by patch.

A volume lies in blocks of 16^3 voxels, each contiguous, so that a patch reads little more than its own bytes.
Reads are plain file reads, not memory maps: resident memory stays flat however many cases there are, and a
file that vanishes or shrinks is an error instead of a crash. Reading needs numpy alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.labels import IGNORE
from sslseg.contract.strict import from_json, to_json
from sslseg.data.cache import ContentKeys, in_parallel, new_entry, tidy
from sslseg.data.plan import Plan, known_classes

VERSION = 1
"""Raised when a change of the preprocessing or of the files makes older entries useless."""

BLOCK = 16
FOREGROUND_POINTS = 10_000

Size = tuple[int, int, int]

_IMAGE, _LABEL, _FOREGROUND, _MANIFEST = "image.bin", "label.bin", "foreground.bin", "manifest.json"


@dataclass(frozen=True)
class _Manifest:
    """What an entry holds.

    Attributes:
        shape: voxels (z, y, x).
        foreground: sampled points of each class, as pairs (class, points) in the order of the file.
        bytes: size of each file; an entry whose files have other sizes is built again.
    """

    shape: Size
    foreground: tuple[tuple[int, int], ...]
    bytes: dict[str, int]


@dataclass(frozen=True)
class StoredCase:
    """A preprocessed case; cheap to hold and to hand to another process, for its voxels stay on disk.

    Attributes:
        id: of the case.
        shape: voxels (z, y, x).
        has_label: whether it is annotated.
        known: (C,) bool, which classes the annotation tells about; the background always.
        foreground: up to 10,000 voxel coordinates (n, 3) of each class that occurs, read when asked for.
    """

    id: str
    shape: Size
    has_label: bool
    known: npt.NDArray[np.bool_]
    foreground: ForegroundPoints
    folder: Path

    def read(
        self, start: Sequence[int], size: Sequence[int]
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8] | None]:
        """The patch of `size` voxels from `start` (z, y, x), which may reach outside the volume.

        Returns:
            image (D, H, W) int16, 0 outside; label (D, H, W) class indices, 255 outside; None without label.

        Raises:
            SSLSegError: the entry was deleted or damaged meanwhile.
        """
        image = _read_box(self.folder / _IMAGE, self.shape, np.dtype("<i2"), start, size, 0)
        if not self.has_label:
            return image, None
        return image, _read_box(self.folder / _LABEL, self.shape, np.dtype("u1"), start, size, IGNORE)

    def read_all(self) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8] | None]:
        """The whole volume; see `read`."""
        return self.read((0, 0, 0), self.shape)


class ForegroundPoints(Mapping[int, npt.NDArray[np.int32]]):
    """Class index to coordinates (n, 3); each look-up reads the points from disk, which takes 0.1 ms."""

    def __init__(self, path: Path, counts: Sequence[tuple[int, int]]) -> None:
        self._path = path
        self._counts = dict(counts)

    def __getitem__(self, key: int) -> npt.NDArray[np.int32]:
        points = np.empty((self._counts[key], 3), dtype="<i2")
        before = 0
        for other, count in self._counts.items():
            if other == key:
                break
            before += count
        try:
            with self._path.open("rb", buffering=0) as file:
                _fill(file, before * 6, points)
        except OSError as error:
            raise _vanished(self._path) from error
        return points.astype(np.int32)

    def __iter__(self) -> Iterator[int]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)


def open_store(
    cohort: Cohort,
    plan: Plan,
    cases: Sequence[Case],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[StoredCase]:
    """The preprocessed `cases`, in order; what is not in the cache, or is damaged there, is built.

    Args:
        cohort: whose cache folder is used.
        plan: how to preprocess.
        cases: of the cohort, for training or testing.
        progress: called with (cases done, cases); an exception raised in it ends the work.

    Raises:
        SSLSegError: a volume cannot be read, a label map does not lie on its image, or the disk is full.
    """
    folder = cohort.cache_folder / "volumes"
    tidy(folder)
    recipe = [VERSION, plan.modality, plan.spacing, plan.intensity]
    with ContentKeys(cohort) as keys:

        def opened(case: Case) -> StoredCase:
            entry = folder / keys.of(case, "volume", *recipe)
            there = entry.exists()
            manifest = _valid_manifest(entry)
            if manifest is None:
                # What another process has finished since the look is whole, and stays.
                if there:
                    shutil.rmtree(entry, ignore_errors=True)
                manifest = _build(entry, cohort, plan, case)
            return _stored(case, entry, manifest, plan)

        return in_parallel(opened, cases, progress)


def _stored(case: Case, entry: Path, manifest: _Manifest, plan: Plan) -> StoredCase:
    annotated = case.annotated if case.is_annotated else ()
    return StoredCase(
        id=case.id,
        shape=manifest.shape,
        has_label=_LABEL in manifest.bytes,
        known=known_classes(plan.labels, annotated),
        foreground=ForegroundPoints(entry / _FOREGROUND, manifest.foreground),
        folder=entry,
    )


def _valid_manifest(entry: Path) -> _Manifest | None:
    """The manifest of a whole entry, which then counts as used today; None if it has to be built."""
    try:
        manifest = from_json(_Manifest, read_json(entry / _MANIFEST))
        if any((entry / name).stat().st_size != size for name, size in manifest.bytes.items()):
            return None
        os.utime(entry)
    except (SSLSegError, OSError):
        return None
    return manifest


def _build(entry: Path, cohort: Cohort, plan: Plan, case: Case) -> _Manifest:
    from sslseg.data.preprocess import prepare_image, prepare_label
    from sslseg.data.volumes import read_label_map, read_volume

    image = read_volume(cohort.image_path(case), series_uid=case.series)
    prepared = prepare_image(image, plan)
    path = cohort.label_path(case) if case.annotated else None
    label = None
    if path is not None:
        label_map = read_label_map(path, allowed=cohort.labels.values, reference=image)
        label = prepare_label(label_map, prepared.grid, plan, case, file=path)
    del image
    return write_entry(entry, prepared.array, label)


def write_entry(entry: Path, image: npt.NDArray[np.int16], label: npt.NDArray[np.uint8] | None) -> _Manifest:
    """Write a preprocessed volume, in one step, as the folder `entry`.

    Raises:
        SSLSegError: the disk is full or the folder not writable.
    """
    with new_entry(entry) as folder:
        _in_blocks(image.astype("<i2", copy=False)).tofile(folder / _IMAGE)
        files = [_IMAGE]
        counts: list[tuple[int, int]] = []
        if label is not None:
            points = _foreground(label)
            counts = [(index, len(found)) for index, found in points.items()]
            _in_blocks(label).tofile(folder / _LABEL)
            np.concatenate([np.empty((0, 3), "<i2"), *points.values()]).tofile(folder / _FOREGROUND)
            files += [_LABEL, _FOREGROUND]
        z, y, x = image.shape
        manifest = _Manifest(
            (z, y, x), tuple(counts), {name: (folder / name).stat().st_size for name in files}
        )
        _sync(folder, files)
        write_json(folder / _MANIFEST, to_json(manifest))
    return manifest


def _foreground(label: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.int16]]:
    """Up to 10,000 voxels of each class, without repetition; the same for the same label."""
    points = {}
    for index in np.flatnonzero(np.bincount(label.ravel(), minlength=256)):
        if index in (0, IGNORE):
            continue
        found = np.flatnonzero(label.ravel() == index)
        if len(found) > FOREGROUND_POINTS:
            found = np.sort(np.random.default_rng(int(index)).choice(found, FOREGROUND_POINTS, replace=False))
        points[int(index)] = np.stack(np.unravel_index(found, label.shape), axis=1).astype("<i2")
    return points


def _block(shape: Size) -> Size:
    z, y, x = (min(BLOCK, side) for side in shape)
    return z, y, x


def _in_blocks(volume: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(D, H, W) to (nz, ny, nx, bz, by, bx), the last blocks filled up with zeros."""
    z, y, x = volume.shape
    block = _block((z, y, x))
    padded = np.pad(volume, [(0, -side % b) for side, b in zip(volume.shape, block, strict=True)])
    cut = [part for side, b in zip(padded.shape, block, strict=True) for part in (side // b, b)]
    return np.ascontiguousarray(padded.reshape(cut).transpose(0, 2, 4, 1, 3, 5))


def _read_box(
    path: Path, shape: Size, dtype: np.dtype[Any], start: Sequence[int], size: Sequence[int], outside: int
) -> npt.NDArray[Any]:
    # Plain integers: offsets into a file do not fit the small types that coordinates may have.
    start, size = [int(s) for s in start], [int(n) for n in size]
    first = [max(0, s) for s in start]
    last = [min(n, s + m) for s, m, n in zip(start, size, shape, strict=True)]
    if any(a >= b for a, b in zip(first, last, strict=True)):
        return np.full(size, outside, dtype=dtype)
    try:
        inside = _read_inside(path, shape, dtype, first, last)
    except OSError as error:
        raise _vanished(path) from error
    if list(inside.shape) == size:
        return inside
    patch = np.full(size, outside, dtype=dtype)
    patch[tuple(slice(a - s, b - s) for a, b, s in zip(first, last, start, strict=True))] = inside
    return patch


def _read_inside(
    path: Path, shape: Size, dtype: np.dtype[Any], first: Sequence[int], last: Sequence[int]
) -> npt.NDArray[Any]:
    """The box [first, last), which lies inside, from the blocks it touches: one read per row of blocks."""
    block = _block(shape)
    _, across_y, across_x = (-(-side // b) for side, b in zip(shape, block, strict=True))
    low = [a // b for a, b in zip(first, block, strict=True)]
    high = [-(-a // b) for a, b in zip(last, block, strict=True)]
    counts = [b - a for a, b in zip(low, high, strict=True)]
    patch = np.empty([b - a for a, b in zip(first, last, strict=True)], dtype=dtype)
    # One layer of blocks at a time: it stays in the processor's cache while it is put in order.
    layer = np.empty((*counts[1:], *block), dtype=dtype)
    lines, columns = (slice(first[i] - low[i] * block[i], last[i] - low[i] * block[i]) for i in (1, 2))
    block_bytes = int(np.prod(block)) * dtype.itemsize
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            # Read-ahead would fetch several times the patch from a cold disk.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for z in range(low[0], high[0]):
            for j in range(counts[1]):
                row = (z * across_y + low[1] + j) * across_x + low[2]
                _fill(file, row * block_bytes, layer[j])
            planes = layer.transpose(2, 0, 3, 1, 4).reshape(
                block[0], counts[1] * block[1], counts[2] * block[2]
            )
            top, bottom = max(first[0], z * block[0]), min(last[0], (z + 1) * block[0])
            kept = planes[top - z * block[0] : bottom - z * block[0], lines, columns]
            patch[top - first[0] : bottom - first[0]] = kept
    return patch


def _fill(file: Any, position: int, array: npt.NDArray[Any]) -> None:
    file.seek(position)
    if file.readinto(array) != array.nbytes:
        raise OSError("the file is shorter than its manifest says")


def _sync(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())


def _vanished(path: Path) -> SSLSegError:
    return SSLSegError(
        "A preprocessed volume was deleted or damaged while it was in use",
        file=path,
        remedy="Start again: the cache is then rebuilt.",
    )

"""A label map from the scene into a compressed NIfTI file, in slices of a few milliseconds."""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sslseg.contract.files import atomic_path
from sslseg.contract.labels import BACKGROUND, IGNORE
from SSLSegmentationLib.logic.Grid import Grid
from SSLSegmentationLib.logic.SegmentationNode import Snapshot

_HEADER_BYTES = 352
_DIMENSIONS = slice(42, 48)
"""Where a NIfTI header holds its three sides."""


@dataclass(frozen=True)
class Written:
    """What came of writing a label map.

    Attributes:
        digest: SHA-256 of the file.
        present: declared values that occur.
        overlaps: whether segments overlapped; the later organ has won.
    """

    digest: str
    present: frozenset[int]
    overlaps: bool


def writeLabelMap(
    path: Path, snapshot: Snapshot, grid: Grid, ignored: np.ndarray | None
) -> Generator[bool, None, Written]:
    """Write a snapshot as `path`, in one step at the end; work for `SlicedWork`.

    Args:
        path: ends in .nii.gz.
        snapshot: what is drawn.
        grid: of the image.
        ignored: (D, bytes) one bit a voxel: what nobody annotated gets the value 255 where nothing is drawn.

    Raises:
        SSLSegError: the folder cannot be written to or the disk is full; `path` is then as it was.
    """
    # Level 1: label maps hardly get smaller beyond, but take several times as long.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    digest = hashlib.sha256()
    present: set[int] = set()
    overlaps = False
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def write(data: bytes) -> None:
            digest.update(data)
            file.write(data)

        write(compressor.compress(_header(snapshot.shape, grid)))
        for z in range(snapshot.shape[0]):
            plane, overlap = snapshot.plane(z)
            overlaps |= overlap
            if ignored is not None:
                unknown = np.unpackbits(ignored[z], count=plane.size).reshape(plane.shape)
                plane[(plane == BACKGROUND) & (unknown == 1)] = IGNORE
            voxels = plane.tobytes()
            present.update(voxels.translate(None, bytes(present)))
            write(compressor.compress(voxels))
            yield False
        write(compressor.flush())
    return Written(digest.hexdigest(), frozenset(present - {BACKGROUND, IGNORE}), overlaps)


def _header(shape: tuple[int, int, int], grid: Grid) -> bytes:
    """The header that SimpleITK writes, so that every reader places the voxels as it does."""
    small = sitk.Image([2, 2, 2], sitk.sitkUInt8)
    small.SetSpacing(grid.spacing)
    small.SetOrigin(grid.origin)
    small.SetDirection(grid.direction)
    with tempfile.TemporaryDirectory(prefix="sslseg-") as folder:
        path = Path(folder) / "header.nii"
        sitk.WriteImage(small, str(path))
        header = bytearray(path.read_bytes()[:_HEADER_BYTES])
    header[_DIMENSIONS] = np.array(shape[::-1], "<i2").tobytes()
    return bytes(header)


def fileDigest(path: Path) -> str | None:
    """SHA-256 of a file; None if there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None

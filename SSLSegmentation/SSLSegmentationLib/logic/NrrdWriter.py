"""A volume of the scene into a compressed NRRD file, in slices of a few milliseconds."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from SSLSegmentationLib.logic.LabelMapWriter import Grid

SYNC_BYTES = 1 << 22
"""So much goes to the disk at a time: else the end would wait for all of it at once."""
_TYPES = {
    "i1": "signed char",
    "u1": "unsigned char",
    "i2": "short",
    "u2": "unsigned short",
    "i4": "int",
    "u4": "unsigned int",
    "i8": "long long int",
    "u8": "unsigned long long int",
    "f4": "float",
    "f8": "double",
}


def writeNrrd(path: Path, voxels: np.ndarray[Any, Any], grid: Grid) -> Generator[bool, None, str]:
    """Write a volume, in one step at the end; work for `SlicedWork`. Its result is the digest of the voxels.

    Nothing but the voxels and where they lie goes into the file: no name, no date.

    Args:
        path: ends in .nrrd.
        voxels: (D, H, W).
        grid: of the volume, LPS.

    Raises:
        SSLSegError: the folder cannot be written to, the disk is full, or the voxels are of no known type.
    """
    digest = hashlib.sha256(f"{voxels.dtype} {voxels.shape}".encode())
    # Level 1: CT and MR hardly get smaller beyond, but take several times as long.
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        written = file.write(_header(voxels, grid).encode("ascii"))
        for plane in voxels:
            content = np.ascontiguousarray(plane)
            digest.update(content)
            written += file.write(
                compressor.compress(content.astype(content.dtype.newbyteorder("<"), copy=False))
            )
            if written >= SYNC_BYTES:
                written = 0
                file.flush()
                os.fsync(file.fileno())
            yield False
        file.write(compressor.flush())
    return digest.hexdigest()


def _header(voxels: np.ndarray[Any, Any], grid: Grid) -> str:
    kind = _TYPES.get(voxels.dtype.str[1:])
    if kind is None:
        raise SSLSegError(
            _("The voxels of the volume are of a type that is not supported ({type})").format(
                type=voxels.dtype
            ),
            remedy=_("Change it with the module Cast Scalar Volume."),
        )
    depth, height, width = voxels.shape
    axes = (np.reshape(grid.direction, (3, 3)) * grid.spacing).T
    directions = " ".join(_vector(axis) for axis in axes)
    lines = (
        "NRRD0005",
        f"type: {kind}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {width} {height} {depth}",
        f"space directions: {directions}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(np.asarray(grid.origin))}",
    )
    return "\n".join(lines) + "\n\n"


def _vector(values: np.ndarray[Any, Any]) -> str:
    """Every digit that the number has: positions must come back as they were."""
    return f"({','.join(repr(float(value)) for value in values)})"

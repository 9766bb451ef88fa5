"""Which files a volume is made of."""

from __future__ import annotations

from pathlib import Path

_HEADERS = {".mhd", ".nhdr", ".hdr", ".img"}
"""Formats that keep header and voxels in two files of the same stem."""


def volume_files(path: Path) -> list[Path]:
    """The files of a volume, sorted: all below a folder of DICOM files, header and voxels, or one file."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() in _HEADERS:
        return sorted(path.parent.glob(f"{path.stem}.*"))
    return [path]

"""Which of the files that were given Slicer has to open, and which the backend reads itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sslseg.contract.formats import ITK_SUFFIXES, NIFTI_SUFFIXES, format_suffix, is_dicom_file

SCENES = (".mrb", ".mrml")
SLICER_VOLUMES = (".mgz", ".mgh", ".mgh.gz", ".mnc", ".hdr", ".img", ".img.gz", ".pic")
"""What Slicer's reader of volumes announces (vtkSlicerVolumesReader) beyond what the backend reads and pictures."""


@dataclass(frozen=True)
class Source:
    """A file that Slicer has to open.

    Attributes:
        path: of the file.
        place: of the file below the folder that was given; its name, where the file itself was given.
    """

    path: Path
    place: Path

    @property
    def isScene(self) -> bool:
        return self.path.suffix.lower() in SCENES


@dataclass(frozen=True)
class Sources:
    """What was given, sorted by who reads it.

    Attributes:
        forBackend: files, and folders to be searched at any depth, as they were given.
        forSlicer: files, those found in folders included.
    """

    forBackend: tuple[Path, ...]
    forSlicer: tuple[Source, ...]


def sortSources(paths: Iterable[Path], outside: Path | None = None) -> Sources:
    """Find what Slicer has to open: what the backend reads, the backend reads.

    In folders, scenes are looked for as `.mrb` alone: the files of an `.mrml` lie beside it and are found themselves.

    Args:
        paths: files, and folders to be searched at any depth.
        outside: a folder that is passed over, such as that of the results.
    """
    forBackend: list[Path] = []
    forSlicer: list[Source] = []
    for given in paths:
        path = given.absolute()  # Slicer leaves the current folder while it unpacks a bundle
        if path.is_dir():
            found, others = _search(path, outside)
            forSlicer += found
            if others or not found:
                forBackend.append(given)
        elif path.exists() and not format_suffix(path) and not is_dicom_file(path):
            forSlicer.append(Source(path, Path(path.name)))
        else:
            forBackend.append(given)
    return Sources(tuple(forBackend), tuple(forSlicer))


def stemOf(path: Path) -> str:
    """The name of a file that Slicer opens, without its extension."""
    longest = sorted((*SCENES, *SLICER_VOLUMES), key=len, reverse=True)
    ending = next((suffix for suffix in longest if path.name.lower().endswith(suffix)), path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _search(folder: Path, outside: Path | None) -> tuple[list[Source], bool]:
    """What Slicer has to open in a folder, and whether the backend finds something there as well."""
    found: list[Source] = []
    others: list[Path] = []
    for current, folders, names in os.walk(folder):
        here = Path(current)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (outside is None or (here / name).resolve() != outside.resolve())
        )
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            if _isForSlicer(path):
                found.append(Source(path, path.relative_to(folder)))
            else:
                others.append(path)
    return found, bool(found) and any(_isForBackend(path) for path in others)


def _isForSlicer(path: Path) -> bool:
    name = path.name.lower()
    if name.endswith((".img", ".img.gz")) and path.with_name(f"{stemOf(path)}.hdr").exists():
        return False  # the voxels of a header that is opened itself
    return name.endswith((".mrb", *SLICER_VOLUMES))


def _isForBackend(path: Path) -> bool:
    suffix = format_suffix(path)
    return suffix in (*NIFTI_SUFFIXES, *ITK_SUFFIXES) or (not suffix and is_dicom_file(path))

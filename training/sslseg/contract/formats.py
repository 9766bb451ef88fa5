"""Which files the backend reads, told by their names: Slicer opens the others for it."""

from __future__ import annotations

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
SEGMENTATION_SUFFIX = ".seg.nrrd"
"""Slicer's segmentations: named, coloured segments, not a volume."""

_KNOWN = (SEGMENTATION_SUFFIX, *NIFTI_SUFFIXES, *ITK_SUFFIXES)


def format_suffix(path: Path) -> str:
    """The extension of a file that the backend reads, in small letters; empty for any other."""
    name = path.name.lower()
    return next((suffix for suffix in _KNOWN if name.endswith(suffix)), "")


def is_dicom_file(path: Path) -> bool:
    """Whether the file has DICOM's preamble and prefix."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False

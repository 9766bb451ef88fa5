"""Which files an export writes, for whoever asks before they are there."""

from __future__ import annotations

from pathlib import Path

from sslseg.contract.settings import ExportFormat

SUFFIXES: dict[ExportFormat, str] = {"seg.nrrd": ".seg.nrrd", "nifti": ".nii.gz", "dicom-seg": ".dcm"}
VOLUMES = "volumes.csv"
"""The table of volumes: case, organ, value, volume_ml, source, verdict, status."""
LABELS_JSON = "labels.json"
LABELS_CSV = "labels.csv"


def case_file(folder: Path, case_id: str, form: ExportFormat) -> Path:
    """The segmentation of a case."""
    return folder / f"{case_id}{SUFFIXES[form]}"


def table_files(folder: Path, form: ExportFormat) -> list[Path]:
    """The tables beside the segmentations: volumes, and for label maps what their values mean."""
    names = [VOLUMES, LABELS_JSON, LABELS_CSV] if form == "nifti" else [VOLUMES]
    return [folder / name for name in names]

"""Which series lie in a folder, by Slicer's DICOM database."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sslseg.contract.settings import DicomSeries


def seriesIn(folder: Path, modality: str) -> list[DicomSeries]:
    """The series of a modality in a folder at any depth; none where Slicer has no DICOM module.

    The database only sorts the files: the backend reads them. Slicer's reader stacks a series whose gantry was tilted
    or of which a slice is missing, and at most warns; here nobody would see that.

    Args:
        folder: where the files lie.
        modality: CT or MR.
    """
    try:
        from DICOMLib import DICOMUtils
    except ImportError:
        return []
    with tempfile.TemporaryDirectory(prefix="sslseg-dicom-") as place:
        # One of our own: switching Slicer's to another folder is a change of its settings.
        database = DICOMUtils.createTemporaryDatabase(place)
        if database is None:
            return []
        try:
            DICOMUtils.importDicom(str(folder), database)
            uids = [
                str(series)
                for patient in database.patients()
                for study in database.studiesForPatient(patient)
                for series in database.seriesForStudy(study)
            ]
            return [
                DicomSeries(uid, [str(file) for file in database.filesForSeries(uid)])
                for uid in uids
                if str(database.fieldForSeries("Modality", uid)) == modality
            ]
        finally:
            database.closeDatabase()

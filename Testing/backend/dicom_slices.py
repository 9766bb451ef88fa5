"""DICOM series of a few tiny slices, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES_A, SERIES_B = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
AXIAL = (1, 0, 0, 0, 1, 0)


def write_slice(
    path: Path, position, *, axes=AXIAL, series=SERIES_A, sop_class=CT, pixels=None, **attributes
):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = pydicom.Dataset()
    one.file_meta = meta
    one.SOPClassUID, one.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    one.SeriesInstanceUID, one.Modality = series, "CT"
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.ImagePositionPatient = [f"{value:.6f}" for value in position]
    one.ImageOrientationPatient = [f"{value:.10f}" for value in axes]
    one.PixelSpacing = ["0.8", "0.6"]  # between rows, between columns
    pixels = np.arange(30, dtype=np.int16).reshape(5, 6) if pixels is None else pixels
    one.Rows, one.Columns = pixels.shape[:2]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 1
    one.RescaleSlope, one.RescaleIntercept = "1", "-1024"
    one.PixelData = pixels.tobytes()
    for name, value in attributes.items():
        if value is None:
            delattr(one, name)
        else:
            setattr(one, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    one.save_as(path, enforce_file_format=True)
    return path


def write_stack(folder: Path, heights=(0, 2.5, 5, 7.5), **options):
    for index, height in enumerate(heights):
        # File names run against the positions: the order must come from the headers.
        pixels = np.full((5, 6), 10 * index, np.int16)
        write_slice(folder / f"{99 - index}.dcm", (-10, -20, height), pixels=pixels, **options)
    return folder

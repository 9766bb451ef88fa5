"""DICOM Segmentation objects, made by `highdicom` from the series that a case was imported from.

The object refers to the slices of the series and carries over the patient and the study, so that an archive files it
beside them. It holds a binary segment for each organ (DICOM PS3.3, A.51); segments may overlap.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pydicom

from sslseg import __version__
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from sslseg.data.dicom import series_files
from sslseg.data.segmentation_file import Segmentation
from sslseg.export.composition import ExportedCase, ExportedOrgan
from sslseg.export.terminology import Code, codes_of

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

SERIES_NUMBER = 3000
"""High, so that it comes after the series of the scanner in an archive's list."""
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
"""Type 1 in the standard: without them nothing can be filed beside the series."""
_MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip
"""Type 2: present, even if empty."""
_ARTIFICIAL_INTELLIGENCE = Code("DCM", "123109", "Artificial Intelligence")


def require_highdicom() -> None:
    """Refuse with a sentence where the package is missing.

    Raises:
        SSLSegError: it is.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise SSLSegError(
            "DICOM segmentations need the package 'highdicom', which is not installed",
            remedy="Install it with: pip install 'sslseg[dicom]', or export as seg.nrrd.",
        ) from error


def write_dicom_seg(exported: ExportedCase, image: Path, path: Path, *, model: str | None) -> None:
    """Write the segments of a case as one DICOM object, atomically.

    Organs without a voxel are left out: the standard knows no empty segment.

    Args:
        exported: the case.
        image: folder of the series it was imported from.
        path: the file.
        model: name of the model that predicted what was not accepted.

    Raises:
        SSLSegError: the case was not imported from DICOM, its series cannot be read or has another grid, there is
            no voxel to write, or the file cannot be written.
    """
    if not image.is_dir():
        raise SSLSegError(
            f"{exported.case.id} was not imported from a DICOM series, so there is nothing to refer to",
            file=image,
            remedy="Import the DICOM folder itself, without --copy, or export as seg.nrrd.",
        )
    geometry, files = series_files(image, exported.case.series)
    mismatch = exported.segmentation.geometry.mismatch(geometry, tolerance_mm=0.01 * min(geometry.spacing))
    if mismatch is not None:
        raise SSLSegError(
            f"The segmentation does not lie on the slices of the series: {mismatch}",
            file=image,
            remedy="Restore the series the case was imported from.",
        )
    present = [organ for organ in exported.organs if organ.volume_ml > 0]
    if not present:
        raise SSLSegError(
            f"None of the organs of {exported.case.id} has a voxel: there is no segment to write"
        )
    slices = [_header(file) for file in files]
    dataset = _dataset(slices, exported.segmentation, present, model)
    with atomic_path(path) as temporary:
        dataset.save_as(temporary)


def _header(file: Path) -> pydicom.Dataset:
    """A slice without its pixels; what the standard allows to be empty, and de-identification left out, is empty.

    Raises:
        SSLSegError: nothing says to which study, series or frame of reference it belongs.
    """
    header = pydicom.dcmread(file, stop_before_pixels=True)
    for name in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(name):
            setattr(header, name, header.file_meta.get(f"MediaStorage{name}", ""))
    missing = [name for name in _NEEDED if not header.get(name)]
    if missing:
        raise SSLSegError(
            f"The slices of the series have no {', '.join(missing)}, to which a segmentation has to refer",
            file=file,
            remedy="Import the series as the archive holds it, or export as seg.nrrd.",
        )
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _dataset(
    slices: list[pydicom.Dataset],
    segmentation: Segmentation,
    organs: Sequence[ExportedOrgan],
    model: str | None,
) -> pydicom.Dataset:
    import highdicom as hd

    descriptions = [_description(number, organ, model) for number, organ in enumerate(organs, start=1)]
    log = logging.getLogger("highdicom")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():  # of every small breach of the standard in the scanner's slices
            warnings.simplefilter("ignore")
            return hd.seg.Segmentation(
                source_images=slices,
                pixel_array=_frames(segmentation, organs),
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=descriptions,
                series_instance_uid=hd.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="SSLSegmentation",
                manufacturer_model_name="sslseg",
                software_versions=__version__,
                device_serial_number="none",
                content_label="SEGMENTATION",
                content_description="Segmentation of organs",
                series_description="Segmentation of organs",
                omit_empty_frames=True,
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise SSLSegError(
            f"The headers of the series do not allow for a segmentation ({error})",
            remedy="Export as seg.nrrd.",
        ) from error
    finally:
        log.setLevel(level)


def _frames(segmentation: Segmentation, organs: Sequence[ExportedOrgan]) -> npt.NDArray[Any]:
    """Numbers of segments (slices, rows, columns), or (slices, rows, columns, segments) bool where they overlap."""
    of_value = {segment.value: segment for segment in segmentation.segments}
    segments = [of_value[organ.label.value] for organ in organs]
    if len(segmentation.layers) > 1:
        return np.stack([segmentation.mask(segment) for segment in segments], axis=-1)
    numbers = np.zeros(256, np.uint8)
    for number, segment in enumerate(segments, start=1):
        numbers[segment.value] = number
    return numbers[segmentation.layers[0]]


def _description(number: int, organ: ExportedOrgan, model: str | None) -> Any:
    import highdicom as hd

    codes = codes_of(organ.label)
    predicted = organ.source == "predicted"
    kinds = hd.seg.SegmentAlgorithmTypeValues
    # A person who accepts an organ drew it, corrected it or found a prediction good: nobody knows which.
    name = f"sslseg model {model}" if predicted else "sslseg, drawn or accepted by a person"
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=organ.label.name[:64],
        segmented_property_category=_coded(codes.category),
        segmented_property_type=_coded(codes.type),
        algorithm_type=kinds.AUTOMATIC if predicted else kinds.SEMIAUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=name[:64], family=_coded(_ARTIFICIAL_INTELLIGENCE), version=__version__
        ),
        anatomic_regions=None if codes.region is None else [_coded(codes.region)],
        display_color=hd.color.CIELabColor.from_rgb(*organ.label.color),
    )
    if codes.modifier is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_coded(codes.modifier)]
    if codes.region is not None and codes.region_modifier is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [_coded(codes.region_modifier)]
    return description


def _coded(code: Code) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=code.value, scheme_designator=code.scheme, meaning=code.meaning[:64])

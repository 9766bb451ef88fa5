"""Reading a DICOM series: a folder whose slices form one straight, evenly spaced stack.

ITK stacks whatever it is given and merely warns; a missing slice or a tilted gantry then bends the patient.
The headers are read and judged here, ITK decodes the pixels. Attributes: DICOM PS3.3, C.7.6.2 (image plane).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from sslseg.contract.errors import SSLSegError
from sslseg.contract.formats import is_dicom_file
from sslseg.data.geometry import Geometry
from sslseg.data.volume_checks import checked_geometry

_TAGS = [
    "SOPClassUID", "Modality", "SeriesInstanceUID", "ImageType", "NumberOfFrames", "SamplesPerPixel", "Rows",
    "Columns", "BitsAllocated", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
]  # fmt: skip
_EXPORT = "Export the original image series, or convert it to .nrrd in Slicer."
_CONVERT_SERIES = "Load it in Slicer, which straightens such series, and save the volume as .nrrd."
_NO_IMAGES = {
    "1.2.840.10008.1.3.10": ("a DICOMDIR index", "Give the folder of the image series."),
    "1.2.840.10008.5.1.4.1.1.66": ("a DICOM raw data object", _EXPORT),
    "1.2.840.10008.5.1.4.1.1.66.4": (
        "a DICOM segmentation (SEG)",
        "Load it in Slicer (QuantitativeReporting) and save it as .seg.nrrd.",
    ),
    "1.2.840.10008.5.1.4.1.1.481.2": ("a radiotherapy dose (RTDOSE)", _EXPORT),
    "1.2.840.10008.5.1.4.1.1.481.3": (
        "a radiotherapy structure set (RTSTRUCT)",
        "Load it in Slicer (SlicerRT) and save it as .seg.nrrd.",
    ),
    "1.2.840.10008.5.1.4.1.1.481.5": ("a radiotherapy plan (RTPLAN)", _EXPORT),
}
_STRUCTURED_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")


@dataclass(frozen=True)
class Slice:
    """One DICOM file with the attributes of `_TAGS`."""

    path: Path
    header: Any

    def numbers(self, name: str, count: int) -> npt.NDArray[np.float64]:
        """A decimal attribute of `count` values.

        Raises:
            SSLSegError: the attribute is missing or no list of numbers.
        """
        try:
            values = np.array([float(value) for value in self.header[name].value])
        except (KeyError, TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (count,) or not np.isfinite(values).all():
            raise SSLSegError(
                f"The image has no valid {name}: nothing says where it lies in the patient",
                file=self.path,
                remedy=_EXPORT,
            )
        return values


def is_dicom_folder(folder: Path) -> bool:
    """Whether a DICOM file other than an index lies directly in the folder."""
    return any(p.name != "DICOMDIR" and is_dicom_file(p) for p in sorted(folder.iterdir()) if p.is_file())


def refusal_of_file(path: Path) -> SSLSegError:
    """Why a single DICOM file is no volume."""
    header = _read_header(path)
    kind = _no_image(header)
    if kind is not None:
        return SSLSegError(f"The file is {kind[0]}, not an image series", file=path, remedy=kind[1])
    try:
        _check_single_frame(Slice(path, header))
    except SSLSegError as error:
        return error
    return SSLSegError(
        "The file is a single slice, not a volume", file=path, remedy="Give the folder of the whole series."
    )


def probe_series(folder: Path, series_uid: str | None = None) -> tuple[Geometry, int]:
    """Checked geometry of the series in a folder and SimpleITK's pixel type, from the headers alone.

    Raises:
        SSLSegError: no series, several without a `series_uid`, or slices that form no straight, even stack.
    """
    geometry, slices = _series(folder, series_uid)
    return geometry, _pixel_id(slices, folder)


def series_files(folder: Path, series_uid: str | None = None) -> tuple[Geometry, list[Path]]:
    """Checked geometry of the series in a folder, and the file of each of its slices, from the first along k on.

    Raises:
        SSLSegError: see `probe_series`.
    """
    geometry, slices = _series(folder, series_uid)
    return geometry, [one.path for one in slices]


def read_series(
    folder: Path, series_uid: str | None = None, files: Sequence[Path] | None = None
) -> sitk.Image:
    """Read the series in a folder, rescaled to the modality's unit (HU in CT).

    Args:
        folder: where it lies.
        series_uid: which one, when there are several.
        files: the files to read where they do not all lie in `folder`.

    Raises:
        SSLSegError: see `probe_series`; also pixels that cannot be decoded.
    """
    geometry, slices = _series(folder, series_uid, files)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(one.path) for one in slices])
    reader.SetOutputPixelType(_pixel_id(slices, folder))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _undecodable(folder) from error
    if image.GetSize() != geometry.size:
        raise SSLSegError("The pixels do not fit the headers of the series", file=folder, remedy=_EXPORT)
    geometry.set_on(image)
    return image


def _series(
    folder: Path, series_uid: str | None, files: Sequence[Path] | None = None
) -> tuple[Geometry, list[Slice]]:
    slices = _choose_series(folder, series_uid, sorted(folder.iterdir()) if files is None else files)
    for one in slices:
        _check_single_frame(one)
        _check_whole(one)
    if len(slices) == 1:
        raise SSLSegError(
            "The series has a single slice: that is not a volume",
            file=folder,
            remedy="Give the whole series.",
        )
    return _stack(slices, folder)


def _pixel_id(slices: list[Slice], folder: Path) -> int:
    """SimpleITK's pixel type of the rescaled intensities."""
    if len({(one.header.get("RescaleSlope"), one.header.get("RescaleIntercept")) for one in slices}) > 1:
        # PET scales each slice on its own; the type of the first slice would cut off the others' fractions.
        return int(sitk.sitkFloat32)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(slices[0].path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _undecodable(folder) from error
    return int(reader.GetPixelID())


def _undecodable(folder: Path) -> SSLSegError:
    return SSLSegError(
        "The pixels of the series cannot be decoded: a file is damaged or unusually compressed",
        file=folder,
        remedy="Copy the series again, or export it uncompressed.",
    )


def _read_header(path: Path) -> Any:
    try:
        with warnings.catch_warnings():  # pydicom warns of every small breach of the standard
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError, KeyError) as error:
        raise SSLSegError(
            "The file is not readable as DICOM", file=path, remedy="Copy it again from its source."
        ) from error


def _sop_class(header: Any) -> str:
    return str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")


def _no_image(header: Any) -> tuple[str, str] | None:
    """What a DICOM object is that is no image of a scanner, and what to do with it."""
    uid = _sop_class(header)
    if uid in _NO_IMAGES:
        return _NO_IMAGES[uid]
    if uid.startswith(_STRUCTURED_REPORTS):
        return "a structured report (SR)", _EXPORT
    if uid == _SECONDARY_CAPTURE or uid.startswith(_SECONDARY_CAPTURE + "."):
        return "a secondary capture (a picture of a screen)", _EXPORT
    if "Rows" not in header:
        return "a DICOM object without an image", _EXPORT
    return None


def _choose_series(folder: Path, series_uid: str | None, files: Sequence[Path]) -> list[Slice]:
    """The slices of one series. Objects that are no images may lie beside it, as RTSTRUCT often does."""
    series: dict[str, list[Slice]] = defaultdict(list)
    others: set[tuple[str, str]] = set()
    for path in files:
        if path.is_file() and is_dicom_file(path):
            header = _read_header(path)
            kind = _no_image(header)
            if kind is None:
                series[str(header.get("SeriesInstanceUID", ""))].append(Slice(path, header))
            else:
                others.add(kind)
    if not series and others:
        names = ", ".join(sorted(name for name, _ in others))
        raise SSLSegError(
            f"The folder holds {names}, not an image series", file=folder, remedy=sorted(others)[0][1]
        )
    if not series:
        raise SSLSegError(
            "The folder holds no DICOM series",
            file=folder,
            remedy="Give the folder of the slices themselves.",
        )
    listed = "; ".join(
        f"{uid} ({found[0].header.get('Modality', '?')}, {len(found)} files)" for uid, found in series.items()
    )
    if series_uid is None and len(series) > 1:
        raise SSLSegError(
            f"The folder holds {len(series)} series: {listed}",
            file=folder,
            remedy="Name one by its series UID, or move each into a folder of its own.",
        )
    if series_uid is None:
        return next(iter(series.values()))
    if series_uid not in series:
        raise SSLSegError(
            f"The folder does not hold the series {series_uid}", file=folder, remedy=f"It holds {listed}."
        )
    return series[series_uid]


def _check_single_frame(one: Slice) -> None:
    header, path = one.header, one.path
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise SSLSegError("The image is in colour", file=path, remedy=_EXPORT)
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise SSLSegError(
            "The file holds several frames (enhanced DICOM), which is not supported",
            file=path,
            remedy="Load it in Slicer and save the volume as .nrrd.",
        )
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise SSLSegError(
            "The slices are tiled into one picture (Siemens mosaic)",
            file=path,
            remedy="Convert the series to NIfTI with dcm2niix.",
        )


def _check_whole(one: Slice) -> None:
    """An uncompressed slice cannot be smaller than its pixels."""
    header = one.header
    if header.file_meta.get("TransferSyntaxUID") not in _UNCOMPRESSED:
        return
    pixels = int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated") or 8) // 8
    if one.path.stat().st_size < pixels:
        raise SSLSegError("The file is cut short", file=one.path, remedy="Copy the series again.")


def _stack(slices: list[Slice], folder: Path) -> tuple[Geometry, list[Slice]]:
    """Order the slices along their normal and check that they form a straight, even grid."""
    first = slices[0]
    axes = first.numbers("ImageOrientationPatient", 6)
    plane = first.numbers("PixelSpacing", 2)
    for one in slices:
        if (one.header.Rows, one.header.Columns) != (first.header.Rows, first.header.Columns) or np.abs(
            one.numbers("PixelSpacing", 2) - plane
        ).max() > 1e-4:
            raise SSLSegError("The slices differ in size or pixel spacing", file=folder, remedy=_EXPORT)
        if np.abs(one.numbers("ImageOrientationPatient", 6) - axes).max() > 1e-3:
            raise SSLSegError(
                "The slices are not parallel: the series mixes orientations (a localizer?)",
                file=folder,
                remedy="Give a series of parallel slices.",
            )
    normal = np.cross(axes[:3], axes[3:])
    positions = np.array([one.numbers("ImagePositionPatient", 3) for one in slices])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    spacing = _even_spacing(positions @ normal, folder)
    _check_upright(positions, normal, folder)
    geometry = Geometry(
        size=(int(first.header.Columns), int(first.header.Rows), len(slices)),
        spacing=(float(plane[1]), float(plane[0]), spacing),
        origin=(float(positions[0, 0]), float(positions[0, 1]), float(positions[0, 2])),
        direction=tuple(np.column_stack([axes[:3], axes[3:], normal]).ravel().tolist()),
    )
    return checked_geometry(geometry, folder), [slices[index] for index in order]


def _even_spacing(heights: npt.NDArray[np.float64], folder: Path) -> float:
    """Spacing in mm of slices at these heights (mm, ascending).

    Many scanners round positions: a slice may be a tenth of a gap off its place, at most 0.1 mm.
    """
    gaps = np.diff(heights)
    if gaps.min() < 0.01 * max(gaps.max(), 1e-3):
        raise SSLSegError(
            f"{int((gaps < 0.01 * max(gaps.max(), 1e-3)).sum())} slices lie at the place of another one "
            "(several phases, echoes or copies in one series)",
            file=folder,
            remedy="Export each phase or echo as a series of its own.",
        )
    even = np.linspace(heights[0], heights[-1], len(heights))
    usual = float(np.median(gaps))
    if np.abs(heights - even).max() > min(0.1, 0.1 * usual):
        worst = int(np.argmax(np.abs(gaps - usual)))
        raise SSLSegError(
            f"The slices are unevenly spaced: usually {usual:.3g} mm apart, but {gaps[worst]:.3g} mm between "
            f"slices {worst + 1} and {worst + 2} (is a slice missing?)",
            file=folder,
            remedy=f"Copy the whole series. If it was scanned so: {_CONVERT_SERIES}",
        )
    return float(heights[-1] - heights[0]) / (len(heights) - 1)


def _check_upright(positions: npt.NDArray[np.float64], normal: npt.NDArray[np.float64], folder: Path) -> None:
    """The stack must rise along the normal of its slices; a tilted gantry shifts each slice sideways."""
    rise = positions - positions[0]
    sideways = np.linalg.norm(rise - np.outer(rise @ normal, normal), axis=1).max()
    height = float((rise @ normal).max())
    if sideways > max(0.1, 1e-3 * height):
        raise SSLSegError(
            f"The gantry was tilted by {np.degrees(np.arctan2(sideways, height)):.1f} degrees: "
            "the slices are shifted against each other",
            file=folder,
            remedy=_CONVERT_SERIES,
        )

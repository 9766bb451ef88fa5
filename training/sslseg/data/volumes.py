"""The one reader and the one writer of volumes and label maps.

What comes out is a three-dimensional SimpleITK image with straight axes in LPS coordinates, checked as
`volume_checks` says; everything else is refused with a sentence that names the file and the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from sslseg.contract.formats import ITK_SUFFIXES, NIFTI_SUFFIXES, SEGMENTATION_SUFFIX, format_suffix
from sslseg.data import dicom
from sslseg.data.geometry import Geometry
from sslseg.data.itk_formats import probe_with_itk, read_with_itk
from sslseg.data.nifti import read_nifti, read_nifti_header
from sslseg.data.volume_checks import check_intensities, checked_label_map

_WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
_FORMATS = "Readable are NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) and DICOM series."


@dataclass(frozen=True)
class VolumeHeader:
    """What the header alone tells.

    Attributes:
        geometry: checked, as that of the image `read_volume` returns.
        pixel_type: such as "16-bit signed integer".
    """

    geometry: Geometry
    pixel_type: str


def read_volume(
    path: str | Path, *, series_uid: str | None = None, files: Sequence[Path] | None = None
) -> sitk.Image:
    """Read an image: a file, or a folder that holds a DICOM series.

    The stored pixel type is kept; intensities that the header scales become floating-point numbers.

    Args:
        series_uid: which series to read from a folder that holds several.
        files: the files of a DICOM series that do not all lie in the folder `path`.

    Raises:
        SSLSegError: the volume is damaged, not scalar and three-dimensional, or its intensities are no image.
    """
    path = Path(path)
    image = _read(path, series_uid, files)
    check_intensities(image, path)
    return image


def read_label_map(
    path: str | Path,
    *,
    allowed: Collection[int] | None,
    reference: sitk.Image | Geometry | str | Path | None = None,
    resample: bool = False,
) -> sitk.Image:
    """Read a label map as uint8, or as uint16 where a value is above 255.

    Args:
        allowed: the declared values besides 0 (background) and 255 (not annotated). None allows any.
        reference: the image it belongs to, or its grid. The label map gets exactly that geometry; grids closer than
            a hundredth of a voxel count as equal, since headers are rounded.
        resample: put a label map on another grid onto the image by nearest neighbour instead of refusing it.

    Raises:
        SSLSegError: damaged, negative, fractional or undeclared values, or a grid that is not the image's.
    """
    path = Path(path)
    labels = checked_label_map(_read(path, None), allowed, path)
    if reference is None:
        return labels
    wanted = reference if isinstance(reference, Geometry) else _geometry(reference)
    mismatch = Geometry.of(labels).mismatch(wanted, tolerance_mm=0.01 * min(wanted.spacing))
    if mismatch is None:
        wanted.set_on(labels)
        return labels
    if not resample:
        raise SSLSegError(
            f"The label map does not lie on its image: {mismatch}",
            file=path,
            remedy="Give the image it was drawn on, or allow resampling.",
        )
    # Of all that reads volumes, only this needs packages that Slicer's own Python lacks.
    from sslseg.data.segmentation_file import resampled_labels

    return resampled_labels(labels, wanted)


def probe_volume(path: str | Path, *, series_uid: str | None = None) -> VolumeHeader:
    """Read and check the header alone; cheap enough for thousands of cases.

    Raises:
        SSLSegError: as `read_volume`, as far as the header tells.
    """
    path = Path(path)
    suffix = _readable_suffix(path)
    if suffix in NIFTI_SUFFIXES:
        header = read_nifti_header(path)
        dtype = header.pixel_dtype
        kind = {"f": "float", "i": "signed integer", "u": "unsigned integer"}[dtype.kind]
        return VolumeHeader(header.geometry, f"{dtype.itemsize * 8}-bit {kind}")
    if suffix in ITK_SUFFIXES:
        geometry, pixel_id = probe_with_itk(path)
        return VolumeHeader(geometry, sitk.GetPixelIDValueAsString(pixel_id))
    geometry, pixel_id = dicom.probe_series(path, series_uid)
    return VolumeHeader(geometry, sitk.GetPixelIDValueAsString(pixel_id))


def write_volume(image: sitk.Image, path: str | Path) -> None:
    """Write a volume atomically; .nii.gz, .nrrd and .mha are compressed.

    NRRD and MetaImage keep the geometry exactly, NIfTI in single precision (1e-4 mm within half a metre).

    Raises:
        SSLSegError: an unknown file name extension, or the file cannot be written.
    """
    path = Path(path)
    if format_suffix(path) not in _WRITABLE_SUFFIXES:
        # A header with its voxels in a second file cannot be replaced in one step.
        raise SSLSegError(
            "Volumes are not written in this format",
            file=path,
            remedy=f"Use one of {', '.join(_WRITABLE_SUFFIXES)}.",
        )
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(
                image, str(temporary), useCompression=path.suffix.lower() != ".nii", compressionLevel=3
            )
        except RuntimeError as error:
            raise SSLSegError(
                "The volume cannot be written", file=path, remedy="Check that the disk has free space."
            ) from error


def write_label_map(labels: sitk.Image, path: str | Path) -> None:
    """Write a label map atomically as uint8, or as uint16 where a value is above 255.

    Raises:
        SSLSegError: values that are no labels, or see `write_volume`.
    """
    write_volume(checked_label_map(labels, None, Path(path)), path)


def is_volume_path(path: str | Path) -> bool:
    """Whether `path` looks like a volume: a file by its name, a folder by a DICOM file directly in it."""
    path = Path(path)
    if path.is_dir():
        return dicom.is_dicom_folder(path)
    return format_suffix(path) in (*NIFTI_SUFFIXES, *ITK_SUFFIXES) and path.is_file()


def find_volumes(folder: str | Path) -> list[Path]:
    """All volumes in a folder at any depth, sorted: files, and folders that hold DICOM slices.

    Hidden files and `.seg.nrrd` are left out. A folder of DICOM slices counts as one volume.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SSLSegError("The folder does not exist", file=folder, remedy="Check the path.")
    visible = [
        p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]
    return sorted(p for p in (folder, *visible) if is_volume_path(p))


def volume_stem(path: str | Path) -> str:
    """Name of a volume without its extension, .nii.gz and .seg.nrrd included; a DICOM folder's own name."""
    path = Path(path)
    suffix = format_suffix(path)
    return path.name[: -len(suffix)] if suffix and not path.is_dir() else path.name


def _geometry(reference: sitk.Image | str | Path) -> Geometry:
    if isinstance(reference, sitk.Image):
        return Geometry.of(reference)
    return probe_volume(reference).geometry


def _readable_suffix(path: Path) -> str:
    """The extension of a volume file, or an empty string for a folder.

    Raises:
        SSLSegError: there is nothing at `path`, or nothing that this program reads.
    """
    if path.is_dir():
        return ""
    if not path.is_file():
        raise SSLSegError("The file does not exist", file=path, remedy="Check the path.")
    suffix = format_suffix(path)
    if suffix == SEGMENTATION_SUFFIX:
        raise SSLSegError(
            "The file is a segmentation with named segments, not a volume",
            file=path,
            remedy="Give it as the segmentation of a case.",
        )
    if suffix:
        return suffix
    if dicom.is_dicom_file(path):
        raise dicom.refusal_of_file(path)
    packed = "Unpack it first. " if path.suffix.lower() in (".gz", ".zip") else ""
    raise SSLSegError("The file has no known volume format", file=path, remedy=packed + _FORMATS)


def _read(path: Path, series_uid: str | None, files: Sequence[Path] | None = None) -> sitk.Image:
    suffix = _readable_suffix(path)
    if suffix in NIFTI_SUFFIXES:
        return read_nifti(path)
    image = read_with_itk(path) if suffix else dicom.read_series(path, series_uid, files)
    # Headers may name the patient, and ITK would copy their fields into every file written from this image.
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    return image

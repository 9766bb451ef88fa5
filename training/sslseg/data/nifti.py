"""Reading NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), with every byte accounted for.

ITK fills the rest of a damaged NIfTI file with whatever its memory held, cannot read NIfTI-2 and refuses axes
that are off by the rounding of single precision. Here the file is decompressed once, its checksum and length
are verified, and the geometry follows ITK's choice between qform and sform, so that Slicer shows the same
patient coordinates. Format: https://nifti.nimh.nih.gov/nifti-1 and nifti-2.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.data.geometry import Geometry, orthonormal
from sslseg.data.volume_checks import check_layout, checked_geometry

AGAIN = "Copy or convert the file again from its source."

_NAMES = [
    "sizeof_hdr", "magic", "datatype", "dim", "pixdim", "vox_offset", "slope", "intercept",
    "qform_code", "sform_code", "quaternion", "offset", "sform", "units",
]  # fmt: skip
_NIFTI1_TYPES = ["i4", "S4", "i2", "8i2", "8f4", "f4", "f4", "f4", "i2", "i2", "3f4", "3f4", "(3,4)f4", "u1"]
_NIFTI2_TYPES = ["i4", "S8", "i2", "8i8", "8f8", "i8", "f8", "f8", "i4", "i4", "3f8", "3f8", "(3,4)f8", "i4"]
_NIFTI1 = np.dtype(
    {
        "names": _NAMES,
        "formats": _NIFTI1_TYPES,
        "offsets": [0, 344, 70, 40, 76, 108, 112, 116, 252, 254, 256, 268, 280, 123],
        "itemsize": 348,
    }
)
_NIFTI2 = np.dtype(
    {
        "names": _NAMES,
        "formats": _NIFTI2_TYPES,
        "offsets": [0, 4, 12, 16, 104, 168, 176, 184, 344, 348, 352, 376, 400, 500],
        "itemsize": 540,
    }
)
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COMPLEX_TYPES = (32, 1792, 2048)
_COLOUR_TYPES = {128: 3, 2304: 4}
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_LARGEST_DEFLATE_RATIO = 1032


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed to read the voxels.

    Attributes:
        geometry: checked.
        dtype: of the stored voxels, with their byte order.
        start: bytes before the first voxel.
        slope, intercept: stored values times slope plus intercept are the intensities.
    """

    geometry: Geometry
    dtype: np.dtype
    start: int
    slope: float
    intercept: float

    @property
    def end(self) -> int:
        return self.start + math.prod(self.geometry.size) * self.dtype.itemsize

    @property
    def pixel_dtype(self) -> np.dtype:
        """Type of the intensities: native as stored, floating-point where they are scaled."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return self.dtype.newbyteorder("=")
        wide = self.dtype.itemsize > 4 or (self.dtype.itemsize == 4 and self.dtype.kind in "iu")
        return np.dtype(np.float64 if wide else np.float32)


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read and check the header alone.

    Raises:
        SSLSegError: no NIfTI file, or no three-dimensional scalar volume on a straight grid.
    """
    try:
        with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
            return _parse(file.read(_NIFTI2.itemsize), path)
    except (EOFError, zlib.error, OSError) as error:
        raise SSLSegError("The file is damaged or cut short", file=path, remedy=AGAIN) from error


def read_nifti(path: Path) -> sitk.Image:
    """Read a volume; intensities are scaled where the header says so, otherwise the stored type is kept.

    Raises:
        SSLSegError: see `read_nifti_header`; also a file that is cut short or fails its checksum.
    """
    header = read_nifti_header(path)
    compressed = _is_gzip(path)
    longest = path.stat().st_size * (_LARGEST_DEFLATE_RATIO if compressed else 1)
    if longest < header.end:
        raise _cut_short(path, header)
    content: bytes = path.read_bytes()
    if compressed:
        content = _decompress(content, header, path)
    if len(content) < header.end:
        raise _cut_short(path, header)
    count = math.prod(header.geometry.size)
    stored = np.frombuffer(content, header.dtype, count, header.start).reshape(header.geometry.size[::-1])
    voxels = stored.astype(header.pixel_dtype, copy=False)
    if (header.slope, header.intercept) != (1.0, 0.0):
        # A value beyond the type becomes infinite, which the check of the intensities reports.
        with np.errstate(over="ignore", invalid="ignore"):
            voxels = voxels * voxels.dtype.type(header.slope) + voxels.dtype.type(header.intercept)
    image = sitk.GetImageFromArray(voxels)
    header.geometry.set_on(image)
    return image


def _is_gzip(path: Path) -> bool:
    """Whether the file is compressed; its name must say the same, or other programs misread it."""
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise SSLSegError("The file is empty", file=path, remedy=AGAIN)
    compressed = start == b"\x1f\x8b"
    if compressed and path.suffix.lower() != ".gz":
        raise SSLSegError(
            "The file is compressed although its name does not end in .gz",
            file=path,
            remedy=f"Rename it to {path.name}.gz.",
        )
    if not compressed and path.suffix.lower() == ".gz":
        raise SSLSegError(
            "The file is not compressed although its name ends in .gz",
            file=path,
            remedy=f"If it is whole, rename it to {path.stem}; otherwise copy it again.",
        )
    return compressed


def _decompress(content: bytes, header: NiftiHeader, path: Path) -> bytes:
    try:
        # Verifies the checksum; a given buffer size avoids growing the buffer in steps.
        first = zlib.decompress(content, wbits=31, bufsize=header.end)
        # Block compressors write several gzip members one after the other.
        return first if len(first) >= header.end else gzip.decompress(content)
    except EOFError as error:
        raise _cut_short(path, header) from error
    except (zlib.error, OSError) as error:
        if "incomplete" in str(error):
            raise _cut_short(path, header) from error
        raise SSLSegError("The compressed data are damaged", file=path, remedy=AGAIN) from error


def _cut_short(path: Path, header: NiftiHeader) -> SSLSegError:
    size = " x ".join(map(str, header.geometry.size))
    return SSLSegError(
        f"The file is cut short: it holds fewer voxels than the {size} of its header", file=path, remedy=AGAIN
    )


def _parse(start: bytes, path: Path) -> NiftiHeader:
    fields = _fields(start, path)
    sizes = [int(n) for n in fields["dim"][1 : 1 + int(fields["dim"][0])]]
    if not 1 <= int(fields["dim"][0]) <= 7 or min(sizes) < 1:
        raise SSLSegError(f"The header gives the impossible size {sizes}", file=path, remedy=AGAIN)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    code = int(fields["datatype"])
    check_layout(sizes, _COLOUR_TYPES.get(code, 1), code in _COMPLEX_TYPES, path)
    if code not in _TYPES:
        raise SSLSegError(
            f"The voxels have the unknown type {code}",
            file=path,
            remedy="Convert the volume to 16-bit integers or 32-bit floating-point numbers.",
        )
    first_voxel = float(fields["vox_offset"])
    smallest = 352 if fields.dtype.itemsize == _NIFTI1.itemsize else 544
    if not first_voxel < 2**40:
        raise SSLSegError("The header does not say where the voxels begin", file=path, remedy=AGAIN)
    slope, intercept = float(fields["slope"]), float(fields["intercept"])
    if slope == 0 or not math.isfinite(slope):
        slope, intercept = 1.0, 0.0  # the standard's way of saying "not scaled"
    elif not math.isfinite(intercept):
        intercept = 0.0
    return NiftiHeader(
        geometry=checked_geometry(_geometry(fields, (sizes[0], sizes[1], sizes[2]), path), path),
        dtype=np.dtype(_TYPES[code]).newbyteorder("=" if fields.dtype["datatype"].isnative else "S"),
        start=max(int(first_voxel), smallest),
        slope=slope,
        intercept=intercept,
    )


def _fields(start: bytes, path: Path) -> np.void:
    """The header's fields by name; their type tells the byte order."""
    for layout, magic in ((_NIFTI1, b"n+1"), (_NIFTI2, b"n+2")):
        for order in (layout, layout.newbyteorder("S")):
            if len(start) >= layout.itemsize:
                fields = np.frombuffer(start, order, 1)[0]
                if fields["sizeof_hdr"] == layout.itemsize and bytes(fields["magic"]).startswith(magic):
                    return fields
    if len(start) < _NIFTI1.itemsize:
        raise SSLSegError("The file is too short for a NIfTI header", file=path, remedy=AGAIN)
    raise SSLSegError(
        "The file does not begin like a NIfTI file, whatever its name says", file=path, remedy=AGAIN
    )


def _geometry(fields: np.void, size: tuple[int, int, int], path: Path) -> Geometry:
    """Grid in LPS, chosen between qform and sform as ITK (5.4) and therefore Slicer does.

    The sform wins when it is orthogonal and the only one, or in scanner coordinates, or equal to the qform.
    """
    spacing = np.array(fields["pixdim"][1:4], dtype=np.float64)
    qform, sform = _qform(fields, spacing), np.eye(4)
    sform[:3] = fields["sform"]
    has_qform, has_sform = int(fields["qform_code"]) > 0, int(fields["sform_code"]) > 0
    straight = orthonormal(Geometry.from_matrix(size, sform).direction, 1e-4) is not None
    in_scanner = int(fields["sform_code"]) == 1
    if has_sform and (not has_qform or (straight and (in_scanner or np.allclose(sform, qform, atol=1e-4)))):
        matrix = sform
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        nearly_straight = orthonormal(Geometry.from_matrix(size, sform).direction) is not None
        if nearly_straight and (np.abs(lengths - spacing) > 0.01 * lengths).any():
            raise SSLSegError(
                f"The header contradicts itself: voxels of {spacing.round(4).tolist()} mm by its pixdim, "
                f"of {lengths.round(4).tolist()} mm by its sform",
                file=path,
                remedy="Convert the original images again.",
            )
    elif has_qform:
        matrix = qform
    else:
        matrix = np.diag([-1.0, -1.0, 1.0, 1.0])  # neither is given: identity in LPS, as ITK has it
    scale = _MM_PER_UNIT.get(int(fields["units"]) & 7, 1.0)
    chosen = Geometry.from_matrix(size, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix)
    return Geometry(
        size,
        (float(spacing[0] * scale), float(spacing[1] * scale), float(spacing[2] * scale)),
        (chosen.origin[0] * scale, chosen.origin[1] * scale, chosen.origin[2] * scale),
        chosen.direction,
    )


def _qform(fields: np.void, spacing: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Method 2 of the standard: a quaternion (a, b, c, d), the handedness in pixdim[0], an offset in mm."""
    b, c, d = (float(value) for value in fields["quaternion"])
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:  # a half turn, where rounding may make the rest negative
        length = math.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = math.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    if float(fields["pixdim"][0]) < 0:
        rotation[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * spacing
    matrix[:3, 3] = fields["offset"]
    return matrix

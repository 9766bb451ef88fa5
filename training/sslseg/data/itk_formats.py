"""Reading NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd) files with SimpleITK, after a check of their length.

ITK overlooks surplus bytes, which shift every voxel, and damaged compressed data in MetaImage files.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.data.geometry import Geometry
from sslseg.data.volume_checks import check_layout, checked_geometry

AGAIN = "Copy or convert the file again from its source."
_CONVERT = "Save the volume as a single .nrrd or .nii.gz file, for example with Slicer."

_NRRD_BYTES = {
    "signed char": 1, "int8": 1, "int8_t": 1, "uchar": 1, "unsigned char": 1, "uint8": 1, "uint8_t": 1,
    "short": 2, "short int": 2, "signed short": 2, "signed short int": 2, "int16": 2, "int16_t": 2,
    "ushort": 2, "unsigned short": 2, "unsigned short int": 2, "uint16": 2, "uint16_t": 2,
    "int": 4, "signed int": 4, "int32": 4, "int32_t": 4, "uint": 4, "unsigned int": 4, "uint32": 4,
    "uint32_t": 4, "longlong": 8, "long long": 8, "long long int": 8, "signed long long": 8,
    "signed long long int": 8, "int64": 8, "int64_t": 8, "ulonglong": 8, "unsigned long long": 8,
    "unsigned long long int": 8, "uint64": 8, "uint64_t": 8, "float": 4, "double": 8,
}  # fmt: skip
_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip


def probe_with_itk(path: Path) -> tuple[Geometry, int]:
    """Checked geometry and SimpleITK's pixel type, from the header alone.

    Raises:
        SSLSegError: no file of its kind, or no three-dimensional scalar volume on a straight grid.
    """
    _check_magic(path)
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        # ITK's own message for one or four dimensions would not help anybody.
        header, _ = read_nrrd_header(path)
        check_layout([int(n) for n in header["sizes"]], _nrrd_components(header), False, path)
        _check_nrrd_fields(header, path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    complex_valued = reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
    check_layout(reader.GetSize(), reader.GetNumberOfComponents(), complex_valued, path)
    geometry = Geometry(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection())
    return checked_geometry(geometry, path), reader.GetPixelID()


def read_with_itk(path: Path) -> sitk.Image:
    """Read an NRRD or MetaImage volume.

    Raises:
        SSLSegError: see `probe_with_itk`; also voxels that are missing, surplus or damaged.
    """
    geometry, _ = probe_with_itk(path)
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        encoding = _check_nrrd_length(path)
    else:
        encoding = _check_meta_length(path)
    try:
        if encoding in ("bzip2", "bz2"):  # not compiled into ITK
            image = _read_bzip2(path)
        else:
            image = sitk.ReadImage(str(path))
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    geometry.set_on(image)
    return image


def read_nrrd_header(path: Path) -> tuple[dict[str, Any], int]:
    """The fields of an NRRD header and the number of bytes before the data.

    Raises:
        SSLSegError: the header cannot be understood.
    """
    _check_magic(path)
    fields: dict[str, Any] = {}
    try:
        with path.open("rb") as file:
            for line in iter(file.readline, b""):
                text = line.decode("utf-8", "replace").strip()
                if not text:
                    break
                field = re.fullmatch(r"([^:#][^:]*): *(?!=)(.*)", text)
                if field is not None:  # neither a comment nor a key of somebody's own
                    fields[field[1].strip().lower()] = field[2]
            before = file.tell()
        fields["sizes"] = [int(size) for size in fields["sizes"].split()]
        fields["encoding"] = fields["encoding"].lower()
    except (ValueError, KeyError, OSError) as error:
        raise _unreadable(path, error) from error
    if "kinds" in fields:
        fields["kinds"] = fields["kinds"].split()
    return fields, before


def _read_bzip2(path: Path) -> sitk.Image:
    import nrrd  # Slicer's own Python, which also lays volumes out, does not have it

    try:
        return sitk.GetImageFromArray(nrrd.read(str(path), index_order="C")[0])
    except nrrd.NRRDError as error:
        raise _unreadable(path, error) from error


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(1000)
    if not start:
        raise SSLSegError("The file is empty", file=path, remedy=AGAIN)
    is_nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    if not (start.startswith(b"NRRD000") if is_nrrd else b"NDims" in start):
        kind = "NRRD" if is_nrrd else "MetaImage"
        raise SSLSegError(
            f"The file does not begin like a {kind} file, whatever its name says", file=path, remedy=AGAIN
        )


def _nrrd_components(header: dict[str, Any]) -> int:
    """Values a voxel: the length of a first axis that is neither space, time nor a list of volumes."""
    kind = (header.get("kinds") or ["domain"])[0]
    if len(header["sizes"]) == 4 and kind not in ("domain", "space", "time", "list", "none", "???"):
        return int(header["sizes"][0])
    return 1


def _byte_skip(header: dict[str, Any]) -> int:
    """Bytes between the header and the voxels; -1 says that the voxels are the last bytes."""
    return int(header.get("byte skip", header.get("byteskip", 0)))


def _check_nrrd_fields(header: dict[str, Any], path: Path) -> None:
    if "space directions" not in header and "spacings" not in header:
        raise SSLSegError(
            "The header gives no spacing", file=path, remedy="Convert the original images again."
        )
    if header.get("type") not in _NRRD_BYTES:
        raise SSLSegError(f"The voxels have the type '{header.get('type')}'", file=path, remedy=_CONVERT)
    if _byte_skip(header) < -1:
        raise SSLSegError(
            f"The header has the invalid 'byte skip: {_byte_skip(header)}'", file=path, remedy=_CONVERT
        )
    _nrrd_data_file(header, path)


def _nrrd_data_file(header: dict[str, Any], path: Path) -> Path:
    name = header.get("data file", header.get("datafile"))
    return path if name is None else _data_file(path, str(name))


def _check_nrrd_length(path: Path) -> str:
    """Compare the length of the voxel data with the header; returns the encoding."""
    header, before = read_nrrd_header(path)
    data = _nrrd_data_file(header, path)
    start = before if data == path else 0
    encoding = str(header["encoding"]).lower()
    skip = _byte_skip(header)
    expected = math.prod(int(n) for n in header["sizes"]) * _NRRD_BYTES[header["type"]]
    if int(header.get("line skip", header.get("lineskip", 0))):
        return encoding  # lines of unknown length come first; ITK notices missing voxels itself
    if encoding == "raw":
        found = data.stat().st_size - start
    elif encoding in ("gzip", "gz"):
        found = _gunzipped_length(data, start, expected + max(skip, 0), path)
    else:
        return encoding
    surplus = found - expected - max(skip, 0)
    if surplus < 0 or (surplus > 0 and skip != -1):
        raise SSLSegError(
            f"The file holds {found} bytes of voxels where its header expects {expected + max(skip, 0)}",
            file=path,
            remedy=AGAIN,
        )
    return encoding


def _gunzipped_length(data: Path, start: int, expected: int, path: Path) -> int:
    """Length of the decompressed data: from the trailer where it fits, else by decompressing.

    ITK verifies the checksum when it reads the voxels.
    """
    with data.open("rb") as file:
        if data.stat().st_size - start >= 18:
            file.seek(-4, os.SEEK_END)
            if int.from_bytes(file.read(4), "little") == expected % 2**32:
                return expected
        file.seek(start)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _length(iter(lambda: stream.read(2**20), b""))
        except (EOFError, OSError, zlib.error) as error:
            raise SSLSegError(
                "The compressed voxels are damaged or cut short", file=path, remedy=AGAIN
            ) from error


def _check_meta_length(path: Path) -> str:
    fields, before = _meta_header(path)
    if not {"ElementSpacing", "ElementSize"} & fields.keys():
        raise SSLSegError(
            "The header gives no spacing", file=path, remedy="Convert the original images again."
        )
    name = fields["ElementDataFile"]
    data, start = (path, before) if name.upper() == "LOCAL" else (_data_file(path, name), 0)
    element = _META_BYTES.get(fields.get("ElementType", ""))
    if element is None:
        raise SSLSegError(
            f"The voxels have the type '{fields.get('ElementType')}'", file=path, remedy=_CONVERT
        )
    expected = math.prod(int(n) for n in fields["DimSize"].split()) * element
    header_size = int(fields.get("HeaderSize", 0))
    if fields.get("CompressedData", "False").lower() in ("true", "1"):
        found = _inflated_length(data, start, path)
    elif fields.get("BinaryData", "True").lower() not in ("true", "1"):
        return "ascii"
    else:
        found = data.stat().st_size - start - max(header_size, 0)
    if found < expected or (found > expected and header_size != -1):
        raise SSLSegError(
            f"The file holds {found} bytes of voxels where its header expects {expected}",
            file=path,
            remedy=AGAIN,
        )
    return "raw"


def _meta_header(path: Path) -> tuple[dict[str, str], int]:
    """Fields up to ElementDataFile, which the format puts last, and the number of bytes before the data."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(4096), b""):
            key, separator, value = line.decode("latin-1").partition("=")
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
            if not separator:
                break
    raise SSLSegError("The header is incomplete", file=path, remedy=AGAIN)


def _inflated_length(data: Path, start: int, path: Path) -> int:
    """Length of a zlib stream, whose checksum ITK does not look at."""
    inflate = zlib.decompressobj(wbits=47)  # zlib or gzip
    try:
        with data.open("rb") as file:
            file.seek(start)
            length = _length(inflate.decompress(block) for block in iter(lambda: file.read(2**18), b""))
    except zlib.error as error:
        raise SSLSegError("The compressed voxels are damaged", file=path, remedy=AGAIN) from error
    if not inflate.eof:
        raise SSLSegError("The compressed voxels are cut short", file=path, remedy=AGAIN)
    return length


def _length(blocks: Any) -> int:
    return sum(len(block) for block in blocks)


def _data_file(path: Path, name: str) -> Path:
    if name.upper().startswith("LIST") or "%" in name:
        raise SSLSegError("The voxels are spread over several files", file=path, remedy=_CONVERT)
    data = path.parent / name
    if not data.is_file():
        raise SSLSegError(
            f"The file with the voxels, '{name}', is missing", file=path, remedy="Copy it next to the header."
        )
    return data


def _unreadable(path: Path, error: Exception) -> SSLSegError:
    """The last line of ITK's message says what happened; the lines before it name source files."""
    reason = (str(error).strip().splitlines() or ["unknown reason"])[-1].removeprefix("sitk::ERROR: ")
    return SSLSegError(f"The file cannot be read ({reason.strip().rstrip('.')})", file=path, remedy=AGAIN)

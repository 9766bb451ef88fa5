"""Slicer's segmentations (.seg.nrrd): named, coloured segments that may overlap, and the way to a label map.

Overlapping segments lie in several layers of a four-dimensional array. `slicerio` knows the format.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import slicerio
from nrrd import NRRDError
from slicerio.segmentation import terminology_entry_to_string

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from sslseg.contract.labels import IGNORE, normalised_name
from sslseg.data.geometry import Geometry
from sslseg.data.itk_formats import AGAIN, read_nrrd_header
from sslseg.data.volume_checks import check_layout, checked_geometry, label_values

IGNORE_NAME = "ignore"
"""Name of the segment that keeps the unannotated voxels (value 255) of a label map."""
_IGNORE_COLOR = (128, 128, 128)


@dataclass(frozen=True)
class Segment:
    """One organ of a segmentation.

    Attributes:
        name: as its author wrote it.
        value, layer: its voxels are those of this value in this layer.
        color: red, green, blue, 0..255 each, or None.
        terminology: Slicer's serialised terminology entry, or None.
        status: Slicer's review state (notstarted, inprogress, completed, flagged), or None.
    """

    name: str
    value: int
    layer: int
    color: tuple[int, int, int] | None = None
    terminology: str | None = None
    status: str | None = None


@dataclass(frozen=True)
class Segmentation:
    """Segments on one grid.

    Attributes:
        segments: in the order of the file.
        layers: (L, D, H, W) integers.
        geometry: of each layer.
    """

    segments: tuple[Segment, ...]
    layers: npt.NDArray[np.integer]
    geometry: Geometry
    file: Path | None = None

    def mask(self, segment: Segment) -> npt.NDArray[np.bool_]:
        """(D, H, W), true where the segment is."""
        return self.layers[segment.layer] == segment.value


class LabelLike(Protocol):
    """What a segment is written from; `sslseg.contract.labels.Label` fits."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    @property
    def color(self) -> tuple[int, int, int]: ...
    @property
    def terminology(self) -> str | None: ...


def read_segmentation(path: str | Path) -> Segmentation:
    """Read a `.seg.nrrd` file, overlapping segments included.

    Raises:
        SSLSegError: the file is damaged, declares no segments or lies on a sheared grid.
    """
    path = Path(path)
    if not path.is_file():
        raise SSLSegError("The file does not exist", file=path, remedy="Check the path.")
    _, before = read_nrrd_header(path)
    try:
        content: dict[str, Any] = slicerio.read_segmentation(str(path))
    except (NRRDError, OSError, ValueError, EOFError, IndexError, KeyError, zlib.error) as error:
        raise SSLSegError(
            f"The segmentation is damaged ({type(error).__name__})", file=path, remedy=AGAIN
        ) from error
    voxels = content["voxels"]
    if voxels.ndim == 4 and voxels.shape[0] > 0:
        layers = voxels.transpose(0, 3, 2, 1)
    else:
        check_layout(voxels.shape, 1, False, path)
        layers = voxels.transpose(2, 1, 0)[np.newaxis]
    if layers.dtype.kind not in "iu":
        raise SSLSegError(
            "The segmentation holds fractional values",
            file=path,
            remedy="Save it in Slicer as a binary labelmap, not as a fractional one.",
        )
    size = layers.shape[:0:-1]
    check_layout(size, 1, False, path)
    geometry = checked_geometry(Geometry.from_matrix(size, content["ijkToLPS"]), path)
    entries = content["segments"]
    with path.open("rb") as file:
        names = _utf8_names(file.read(before))
    if len(names) == len(entries):
        entries = [{**entry, "name": name} for entry, name in zip(entries, names, strict=True)]
    segments = tuple(_segment(index, entry, voxels.ndim == 4) for index, entry in enumerate(entries))
    if not segments:
        raise SSLSegError(
            "The file declares no segments", file=path, remedy="If it is a label map, name it .nrrd."
        )
    if any(not 0 <= segment.layer < len(layers) for segment in segments):
        raise SSLSegError("A segment lies in a layer that the file does not hold", file=path, remedy=AGAIN)
    return Segmentation(segments, np.ascontiguousarray(layers), geometry, path)


def segmentation_to_label_map(
    segmentation: Segmentation,
    names_to_values: Mapping[str, int],
    *,
    reference: Geometry | None = None,
    resample: bool = False,
) -> sitk.Image:
    """One label map (uint8, or uint16 where a value is above 255) of all segments.

    Names match whatever their case, spaces, hyphens and underscores; the segment `ignore` gets the value 255.
    Where segments overlap, the organ that `names_to_values` declares later wins.

    Args:
        reference: grid to put the label map on. Slicer may crop a segmentation to its segments; that is
            undone exactly, since the voxels coincide.
        resample: allow any other grid too, by nearest neighbour.

    Raises:
        SSLSegError: a segment's name is not declared, or the grids do not coincide and `resample` is False.
    """
    values = {normalised_name(name): value for name, value in names_to_values.items()}
    values.setdefault(IGNORE_NAME, IGNORE)
    unknown = [s.name for s in segmentation.segments if normalised_name(s.name) not in values]
    if unknown:
        raise SSLSegError(
            f"Segments are not declared as organs: {', '.join(unknown)}",
            file=segmentation.file,
            remedy=f"Declared are {', '.join(names_to_values)}. Declare these too, or rename or remove them.",
        )
    voxels = np.zeros(segmentation.layers.shape[1:], np.uint8 if max(values.values()) <= 255 else np.uint16)
    for name, value in values.items():
        for segment in segmentation.segments:
            if normalised_name(segment.name) == name:
                voxels[segmentation.mask(segment)] = value
    labels = sitk.GetImageFromArray(voxels)
    segmentation.geometry.set_on(labels)
    if reference is None:
        return labels
    if not resample and not segmentation.geometry.shares_lattice_with(reference):
        raise SSLSegError(
            f"The segmentation does not lie on its image: {segmentation.geometry.mismatch(reference)}",
            file=segmentation.file,
            remedy="Give the image it was drawn on, or allow resampling.",
        )
    return resampled_labels(labels, reference)


def resampled_labels(labels: sitk.Image, reference: Geometry) -> sitk.Image:
    """`labels` on the grid of `reference` by nearest neighbour; background where they do not reach."""
    if Geometry.of(labels) == reference:
        return labels
    return sitk.Resample(
        labels,
        reference.size,
        sitk.Transform(),
        sitk.sitkNearestNeighbor,
        reference.origin,
        reference.spacing,
        reference.direction,
        0,
        labels.GetPixelID(),
    )


def write_segmentation(label_map: sitk.Image, labels: Sequence[LabelLike], path: str | Path) -> None:
    """Write a label map as a `.seg.nrrd` file with names, colours and terminology for Slicer, atomically.

    Every label becomes a segment, also one without voxels; voxels of value 255 become the segment `ignore`.

    Raises:
        SSLSegError: the map holds a value without a label, the name does not end in .seg.nrrd, or the file
            cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(".seg.nrrd"):
        raise SSLSegError("A segmentation's file name must end in .seg.nrrd", file=path, remedy="Rename it.")
    present = label_values(label_map)
    unknown = sorted(present - {0, IGNORE, *(label.value for label in labels)})
    if unknown:
        raise SSLSegError(
            f"The label map holds values without a label: {', '.join(map(str, unknown))}",
            file=path,
            remedy="Declare these organs.",
        )
    segments = [(label.name, label.value, label.color, label.terminology) for label in labels]
    if IGNORE in present and all(label.value != IGNORE for label in labels):
        segments.append((IGNORE_NAME, IGNORE, _IGNORE_COLOR, None))
    image = sitk.Image(label_map)
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    # ITK writes an image's metadata as the fields of the header, in UTF-8, which pynrrd cannot.
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    image.SetMetaData("Segmentation_ReferenceImageExtentOffset", "0 0 0")
    extent = " ".join(f"0 {size - 1}" for size in image.GetSize())
    for index, (name, value, color, terminology) in enumerate(segments):
        fields = {
            "ID": f"Segment_{value}",
            "Name": " ".join(name.split()),  # a line break would end the field
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{channel / 255:.6g}" for channel in color),
            "ColorAutoGenerated": "0",
            "LabelValue": str(value),
            "Layer": "0",
            "Extent": extent,
            "Tags": f"TerminologyEntry:{terminology}|" if terminology else "|",
        }
        for field, text in fields.items():
            image.SetMetaData(f"Segment{index}_{field}", text)
    with atomic_path(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=3)
        except RuntimeError as error:
            raise SSLSegError(
                "The segmentation cannot be written", file=path, remedy="Check that the disk has free space."
            ) from error


def _segment(index: int, entry: Mapping[str, Any], layered: bool) -> Segment:
    """Before Slicer 4.11 each segment had a layer of its own and no value was stored."""
    color = entry.get("color")
    terminology = entry.get("terminology")
    return Segment(
        name=str(entry.get("name", entry["id"])),
        value=int(entry.get("labelValue", 1 if layered else index + 1)),
        layer=int(entry.get("layer", index if layered else 0)),
        color=None if color is None else (_byte(color[0]), _byte(color[1]), _byte(color[2])),
        terminology=None if terminology is None else terminology_entry_to_string(terminology),
        status=entry.get("status"),
    )


def _utf8_names(header: bytes) -> list[str]:
    """Names in the order of the segments; pynrrd drops every character that is not ASCII."""
    found = re.findall(rb"^Segment(\d+)_Name:=(.*?)\r?$", header, re.MULTILINE)
    return [name.decode("utf-8", "replace") for _, name in sorted(found, key=lambda pair: int(pair[0]))]


def _byte(channel: float) -> int:
    return min(255, max(0, round(channel * 255)))

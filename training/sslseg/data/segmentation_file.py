"""Slicer's segmentations (.seg.nrrd): named, coloured segments that may overlap, and the way to a label map.

Overlapping segments lie in several layers of a four-dimensional array. `slicerio` knows the format.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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


def layered(
    organs: Iterable[tuple[Segment, npt.NDArray[np.bool_]]], geometry: Geometry, *, file: Path | None = None
) -> Segmentation:
    """Segments that may overlap, each in the first layer where it covers nothing that is there already.

    Args:
        organs: segments, whose `layer` does not count, with their masks (D, H, W).
        geometry: of the masks.
        file: where they come from.
    """
    shape = geometry.size[::-1]
    layers: list[npt.NDArray[np.integer]] = [np.zeros(shape, np.uint8)]
    segments = []
    for segment, mask in organs:
        free = next((n for n, layer in enumerate(layers) if not layer[mask].any()), len(layers))
        if free == len(layers):
            layers.append(np.zeros(shape, np.uint8))
        if segment.value > np.iinfo(layers[free].dtype).max:
            layers = [layer.astype(np.uint16) for layer in layers]
        layers[free][mask] = segment.value
        segments.append(replace(segment, layer=free))
    return Segmentation(tuple(segments), np.stack(layers), geometry, file)


def organs_of(segmentation: Segmentation, labels: Sequence[LabelLike], reference: Geometry) -> Segmentation:
    """The segments that are declared organs, with the organs' names, values and colours, on the grid of their image.

    Unlike a label map it keeps what lies under another organ: there is a second layer where organs overlap.

    Args:
        segmentation: as read; its grid must coincide with `reference`, as `segmentation_to_label_map` checks.
        labels: the organs.
        reference: grid of the image.
    """

    def organs() -> Iterator[tuple[Segment, npt.NDArray[np.bool_]]]:
        for label in labels:
            named = [
                s for s in segmentation.segments if normalised_name(s.name) == normalised_name(label.name)
            ]
            if not named:
                continue
            mask = np.logical_or.reduce([segmentation.mask(segment) for segment in named])
            image = sitk.GetImageFromArray(mask.astype(np.uint8))
            segmentation.geometry.set_on(image)
            placed = sitk.GetArrayFromImage(resampled_labels(image, reference)) > 0
            yield Segment(label.name, label.value, 0, label.color, label.terminology), placed

    return layered(organs(), reference, file=segmentation.file)


def write_segmentation(label_map: sitk.Image, labels: Sequence[LabelLike], path: str | Path) -> None:
    """Write a label map as a `.seg.nrrd` file with names, colours and terminology for Slicer, atomically.

    Every label becomes a segment, also one without voxels; voxels of value 255 become the segment `ignore`.

    Raises:
        SSLSegError: the map holds a value without a label, the name does not end in .seg.nrrd, or the file
            cannot be written.
    """
    path = Path(path)
    present = label_values(label_map)
    unknown = sorted(present - {0, IGNORE, *(label.value for label in labels)})
    if unknown:
        raise SSLSegError(
            f"The label map holds values without a label: {', '.join(map(str, unknown))}",
            file=path,
            remedy="Declare these organs.",
        )
    segments = [Segment(label.name, label.value, 0, label.color, label.terminology) for label in labels]
    if IGNORE in present and all(label.value != IGNORE for label in labels):
        segments.append(Segment(IGNORE_NAME, IGNORE, 0, _IGNORE_COLOR))
    layers = sitk.GetArrayViewFromImage(label_map)[np.newaxis]
    write_layers(Segmentation(tuple(segments), layers, Geometry.of(label_map)), path)


def write_layers(segmentation: Segmentation, path: str | Path) -> None:
    """Write segments, overlapping ones too, as a `.seg.nrrd` file, atomically.

    Raises:
        SSLSegError: the name does not end in .seg.nrrd, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.lower().endswith(".seg.nrrd"):
        raise SSLSegError("A segmentation's file name must end in .seg.nrrd", file=path, remedy="Rename it.")
    layers = segmentation.layers
    layers = layers.astype("<u2" if layers.max(initial=0) > IGNORE else "u1", copy=False)
    # The format has the layer as the fastest axis; a single layer is an ordinary volume.
    voxels = layers[0] if len(layers) == 1 else np.moveaxis(layers, 0, -1)
    packer = zlib.compressobj(level=3, wbits=31)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(_header(segmentation, voxels).encode())
        for plane in voxels:
            file.write(packer.compress(np.ascontiguousarray(plane).tobytes()))
        file.write(packer.flush())


def _header(segmentation: Segmentation, voxels: npt.NDArray[np.integer]) -> str:
    """Header of the NRRD file in UTF-8, which pynrrd cannot write; the empty line at its end included."""
    geometry = segmentation.geometry
    layered = voxels.ndim == 4
    axes = [_vector(column) for column in geometry.matrix[:3, :3].T]
    kinds = ["domain"] * 3
    lines = [
        "NRRD0004",
        f"type: {'unsigned char' if voxels.dtype.itemsize == 1 else 'unsigned short'}",
        f"dimension: {voxels.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, reversed(voxels.shape)))}",
        f"space directions: {' '.join(['none', *axes] if layered else axes)}",
        f"kinds: {' '.join(['list', *kinds] if layered else kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(geometry.origin)}",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]
    extent = " ".join(f"0 {size - 1}" for size in geometry.size)
    for index, segment in enumerate(segmentation.segments):
        fields = {
            "ID": f"Segment_{segment.value}"
            if segment.layer == 0
            else f"Segment_{segment.layer}_{segment.value}",
            "Name": " ".join(segment.name.split()),  # a line break would end the field
            "NameAutoGenerated": "0",
            "LabelValue": str(segment.value),
            "Layer": str(segment.layer),
            "Extent": extent,
            "Tags": _tags(segment),
        }
        if segment.color is not None:
            fields["Color"] = " ".join(f"{channel / 255:.6g}" for channel in segment.color)
            fields["ColorAutoGenerated"] = "0"
        lines += [f"Segment{index}_{field}:={text}" for field, text in fields.items()]
    return "\n".join(lines) + "\n\n"


def _vector(values: Iterable[float]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def _tags(segment: Segment) -> str:
    tags = [] if segment.status is None else [f"Segmentation.Status:{segment.status}"]
    tags += [] if segment.terminology is None else [f"TerminologyEntry:{segment.terminology}"]
    return "".join(f"{tag}|" for tag in tags) or "|"


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

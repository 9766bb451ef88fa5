"""From the fingerprint of a cohort to the numbers that fix preprocessing, patches and the network's depth.

The rules follow nnU-Net (Isensee 2021, Nature Methods 18) where it has one, scaled to the device at hand.
Needs neither torch nor SimpleITK, so that a shipped plan can be read anywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import IGNORE, Label, normalised_name
from sslseg.contract.strict import from_json, to_json
from sslseg.data.body import mr_background, sample
from sslseg.data.fingerprint import Fingerprint

VERSION = 1

Voxels = tuple[int, int, int]
Spacing = tuple[float, float, float]

FULL_SCALE = 32767
"""The int16 that stands for 1.0 in a prepared image."""
ANISOTROPY = 3.0
"""An axis is thick when its spacing is more than this many times that of the others (nnU-Net)."""
LEVELS = 4
"""Most downsamplings: the depth of V-Net, and all that the 3D ResNet-34 encoder has."""
SMALLEST_EDGE = 4
"""A side is halved only while at least this many voxels remain (nnU-Net)."""
CPU_PATCH = 64**3
CUDA_PATCH = 128**3
BYTES_PER_PATCH_VOXEL = 8192
"""Device memory of a training step per voxel of the patch. In bfloat16 V-Net and ResNet34-V-Net save 1.4 kB
for the backward pass of each of four patches, the losses of 14 classes about 2 kB."""
PATCHES_PER_CASE = 16
"""A typical volume holds at most this many patches; a finer grid is resampled away. See `_target_spacing`."""

_HANDED = re.compile(r"(?:^|[^a-z0-9])(?:left|right|l|r|lt|rt|sinister|dexter)(?:$|[^a-z0-9])")


@dataclass(frozen=True)
class IntensityMapping:
    """Maps intensities linearly to [0, 1] and clips.

    Attributes:
        kind: fixed for CT, whose HU mean the same everywhere; percentile for MR, whose values do not.
        lower: what becomes 0: HU, or a percentile in % of the voxels inside the body.
        upper: what becomes 1.
    """

    kind: Literal["fixed", "percentile"]
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ValueError(f"lower {self.lower} must lie below upper {self.upper}")
        if self.kind == "percentile" and not 0 <= self.lower < self.upper <= 100:
            raise ValueError("percentiles must lie between 0 and 100")

    def limits(self, volume: npt.NDArray[Any]) -> tuple[float, float]:
        """The intensities of `volume` that become 0 and 1."""
        if self.kind == "fixed":
            return self.lower, self.upper
        voxels = sample(volume)
        body = voxels[voxels > mr_background(voxels)]
        if not body.size:
            return float(voxels.min()), float(voxels.min()) + 1.0
        low, high = np.percentile(body, (self.lower, self.upper))
        return float(low), max(float(high), float(low) + 1e-6)

    def apply(self, volume: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """`volume` as float32 in [0, 1], of the same shape."""
        low, high = self.limits(volume)
        mapped = volume.astype(np.float32)
        mapped -= np.float32(low)
        mapped *= np.float32(1.0 / (high - low))
        return np.clip(mapped, 0.0, 1.0, out=mapped)


@dataclass(frozen=True)
class Plan:
    """What training and prediction must agree on; saved with every model.

    Triples are in array order (z, y, x): z runs to the patient's head, y to the back, x to the left.

    Attributes:
        version: of this format.
        modality: CT or MR.
        labels: the organs; class index 1..K is the position plus one, 0 is background.
        spacing: of the working grid, mm.
        intensity: how intensities become [0, 1].
        patch_size: voxels of a training patch and of a prediction window; a multiple of `divisor`.
        strides: downsampling of each level of the network, finest first.
        mirror_axes: spatial axes (0 z, 1 y, 2 x) along which augmentation may flip.
        fingerprint: what the plan was made from.
    """

    version: int
    modality: Literal["CT", "MR"]
    labels: tuple[Label, ...]
    spacing: Spacing
    intensity: IntensityMapping
    patch_size: Voxels
    strides: tuple[Voxels, ...]
    mirror_axes: tuple[int, ...]
    fingerprint: Fingerprint

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"the plan has version {self.version}, and this program reads version {VERSION}")
        if not self.labels or not self.strides:
            raise ValueError("a plan needs at least one organ and one level")
        if not all(math.isfinite(s) and s > 0 for s in self.spacing):
            raise ValueError(f"the spacing {self.spacing} must be positive")
        if any(factor not in (1, 2) for stride in self.strides for factor in stride):
            raise ValueError(f"the strides {self.strides} must be ones and twos")
        if any(side < 1 or side % step for side, step in zip(self.patch_size, self.divisor, strict=True)):
            raise ValueError(f"the patch {self.patch_size} must be a multiple of {self.divisor}")
        if not set(self.mirror_axes) <= {0, 1, 2}:
            raise ValueError(f"the mirror axes {self.mirror_axes} must be among 0, 1, 2")

    @property
    def classes(self) -> int:
        """C: the organs and the background."""
        return len(self.labels) + 1

    @property
    def divisor(self) -> Voxels:
        """Product of the strides, axis by axis."""
        return _product(self.strides)

    @property
    def values(self) -> npt.NDArray[np.uint8]:
        """Value in a label map of each class index: (C,), starting with 0."""
        return np.array([0, *(label.value for label in self.labels)], dtype=np.uint8)

    def to_json(self) -> dict[str, Any]:
        data = to_json(self)
        assert isinstance(data, dict)
        return data

    @classmethod
    def from_json(cls, data: Any, *, file: Path | None = None) -> Plan:
        """The inverse of `to_json`.

        Raises:
            SSLSegError: the data are no plan of this version.
        """
        return from_json(cls, data, file=file)


def make_plan(
    fingerprint: Fingerprint,
    *,
    memory_bytes: int | None = None,
    device: str = "cpu",
    patch_size: Sequence[int] | None = None,
) -> Plan:
    """The plan for a cohort and a device.

    Patch voxels are 64^3 on a CPU and 128^3 elsewhere, or fewer where a step would take more than 70 % of
    `memory_bytes`. The patch is as near to a cube in mm as the typical body allows.

    Args:
        fingerprint: of the cohort.
        memory_bytes: memory of the device; None means that it is no limit.
        device: cpu, or the name of an accelerator.
        patch_size: (z, y, x) in voxels, instead of the planned one.

    Raises:
        SSLSegError: `patch_size` cannot be halved often enough for the network.
    """
    voxels = _patch_voxels(device, memory_bytes)
    spacing = _target_spacing(fingerprint, PATCHES_PER_CASE * voxels)
    shape = _typical_shape(fingerprint, spacing)
    if patch_size is None:
        patch = _patch_in_voxels(spacing, shape, voxels)
        strides = _strides(patch, spacing)
        size = _rounded_patch(patch, spacing, _product(strides), voxels)
    else:
        z, y, x = patch_size
        size = (z, y, x)
        strides = _strides(size, spacing)
        _check_patch(size, strides)
    return Plan(
        version=VERSION,
        modality=fingerprint.modality,
        labels=fingerprint.labels,
        spacing=spacing,
        intensity=_intensity(fingerprint),
        patch_size=size,
        strides=strides,
        mirror_axes=_mirror_axes(fingerprint.labels),
        fingerprint=fingerprint,
    )


def known_classes(labels: Sequence[Label], annotated: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(C,) which classes a case tells about: the background and the organs named in `annotated`."""
    names = {normalised_name(name) for name in annotated}
    return np.array([True, *(normalised_name(label.name) in names for label in labels)], dtype=np.bool_)


def class_lookup(labels: Sequence[Label], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Table (256,) from the value in a label map to the class index; organs not `known` become 255."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    table[0] = 0
    for index, label in enumerate(labels, start=1):
        if known[index]:
            table[label.value] = index
    return table


def _patch_voxels(device: str, memory_bytes: int | None) -> int:
    most = CPU_PATCH if device == "cpu" else CUDA_PATCH
    if memory_bytes is None:
        return most
    return max(32**3, min(most, int(0.7 * memory_bytes / BYTES_PER_PATCH_VOXEL)))


def _target_spacing(fingerprint: Fingerprint, voxels: int) -> Spacing:
    """The median spacing, finer along a thick axis, coarser where a typical case would exceed `voxels`.

    Thick slices: the 10th percentile of the spacing is taken, yet none finer than the other axes (nnU-Net).
    Budget: nnU-Net trains on a coarser grid when its patch covers less than a quarter of the volume, because
    the patch then sees too little context. Here every axis finer than a common spacing is raised to it.
    """
    spacing = np.array(fingerprint.spacing)
    thick = int(spacing.argmax())
    others = np.delete(spacing, thick)
    if spacing[thick] > ANISOTROPY * others.max():
        spacing[thick] = max(min(spacing[thick], fingerprint.fine_spacing[thick]), others.max())
    extent = np.array(fingerprint.extent)
    if np.prod(extent / spacing) > voxels:
        low, high = float(spacing.min()), float(extent.max())
        for _ in range(50):
            middle = (low + high) / 2
            if np.prod(extent / np.maximum(spacing, middle)) > voxels:
                low = middle
            else:
                high = middle
        spacing = np.maximum(spacing, high)
    z, y, x = (round(float(s), 3) for s in spacing)
    return z, y, x


def _typical_shape(fingerprint: Fingerprint, spacing: Spacing) -> Voxels:
    z, y, x = (max(1, round(e / s)) for e, s in zip(fingerprint.extent, spacing, strict=True))
    return z, y, x


def _patch_in_voxels(spacing: Spacing, shape: Voxels, voxels: int) -> Voxels:
    """The cube in mm of `voxels` voxels, cut to `shape`; what is cut off one axis goes to the others."""
    low, high = 0.0, float(np.max(np.multiply(shape, spacing)))
    for _ in range(50):
        side = (low + high) / 2
        if np.prod(np.minimum(shape, side / np.array(spacing))) > voxels:
            high = side
        else:
            low = side
    z, y, x = (max(1, math.floor(min(n, high / s))) for n, s in zip(shape, spacing, strict=True))
    return z, y, x


def _strides(patch: Voxels, spacing: Spacing) -> tuple[Voxels, ...]:
    """Halve an axis only while it is less than twice as thick as the finest that can still be halved."""
    edge, step = np.array(patch, dtype=float), np.array(spacing)
    strides: list[Voxels] = []
    while len(strides) < LEVELS:
        possible = edge / 2 >= SMALLEST_EDGE
        if not possible.any():
            break
        halved = possible & (step < 2 * step[possible].min())
        z, y, x = (2 if half else 1 for half in halved)
        strides.append((z, y, x))
        edge, step = np.where(halved, edge / 2, edge), np.where(halved, step * 2, step)
    # A volume of a few voxels only: one level, its sides are padded.
    return tuple(strides) or ((2, 2, 2),)


def _rounded_patch(patch: Voxels, spacing: Spacing, divisor: Voxels, voxels: int) -> Voxels:
    """Round up to multiples of `divisor`, then shorten the longest side in mm until `voxels` suffice."""
    step = np.array(divisor)
    size = np.ceil(np.array(patch) / step).astype(int) * step
    while size.prod() > voxels and (size > SMALLEST_EDGE * step).any():
        length = np.where(size > SMALLEST_EDGE * step, size * spacing, 0.0)
        longest = int(length.argmax())
        size[longest] -= step[longest]
    z, y, x = size.tolist()
    return z, y, x


def _check_patch(size: Voxels, strides: Sequence[Voxels]) -> None:
    divisor = _product(strides)
    fitting = [max(d, round(n / d) * d) for n, d in zip(size, divisor, strict=True)]
    if list(size) != fitting or min(size) < 2 * SMALLEST_EDGE:
        raise SSLSegError(
            f"A patch of {' x '.join(map(str, size))} voxels cannot be halved {len(strides)} times",
            remedy=f"Take {' x '.join(str(max(n, 2 * SMALLEST_EDGE)) for n in fitting)} (z, y, x).",
        )


def _intensity(fingerprint: Fingerprint) -> IntensityMapping:
    """CT: the 0.5th to 99.5th percentile of the organs, outward to 10 HU, so that a new case rarely moves it.

    With fewer than ten annotated cases the window is widened by a tenth of its width on both sides; it is at
    least 200 HU wide. MR: the same percentiles of each volume.
    """
    if fingerprint.modality == "MR":
        return IntensityMapping("percentile", 0.5, 99.5)
    lower, _, upper = fingerprint.intensity
    margin = 0.1 * (upper - lower) if fingerprint.annotated < 10 else 0.0
    margin = max(margin, (200 - (upper - lower)) / 2)
    return IntensityMapping(
        "fixed", math.floor((lower - margin) / 10) * 10.0, math.ceil((upper + margin) / 10) * 10.0
    )


def _mirror_axes(labels: Sequence[Label]) -> tuple[int, ...]:
    """Left-right only, and only if no organ's name says a side.

    A mirrored left kidney is a right kidney: flipping it would teach a wrong label. No patient of a cohort is
    mirrored from head to foot or front to back, so these axes stay out.
    """
    handed = any(_HANDED.search(label.name.lower()) for label in labels)
    return () if handed else (2,)


def _product(strides: Sequence[Voxels]) -> Voxels:
    z, y, x = (math.prod(stride[axis] for stride in strides) for axis in range(3))
    return z, y, x

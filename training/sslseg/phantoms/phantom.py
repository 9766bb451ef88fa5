"""CT-like phantoms of the upper abdomen: a cohort to learn on that needs no patient.

What makes them worth learning is what makes real scans hard: neighbours of equal density, three phases of
contrast, organs of very different size, look-alikes that are not labelled (vena cava, iliac arteries, bowel,
stomach, pancreas), noise and uneven brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sslseg.contract.files import write_json, write_text
from sslseg.contract.labels import Label
from sslseg.data.volumes import write_volume
from sslseg.phantoms.anatomy import Patient, paint_organs, paint_surroundings

PHANTOM_LABELS: tuple[Label, ...] = (
    Label("liver", 1, (224, 138, 79)),
    Label("spleen", 2, (167, 118, 214)),
    Label("right_kidney", 3, (244, 201, 93)),
    Label("left_kidney", 4, (84, 190, 206)),
    Label("aorta", 5, (232, 78, 84)),
    Label("gallbladder", 6, (128, 204, 118)),
)

GRID = (56, 72, 96)
"""Voxels along z, y, x; some 280 x 288 x 384 mm."""

PHASES = ("none", "arterial", "portal venous")


@dataclass(frozen=True)
class Phantom:
    """One phantom as it would be stored.

    Attributes:
        image: int16 HU, (z, y, x).
        label: uint8, (z, y, x), the values of `PHANTOM_LABELS`.
        spacing: mm, (z, y, x).
        origin: mm in LPS, (x, y, z) of voxel (0, 0, 0).
        direction: the nine numbers of SimpleITK's direction matrix.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    def volumes_ml(self) -> dict[str, float]:
        """Millilitres of every organ."""
        voxel = float(np.prod(self.spacing)) / 1000
        return {organ.name: float((self.label == organ.value).sum()) * voxel for organ in PHANTOM_LABELS}


def make_phantom(seed: int, *, index: int) -> Phantom:
    """Phantom number `index` of the cohort `seed`; the same numbers give the same phantom, bit for bit.

    The phases of contrast take turns. In every fifth phantom, from number 3 on, the first two axes run to the
    patient's right and front, as in many NIfTI files: software that ignores the direction swaps the kidneys.
    """
    random = np.random.default_rng([seed, index])
    in_plane = round(random.uniform(3.85, 4.15), 3)
    spacing = (round(random.uniform(4.8, 5.2), 3), in_plane, in_plane)
    patient = Patient(random, GRID, spacing, phase=index % len(PHASES))
    paint_surroundings(patient)
    organs = paint_organs(patient)
    label = np.zeros(GRID, np.uint8)
    for organ in PHANTOM_LABELS:
        label[organs[organ.name]] = organ.value
    image = _scan(patient)

    extent = [step * (n - 1) for step, n in zip(spacing[::-1], GRID[::-1], strict=True)]
    origin = [round(random.uniform(-60, 60) - 0.5 * length, 3) for length in extent]
    direction = np.eye(3)
    if index % 5 == 3:
        image, label = image[:, ::-1, ::-1], label[:, ::-1, ::-1]
        origin[:2] = [round(origin[axis] + extent[axis], 3) for axis in (0, 1)]
        direction[0, 0] = direction[1, 1] = -1
    return Phantom(
        np.ascontiguousarray(image),
        np.ascontiguousarray(label),
        spacing,
        (origin[0], origin[1], origin[2]),
        tuple(direction.ravel().tolist()),
    )


def write_phantom_dataset(folder: str | Path, *, cases: int, test: int, seed: int) -> Path:
    """Write a data set of `cases` phantoms, of which the last `test` are kept for testing.

    The folder gets `images/<case>.nii.gz`, `labels/<case>.nii.gz`, `train.txt`, `test.txt`, `dataset.json`.

    Raises:
        ValueError: nothing would be left for training.
        SSLSegError: the folder cannot be written to.
    """
    if not 0 <= test < cases:
        raise ValueError(f"{test} of {cases} cases cannot be kept for testing")
    folder = Path(folder)
    names = [f"phantom_{index + 1:03d}" for index in range(cases)]
    for index, name in enumerate(names):
        phantom = make_phantom(seed, index=index)
        write_volume(_to_sitk(phantom, phantom.image), folder / "images" / f"{name}.nii.gz")
        write_volume(_to_sitk(phantom, phantom.label), folder / "labels" / f"{name}.nii.gz")
    train, kept = names[: cases - test], names[cases - test :]
    write_text(folder / "train.txt", "".join(f"{name}\n" for name in train))
    write_text(folder / "test.txt", "".join(f"{name}\n" for name in kept))
    labels = {"0": "background"} | {str(organ.value): organ.name for organ in PHANTOM_LABELS}
    description = {"name": f"Abdominal CT phantoms, seed {seed}", "modality": "CT", "labels": labels}
    write_json(folder / "dataset.json", description)
    return folder


def _to_sitk(phantom: Phantom, voxels: NDArray[np.int16] | NDArray[np.uint8]) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(phantom.spacing[::-1])
    image.SetOrigin(phantom.origin)
    image.SetDirection(phantom.direction)
    return image


def _scan(patient: Patient) -> NDArray[np.int16]:
    """What a scanner makes of the patient: blur, texture, cupping, uneven brightness, noise; int16 HU."""
    random = patient.random
    hu = patient.hu + np.where(patient.body, 7 * patient.noise(16), 0)
    hu = gaussian_filter(hu, (0.45, 0.5, 0.5))
    depth = gaussian_filter(patient.body.astype(np.float32), (0, 9, 9))
    uneven = 8 * patient.noise(120) - 14 * random.uniform(0, 1) * depth
    # Noise is strongest where the rays cross most tissue, and its grain is a little wider than a voxel.
    grain = gaussian_filter(random.standard_normal(hu.shape).astype(np.float32), (0.3, 0.6, 0.6))
    noise = random.uniform(11, 21) * grain / grain.std() * (0.35 + 0.85 * depth)
    hu = hu + np.where(patient.body, uneven, 0) + noise
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)

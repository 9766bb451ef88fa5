"""Tiny synthetic CT scans with organs that are easy to tell apart, as files and as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.labels import parse_labels

SHAPE = (16, 24, 24)
"""Voxels (z, y, x)."""
SPACING = (4.0, 4.0, 5.0)
ORIGIN = (-60.0, 25.5, -300.25)
DIRECTION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
"""mm and axes (x, y, z) of LPS: the scans lie upside down, as some do."""
ORGANS = {
    "liver": (200, 4.5, (7, 10, 8)),
    "spleen": (-150, 3.2, (9, 7, 17)),
    "right kidney": (450, 3.0, (6, 17, 16)),
}
"""Of each organ: Hounsfield units, radius and middle (z, y, x) in voxels."""


@dataclass(frozen=True)
class Scan:
    """One scan.

    Attributes:
        image: (z, y, x) Hounsfield units.
        organs: the voxels of each organ.
    """

    image: np.ndarray
    organs: dict[str, np.ndarray]


def a_scan(number: int, *, without: str = "") -> Scan:
    """Air around a body of soft tissue with an ellipsoid for every organ but `without`, elsewhere in every scan."""
    random = np.random.default_rng(number)
    grid = np.indices(SHAPE)
    image = random.normal(-1000, 5, SHAPE)
    body = (slice(1, -1), slice(2, -2), slice(2, -2))
    image[body] = random.normal(20, 10, image[body].shape)
    organs = {}
    for name, (units, radius, middle) in ORGANS.items():
        centre = np.array(middle) + random.uniform(-1, 1, 3)
        inside = (((grid - centre[:, None, None, None]) ** 2).sum(axis=0) < radius**2) & (name != without)
        image[inside] = random.normal(units, 10, int(inside.sum()))
        organs[name] = inside
    return Scan(np.round(image).astype(np.int16), organs)


def write_scan(path: Path, scan: Scan) -> None:
    """As a file that Slicer and the backend read."""
    image = sitk.GetImageFromArray(scan.image)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(DIRECTION)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def make_cohort(folder: Path, cases: int, *, annotated: int) -> None:
    """A cohort of scans `case_0`, `case_1` and so on; all organs of the first ones are annotated."""
    labels = parse_labels("liver=6,spleen=1,right kidney=2")
    Cohort.create(folder, name=folder.name, modality="CT", labels=labels)
    with Cohort.edit(folder) as cohort:
        for number in range(cases):
            scan, case = a_scan(number), Case(f"case_{number}", f"images/case_{number}.nii.gz")
            write_scan(folder / case.image, scan)
            if number < annotated:
                case.label, case.annotated = f"labels/case_{number}.nii.gz", labels.names
                drawn = sum(label.value * scan.organs[label.name] for label in labels)
                write_scan(folder / case.label, Scan(drawn.astype(np.uint8), {}))
            cohort.cases.append(case)


def ijk_to_ras() -> np.ndarray:
    """4 x 4: where the voxels of a scan lie in Slicer's scene."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(DIRECTION).reshape(3, 3) * SPACING
    matrix[:3, 3] = ORIGIN
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix

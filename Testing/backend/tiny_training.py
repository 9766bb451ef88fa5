"""A cohort of tiny volumes and a training of a few steps, for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.events import FIELDS
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.settings import TrainSettings

ORGANS = LabelTable([Label("liver", 1, (200, 80, 80)), Label("spleen", 7, (80, 80, 200))])
SIDE = 24


class Events:
    """Takes the events of a run and checks their fields, as the file of a job would."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def write(self, event: str, **fields: Any) -> None:
        assert FIELDS[event] <= set(fields), event
        self.all.append((event, fields))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.all if event == kind]


def write_volumes(folder: Path, name: str, seed: int) -> None:
    """A body of soft tissue with a bright and a dim cube in it."""
    random = np.random.default_rng(seed)
    image = random.normal(-1000, 5, (SIDE, SIDE, SIDE))
    image[2:-2, 2:-2, 2:-2] = random.normal(0, 10, (SIDE - 4,) * 3)
    label = np.zeros(image.shape, np.uint8)
    for value, hu in ((1, 200), (7, -150)):
        z, y, x = random.integers(3, SIDE - 11, 3)
        box = (slice(z, z + 8), slice(y, y + 8), slice(x, x + 8))
        image[box] = random.normal(hu, 10, (8, 8, 8))
        label[box] = value
    for array, path in ((image.astype(np.int16), "images"), (label, "labels")):
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((4.0, 4.0, 4.0))
        (folder / path).mkdir(exist_ok=True)
        sitk.WriteImage(volume, str(folder / path / f"{name}.nii.gz"))


def make_cohort(folder: Path, *, annotated: int, unlabelled: int) -> Cohort:
    Cohort.create(folder, name="cubes", modality="CT", labels=ORGANS)
    with Cohort.edit(folder) as cohort:
        for number in range(annotated + unlabelled):
            name = f"case_{number}"
            write_volumes(folder, name, number)
            case = Case(name, f"images/{name}.nii.gz")
            if number < annotated:
                case.label, case.annotated = f"labels/{name}.nii.gz", ORGANS.names
            cohort.cases.append(case)
    return Cohort.read(folder)


def tiny_settings(**changes: Any) -> TrainSettings:
    fields: dict[str, Any] = {
        "method": "supervised",
        "model": "cubes",
        "network": "vnet",
        "steps": 3,
        "patch_size": (16, 16, 16),
        "labelled_batch": 1,
        "unlabelled_batch": 1,
        "device": "cpu",
        "validation_cases": 0,
    }
    return TrainSettings(**fields | changes)

"""A tiny data set that every test of the command line can afford to train on; the stand-in for those of the panel."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from driving import command_line, environment
from standin.fixtures import no_error_in_a_slot

__all__ = ["no_error_in_a_slot"]

SIZE = (24, 40, 32)
SPACING = (1.5, 1.5, 2.5)
"""mm (x, y, z)"""


@pytest.fixture(scope="session")
def a_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine volumes with a large bright and a small dark ball in noise; seven to train with, two to test."""
    folder = tmp_path_factory.mktemp("balls")
    random = np.random.default_rng(0)
    names = [f"ball_{number}" for number in range(9)]
    for name in names:
        image, label = _two_balls(random)
        for array, kind in ((image, "images"), (label, "labels")):
            (folder / kind).mkdir(exist_ok=True)
            volume = sitk.GetImageFromArray(array)
            volume.SetSpacing(SPACING)
            volume.SetOrigin((-31.25, 12.5, 7.75))
            sitk.WriteImage(volume, str(folder / kind / f"{name}.nii.gz"))
    (folder / "train.txt").write_text("\n".join(names[:7]) + "\n")
    (folder / "test.txt").write_text("\n".join(names[7:]) + "\n")
    (folder / "dataset.json").write_text(
        json.dumps(
            {"name": "balls", "modality": "CT", "labels": {"0": "background", "1": "large", "2": "small"}}
        )
    )
    return folder


def _two_balls(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    z, y, x = np.indices(SIZE)
    image = random.normal(0, 25, SIZE)
    label = np.zeros(SIZE, np.uint8)
    centre = np.array([12, 20, 11]) + random.uniform(-2, 2, 3)
    for value, radius, brightness, offset in ((1, 7.0, 180, (0, 0, 0)), (2, 3.2, -220, (0, 1, 12))):
        cz, cy, cx = centre + offset
        ball = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        image[ball] += brightness
        label[ball] = value
    return image.astype(np.int16), label


@pytest.fixture
def sslseg() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command as a user would, in a process of its own."""

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(
            command_line(*arguments), capture_output=True, encoding="utf-8", check=False, env=environment()
        )
        if check and process.returncode:
            raise AssertionError(f"exit code {process.returncode}\n{process.stdout}\n{process.stderr}")
        return process

    return run

"""Synthetic preprocessed cases to train on and to load, in our store and as whole volumes in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslseg.contract.files import read_json
from sslseg.data.plan import FULL_SCALE
from sslseg.data.store import ForegroundPoints, StoredCase, write_entry

Size = tuple[int, int, int]


def make_case(shape: Size, organs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Image float32 in [0, 1] and label uint8: ellipsoids of different size and brightness in noise."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape), indexing="ij", sparse=True)
    label = np.zeros(shape, np.uint8)
    for organ in range(1, organs + 1):
        centre = [random.uniform(0.2, 0.8) * side for side in shape]
        radius = [random.uniform(0.08, 0.22) * side for side in shape]
        distance = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radius, strict=True))
        label[distance < 1] = organ
    image = 0.2 + 0.7 * label / organs + random.normal(0, 0.08, shape)
    return np.clip(image, 0, 1).astype(np.float32), label


def write_cases(folder: Path, count: int, shape: Size, organs: int, *, whole: bool = False) -> None:
    """`count` entries of the patch store and, if `whole`, the same volumes as compressed float32 files.

    The files stand for the HDF5 files the field trains from, and are compressed alike (deflate).
    """
    for number in range(count):
        image, label = make_case(shape, organs, number)
        write_entry(folder / str(number), np.rint(image * FULL_SCALE).astype(np.int16), label)
        if whole:
            np.savez_compressed(whole_file(folder, number), image=image, label=label)


def whole_file(folder: Path, number: int) -> Path:
    """The whole volume of a case: `image` float32 and `label` uint8."""
    return folder / f"{number}.npz"


def stored_cases(folder: Path, count: int, organs: int) -> list[StoredCase]:
    """The entries that `write_cases` wrote, every organ annotated."""
    cases = []
    for number in range(count):
        entry = folder / str(number)
        manifest = read_json(entry / "manifest.json")
        points = ForegroundPoints(entry / "foreground.bin", [tuple(pair) for pair in manifest["foreground"]])
        known = np.ones(organs + 1, np.bool_)
        cases.append(StoredCase(entry.name, tuple(manifest["shape"]), True, known, points, entry))
    return cases

"""Drawing patches against MONAI's data sets, with the host memory it takes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sslseg.bench.speed.cases import Size, stored_cases, write_cases
from sslseg.bench.speed.harness import Effort, Side, Turns, compare
from sslseg.bench.speed.table import Row, Target, number
from sslseg.data.plan import FULL_SCALE
from sslseg.data.sampling import PatchSampler

GROUP = "Patches"
COUNTS = (20, 200)
VOLUME: Size = (80, 144, 144)
PATCH: Size = (64, 64, 64)
ORGANS = 5
DRAWS = 100
"""Patches of a turn of ours; the peers draw a tenth of them."""


def measure_patches(device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """A row for each peer and number of cases."""
    counts = (3, 6) if quick else COUNTS
    volume, patch = ((24, 40, 40), (16, 16, 16)) if quick else (VOLUME, PATCH)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing {counts[-1]} cases of {'x'.join(map(str, volume))} voxels")
        write_cases(folder, counts[-1], volume, ORGANS)
        for count in counts:
            say(f"patches of {count} cases")
            arguments = (folder, count, patch)
            imports = ("sslseg.bench.speed.patches", "torch")
            theirs = (*imports, "monai.data", "monai.transforms")
            sides = [
                Side("ours", draw_ours, arguments, DRAWS, imports),
                Side("CacheDataset", draw_cached, arguments, DRAWS // 10, theirs),
                Side("PersistentDataset", draw_persistent, arguments, DRAWS // 10, theirs),
            ]
            measured = compare(sides, "cpu", effort)
            ours = measured["ours"]
            for peer in ("CacheDataset", "PersistentDataset"):
                work = f"{count} cases of {'x'.join(map(str, volume))}, patch {'x'.join(map(str, patch))}"
                rows.append(
                    Row.against(
                        GROUP,
                        work,
                        f"MONAI {peer}",
                        ours,
                        measured[peer],
                        target=Target(1.0),
                        note=f"{number(1 / ours.median)} : {number(1 / measured[peer].median)} patches/s; "
                        "ours with the margin that rotation needs (2 times the voxels)",
                    )
                )
    return rows


def draw_ours(turns: Turns, folder: Path, count: int, patch: Size) -> None:
    """A side: a labelled patch from the store."""
    cases = stored_cases(folder, count, ORGANS)
    sampler = PatchSampler(cases, patch_size=patch, labelled_batch=1, seed=0)
    steps = iter(range(10**9))

    def work() -> None:
        sampler.batch(next(steps))

    turns.each(work)


def draw_cached(turns: Turns, folder: Path, count: int, patch: Size) -> None:
    """A side: every volume held in memory."""
    from monai.data import CacheDataset

    _draw_monai(turns, CacheDataset(_items(folder, count), _transform(patch), num_workers=2, progress=False))


def draw_persistent(turns: Turns, folder: Path, count: int, patch: Size) -> None:
    """A side: every volume in a file, read whole."""
    from monai.data import PersistentDataset

    _draw_monai(turns, PersistentDataset(_items(folder, count), _transform(patch), folder / "persistent"))


def _draw_monai(turns: Turns, dataset: Any) -> None:
    for index in range(len(dataset)):
        # The first access of a case fills the data set's files, and is not counted.
        dataset[index]
    random = np.random.default_rng(0)

    def work() -> None:
        dataset[int(random.integers(len(dataset)))]

    turns.each(work)


def _items(folder: Path, count: int) -> list[dict[str, Any]]:
    return [{"case": str(folder), "number": number_of_case} for number_of_case in range(count)]


def read_item(item: dict[str, Any]) -> dict[str, np.ndarray]:
    """The whole volume as MONAI's loaders give it: a channel first, float32."""
    case = stored_cases(Path(item["case"]), item["number"] + 1, ORGANS)[-1]
    image, label = case.read_all()
    assert label is not None
    return {"image": image[None].astype(np.float32) / FULL_SCALE, "label": label[None]}


def _transform(patch: Size) -> Any:
    from monai.transforms import Compose, EnsureTyped, Lambda, RandCropByPosNegLabeld

    return Compose(
        [
            Lambda(read_item),
            EnsureTyped(keys=("image", "label")),
            # Like our sampler, a patch in three lies anywhere.
            RandCropByPosNegLabeld(
                keys=("image", "label"),
                label_key="label",
                spatial_size=patch,
                pos=2,
                neg=1,
                num_samples=1,
            ),
        ]
    )

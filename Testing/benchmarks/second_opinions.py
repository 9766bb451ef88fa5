"""Does a second opinion of one network tell how good its prediction is?

`python Testing/benchmarks/second_opinions.py COHORT MODEL` predicts the validation cases of a cohort again, each time
with something changed, and prints Spearman's correlation between the true Dice of an organ and its Dice with the
changed prediction; for the windows, with how little they vary where the organ is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslseg.bench.quality import spearman
from sslseg.bundle.model_folder import load_model
from sslseg.contract.cohort import Cohort, Use
from sslseg.data.plan import FULL_SCALE
from sslseg.data.preprocess import prepare_image, prepare_label
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.evaluate.overlap import dice_per_class
from sslseg.inference.sliding_window import Ensemble, sliding_window

Array = np.ndarray
NOISE = 0.05
CHANGES: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "windows on another grid": (0.25, lambda image: image),
    "brightened": (0.25, lambda image: image**0.7),
    "darkened": (0.25, lambda image: image**1.4),
    "noise": (
        0.25,
        lambda image: np.clip(image + _noise(image.shape) * (image > 0), 0, 1).astype(np.float32),
    ),
}
"""Overlap of the windows, and what becomes of the image in [0, 1]."""


class Spread(Ensemble):
    """Adds a channel: the sum of the squared probabilities, whose excess in the mean is the variance of the windows."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.compares = True

    def __call__(self, windows: Tensor) -> Tensor:
        self.compares = False
        probabilities = super().__call__(windows)
        self.compares = True
        return torch.cat([probabilities, probabilities.square().sum(1, keepdim=True)], dim=1)


def _noise(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).normal(0, NOISE, shape).astype(np.float32)


def measured(cohort: Cohort, name: str) -> Iterator[tuple[float, dict[str, float]]]:
    """True Dice of each organ of each validation case, and what each second opinion says of it."""
    model = load_model(cohort.model_folder(name))
    plan, classes = model.plan, range(1, model.plan.classes)
    ensemble = Spread(model.networks, torch.device("cpu"), bfloat16=False)

    def predict(image: Array, overlap: float) -> tuple[Array, Array]:
        slabs = [
            (slab.probabilities.clone(), slab.disagreement.clone())
            for slab in sliding_window(ensemble, image, plan.patch_size, overlap=overlap)
        ]
        probabilities, squares = (torch.cat(parts) for parts in zip(*slabs, strict=True))
        variance = (squares - probabilities.square().sum(1)).clamp_min(0)
        return probabilities.argmax(1).numpy().astype(np.uint8), variance.numpy()

    for case in (case for case in cohort.cases if case.use is Use.VALIDATION):
        scan = read_volume(cohort.image_path(case))
        prepared = prepare_image(scan, plan)
        path = cohort.label_path(case)
        label_map = read_label_map(path, allowed=cohort.labels.values, reference=scan)
        truth = prepare_label(label_map, prepared.grid, plan, case)
        image = prepared.array.astype(np.float32) / FULL_SCALE
        labels, variance = predict(image, 0.5)
        dice = dice_per_class(labels, truth, classes)
        others = {}
        for change, (overlap, changed) in CHANGES.items():
            others[change] = dice_per_class(labels, predict(changed(image), overlap)[0], classes)
        for index in classes:
            inside = labels == index
            if inside.any() and np.isfinite(dice[index - 1]):
                opinions = {change: float(found[index - 1]) for change, found in others.items()}
                yield float(dice[index - 1]), opinions | {"windows alike": -float(variance[inside].mean())}


def main(folder: str, model: str) -> None:
    rows = list(measured(Cohort.read(Path(folder)), model))
    dice = np.array([row[0] for row in rows])
    print(f"{len(rows)} organs")
    for opinion in rows[0][1]:
        print(f"{opinion:24s} {spearman(np.array([row[1][opinion] for row in rows]), dice):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Time of an evaluation against MONAI and medpy, all in one run on one machine.

    python Testing/benchmarks/evaluation_speed.py [--repeats 3]

Every library is asked for what a table of results needs: the 95 % Hausdorff distance, the average surface
distance and (where it has one) the surface Dice in mm of each organ, and the Dice of all organs. They take
turns, and the fastest of the repeats counts. The scores must agree, or the comparison stops.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from sslseg.evaluate.overlap import dice_per_class
from sslseg.evaluate.surface import SurfaceDistances, surface_distances

TOLERANCE_MM = 2.0
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """Two label maps of one synthetic case."""

    name: str
    prediction: np.ndarray
    reference: np.ndarray
    spacing: Spacing


def scene(name: str, shape: tuple[int, int, int], spacing: Spacing, organs: int, error: float) -> Scene:
    """`organs` blobs on a ring, or one in the middle; `error` sets how far the predicted surface wanders."""
    rng = np.random.default_rng(0)
    sigma = max(2.0, min(shape) / 16)
    waves = [ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma) for _ in range(2)]
    waves = [wave / wave.std() for wave in waves]
    axes = np.meshgrid(
        *(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True
    )
    label_maps = np.zeros((2, *shape), np.uint8)
    for organ in range(organs):
        angle, ring = 2 * np.pi * organ / organs, 0.0 if organs == 1 else 0.65
        centre = (0.0, ring * np.sin(angle), ring * np.cos(angle))
        radius = 0.6 if organs == 1 else 0.9 / organs**0.5 / (1 + organ % 3)
        inside = radius - np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)))
        for label_map, amplitude in zip(label_maps, (error, 0.0), strict=True):
            label_map[inside + radius * (0.08 * waves[0] + amplitude * waves[1]) > 0] = organ + 1
    return Scene(name, label_maps[0], label_maps[1], spacing)


def ours(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> tuple[float, float, float]:
    return _scores(surface_distances(prediction, reference, spacing))


def _scores(distances: SurfaceDistances) -> tuple[float, float, float]:
    return distances.hd95(), distances.mean(), distances.surface_dice(TOLERANCE_MM)


def medpy(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> tuple[float, float]:
    from medpy.metric.binary import assd, hd95

    return float(hd95(prediction, reference, spacing)), float(assd(prediction, reference, spacing))


def monai(prediction: np.ndarray, reference: np.ndarray, spacing: Spacing) -> tuple[float, float, float]:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": spacing}
    return (
        compute_hausdorff_distance(*masks, percentile=95, **options).item(),
        compute_average_surface_distance(*masks, symmetric=True, **options).item(),
        compute_surface_dice(*masks, [TOLERANCE_MM], **options).item(),
    )


def monai_dice(prediction: np.ndarray, reference: np.ndarray, classes: int) -> np.ndarray:
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    maps = [
        one_hot(torch.from_numpy(m)[None, None], classes + 1, dtype=torch.uint8)
        for m in (prediction, reference)
    ]
    return compute_dice(*maps, include_background=False)[0].numpy()


def medpy_dice(prediction: np.ndarray, reference: np.ndarray, classes: int) -> np.ndarray:
    from medpy.metric.binary import dc

    return np.array([dc(prediction == value, reference == value) for value in range(1, classes + 1)])


def fastest(
    functions: dict[str, Callable[[], object]], repeats: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds and result of each function; the functions take turns, so a busy moment hits all of them."""
    seconds = dict.fromkeys(functions, float("inf"))
    results: dict[str, Any] = {}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def report(name: str, seconds: dict[str, float]) -> None:
    times = "".join(f"{1000 * seconds[key]:10.1f}" for key in ("sslseg", "monai", "medpy"))
    ratios = "".join(f"{seconds[key] / seconds['sslseg']:9.1f}x" for key in ("monai", "medpy"))
    print(f"{name:46}{times} {ratios}", flush=True)


def compare(case: Scene, repeats: int) -> None:
    """Print the times of one case and check that the scores agree."""
    classes = int(case.reference.max())
    masks = [(case.prediction == v, case.reference == v) for v in range(1, classes + 1)]
    usable = [pair for pair in masks if pair[0].any() and pair[1].any()]

    def surfaces(score: Callable[..., tuple[float, ...]]) -> Callable[[], list[tuple[float, ...]]]:
        return lambda: [score(*pair, case.spacing) for pair in usable]

    seconds, results = fastest(
        {"sslseg": surfaces(ours), "monai": surfaces(monai), "medpy": surfaces(medpy)}, repeats
    )
    np.testing.assert_allclose(
        np.array(results["sslseg"])[:, :2], np.array(results["medpy"]), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        np.array(results["sslseg"])[:, 1:], np.array(results["monai"])[:, 1:], rtol=1e-4, atol=1e-5
    )
    report(f"{case.name}: surfaces", seconds)

    maps = (case.prediction, case.reference)
    seconds, results = fastest(
        {
            "sslseg": lambda: dice_per_class(*maps, range(1, classes + 1)),
            "monai": lambda: monai_dice(*maps, classes),
            "medpy": lambda: medpy_dice(*maps, classes),
        },
        repeats,
    )
    np.testing.assert_allclose(results["sslseg"], results["monai"], rtol=1e-5)
    np.testing.assert_allclose(results["sslseg"], results["medpy"], rtol=1e-9)
    report(f"{case.name}: Dice", seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(f"{'':46}{'sslseg ms':>10}{'monai ms':>10}{'medpy ms':>10} {'monai':>9} {'medpy':>9}")
    scenes = [
        ("35x50x36, 2 organs, good", (35, 50, 36), (1.0, 1.0, 1.0), 2, 0.03),
        ("35x50x36, 2 organs, poor", (35, 50, 36), (1.0, 1.0, 1.0), 2, 0.3),
        ("88x144x192, 1 organ, good", (88, 144, 192), (1.25, 0.625, 0.625), 1, 0.03),
        ("88x144x192, 1 organ, poor", (88, 144, 192), (1.25, 0.625, 0.625), 1, 0.3),
        ("64x192x192, 5 organs, good", (64, 192, 192), (3.0, 1.0, 1.0), 5, 0.03),
    ]
    for each in scenes:
        compare(scene(*each), arguments.repeats)


if __name__ == "__main__":
    main()

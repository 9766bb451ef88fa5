"""Evaluation against MONAI's and medpy's metrics; the scores must agree, or the comparison stops.

Every library is asked for what a table of results needs: of each organ the 95 % Hausdorff distance, the
average surface distance and (where it has one) the surface Dice in mm, and the Dice of all organs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from sslseg.bench.speed.harness import Effort, Facts, Measured, Side, Turns, compare
from sslseg.bench.speed.table import Row, Target
from sslseg.contract.errors import SSLSegError
from sslseg.evaluate.overlap import dice_per_class
from sslseg.evaluate.surface import surface_distances

GROUP = "Evaluation"
TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Scene:
    """A synthetic case: `organs` blobs on a ring, or one in the middle.

    Attributes:
        name: in the table.
        shape: voxels (z, y, x).
        spacing: mm (z, y, x).
        organs: number of blobs.
        error: how far the predicted surface wanders.
    """

    name: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    organs: int
    error: float


SCENES = (
    Scene("35x50x36, 2 organs, good", (35, 50, 36), (1.0, 1.0, 1.0), 2, 0.03),
    Scene("35x50x36, 2 organs, poor", (35, 50, 36), (1.0, 1.0, 1.0), 2, 0.3),
    Scene("88x144x192, 1 organ, good", (88, 144, 192), (1.25, 0.625, 0.625), 1, 0.03),
    Scene("88x144x192, 1 organ, poor", (88, 144, 192), (1.25, 0.625, 0.625), 1, 0.3),
    Scene("64x128x128, 5 organs, good", (64, 128, 128), (3.0, 1.0, 1.0), 5, 0.03),
)


def measure_evaluation(device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """A row for each scene, library and kind of score; always on the CPU."""
    rows = []
    for scene in SCENES[:1] if quick else SCENES:
        for kind, functions in _KINDS.items():
            say(f"{kind}, {scene.name}")
            sides = [
                Side(name, run, (scene, kind), 1 if name == "medpy" else 3, imports)
                for name, (run, imports) in functions.items()
            ]
            # A minute of medpy is better spent on a round than on a warm-up.
            measured = compare(sides, "cpu", dataclasses.replace(effort, warm_up=0))
            for library in ("monai", "medpy"):
                _check(measured, library, scene)
                rows.append(
                    Row.against(
                        GROUP,
                        f"{kind}, {scene.name}",
                        library,
                        measured["ours"],
                        measured[library],
                        target=Target(5.0 if library == "medpy" else 1.0),
                    )
                )
    return rows


def make_label_maps(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference, uint8."""
    random = np.random.default_rng(0)
    shape = scene.shape
    sigma = max(2.0, min(shape) / 16)
    waves = [ndimage.gaussian_filter(random.standard_normal(shape, np.float32), sigma) for _ in range(2)]
    waves = [wave / wave.std() for wave in waves]
    axes = np.meshgrid(
        *(np.linspace(-1, 1, size, dtype=np.float32) for size in shape), indexing="ij", sparse=True
    )
    label_maps = np.zeros((2, *shape), np.uint8)
    for organ in range(scene.organs):
        angle, ring = 2 * np.pi * organ / scene.organs, 0.0 if scene.organs == 1 else 0.65
        centre = (0.0, ring * np.sin(angle), ring * np.cos(angle))
        radius = 0.6 if scene.organs == 1 else 0.9 / scene.organs**0.5 / (1 + organ % 3)
        inside = radius - np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)))
        for label_map, amplitude in zip(label_maps, (scene.error, 0.0), strict=True):
            label_map[inside + radius * (0.08 * waves[0] + amplitude * waves[1]) > 0] = organ + 1
    return label_maps[0], label_maps[1]


def _masks(scene: Scene) -> list[tuple[np.ndarray, np.ndarray]]:
    prediction, reference = make_label_maps(scene)
    pairs = [(prediction == value, reference == value) for value in range(1, scene.organs + 1)]
    return [pair for pair in pairs if pair[0].any() and pair[1].any()]


def _each_organ(
    turns: Turns, scene: Scene, score: Callable[[np.ndarray, np.ndarray], tuple[float, ...]]
) -> None:
    masks = _masks(scene)
    turns.each(lambda: [score(*pair) for pair in masks], _tell)


def _tell(scores: object) -> Facts:
    return {"scores": scores}


def our_surfaces(turns: Turns, scene: Scene, kind: str) -> None:
    def score(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
        distances = surface_distances(prediction, reference, scene.spacing)
        return distances.hd95(), distances.mean(), distances.surface_dice(TOLERANCE_MM)

    _each_organ(turns, scene, score)


def medpy_surfaces(turns: Turns, scene: Scene, kind: str) -> None:
    from medpy.metric.binary import assd, hd95

    def score(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
        return (
            float(hd95(prediction, reference, scene.spacing)),
            float(assd(prediction, reference, scene.spacing)),
        )

    _each_organ(turns, scene, score)


def monai_surfaces(turns: Turns, scene: Scene, kind: str) -> None:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    options = {"include_background": True, "spacing": scene.spacing}

    def score(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, ...]:
        masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
        return (
            compute_hausdorff_distance(*masks, percentile=95, **options).item(),
            compute_average_surface_distance(*masks, symmetric=True, **options).item(),
            compute_surface_dice(*masks, [TOLERANCE_MM], **options).item(),
        )

    _each_organ(turns, scene, score)


def our_dice(turns: Turns, scene: Scene, kind: str) -> None:
    maps = make_label_maps(scene)
    turns.each(lambda: [dice_per_class(*maps, range(1, scene.organs + 1)).tolist()], _tell)


def medpy_dice(turns: Turns, scene: Scene, kind: str) -> None:
    from medpy.metric.binary import dc

    prediction, reference = make_label_maps(scene)
    values = range(1, scene.organs + 1)
    turns.each(lambda: [[float(dc(prediction == v, reference == v)) for v in values]], _tell)


def monai_dice(turns: Turns, scene: Scene, kind: str) -> None:
    import torch
    from monai.metrics import compute_dice
    from monai.networks.utils import one_hot

    maps = make_label_maps(scene)

    def work() -> list[list[float]]:
        hot = [one_hot(torch.from_numpy(m)[None, None], scene.organs + 1, dtype=torch.uint8) for m in maps]
        return [compute_dice(*hot, include_background=False)[0].tolist()]

    turns.each(work, _tell)


_OURS, _MONAI, _MEDPY = ("sslseg.evaluate.surface",), ("monai.metrics",), ("medpy.metric.binary",)
_KINDS = {
    "surfaces": {
        "ours": (our_surfaces, _OURS),
        "monai": (monai_surfaces, _MONAI),
        "medpy": (medpy_surfaces, _MEDPY),
    },
    "Dice": {"ours": (our_dice, _OURS), "monai": (monai_dice, _MONAI), "medpy": (medpy_dice, _MEDPY)},
}


def _check(measured: dict[str, Measured], library: str, scene: Scene) -> None:
    """MONAI defines the 95 % distance otherwise and medpy has no surface Dice: the rest is compared."""
    ours = np.array(measured["ours"].facts["scores"])
    theirs = np.array(measured[library].facts["scores"])
    if ours.shape[1] == 3:
        ours, theirs = (ours[:, 1:], theirs[:, 1:]) if library == "monai" else (ours[:, :2], theirs[:, :2])
    if not np.allclose(ours, theirs, rtol=1e-4, atol=1e-5):
        raise SSLSegError(f"The scores of {library} differ from ours on {scene.name}: {theirs} and {ours}")

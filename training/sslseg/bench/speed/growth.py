"""How time grows with the number of organs, of voxels and of cases: slopes in log-log, 1 is proportional."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from sslseg.bench.speed.cases import Size, make_case, write_cases
from sslseg.bench.speed.evaluation import Scene, our_dice, our_surfaces
from sslseg.bench.speed.harness import Effort, Measured, Side, Turns, compare
from sslseg.bench.speed.patches import ORGANS, draw_ours
from sslseg.bench.speed.table import Row, Target, measured_time, number
from sslseg.bench.speed.training import CASES, PLAIN, Scenario, train_ours
from sslseg.inference.sliding_window import Ensemble, most_probable, sliding_window
from sslseg.methods import METHODS
from sslseg.networks import build_network
from sslseg.networks.devices import use_bfloat16

GROUP = "Growth"
ORGAN_COUNTS = (2, 15, 30)
VOXEL_FACTORS = (1, 2, 4, 8)
CASE_COUNTS = (10, 70, 500)
_IMPORTS = ("sslseg.bench.speed.growth", "torch.utils.flop_counter")
Say = Callable[[str], None]


def measure_growth(device: str, effort: Effort, *, quick: bool, say: Say) -> list[Row]:
    """Rows for organs, voxels and cases."""
    counts = (2, 4, 8) if quick else ORGAN_COUNTS
    cases = (2, 4, 8) if quick else CASE_COUNTS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _training_by_organs(folder / "organs", device, effort, counts, quick=quick, say=say)
        rows += _training_by_voxels(folder / "voxels", device, effort, quick=quick, say=say)
        rows += _prediction(device, effort, counts, quick=quick, say=say)
        rows += _evaluation(effort, counts, quick=quick, say=say)
        rows += _cases(folder / "cases", effort, cases, quick=quick, say=say)
    return rows


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the line of least squares through log(seconds) over log(sizes)."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def _row(work: str, sizes: Sequence[int], measured: dict[str, Measured], **more: object) -> Row:
    medians = [each.median for each in measured.values()]
    times = ", ".join(f"{size}: {measured_time(t)}" for size, t in zip(sizes, medians, strict=True))
    return Row(
        GROUP,
        work,
        value=slope(sizes, medians),
        note=f"slope; {times}",
        facts={"sizes": list(sizes), "seconds": medians},
        **more,  # type: ignore[arg-type]
    )


def _training_by_organs(
    folder: Path, device: str, effort: Effort, counts: Sequence[int], *, quick: bool, say: Say
) -> list[Row]:
    patch: Size = (16, 16, 16) if quick else (48, 48, 48)
    scenarios = [Scenario(f"{count} organs", patch, count) for count in counts]
    for scenario in scenarios:
        write_cases(folder / str(scenario.organs), CASES, scenario.volume, scenario.organs)
    rows = []
    for title, rendition in PLAIN.items():
        if rendition.method not in METHODS or rendition.settings or (quick and title != "supervised"):
            continue
        say(f"{title} with {', '.join(map(str, counts))} organs")
        sides = [
            Side(s.name, train_ours, (folder / str(s.organs), s, rendition, device), 1, _IMPORTS)
            for s in scenarios
        ]
        measured = compare(sides, device, effort)
        few, many = (measured[scenario.name] for scenario in scenarios[:2])
        work = f"step of {title}, V-Net, {patch[0]}^3"
        rows.append(
            Row(
                GROUP,
                f"{work}: {counts[1]} organs over {counts[0]}",
                value=many.median / few.median,
                target=Target(1.5, at_least=False),
                note=f"times; memory {number(many.memory / max(1, few.memory))} times",
            )
        )
        rows.append(_row(f"{work}, by organs", counts, measured))
    return rows


def _training_by_voxels(folder: Path, device: str, effort: Effort, *, quick: bool, say: Say) -> list[Row]:
    say("mean_teacher with 1 to 8 times the voxels")
    side = 16 if quick else 32
    sides, voxels = [], []
    for patch in _sizes((side, side, side)):
        scenario = Scenario("x".join(map(str, patch)), patch, 4)
        place = folder / scenario.name
        write_cases(place, CASES, scenario.volume, scenario.organs)
        arguments = (place, scenario, PLAIN["mean_teacher"], device)
        sides.append(Side(scenario.name, train_ours, arguments, 1, _IMPORTS))
        voxels.append(math.prod(patch))
    return [_row("step of mean_teacher, V-Net, by voxels", voxels, compare(sides, device, effort))]


def _sizes(first: Size) -> list[Size]:
    """1, 2, 4 and 8 times the voxels: one axis doubled after the other."""
    sizes = [first]
    for axis in range(3):
        grown = list(sizes[-1])
        grown[axis] *= 2
        sizes.append((grown[0], grown[1], grown[2]))
    return sizes


def _prediction(device: str, effort: Effort, counts: Sequence[int], *, quick: bool, say: Say) -> list[Row]:
    say("prediction by organs and by voxels")
    base: Size = (32, 32, 32) if quick else (64, 96, 96)
    by_organs = [Side(f"{c}", predict_random, (base, c, device), 1, _IMPORTS) for c in counts]
    sizes = _sizes(base)
    by_voxels = [Side(str(size), predict_random, (size, 5, device), 1, _IMPORTS) for size in sizes]
    return [
        _row("prediction, V-Net, by organs", counts, compare(by_organs, device, effort)),
        _row(
            "prediction, V-Net, by voxels",
            [math.prod(size) for size in sizes],
            compare(by_voxels, device, effort),
        ),
    ]


def predict_random(turns: Turns, size: Size, organs: int, device: str) -> None:
    """A side: a volume through an untrained V-Net."""
    place = torch.device(device)
    network = build_network("vnet", out_channels=organs + 1)
    ensemble = Ensemble([network], place, bfloat16=use_bfloat16(place, "auto"))
    image = make_case(size, organs, 0)[0]

    def work() -> None:
        for slab in sliding_window(ensemble, image, (32, 32, 32)):
            most_probable(slab.probabilities).cpu()

    turns.each(work)


def _evaluation(effort: Effort, counts: Sequence[int], *, quick: bool, say: Say) -> list[Row]:
    say("evaluation by organs and by voxels")
    base = Scene("", (24, 24, 24) if quick else (64, 128, 128), (2.0, 1.0, 1.0), 5, 0.03)
    scenes = [dataclasses.replace(base, organs=count) for count in counts]
    sizes = _sizes(base.shape)
    grown = [dataclasses.replace(base, shape=size) for size in sizes]
    voxels = [math.prod(size) for size in sizes]
    rows = []
    for kind, run in (("surfaces", our_surfaces), ("Dice", our_dice)):
        by_organs = [Side(f"{s.organs}", run, (s, kind), 3, _IMPORTS) for s in scenes]
        by_voxels = [Side(str(s.shape), run, (s, kind), 3, _IMPORTS) for s in grown]
        rows.append(_row(f"evaluation, {kind}, by organs", counts, compare(by_organs, "cpu", effort)))
        rows.append(_row(f"evaluation, {kind}, by voxels", voxels, compare(by_voxels, "cpu", effort)))
    return rows


def _cases(folder: Path, effort: Effort, counts: Sequence[int], *, quick: bool, say: Say) -> list[Row]:
    say(f"patches of {', '.join(map(str, counts))} cases")
    volume, patch = ((24, 40, 40), (16, 16, 16)) if quick else ((64, 96, 96), (48, 48, 48))
    write_cases(folder, counts[-1], volume, ORGANS)
    sides = [Side(f"{c}", draw_ours, (folder, c, patch), 100, _IMPORTS) for c in counts]
    measured = compare(sides, "cpu", effort)
    memory = [measured[side.name].memory for side in sides]
    return [
        _row("patch, by cases", counts, measured),
        Row(
            GROUP,
            f"host memory of {counts[-1]} cases over {counts[0]}",
            value=memory[-1] / max(1, memory[0]),
            memory=memory[-1],
            note="times",
        ),
    ]

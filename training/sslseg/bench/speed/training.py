"""Training steps: ours as a run does them, against plain renditions that read whole volumes."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sslseg.bench.speed.cases import Size, stored_cases, whole_file, write_cases
from sslseg.bench.speed.harness import Effort, Side, Turns, compare
from sslseg.bench.speed.table import Row, Target, number
from sslseg.data.augment import Augmenter
from sslseg.data.sampling import SHIFT_LIMITS, PatchSampler
from sslseg.methods import METHODS, build_method, method_class
from sslseg.methods.base import RunSettings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.devices import use_bfloat16
from sslseg.train.data_module import PatchDataModule

GROUP = "Training step"
CASES = 6
PER_KIND = 2
RUN_STEPS = 6000
_IMPORTS = ("sslseg.bench.speed.training", "torch.utils.flop_counter")


@dataclass(frozen=True)
class Rendition:
    """A method and its plain rendition.

    Attributes:
        method: its name.
        rendition: the class, with its module.
        settings: of the method, where the rendition is of another variant than the default.
    """

    method: str
    rendition: str
    settings: dict[str, Any] = field(default_factory=dict)


_HERE = "sslseg.bench.speed."
PLAIN = {
    "supervised": Rendition("supervised", _HERE + "plain.PlainSupervised"),
    "mean_teacher": Rendition("mean_teacher", _HERE + "plain.PlainMeanTeacher"),
    "cps": Rendition("cps", _HERE + "plain.PlainCPS"),
    "cgs": Rendition("cgs", _HERE + "plain_cgs.PlainCGS"),
    "cgs, paper's heads": Rendition("cgs", _HERE + "plain_cgs.PlainCGSPaper", {"specialist_head": "paper"}),
    "micd": Rendition("micd", _HERE + "plain_micd.PlainMicd"),
    "dual": Rendition("dual", _HERE + "plain_dual.PlainDual"),
    "fdpl": Rendition("fdpl", _HERE + "plain_fdpl.PlainFdpl"),
}


@dataclass(frozen=True)
class Scenario:
    """What is trained on: 2 labelled and 2 unlabelled patches a step, of volumes a little larger."""

    name: str
    patch: Size
    organs: int
    network: str = "vnet"

    @property
    def volume(self) -> Size:
        z, y, x = (round(1.5 * side) for side in self.patch)
        return z, y, x

    def make_network(self, name: str | None = None, **options: Any) -> SegmentationNetwork:
        return build_network(name or self.network, out_channels=self.organs + 1, **options)


QUICK = (Scenario("16^3", (16, 16, 16), 2),)
ON_CPU = (Scenario("64^3, 8 organs", (64, 64, 64), 8),)
ON_GPU = (
    Scenario("LA, 112x112x80, 1 organ", (80, 112, 112), 1),
    Scenario("Synapse, 64x128x128, 13 organs", (64, 128, 128), 13),
)


def measure_training(device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """The rows of all methods; those for a GPU say so where there is none."""
    on_gpu = device.startswith("cuda")
    rows = []
    for scenario in QUICK if quick else ON_GPU if on_gpu else ON_CPU:
        ceiling = _ceiling(device, quick=quick)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_cases(folder, CASES, scenario.volume, scenario.organs, whole=True)
            for title, rendition in PLAIN.items():
                if rendition.method in METHODS:
                    say(f"training step of {title}, {scenario.name}")
                    rows.append(_row(title, rendition, scenario, folder, device, effort, ceiling))
    if not on_gpu:
        missing = "not measured: there is no CUDA device here"
        rows += [Row(GROUP, f"{scenario.name}, on a GPU", note=missing) for scenario in ON_GPU]
    return rows


def _row(
    title: str,
    rendition: Rendition,
    scenario: Scenario,
    folder: Path,
    device: str,
    effort: Effort,
    ceiling: float,
) -> Row:
    repeats = 10 if device.startswith("cuda") else 1
    arguments = (folder, scenario, rendition, device)
    sides = [
        Side("ours", train_ours, arguments, repeats, _IMPORTS),
        Side("plain", train_plain, arguments, repeats, _IMPORTS),
    ]
    measured = compare(sides, device, effort)
    ours, plain = measured["ours"], measured["plain"]
    speed = ours.facts["flop"] / ours.median
    reading = plain.facts["reading"] / plain.median
    minutes = RUN_STEPS * ours.median / 60
    return Row.against(
        GROUP,
        f"{title}, {scenario.network}, {scenario.name}",
        "plain PyTorch",
        ours,
        plain,
        target=Target(4.0 if device.startswith("cuda") else 2.5),
        memory_target=Target(0.6, at_least=False),
        note=f"{number(1 / ours.median)} steps/s, 6,000 steps in {number(minutes)} min, "
        f"{100 * speed / ceiling:.0f} % of the convolution ceiling; "
        f"reading takes {100 * reading:.0f} % of theirs",
        facts={"flop": ours.facts["flop"], "ceiling": ceiling, "share_of_ceiling": speed / ceiling},
    )


def train_ours(turns: Turns, folder: Path, scenario: Scenario, rendition: Rendition, device: str) -> None:
    """A side: the trainer, sampler and augmentation of a training run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    place = torch.device(device)
    method_type = method_class(rendition.method)
    cases = stored_cases(folder, CASES, scenario.organs)
    sampler = PatchSampler(
        cases[: CASES // 2],
        cases[CASES // 2 :],
        patch_size=scenario.patch,
        labelled_batch=PER_KIND,
        unlabelled_batch=PER_KIND if method_type.uses_unlabelled else 0,
        seed=0,
        shifted_crop=method_type.uses_shifted_crop,
    )
    augmenter = Augmenter(
        patch_size=scenario.patch, spacing=(2.0, 2.0, 2.0), mirror_axes=(0, 1), seed=0, device=place
    )
    method = build_method(
        rendition.method,
        scenario.make_network,
        classes=scenario.organs + 1,
        run=RunSettings(steps=RUN_STEPS),
        settings=rendition.settings,
    )
    trainer = lightning.Trainer(
        accelerator="gpu" if place.type == "cuda" else place.type,
        devices=[place.index or 0] if place.type == "cuda" else 1,
        precision="bf16-mixed" if use_bfloat16(place, "auto") else "32-true",
        max_steps=RUN_STEPS,
        callbacks=[_ByTurns(turns)],
        benchmark=place.type == "cuda",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, datamodule=PatchDataModule(sampler, augmenter, RUN_STEPS))


class _ByTurns(lightning.Callback):
    """Lets a trainer go on only while it is its turn; counts the operations of the first step."""

    def __init__(self, turns: Turns) -> None:
        from torch.utils.flop_counter import FlopCounterMode

        self._turns = turns
        self._steps = 0
        self._counter = FlopCounterMode(display=False)

    def on_train_start(self, *_: Any) -> None:
        self._turns.begin()

    def on_train_batch_start(self, *_: Any) -> None:
        if self._steps == 0:
            self._counter.__enter__()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._steps == 0:
            self._counter.__exit__(None, None, None)
        self._steps += 1
        if self._steps % self._turns.repeats == 0:
            self._turns.end(lambda: {"flop": self._counter.get_total_flops()})
            if not self._turns.begin():
                trainer.should_stop = True


def train_plain(turns: Turns, folder: Path, scenario: Scenario, rendition: Rendition, device: str) -> None:
    """A side: the plain rendition, fed from whole volumes."""
    module, _, name = rendition.rendition.rpartition(".")
    plain = getattr(import_module(module), name)(
        scenario.make_network, scenario.organs + 1, steps=RUN_STEPS, device=device
    )
    method_type = method_class(rendition.method)
    patches = WholeVolumePatches(
        folder, scenario.patch, method_type.uses_unlabelled, method_type.uses_shifted_crop
    )
    on_gpu = device.startswith("cuda")
    loader = DataLoader(patches, batch_size=None, num_workers=4 if on_gpu else 0, pin_memory=on_gpu)
    batches = ((batch, step) for step, batch in enumerate(loader))
    began = time.perf_counter()
    next(iter(patches))
    reading = time.perf_counter() - began

    turns.each(lambda: plain.step(*next(batches)), lambda _: {"reading": reading})


class WholeVolumePatches(IterableDataset[dict[str, Tensor]]):
    """Batches the way the field's data sets make them: read a case, crop, rotate by quarters, flip."""

    def __init__(self, folder: Path, patch: Size, unlabelled: bool, shifted: bool) -> None:
        self.folder, self.patch = folder, patch
        self.unlabelled, self.shifted = unlabelled, shifted

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        random = np.random.default_rng(torch.initial_seed() % 2**63)
        while True:
            drawn = [self._case(random, 0) for _ in range(PER_KIND)]
            images, labels, _, _ = zip(*drawn, strict=True)
            batch = {"image": _stacked(images)[:, None], "label": _stacked(labels).long()}
            if self.unlabelled:
                drawn = [self._case(random, CASES // 2) for _ in range(PER_KIND)]
                images, _, shifted, shifts = zip(*drawn, strict=True)
                batch["unlabelled"] = _stacked(images)[:, None]
                if self.shifted:
                    batch |= {"shifted": _stacked(shifted)[:, None], "shift": _stacked(shifts)}
            yield batch

    def _case(self, random: np.random.Generator, first: int) -> tuple[np.ndarray, ...]:
        """Of a case from `first` on: patch, label, the displaced patch and its displacement."""
        with np.load(whole_file(self.folder, first + int(random.integers(CASES // 2)))) as file:
            image, label = file["image"], file["label"]
        turns, axis = int(random.integers(4)), int(random.integers(3))
        image, label = (np.flip(np.rot90(each, turns, (1, 2)), axis).copy() for each in (image, label))
        room = np.array(image.shape) - np.array(self.patch)
        start = random.integers(0, room + 1)
        low, high = SHIFT_LIMITS
        share = random.uniform(low, high, 3) * random.choice((-1, 1), 3) * (0, 1, 1)
        other = np.clip(start + np.rint(share * np.array(self.patch)).astype(np.int64), 0, room)
        return self._crop(image, start), self._crop(label, start), self._crop(image, other), other - start

    def _crop(self, volume: np.ndarray, start: np.ndarray) -> np.ndarray:
        return volume[tuple(slice(s, s + p) for s, p in zip(start, self.patch, strict=True))].copy()


def _stacked(arrays: tuple[np.ndarray, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _ceiling(device: str, *, quick: bool) -> float:
    """The most operations a second that a convolution is seen to do here."""
    side = Side("ceiling", convolve, (device, 16 if quick else 64), 3, ("torch",))
    measured = compare([side], device, Effort(rounds=3, seconds=10))["ceiling"]
    return measured.facts["flop"] / min(measured.seconds)


def convolve(turns: Turns, device: str, size: int) -> None:
    """A side: 3x3x3 convolutions of 64 channels, which hold memory traffic small beside the arithmetic."""
    place = torch.device(device)
    kind = torch.bfloat16 if use_bfloat16(place, "auto") else torch.float32
    layer = torch.nn.Conv3d(64, 64, 3, padding=1).to(place, kind)
    layer = layer.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    image = torch.randn(2, 64, size, size, size, device=place, dtype=kind)
    image = image.contiguous(memory_format=torch.channels_last_3d)

    flop = 2.0 * 27 * 64 * 64 * image[:, 0].numel()
    with torch.inference_mode():
        turns.each(lambda: layer(image), lambda _: {"flop": flop})

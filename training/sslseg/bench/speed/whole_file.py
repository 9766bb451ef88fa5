"""From file to file: how long a whole prediction takes, and on what it spends the time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from sslseg.bench.speed.harness import Effort, Facts, Side, Turns, compare
from sslseg.bench.speed.table import Row, Target, measured_time
from sslseg.bundle.metadata import ModelRecord
from sslseg.bundle.model_folder import load_model, save_model
from sslseg.data.fingerprint import Fingerprint, OrganSize
from sslseg.data.plan import make_plan
from sslseg.data.preprocess import prepare_image
from sslseg.data.volumes import read_volume, write_volume
from sslseg.inference.restore import restore
from sslseg.inference.sliding_window import Ensemble, sliding_window
from sslseg.networks import build_network
from sslseg.networks.devices import use_bfloat16
from sslseg.phantoms.phantom import PHANTOM_LABELS, make_phantom
from sslseg.predict.folder_prediction import predict_folder

GROUP = "Whole file"
SIZE = (512, 512, 300)
QUICK_SIZE = (64, 64, 40)
NETWORKS = ("unet", "vnet")
OVERLAP = 0.5
_IMPORTS = ("sslseg.bench.speed.whole_file", "monai.networks.nets")


def measure_whole_file(device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """A row for each network: seconds from file to file, and the network's share as its value."""
    size = QUICK_SIZE if quick else SIZE
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"writing a volume of {'x'.join(map(str, size))} voxels")
        extent = write_scan(folder / "scan.nii.gz", size)
        for network in NETWORKS:
            say(f"file to file with {network}")
            save_untrained(folder / network, network, extent, size, device)
            sides = [
                Side("stages", predict_in_stages, (folder, network, device), 1, _IMPORTS),
                Side("command", predict_command, (folder, network, device), 1, _IMPORTS),
            ]
            measured = compare(sides, device, Effort(min(3, effort.rounds), effort.seconds))
            stages = measured["stages"].facts
            total = sum(stages.values())
            shares = ", ".join(f"{stage} {100 * seconds / total:.0f} %" for stage, seconds in stages.items())
            rows.append(
                Row(
                    GROUP,
                    f"{'x'.join(map(str, size))}, {network}, share of the network",
                    value=stages["network"] / total,
                    ours=measured["command"].median,
                    memory=measured["command"].memory,
                    target=Target(0.75),
                    note=f"{shares}; in stages {measured_time(measured['stages'].median)}",
                    facts={"stages": stages},
                )
            )
    return rows


def write_scan(path: Path, size: tuple[int, int, int]) -> tuple[float, float, float]:
    """A phantom on a finer grid, with noise, as a compressed file; returns its extent (z, y, x) in mm."""
    phantom = make_phantom(0, index=0)
    coarse = sitk.GetImageFromArray(phantom.image)
    coarse.SetSpacing(phantom.spacing[::-1])
    extent = [side * step for side, step in zip(phantom.image.shape, phantom.spacing, strict=True)]
    spacing = [length / side for length, side in zip(extent[::-1], size, strict=True)]
    fine = sitk.Resample(
        coarse, size, sitk.Transform(), sitk.sitkLinear, (0.0, 0.0, 0.0), spacing, np.eye(3).ravel().tolist(),
        -1000.0,
    )  # fmt: skip
    array = sitk.GetArrayFromImage(fine)
    random = np.random.default_rng(0)
    for index in range(len(array)):
        array[index] += random.normal(0, 12, array.shape[1:]).astype(np.int16)
    noisy = sitk.GetImageFromArray(array)
    noisy.CopyInformation(fine)
    write_volume(noisy, path)
    z, y, x = extent
    return z, y, x


def save_untrained(
    folder: Path, network: str, extent: tuple[float, float, float], size: tuple[int, int, int], device: str
) -> None:
    """A model with the plan that such scans get; how well it segments does not matter to its speed."""
    z, y, x = (length / side for length, side in zip(extent, size[::-1], strict=True))
    fingerprint = Fingerprint(
        modality="CT",
        labels=PHANTOM_LABELS,
        cases=1,
        annotated=1,
        spacing=(z, y, x),
        fine_spacing=(z, y, x),
        extent=extent,
        intensity=(-160.0, 40.0, 240.0),
        organs=tuple(OrganSize(label.name, 1, 100.0) for label in PHANTOM_LABELS),
    )
    plan = make_plan(fingerprint, device=torch.device(device).type)
    record = ModelRecord(method="supervised", steps=0, seed=0, labelled=1, unlabelled=0)
    networks = [build_network(network, out_channels=plan.classes, strides=plan.strides)]
    save_model(folder, networks=networks, plan=plan, record=record)


def predict_command(turns: Turns, folder: Path, network: str, device: str) -> None:
    """A side: what `sslseg predict` does."""
    turns.each(
        lambda: predict_folder(
            folder / network, folder / "scan.nii.gz", folder / "out", overlap=OVERLAP, device=device
        )
    )


def predict_in_stages(turns: Turns, folder: Path, network: str, device: str) -> None:
    """A side: the same, with a clock between the stages."""

    def work() -> Facts:
        clock = _StageClock(device)
        model = load_model(folder / network)
        ensemble = _TimedEnsemble(model.networks, device)
        clock.stage("loading the model")
        image = read_volume(folder / "scan.nii.gz")
        clock.stage("reading")
        prepared = prepare_image(image, model.plan)
        clock.stage("resampling")
        slabs = sliding_window(ensemble, prepared.array, model.plan.patch_size, overlap=OVERLAP)
        restored = restore(slabs, prepared.grid, model.plan.values)
        clock.stage("restoring")
        label_map = sitk.GetImageFromArray(restored.labels)
        prepared.grid.original.set_on(label_map)
        write_volume(label_map, folder / "stages" / "scan.nii.gz")
        clock.stage("writing")
        # The networks run inside of the restoring, slab by slab.
        clock.seconds["restoring"] -= ensemble.seconds
        return {"network": ensemble.seconds, **clock.seconds}

    turns.each(work, lambda facts: facts)


class _TimedEnsemble(Ensemble):
    """Counts the seconds inside the networks."""

    def __init__(self, networks: Any, device: str) -> None:
        place = torch.device(device)
        super().__init__(networks, place, bfloat16=use_bfloat16(place, "auto"))
        self.seconds = 0.0

    def __call__(self, windows: Tensor) -> Tensor:
        began = _now(self.device.type)
        result = super().__call__(windows)
        self.seconds += _now(self.device.type) - began
        return result


class _StageClock:
    """Seconds since the stage before."""

    def __init__(self, device: str) -> None:
        self._kind = torch.device(device).type
        self._last = _now(self._kind)
        self.seconds: dict[str, float] = {}

    def stage(self, name: str) -> None:
        now = _now(self._kind)
        self.seconds[name] = now - self._last
        self._last = now


def _now(kind: str) -> float:
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()

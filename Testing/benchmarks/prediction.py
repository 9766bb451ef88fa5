"""Time and agreement of the sliding window against MONAI's, and peak memory of a whole-body prediction.

    python Testing/benchmarks/prediction.py speed [--steps 300] [--repeats 3]
    python Testing/benchmarks/prediction.py memory [--slices 600] [--overlap 0.5] [--native]

speed: a V-Net learns on phantoms for a few minutes, then segments phantoms it has not seen: MONAI's
`sliding_window_inference` and ours with the same network, windows and overlap. They take turns; the fastest
of the repeats counts, in wall-clock time and in the time the CPU spent. Dice is against the phantoms' labels.

memory: a synthetic CT of 512 x 512 x `slices` voxels with 14 organs goes the whole way, from the image to
label and uncertainty on its grid, in a process of its own. `--native` predicts on the scan's own grid, the
worst case for the accumulator, with a network of one layer so that it takes minutes, not hours.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F

from sslseg.bundle.metadata import ModelRecord
from sslseg.bundle.model_folder import TrainedModel
from sslseg.contract.labels import Label, default_color
from sslseg.data.fingerprint import Fingerprint, OrganSize
from sslseg.data.plan import IntensityMapping, Plan, make_plan
from sslseg.inference.predictor import predict_volume
from sslseg.inference.sliding_window import segment_patch_grid
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.phantoms.phantom import PHANTOM_LABELS, make_phantom

PATCH = (48, 48, 48)
OVERLAP = 0.5
CLASSES = len(PHANTOM_LABELS) + 1
TEST_PHANTOMS = (5, 6)
ORGANS = 14


def phantom(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image in [0, 1] and classes of a phantom, both (z, y, x)."""
    made = make_phantom(0, index=index)
    return np.clip((made.image.astype(np.float32) + 160) / 400, 0, 1), made.label


def trained_network(steps: int) -> SegmentationNetwork:
    """A V-Net that has learned enough for its Dice to mean something."""
    torch.manual_seed(0)
    network = build_network("vnet", out_channels=CLASSES).train().to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    cases = [phantom(index) for index in (0, 1, 2, 4)]
    random = np.random.default_rng(0)
    for _ in range(steps):
        images, labels = zip(
            *(_patch(*cases[random.integers(len(cases))], random) for _ in range(2)), strict=True
        )
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(torch.stack(images)).float()
        target = torch.stack(labels)
        probabilities = logits.softmax(1)
        one_hot = F.one_hot(target, CLASSES).movedim(-1, 1)
        overlap = (probabilities * one_hot).sum((0, 2, 3, 4))
        dice = (2 * overlap + 1) / (probabilities.sum((0, 2, 3, 4)) + one_hot.sum((0, 2, 3, 4)) + 1)
        loss = F.cross_entropy(logits, target) + 1 - dice.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().to(memory_format=torch.contiguous_format)


def _patch(image: np.ndarray, label: np.ndarray, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    start = [random.integers(0, size - side + 1) for size, side in zip(image.shape, PATCH, strict=True)]
    part = tuple(slice(s, s + side) for s, side in zip(start, PATCH, strict=True))
    return torch.from_numpy(image[part].copy())[None], torch.from_numpy(label[part].astype(np.int64))


def monai(network: SegmentationNetwork, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    from monai.inferers import sliding_window_inference

    def segment(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            volume = torch.from_numpy(image)[None, None]
            logits = sliding_window_inference(volume, PATCH, 4, network, overlap=OVERLAP, mode=mode)
            return logits.argmax(1)[0].numpy()

    return segment


def ours(network: SegmentationNetwork, precision: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: segment_patch_grid(
        [network],
        image,
        patch_size=PATCH,
        overlap=OVERLAP,
        precision=precision,  # type: ignore[arg-type]
    )


def mean_dice(found: np.ndarray, label: np.ndarray) -> float:
    scores = []
    for index in range(1, CLASSES):
        size = (found == index).sum() + (label == index).sum()
        if size:
            scores.append(2 * ((found == index) & (label == index)).sum() / size)
    return float(np.mean(scores))


def speed(steps: int, repeats: int) -> None:
    network = trained_network(steps)
    cases = [phantom(index) for index in TEST_PHANTOMS]
    ways = {
        "MONAI, constant weights (its default)": monai(network, "constant"),
        "MONAI, Gaussian weights": monai(network, "gaussian"),
        "sslseg, float32": ours(network, "float32"),
        "sslseg, bfloat16": ours(network, "bfloat16"),
    }
    wall, cpu = (dict.fromkeys(ways, np.inf) for _ in range(2))
    dice, classes = {}, {}
    for _ in range(repeats + 1):
        for name, segment in ways.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            found = [segment(image) for image, _ in cases]
            # The first round warms up; being slower, it does not count.
            wall[name] = min(wall[name], time.perf_counter() - begin)
            cpu[name] = min(cpu[name], time.process_time() - begin_cpu)
            dice[name] = np.mean([mean_dice(f, label) for f, (_, label) in zip(found, cases, strict=True)])
            classes[name] = np.concatenate([f.ravel() for f in found])
    first = next(iter(ways))
    reference = classes["MONAI, Gaussian weights"]
    print(
        f"{torch.get_num_threads()} thread(s), {len(cases)} volumes of {cases[0][0].shape}, windows {PATCH}"
    )
    print(f"{'':40s}{'wall s':>8s}{'x':>7s}{'CPU s':>8s}{'x':>7s}{'Dice':>9s}{'same voxels':>13s}")
    for name in ways:
        print(
            f"{name:40s}{wall[name]:8.2f}{wall[first] / wall[name]:7.2f}{cpu[name]:8.2f}"
            f"{cpu[first] / cpu[name]:7.2f}{dice[name]:9.4f}{(classes[name] == reference).mean():13.4f}"
        )


class OneLayer(SegmentationNetwork):
    """The least a network can be: the memory that remains is that of the prediction itself."""

    def __init__(self) -> None:
        super().__init__(in_channels=1, out_channels=ORGANS + 1, level_channels=[1], strides=[(2, 2, 2)] * 4)

    def features(self, x: Tensor) -> list[Tensor]:
        return [x]


def synthetic_ct(slices: int) -> sitk.Image:
    """A trunk of 330 x 270 mm with balls of growing density in it, 0.8 x 0.8 x 0.8 mm."""
    y, x = np.ogrid[:512, :512]
    trunk = ((y - 256) / 170) ** 2 + ((x - 256) / 205) ** 2 < 1
    voxels = np.full((slices, 512, 512), -1000, np.int16)
    random = np.random.default_rng(0)
    noise = random.normal(0, 12, (512, 512)).astype(np.int16)
    for z, plane in enumerate(voxels):
        plane[trunk] = noise[trunk]
        for organ in range(ORGANS):
            radius2 = 60**2 - (z - slices * (organ + 0.5) / ORGANS) ** 2
            if radius2 > 0:
                centre = 256 + 90 * np.sin(organ), 256 + 110 * np.cos(organ)
                plane[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius2] += 20 * (organ + 1)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 0.8, 0.8))
    return image


def a_plan(slices: int, *, native: bool) -> Plan:
    labels = tuple(Label(f"organ {index}", index + 1, default_color(index)) for index in range(ORGANS))
    organs = tuple(OrganSize(label.name, 20, 300.0) for label in labels)
    spacing = (0.8, 0.8, 0.8)
    extent = (slices * 0.8, 290.0, 350.0)
    fingerprint = Fingerprint("CT", labels, 20, 20, spacing, spacing, extent, (-60.0, 60.0, 300.0), organs)
    if not native:
        return make_plan(fingerprint)
    mapping = IntensityMapping("fixed", -60.0, 300.0)
    return Plan(1, "CT", labels, spacing, mapping, (96, 96, 96), ((2, 2, 2),) * 4, (), fingerprint)


def memory_of_one(slices: int, overlap: float, *, native: bool) -> None:
    plan = a_plan(slices, native=native)
    torch.manual_seed(0)
    network = OneLayer() if native else build_network("vnet", out_channels=plan.classes, strides=plan.strides)
    record = ModelRecord(method="none", steps=0, seed=0, labelled=0, unlabelled=0)
    image = synthetic_ct(slices)
    before = _peak_mib()
    begin = time.perf_counter()
    prediction = predict_volume(TrainedModel("m", [network], plan, record), image, overlap=overlap)
    seconds = time.perf_counter() - begin
    size = 512 * 512 * slices / 2**20
    spacing = " x ".join(f"{side:.2f}" for side in plan.spacing)
    print(
        f"512 x 512 x {slices}, {plan.classes} classes, grid {spacing} mm, patch {plan.patch_size}: "
        f"{seconds:.0f} s, peak {_peak_mib():.0f} MiB; of it {before:.0f} before the prediction "
        f"(libraries and the scan, {2 * size:.0f}) and {2 * size:.0f} the results; "
        f"{len(np.unique(sitk.GetArrayViewFromImage(prediction.label_map)))} values found"
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(slices: int, overlap: float, *, native: bool) -> None:
    for height in (slices // 4, slices):
        command = [sys.executable, __file__, "one", "--slices", str(height), "--overlap", str(overlap)]
        subprocess.run([*command, "--native"] if native else command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "memory", "one"), help="'one' is a part of memory")
    parser.add_argument("--steps", type=int, default=300, help="training steps of the V-Net")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--overlap", type=float, default=OVERLAP, help="of memory; speed always takes 0.5")
    parser.add_argument("--native", action="store_true", help="predict on the scan's own grid")
    chosen = parser.parse_args()
    if chosen.what == "speed":
        speed(chosen.steps, chosen.repeats)
    elif chosen.what == "memory":
        memory(chosen.slices, chosen.overlap, native=chosen.native)
    else:
        memory_of_one(chosen.slices, chosen.overlap, native=chosen.native)


if __name__ == "__main__":
    main()

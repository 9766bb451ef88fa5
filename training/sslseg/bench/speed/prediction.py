"""Sliding windows against MONAI, nnU-Net and the papers' loop: one network, window and volume for all."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from sslseg.bench.speed.cases import Size
from sslseg.bench.speed.harness import Effort, Facts, Measured, Side, Turns, compare
from sslseg.bench.speed.table import Row, Target, number
from sslseg.data.plan import FULL_SCALE, IntensityMapping
from sslseg.evaluate.overlap import dice_per_class
from sslseg.inference.sliding_window import Ensemble, most_probable, sliding_window
from sslseg.methods import build_method
from sslseg.methods.base import RunSettings
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.devices import use_bfloat16
from sslseg.phantoms.phantom import PHANTOM_LABELS, make_phantom

GROUP = "Prediction"
OVERLAP = 0.5
PAPERS_STRIDE = (18 / 112, 18 / 112, 4 / 80)
"""Shares of the window along x, y, z: 18, 18, 4 voxels for windows of 112x112x80, as on LA."""
TRAINING_PHANTOMS = 8
TRAINING_STEPS = 250
DICE_TOLERANCE = 0.002
_IMPORTS = ("sslseg.bench.speed.prediction",)


@dataclass(frozen=True)
class Job:
    """What every side gets.

    Attributes:
        folder: with the weights and the volume.
        window: voxels (z, y, x).
        device: where to predict.
    """

    folder: Path
    window: Size
    device: str

    def network(self) -> SegmentationNetwork:
        network = make_network()
        network.load_state_dict(torch.load(self.folder / "network.pt", weights_only=True))
        return network.eval()

    def volume(self) -> tuple[np.ndarray, np.ndarray]:
        """Image int16 and label uint8."""
        with np.load(self.folder / "volume.npz") as file:
            return file["image"], file["label"]

    def tensor(self) -> Tensor:
        """The image as the peers want it: (1, 1, D, H, W) float32 in [0, 1], on the CPU."""
        return torch.from_numpy(self.volume()[0].astype(np.float32) / FULL_SCALE)[None, None]


def measure_prediction(device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """The peers at the same overlap, then the papers' stride on one phantom with smaller windows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("training a V-Net on phantoms for a minute")
        train_briefly(folder / "network.pt", device, steps=4 if quick else TRAINING_STEPS)
        write_volume(folder / "volume.npz", 2, quick=quick)
        window = (32, 32, 32) if quick else (64, 64, 64)
        job = Job(folder, window, device)
        say(f"prediction with windows of {window[0]}^3")
        peers = {"ours": predict_ours, "MONAI, defaults": predict_monai}
        missing = []
        if find_spec("nnunetv2"):
            peers["nnU-Net predictor"] = predict_nnunet
        else:
            missing = [Row(GROUP, _work(job), "nnU-Net predictor", note="not measured: not installed")]
        measured = compare([Side(n, f, (job,), 1, _IMPORTS) for n, f in peers.items()], device, effort)
        targets = {"MONAI, defaults": 3.5, "nnU-Net predictor": 1.0}
        rows = [_row(job, measured, peer, target) for peer, target in targets.items() if peer in measured]

        write_volume(folder / "volume.npz", 1, quick=quick)
        job = Job(folder, (32, 32, 32), device)
        say("prediction at the papers' stride")
        sides = [
            Side("ours", predict_ours, (job,), 3, _IMPORTS),
            Side("window by window at the papers' stride", predict_densely, (job, quick), 1, _IMPORTS),
        ]
        measured = compare(sides, device, Effort(min(2, effort.rounds), effort.seconds, warm_up=0))
        return [*rows, *missing, _row(job, measured, sides[1].name, 60.0)]


def _work(job: Job) -> str:
    shape = "x".join(map(str, job.volume()[0].shape))
    return f"{shape}, V-Net, {len(PHANTOM_LABELS)} organs, windows of {job.window[0]}^3, overlap {OVERLAP}"


def _row(job: Job, measured: dict[str, Measured], peer: str, target: float) -> Row:
    ours, theirs = measured["ours"], measured[peer]
    dice = [float(np.nanmean(each.facts["dice"])) for each in (ours, theirs)]
    difference = dice[0] - dice[1]
    lost = difference < -DICE_TOLERANCE
    return Row.against(
        GROUP,
        _work(job),
        peer,
        ours,
        theirs,
        target=Target(target),
        note=f"Dice {dice[0]:.4f} : {dice[1]:.4f}{', **worse than theirs**' if lost else ''}; "
        f"{number(theirs.facts['windows'] / ours.facts['windows'])} times the windows",
        facts={"dice": dice, "within_tolerance": abs(difference) <= DICE_TOLERANCE},
    )


def make_network(**_: object) -> SegmentationNetwork:
    # Without dropout a minute of training is enough for outlines that can be compared.
    return build_network("vnet", out_channels=len(PHANTOM_LABELS) + 1, dropout=0.0)


def phantom_arrays(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Image int16, 0..32767, and label of a phantom."""
    phantom = make_phantom(0, index=index)
    image = IntensityMapping("fixed", -160.0, 240.0).apply(phantom.image)
    return np.rint(image * FULL_SCALE).astype(np.int16), phantom.label


def write_volume(path: Path, side: int, *, quick: bool) -> None:
    """A mosaic of `side`^3 phantoms that were not trained on; if `quick`, a small part of one."""
    count = side**3
    # Every fifth phantom lies the other way round, which the networks are not told here.
    chosen = [i for i in range(TRAINING_PHANTOMS, 3 * TRAINING_PHANTOMS) if i % 5 != 3][:count]
    arrays = [phantom_arrays(index) for index in chosen]
    if quick:
        box = (slice(40), slice(10, 50), slice(10, 50))
        arrays = [(image[box], label[box]) for image, label in arrays[:1]]
    np.savez(
        path, image=_mosaic([image for image, _ in arrays]), label=_mosaic([label for _, label in arrays])
    )


def _mosaic(blocks: list[np.ndarray]) -> np.ndarray:
    """Eight blocks put together as a cube of them; one stays what it is."""
    for axis in range(3 if len(blocks) == 8 else 0):
        half = len(blocks) // 2
        blocks = [np.concatenate(pair, axis) for pair in zip(blocks[:half], blocks[half:], strict=True)]
    return blocks[0]


def train_briefly(path: Path, device: str, *, steps: int) -> None:
    """Train the network on a few phantoms and write its weights."""
    random = np.random.default_rng(0)
    phantoms = [phantom_arrays(i) for i in range(TRAINING_PHANTOMS) if i % 5 != 3]
    run = RunSettings(steps=steps, optimizer="adamw", learning_rate=3e-3, weight_decay=0.01)
    method = build_method("supervised", make_network, classes=len(PHANTOM_LABELS) + 1, run=run)
    method = method.to(device).train()
    configured = method.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    size = np.array((32, 48, 64))
    for step in range(steps):
        images, labels = [], []
        for _ in range(2):
            image, label = phantoms[random.integers(len(phantoms))]
            start = random.integers(0, np.array(image.shape) - size + 1)
            box = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
            images.append(image[box].astype(np.float32) / FULL_SCALE)
            labels.append(label[box].astype(np.int64))
        batch = {
            "image": torch.from_numpy(np.stack(images))[:, None].to(device),
            "label": torch.from_numpy(np.stack(labels)).to(device),
            "known": torch.ones(2, len(PHANTOM_LABELS) + 1, dtype=torch.bool, device=device),
        }
        place = torch.device(device)
        with torch.autocast(place.type, torch.bfloat16, enabled=use_bfloat16(place, "auto")):
            loss = torch.stack(list(method.losses(batch, step).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    torch.save(method.inference_networks()[0].cpu().state_dict(), path)


def predict_ours(turns: Turns, job: Job) -> None:
    """A side: the project's windows, in the precision it chooses for the device."""
    place = torch.device(job.device)
    ensemble = Ensemble([job.network()], place, bfloat16=use_bfloat16(place, "auto"))
    image = job.volume()[0]
    windows = [0]

    def count(done: int, total: int) -> None:
        windows[0] = total

    def work() -> np.ndarray:
        result = np.empty(image.shape, np.uint8)
        for slab in sliding_window(ensemble, image, job.window, overlap=OVERLAP, progress=count):
            classes = most_probable(slab.probabilities)
            result[slab.start : slab.start + len(classes)] = classes.cpu().numpy()
        return result

    turns.each(work, lambda result: _scores(job, result, windows[0]))


def predict_monai(turns: Turns, job: Job) -> None:
    """A side: MONAI's function with its defaults, but for the overlap."""
    from monai.inferers import sliding_window_inference

    network, image = job.network().to(job.device), job.tensor()
    windows = [0]

    def counted(batch: Tensor) -> Tensor:
        windows[0] += len(batch)
        return network(batch)

    @torch.inference_mode()
    def work() -> np.ndarray:
        windows[0] = 0
        logits = sliding_window_inference(
            image.to(job.device), job.window, sw_batch_size=4, predictor=counted, overlap=OVERLAP
        )
        return logits.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)

    turns.each(work, lambda result: _scores(job, result, windows[0]))


def predict_nnunet(turns: Turns, job: Job) -> None:
    """A side: nnU-Net's predictor without test-time flips, at half a window's step."""
    predictor_class = import_module("nnunetv2.inference.predict_from_raw_data").nnUNetPredictor

    place = torch.device(job.device)
    predictor = predictor_class(
        tile_step_size=1 - OVERLAP,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=place.type == "cuda",
        device=place,
        verbose=False,
        allow_tqdm=False,
    )
    network, image = job.network().to(place), job.tensor()[0]
    windows = [0]

    class Counted(torch.nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            windows[0] += len(batch)
            return network(batch)

    predictor.network = Counted()
    predictor.configuration_manager = SimpleNamespace(patch_size=list(job.window))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=network.out_channels)
    predictor.allowed_mirroring_axes = None

    def work() -> np.ndarray:
        windows[0] = 0
        logits = predictor.predict_sliding_window_return_logits(image)
        return logits.argmax(dim=0).cpu().numpy().astype(np.uint8)

    turns.each(work, lambda result: _scores(job, result, windows[0]))


def predict_densely(turns: Turns, job: Job, quick: bool) -> None:
    """A side: one window after the other at the papers' stride, sums and counts in numpy."""
    network, image = job.network().to(job.device), job.tensor()
    shape, stride = (
        image.shape[2:],
        [max(1, int(s * w)) for s, w in zip(PAPERS_STRIDE[::-1], job.window, strict=True)],
    )
    if quick:
        stride = [side // 4 for side in job.window]
    starts = [
        [min(step * index, side - window) for index in range(-(-(side - window) // step) + 1)]
        for side, window, step in zip(shape, job.window, stride, strict=True)
    ]
    places = list(itertools.product(*starts))

    @torch.no_grad()
    def work() -> np.ndarray:
        scores = np.zeros((network.out_channels, *shape), np.float32)
        count = np.zeros(shape, np.float32)
        for place in places:
            box = tuple(slice(s, s + w) for s, w in zip(place, job.window, strict=True))
            patch = image[..., box[0], box[1], box[2]].to(job.device)
            scores[(slice(None), *box)] += torch.softmax(network(patch), dim=1)[0].cpu().numpy()
            count[box] += 1
        return np.argmax(scores / count, axis=0).astype(np.uint8)

    turns.each(work, lambda result: _scores(job, result, len(places)))


def _scores(job: Job, result: np.ndarray, windows: int) -> Facts:
    dice = dice_per_class(result, job.volume()[1], range(1, len(PHANTOM_LABELS) + 1))
    return {"dice": dice.tolist(), "windows": windows}

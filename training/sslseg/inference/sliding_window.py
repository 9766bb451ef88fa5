"""Sliding window over volumes of any size, in memory that does not grow with their height.

Windows run row by row along z. Their softmax outputs are added, weighted, to an accumulator as deep as one
window; as soon as a row is done, the slices no later window touches leave as a finished slab. The weights of
overlapping windows sum to one at every voxel, so nothing is divided afterwards:

    w_i(z) = g(z - s_i) / sum_j g(z - s_j)      and the same along y and x

with g the Gaussian of nnU-Net (Isensee 2021, sigma an eighth of the side) and s_i the start of window i. The
weight of a voxel is the product over the axes, because the windows form a grid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sslseg.contract.settings import Precision
from sslseg.data.plan import FULL_SCALE
from sslseg.inference.features import FeatureMean
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.devices import use_bfloat16
from sslseg.networks.folding import fold_batch_norm

Size = tuple[int, int, int]
Progress = Callable[[int, int], None]
"""Called with the windows done and their total. An exception it raises stops the prediction."""

_SIGMA = 1 / 8
# Voxels of a forward pass. Larger batches gain nothing on a CPU and cost memory; a GPU wants to be kept busy.
_BATCH_VOXELS = {"cpu": 2**19, "cuda": 2**23}


@dataclass(frozen=True)
class Slab:
    """Finished slices of a volume.

    Attributes:
        start: the first slice.
        probabilities: mean softmax, `(n, C, Y, X)` float32; valid until the next slab is asked for.
        disagreement: share of the pairs of opinions whose labels differ, `(n, Y, X)`, where opinions are compared.
    """

    start: int
    probabilities: Tensor
    disagreement: Tensor | None = None


class Ensemble:
    """Networks ready for prediction on a device: folded copies in eval mode; the originals stay untouched.

    Args:
        networks: each has an opinion; their mean counts.
        device: where they are to run.
        bfloat16: arithmetic of the convolutions.
        mirrored: for a second opinion of each network, on the window mirrored from left to right: the class that
            each class becomes, `(C,)`. It takes twice the time.
        compare: also say where the opinions differ. With a single opinion there is nothing to compare.
        features: collects what the networks see.
    """

    def __init__(
        self,
        networks: Sequence[SegmentationNetwork],
        device: torch.device,
        *,
        bfloat16: bool,
        mirrored: Sequence[int] | None = None,
        compare: bool = False,
        features: FeatureMean | None = None,
    ) -> None:
        if not networks:
            raise ValueError("a prediction needs at least one network")
        self.device = device
        self.classes = networks[0].out_channels
        self._bfloat16 = bfloat16
        self._networks = [self._prepared(network) for network in networks]
        self._mirrored = None if mirrored is None else torch.tensor(mirrored, device=device)
        self._features = features
        opinions = len(networks) * (1 if mirrored is None else 2)
        self.compares = compare and opinions > 1

    def _prepared(self, network: SegmentationNetwork) -> SegmentationNetwork:
        ready = fold_batch_norm(network).requires_grad_(False).to(self.device)
        if self._bfloat16:
            # Stored in bfloat16, the kernels are not cast anew for each window. Normalisations stay float32.
            for module in ready.modules():
                if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                    module.to(torch.bfloat16)
        return ready.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, windows: Tensor) -> Tensor:
        """Mean softmax `(B, C, D, H, W)` float32 of `windows (B, 1, D, H, W)` float32 in [0, 1].

        With `compares` there is a channel more: the share of the pairs of opinions whose labels differ.
        """
        windows = windows.contiguous(memory_format=torch.channels_last_3d)
        total: Tensor | None = None
        labels = []
        count = 0
        for probabilities in self._opinions(windows):
            count += 1
            if self.compares:
                labels.append(most_probable(probabilities))
            total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        mean = total.div_(count) if count > 1 else total
        return torch.cat([mean, _share_that_differs(labels)[:, None]], dim=1) if self.compares else mean

    def _opinions(self, windows: Tensor) -> Iterator[Tensor]:
        """Softmax `(B, C, D, H, W)` of each network, and of each on the mirrored windows."""
        for number, network in enumerate(self._networks):
            yield self._softmax(number, network, windows)
            if self._mirrored is not None:
                yield self._softmax(number, network, windows.flip(-1)).flip(-1)[:, self._mirrored]

    def _softmax(self, number: int, network: SegmentationNetwork, windows: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            if self._features is None:
                logits = network(windows)
            else:
                levels = network.features(windows)
                self._features.add(number, levels[0])
                logits = network.head(levels[-1])
        # Softmax runs several times faster along planes of voxels than along interleaved channels.
        return logits.contiguous().softmax(dim=1, dtype=torch.float32)


def sliding_window(
    ensemble: Ensemble,
    image: np.ndarray,
    window: Sequence[int],
    *,
    overlap: float = 0.5,
    batch: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Slab]:
    """Class probabilities of a volume, slab by slab from the first slice to the last.

    Args:
        ensemble: the networks on their device; where it has `compares`, slabs tell the disagreement.
        image: `(Z, Y, X)`, int16 (0..32767 for [0, 1]) or float32 in [0, 1]. It is padded with 0 where it is
            smaller than the window.
        window: size (z, y, x) in voxels.
        overlap: share of the window by which neighbours overlap at least, 0 to 0.9.
        batch: windows of a forward pass; None chooses by their size.
        progress: called after each forward pass.

    Raises:
        torch.OutOfMemoryError: the device has too little memory for this batch.
    """
    grid = _WindowGrid.over(image.shape, window, overlap, ensemble.device)
    batch = batch or default_batch(grid.window, ensemble.device)
    channels = ensemble.classes + ensemble.compares
    accumulator = torch.zeros(grid.window[0], channels, *grid.padded[1:], device=ensemble.device)
    places = list(itertools.product(*map(range, map(len, grid.starts[1:]))))
    done, total = 0, len(places) * len(grid.starts[0])
    for row, start in enumerate(grid.starts[0]):
        slices = _slices(image, grid, start)
        content = slices.to(ensemble.device)
        for first in range(0, len(places), batch):
            chunk = places[first : first + batch]
            filled: list[_Part] = []
            empty: list[_Part] = []
            for part in (grid.part(row, *place) for place in chunk):
                # Asked of the main memory: asking a GPU would mean waiting for it.
                (filled if slices[:, part.y, part.x].any() else empty).append(part)
            _add_background(accumulator, empty)
            _add_windows(accumulator, ensemble, content, filled)
            done += len(chunk)
            if progress:
                progress(done, total)
        end = grid.starts[0][row + 1] if row + 1 < len(grid.starts[0]) else grid.padded[0]
        yield from _finished(accumulator, grid, start, end, ensemble.classes)
        _shift(accumulator, end - start)


def segment_patch_grid(
    networks: Sequence[SegmentationNetwork],
    image: np.ndarray,
    *,
    patch_size: Sequence[int],
    classes: int | None = None,
    overlap: float = 0.5,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
) -> np.ndarray:
    """Class map `(Z, Y, X)` uint8 of an image on the plan's grid, such as training measures itself with.

    The networks may be in training: copies predict. Neither their weights nor any random generator changes.

    Args:
        networks: their mean softmax is taken.
        image: `(Z, Y, X)`, int16 (0..32767 for [0, 1]) or float32 in [0, 1].
        patch_size: window (z, y, x) in voxels.
        classes: C, background included; checked against the networks.
        overlap: share by which neighbouring windows overlap, 0 to 0.9.
        device: where the networks are to run.
        precision: arithmetic of the convolutions.
    """
    device = torch.device(device)
    ensemble = Ensemble(networks, device, bfloat16=use_bfloat16(device, precision))
    if classes not in (None, ensemble.classes):
        raise ValueError(f"the networks have {ensemble.classes} classes, not {classes}")
    result = np.empty(image.shape, np.uint8)
    for slab in sliding_window(ensemble, image, patch_size, overlap=overlap):
        stop = slab.start + len(slab.probabilities)
        result[slab.start : stop] = most_probable(slab.probabilities).cpu().numpy()
    return result


def most_probable(probabilities: Tensor) -> Tensor:
    """Class `(n, Y, X)` uint8 of the largest of `probabilities (n, C, Y, X)`, the first among equals."""
    best = probabilities[:, 0].clone()
    classes = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
    # A running maximum over planes is several times faster than argmax across them.
    for index in range(1, probabilities.shape[1]):
        candidate = probabilities[:, index]
        classes.masked_fill_(candidate > best, index)
        torch.maximum(best, candidate, out=best)
    return classes


def _share_that_differs(labels: Sequence[Tensor]) -> Tensor:
    """Share of the pairs of label maps that differ, voxel by voxel, float32."""
    pairs = list(itertools.combinations(labels, 2))
    return torch.stack([(one != other).float() for one, other in pairs]).mean(0)


def default_batch(window: Sequence[int], device: torch.device) -> int:
    """Windows of a forward pass; on a CPU at least two, since PyTorch computes a batch of one with slower kernels."""
    least = 2 if device.type == "cpu" else 1
    return max(least, _BATCH_VOXELS.get(device.type, 2**20) // math.prod(window))


def window_starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows start along an axis: evenly spaced, the last flush with the end."""
    if length <= window:
        return [0]
    steps = math.ceil((length - window) / max(1, int(window * (1 - overlap))))
    return [round(index * (length - window) / steps) for index in range(steps + 1)]


@dataclass(frozen=True)
class _WindowGrid:
    """Where the windows lie over a volume padded to at least one window, and what weighs at which voxel."""

    size: Size
    padded: Size
    before: Size
    window: Size
    starts: tuple[list[int], ...]
    weights: tuple[list[Tensor], ...]

    @classmethod
    def over(
        cls, size: Sequence[int], window: Sequence[int], overlap: float, device: torch.device
    ) -> _WindowGrid:
        padded = [max(pair) for pair in zip(size, window, strict=True)]
        starts = [window_starts(*pair, overlap) for pair in zip(padded, window, strict=True)]
        return cls(
            size=_size(size),
            padded=_size(padded),
            before=_size((whole - part) // 2 for whole, part in zip(padded, size, strict=True)),
            window=_size(window),
            starts=tuple(starts),
            weights=tuple(
                [weight.to(device) for weight in _partition_of_unity(*axis)]
                for axis in zip(padded, window, starts, strict=True)
            ),
        )

    def part(self, row: int, column: int, place: int) -> _Part:
        z, y, x = (self.weights[axis][i] for axis, i in enumerate((row, column, place)))
        weight = z[:, None, None] * y[None, :, None] * x[None, None, :]
        return _Part(self._slice(1, column), self._slice(2, place), weight)

    def _slice(self, axis: int, index: int) -> slice:
        start = self.starts[axis][index]
        return slice(start, start + self.window[axis])


@dataclass(frozen=True)
class _Part:
    """One window within a row of windows: its place and the weight `(D, H, W)` of its voxels."""

    y: slice
    x: slice
    weight: Tensor


def _partition_of_unity(length: int, window: int, starts: Sequence[int]) -> list[Tensor]:
    position = np.arange(window) - (window - 1) / 2
    gaussian = np.exp(-0.5 * (position / (window * _SIGMA)) ** 2)
    total = np.zeros(length)
    for start in starts:
        total[start : start + window] += gaussian
    return [torch.from_numpy((gaussian / total[s : s + window]).astype(np.float32)) for s in starts]


def _slices(image: np.ndarray, grid: _WindowGrid, start: int) -> Tensor:
    """The slices `(D, Y, X)` a row of windows looks at, padded with 0, in the image's own type."""
    row = np.zeros((grid.window[0], *grid.padded[1:]), image.dtype)
    bz, by, bx = grid.before
    first, last = max(start - bz, 0), min(start - bz + grid.window[0], grid.size[0])
    z = slice(first + bz - start, last + bz - start)
    row[z, by : by + grid.size[1], bx : bx + grid.size[2]] = image[first:last]
    return torch.from_numpy(row)


def _add_background(accumulator: Tensor, parts: Sequence[_Part]) -> None:
    """Windows that hold nothing but air are background, without asking the networks."""
    for part in parts:
        accumulator[:, 0, part.y, part.x] += part.weight


def _add_windows(accumulator: Tensor, ensemble: Ensemble, content: Tensor, parts: Sequence[_Part]) -> None:
    """Add the weighted softmax of some windows of a row to `accumulator (D, C, Y, X)`."""
    if not parts:
        return
    windows = torch.stack([content[:, part.y, part.x] for part in parts])[:, None]
    windows = windows.float() / (1 if windows.is_floating_point() else FULL_SCALE)
    for part, probabilities in zip(parts, ensemble(windows), strict=True):
        target = accumulator[:, :, part.y, part.x]
        target.addcmul_(probabilities.transpose(0, 1), part.weight[:, None])


def _finished(accumulator: Tensor, grid: _WindowGrid, start: int, end: int, classes: int) -> Iterator[Slab]:
    """The slices from `start` to `end` of the padded volume without the padding, if any is left."""
    bz, by, bx = grid.before
    first, last = max(start, bz), min(end, bz + grid.size[0])
    if first < last:
        inside = accumulator[first - start : last - start, :, by : by + grid.size[1], bx : bx + grid.size[2]]
        compared = inside.shape[1] > classes
        yield Slab(first - bz, inside[:, :classes], inside[:, classes] if compared else None)


def _shift(accumulator: Tensor, count: int) -> None:
    """Drop the first `count` slices and append as many empty ones, without a second accumulator."""
    depth = len(accumulator)
    for first in range(0, depth - count, count):
        width = min(count, depth - count - first)
        accumulator[first : first + width] = accumulator[first + count : first + count + width]
    accumulator[depth - count :] = 0


def _size(values: Iterable[int]) -> Size:
    z, y, x = (int(value) for value in values)
    return z, y, x

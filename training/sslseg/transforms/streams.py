"""Random streams named by (seed, step, purpose).

No generator state has to be saved with a checkpoint: a resumed run, or another worker process, that asks
for the same name gets the same numbers.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor


def _entropy(seed: int, step: int, purpose: str) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed & 0xFFFFFFFFFFFFFFFF, step, zlib.crc32(purpose.encode())])


def numpy_stream(seed: int, step: int, purpose: str) -> np.random.Generator:
    """The numpy generator of that name."""
    return np.random.default_rng(_entropy(seed, step, purpose))


def torch_stream(seed: int, step: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The torch generator of that name. Streams of one name differ between CPU and GPU."""
    state = int(_entropy(seed, step, purpose).generate_state(1, np.uint64)[0])
    return torch.Generator(device).manual_seed(state >> 1)


def uniform(count: int, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    """`(count,)` float32 numbers between the two limits, on the CPU."""
    low, high = limits
    return torch.rand(count, generator=generator) * (high - low) + low


def chosen(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """Indices of the samples that were chosen, each with `probability`, on the CPU."""
    return (torch.rand(count, generator=generator) < probability).nonzero().flatten()


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Move CPU values without making the CPU wait for the device."""
    if device.type == "cuda":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)

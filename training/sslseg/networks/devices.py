"""Which device computes, and in which precision."""

from __future__ import annotations

import functools
import re
import sys
import time

import torch
from torch.nn import functional

from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import Precision

CLEARLY_FASTER = 1.15
"""What bfloat16 must gain over float32 to be worth its rounding."""
_PRECISIONS = (torch.float32, torch.bfloat16)


def resolve_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda, cuda:1, mps.

    auto takes the first CUDA device, else Apple's, else the CPU.

    Raises:
        SSLSegError: the name is unknown or this computer lacks the device.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise SSLSegError(f"There is no device '{name}'", remedy="Choose auto, cpu, cuda, cuda:1 or mps.")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise SSLSegError(
                f"This computer has {count or 'no'} CUDA device(s) that PyTorch can use, so not '{name}'",
                remedy="Choose the device auto, or install PyTorch with CUDA.",
            )
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SSLSegError(
            "This computer has no Apple GPU that PyTorch can use", remedy="Choose the device auto."
        )
    return device


def use_bfloat16(device: torch.device, precision: Precision) -> bool:
    """Whether convolutions shall run in bfloat16.

    auto says yes where that is faster: on recent CUDA devices, and on a CPU if it was measured to be.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return _cpu_gains_from_bfloat16()
    return False


def describe_device(device: torch.device) -> str:
    """The device in words, for events and records."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: of the device if it counts that, else of the process; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


@functools.cache
def _cpu_gains_from_bfloat16() -> bool:
    """Whether one convolution, forward and backward, is clearly faster in bfloat16 on this processor.

    Measured, because the processor's flags do not tell: some list bfloat16 and compute it more slowly than float32.
    """
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16")):
        return False
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 32, 24, 24, 24, generator=generator).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(32, 32, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last_3d)
    threads = torch.get_num_threads()
    # The processor time of one thread does not depend on what else the computer does.
    torch.set_num_threads(1)
    seconds = {dtype: _convolution_seconds(image.to(dtype), weight.to(dtype)) for dtype in _PRECISIONS}
    torch.set_num_threads(threads)
    return seconds[torch.bfloat16] * CLEARLY_FASTER < seconds[torch.float32]


def _convolution_seconds(image: torch.Tensor, weight: torch.Tensor) -> float:
    """The fastest of several passes; the first ones also choose the kernel."""
    image.requires_grad_(True)
    weight.requires_grad_(True)
    seconds = []
    for _ in range(6):
        start = time.thread_time()
        functional.conv3d(image, weight, padding=1).sum().backward()
        seconds.append(time.thread_time() - start)
    return min(seconds)

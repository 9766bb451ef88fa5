"""`sslseg check`: a one-second job that tells whether the backend works here.

Only the standard library is imported before it is known that the packages are there, so that the answer is a
sentence even where nothing is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from sslseg import __version__
from sslseg.contract.errors import SSLSegError
from sslseg.contract.requirements import PYTHON, REQUIREMENTS, satisfies

if TYPE_CHECKING:
    import torch

GB = 1e9
LITTLE_MEMORY_GB = 7.0
"""A computer sold with 8 GB shows a little less."""
_REPORTED = ("torch", "monai", "lightning", "SimpleITK")
_SIDE = 16


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        ok: whether everything that training and prediction need is there and works.
        device: on which the job ran, in words; empty where it did not come to that.
        memory_gb: memory of that device in 10^9 bytes; None where it cannot be told.
        versions: of Python, of this package and of those that results depend on; None: not installed.
        seconds: that one training step and one prediction took, without loading the packages.
        errors: what keeps it from working, a sentence each with what to do.
        warnings: what works but may disappoint.
    """

    ok: bool
    device: str = ""
    memory_gb: float | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    seconds: float | None = None
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> str:
        """One line for a program."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def as_text(self) -> str:
        """Lines for a person."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items() if version)
        lines = [*self.errors]
        if self.ok:
            memory = "" if self.memory_gb is None else f", {self.memory_gb:g} GB of memory"
            lines += [f"It works: {self.device}{memory}; the test took {self.seconds:g} s.", *self.warnings]
        return "\n".join([*lines, versions])


def check_computer(device: str = "auto") -> Check:
    """Look for the packages, load them, train one step and predict once on random numbers.

    Args:
        device: auto, cpu, cuda, cuda:1, mps.
    """
    versions = _versions()
    errors = [problem for requirement in REQUIREMENTS if (problem := requirement.problem())]
    errors += _python_problem()
    if not errors:
        errors = _unloadable()
    if errors:
        return Check(False, versions=versions, errors=errors)
    from sslseg.networks.devices import describe_device, resolve_device

    try:
        chosen = resolve_device(device)
        seconds = _job(chosen)
    except SSLSegError as error:
        return Check(False, versions=versions, errors=[str(error)])
    except Exception as error:
        reason = str(error).strip().splitlines()
        return Check(
            False,
            device=device,
            versions=versions,
            errors=[
                f"The computation failed on the device '{device}' "
                f"({type(error).__name__}{': ' + reason[0] if reason else ''}). "
                "Choose the device cpu, or install PyTorch anew."
            ],
        )
    memory = _memory(chosen)
    return Check(
        True,
        device=describe_device(chosen),
        memory_gb=None if memory is None else round(memory / GB, 1),
        versions=versions,
        seconds=round(seconds, 2),
        warnings=_disappointments(chosen, memory),
    )


def _versions() -> dict[str, str | None]:
    found = {requirement.name: requirement.installed() for requirement in REQUIREMENTS}
    return {
        "python": platform.python_version(),
        **{name: found[name] for name in _REPORTED},
        "sslseg": __version__,
    }


def _python_problem() -> list[str]:
    version = platform.python_version()
    if satisfies(version, PYTHON):
        return []
    return [f"The backend does not run on Python {version}. Use Python {PYTHON}."]


def _unloadable() -> list[str]:
    """Packages that are installed and yet cannot be imported: a half installation, a missing system library."""
    errors = []
    for requirement in REQUIREMENTS:
        try:
            with _quiet():
                importlib.import_module(requirement.module)
        except Exception as error:
            reason = str(error).strip().splitlines()
            errors.append(
                f"The package '{requirement.name}' is installed but cannot be loaded "
                f"({type(error).__name__}{': ' + reason[0] if reason else ''}). Install it anew."
            )
    return errors


def _job(device: torch.device) -> float:
    """Train one step and predict one volume of noise; returns the seconds both took."""
    import numpy as np
    import torch

    from sslseg.inference.sliding_window import segment_patch_grid
    from sslseg.losses.segmentation import segmentation_loss
    from sslseg.networks import build_network

    begun = time.perf_counter()
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("vnet", out_channels=2, strides=((2, 2, 2),) * 2, filters=8).to(device)
        optimizer = torch.optim.AdamW(network.parameters())
        image = torch.rand(2, 1, _SIDE, _SIDE, _SIDE).to(device)
        loss = segmentation_loss(network(image), (image[:, 0] > 0.5).long())
        loss.backward()
        optimizer.step()
        if not torch.isfinite(loss):
            raise RuntimeError("the loss is not a number")
        volume = np.random.default_rng(0).random((_SIDE + 8,) * 3, np.float32)
        segment_patch_grid([network], volume, patch_size=(_SIDE,) * 3, device=device, precision="float32")
    return time.perf_counter() - begun


def _memory(device: torch.device) -> int | None:
    """Memory of the device in bytes, of the computer where the device has none of its own."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _windows_memory() -> int | None:
    import ctypes

    kilobytes = ctypes.c_ulonglong()
    kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined,unused-ignore]
    if not kernel.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes)):
        return None
    return kilobytes.value * 1024


def _disappointments(device: torch.device, memory: int | None) -> list[str]:
    found = []
    if device.type == "cpu":
        found.append("No graphics card is used. Begin with the preset quick, which is made for this.")
    if memory is not None and memory / GB < LITTLE_MEMORY_GB:
        found.append(f"{memory / GB:.1f} GB of memory are little: choose the preset quick.")
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What packages warn of while they load is not for the person who asks whether they work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

"""How a training step of CGS grows with the number of organs, in time and in memory.

    python Testing/benchmarks/cgs_heads.py [--network vnet] [--patch 48 48 48] [--repeats 5] [--device cpu]

One process per variant, so that the peak of its memory is its own: with the default and the paper's
specialist heads, 2 and 15 organs, and the step of supervised training on the same network and patches. Time
is the fastest of the repeats; memory is the peak above what was in use before the first step.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

ORGANS = (2, 15)
VARIANTS = {
    "supervised": ("supervised", {}),
    **{h: ("cgs", {"specialist_head": h}) for h in ("shared", "paper")},
}


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Seconds and MiB of a training step of the one variant that `options` names."""
    import torch

    from sslseg.methods import build_method
    from sslseg.methods.base import RunSettings
    from sslseg.networks import build_network

    name, settings = VARIANTS[options.variant]
    classes = options.organs + 1
    device = torch.device(options.device)
    method = build_method(
        name,
        lambda: build_network(options.network, out_channels=classes, strides=((2, 2, 2),) * 3),
        classes=classes,
        run=RunSettings(steps=1000),
        settings=settings,
    ).to(device)
    optimizer = method.configure_optimizers()["optimizer"]
    batch = {
        "image": torch.rand(2, 1, *options.patch, device=device),
        "label": torch.randint(0, classes, (2, *options.patch), device=device),
        "known": torch.ones(2, classes, dtype=torch.bool, device=device),
        "unlabelled": torch.rand(2, 1, *options.patch, device=device),
    }
    method.train()
    before = peak_mib(device)
    seconds = []
    for step in range(options.repeats + 2):
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = torch.stack(list(method.losses(batch, step).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds[2:]), "mib": peak_mib(device) - before}


def peak_mib(device: object) -> float:
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="vnet")
    parser.add_argument("--patch", type=int, nargs=3, default=(48, 48, 48))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--organs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options)))
        return
    print(f"{'':12}" + "".join(f"{organs:>8} organs {'':9}" for organs in ORGANS) + "growth")
    for variant in VARIANTS:
        rows = []
        for organs in ORGANS:
            command = [sys.executable, *sys.argv, "--variant", variant, "--organs", str(organs)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(printed.splitlines()[-1]))
        cells = "".join(f"{row['seconds']:8.3f} s {row['mib']:8.0f} MiB  " for row in rows)
        growth = [rows[-1][key] / rows[0][key] for key in ("seconds", "mib")]
        print(f"{variant:12}{cells}{growth[0]:.2f}x time, {growth[1]:.2f}x memory")


if __name__ == "__main__":
    main()

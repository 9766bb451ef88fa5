"""How fast patches come from the store, how much is read for them, and whether memory grows with the cohort.

    python Testing/benchmarks/patch_store.py [--cases 10 200] [--patch 96]

Makes its own volumes in a temporary folder (7 MB a case) and removes them. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sslseg.contract.files import read_json
from sslseg.data.store import ForegroundPoints, StoredCase, write_entry

SMALL = (112, 144, 144)
LARGE = (200, 324, 444)
DRAWS = 500


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 200])
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--draw-from", nargs=2, metavar=("FOLDER", "CASES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.draw_from:
        draw_patches(Path(arguments.draw_from[0]), int(arguments.draw_from[1]), arguments.patch)
        return
    with tempfile.TemporaryDirectory() as folder:
        large_volume(Path(folder), arguments.patch)
        many_cases(Path(folder), arguments.cases, arguments.patch)


def large_volume(folder: Path, side: int) -> None:
    """Time and bytes of a patch of one large volume, against reading all of it."""
    case = make_case(folder / "large", LARGE, 0)
    generator = np.random.default_rng(0)
    starts = [[int(generator.integers(0, n - side)) for n in LARGE] for _ in range(100)]
    patch = median_seconds(lambda i: case.read(starts[i], (side,) * 3), len(starts))
    whole = median_seconds(lambda _: case.read_all(), 5)
    print(f"{'x'.join(map(str, LARGE))} voxels, patch {side}^3, image and label")
    print(f"  patch               {patch * 1e3:8.2f} ms   {1 / patch:6.0f} patches/s")
    print(f"  whole volume        {whole * 1e3:8.2f} ms   {whole / patch:6.1f} times a patch")
    wanted = side**3 * 3
    asked, fetched = [], []
    for start in starts[:30]:
        for file in case.folder.iterdir():
            forget(file)
        before = read_so_far()
        case.read(start, (side,) * 3)
        after = read_so_far()
        asked.append(after[0] - before[0])
        fetched.append(after[1] - before[1])
    print(f"  asked of the system {np.mean(asked) / wanted:8.2f} bytes per byte of the patch")
    print(f"  fetched from a cold disk {np.mean(fetched) / wanted:.2f} bytes per byte of the patch")


def many_cases(folder: Path, counts: list[int], side: int) -> None:
    """Peak memory of a process that draws patches from few and from many cases."""
    print(f"{DRAWS} patches of {side}^3 from cases of {'x'.join(map(str, SMALL))} voxels")
    for number in range(max(counts)):
        make_case(folder / str(number), SMALL, number)
    command = [sys.executable, __file__, "--patch", str(side), "--draw-from", str(folder)]
    for count in counts:
        print(f"  {count:4d} cases: {subprocess.check_output([*command, str(count)], text=True).strip()}")


def draw_patches(folder: Path, count: int, side: int) -> None:
    cases = [opened(folder / str(number)) for number in range(count)]
    generator = np.random.default_rng(0)
    at_start = peak_mib()
    began = time.perf_counter()
    for draw in range(DRAWS):
        case = cases[draw % count]
        points = case.foreground[1]
        case.read(points[generator.integers(len(points))] - side // 2, (side,) * 3)
    seconds = time.perf_counter() - began
    print(
        f"peak memory {at_start:.0f} MiB before, {peak_mib():.0f} MiB after; {DRAWS / seconds:.0f} patches/s"
    )


def make_case(folder: Path, shape: tuple[int, int, int], seed: int) -> StoredCase:
    voxels = np.random.default_rng(seed).integers(0, 32767, shape, dtype=np.int16)
    write_entry(folder, voxels, (voxels > 30000).astype(np.uint8))
    return opened(folder)


def opened(folder: Path) -> StoredCase:
    manifest = read_json(folder / "manifest.json")
    points = ForegroundPoints(folder / "foreground.bin", manifest["foreground"])
    return StoredCase(folder.name, tuple(manifest["shape"]), True, np.ones(2, np.bool_), points, folder)


def median_seconds(work: Callable[[int], object], times: int) -> float:
    seconds = []
    for number in range(times):
        began = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def peak_mib() -> float:
    """Peak resident memory of this process; `getrusage` would count its parent's, from before the start."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_so_far() -> tuple[int, int]:
    """Bytes this process has asked for, and bytes fetched from the disk for it (Linux)."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"]), int(fields["read_bytes"])


if __name__ == "__main__":
    main()

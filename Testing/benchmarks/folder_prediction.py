"""Hundreds of studies in one run, killed in the middle and gone on with: time, waiting, memory, nothing done twice.

    python Testing/benchmarks/folder_prediction.py [--studies 300] [--model FOLDER]

Makes its own studies (copies of twelve phantoms, in nested folders and three formats) in a temporary folder and removes
them. Without a model it trains one for a minute. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

import sslseg
from sslseg.phantoms.cohort import write_phantom_cohort

PHANTOMS = 12
SUFFIXES = (".nii.gz", ".nrrd", ".mha")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model or train(folder / "cohort")
        make_studies(folder, arguments.studies)
        measure(model, folder / "studies", folder / "results", arguments.studies)


def train(folder: Path) -> Path:
    """A model that finds the organs of phantoms roughly."""
    write_phantom_cohort(folder, cases=PHANTOMS, annotated=3)
    sslseg.train_model(folder, "supervised", model="rough", preset="quick", steps=150, validation_cases=0)
    return folder / "models" / "rough"


def make_studies(folder: Path, count: int) -> None:
    """`count` studies below `studies/`, two that are damaged among them."""
    cohort = folder / "cohort"
    if not cohort.exists():
        write_phantom_cohort(cohort, cases=PHANTOMS, annotated=3)
    images = [sitk.ReadImage(str(path)) for path in sorted((cohort / "images").iterdir())]
    for number in range(count):
        place = folder / "studies" / f"ward{number % 7}" / f"patient{number:04d}"
        place.mkdir(parents=True)
        path = place / f"ct{SUFFIXES[number % 3]}"
        sitk.WriteImage(images[number % PHANTOMS], str(path), useCompression=True)
        if number in (count // 3, count // 2):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def measure(model: Path, studies: Path, results: Path, count: int) -> None:
    """Run, kill after half of the studies, run to the end, run once more."""
    begin = time.monotonic()
    process = start(model, studies, results)
    while done(results) < count // 2 and process.poll() is None:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = done(results)
    print(f"killed after {time.monotonic() - begin:.0f} s with {before} of {count} studies done")
    for what in ("went on", "once more"):
        begin, process = time.monotonic(), start(model, studies, results)
        peaks, last = [], ""
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip() if "waited" in line else last
            peaks.append(peak_mib(process.pid))
        code, seconds = process.wait(), time.monotonic() - begin
        states = [row["state"] for row in csv.DictReader((results / "summary.csv").open(newline=""))]
        told = ", ".join(f"{states.count(state)} {state}" for state in ("done", "done before", "failed"))
        half = peaks[len(peaks) // 2] if peaks else 0
        print(f"{what}: {seconds:.0f} s, {told}, exit code {code}. {last}")
        print(f"  peak memory {max(peaks, default=0):.0f} MiB, at half of the way {half:.0f} MiB")
    size = (results / "report.html").stat().st_size / 2**20
    print(f"report.html {size:.1f} MiB")


def start(model: Path, studies: Path, results: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sslseg.cli.app", "predict", "--model", str(model)]
    command += ["--input", str(studies), "--output", str(results), "--overlap", "0.25"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def done(results: Path) -> int:
    path = results / ".sslseg" / "done.jsonl"
    return path.read_text().count('"name"') if path.exists() else 0


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


if __name__ == "__main__":
    main()

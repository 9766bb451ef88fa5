"""Opening, drawing in, drafting, saving and closing a case in Slicer's scene: how long the GUI has to wait.

    python Testing/benchmarks/slicer_case.py [--shape 300 512 512] [--organs 15]

Every call of the case's timer is measured: the longest is the longest time for which Slicer does not answer. Runs over
`slicer-core` with the stand-in, or inside Slicer with `--python-script`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import standin

standin.install()

# ruff: noqa: E402, I001 - what is imported here is put in place by the stand-in

import numpy as np
import SimpleITK as sitk
import slicer
from vtk.util.numpy_support import vtk_to_numpy

import SSLSegmentationLib  # noqa: F401 - puts the contract on the path
from sslseg.contract.cohort import Case
from sslseg.contract.labels import Label, default_color
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.OrganMarks import Mark


class Stopwatch:
    """Longest and summed time of the calls between two questions."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float]] = []

    def run(self, what: str, call: Callable[[], Any], case: CaseLogic) -> None:
        began = time.perf_counter()
        durations = [self._timed(call)]
        while not case.isIdle:
            durations.append(self._timed(case.poll))
            time.sleep(0.005)
        self.rows.append((what, max(durations), sum(durations), time.perf_counter() - began))
        print(f"{what:45} {1e3 * max(durations):8.1f} {1e3 * sum(durations):8.1f} {self.rows[-1][3]:8.2f}")

    @staticmethod
    def _timed(call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began


def make_cohort(folder: Path, shape: tuple[int, int, int], organs: int) -> CohortLogic:
    """Two cases of one image: noise with a box for each organ, together a third of the volume."""
    logic = CohortLogic()
    labels = [Label(f"organ {n}", n + 1, default_color(n)) for n in range(organs)]
    logic.createCohort(folder, "benchmark", "CT", labels)
    rng = np.random.default_rng(0)
    plane = rng.integers(-1000, 1000, shape[1:], dtype=np.int16)
    voxels = np.stack([np.roll(plane, 7 * z) for z in range(shape[0])])
    drawn = np.zeros(shape, np.uint8)
    depth, height, width = shape
    for n in range(organs):
        z = depth // 6 + n * (2 * depth // 3) // organs
        drawn[z : z + (2 * depth // 3) // organs, height // 6 : -height // 6, width // 6 : -width // 6] = (
            n + 1
        )
    (folder / "labels").mkdir()
    for name, array in (("image.nii.gz", voxels), ("labels/b.nii.gz", drawn)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.7, 0.7, 1.5))
        sitk.WriteImage(image, str(folder / name), useCompression=True, compressionLevel=1)
    with logic.edit() as cohort:
        cohort.cases.append(Case("a", "image.nii.gz"))
        cohort.cases.append(Case("b", "image.nii.gz", "labels/b.nii.gz", [label.name for label in labels]))
    return logic


def draw(case: CaseLogic) -> None:
    """What a brush stroke does: voxels of the shared label map change, and an event says so."""
    segment = case.segmentationNode.GetSegmentation().GetNthSegment(0)
    image = segment.GetRepresentation("Binary labelmap")
    voxels = vtk_to_numpy(image.GetPointData().GetScalars())
    voxels[len(voxels) // 2 : len(voxels) // 2 + 1000] = segment.GetLabelValue()
    image.Modified()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512), help="voxels (z, y, x)")
    parser.add_argument("--organs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        cohort = make_cohort(Path(name) / "cohort", tuple(options.shape), options.organs)
        now = [time.time()]
        case = CaseLogic(cohort, clock=lambda: now[0])
        print(
            f"{tuple(options.shape)} int16, {options.organs} organs; ms in the GUI's thread, seconds until done"
        )
        print(f"{'':45} {'longest':>8} {'sum':>8} {'s':>8}")
        watch = Stopwatch()
        watch.run("open, nothing in the cache", lambda: case.openCase("b"), case)
        watch.run("close, nothing to save", case.closeCase, case)
        watch.run("open, in the cache", lambda: case.openCase("b"), case)
        watch.run("close", case.closeCase, case)
        watch.run("read ahead", lambda: case.preload("b"), case)
        watch.run("open, read ahead", lambda: case.openCase("b"), case)
        watch.run("one brush stroke", lambda: draw(case), case)

        def draft() -> None:
            now[0] += 60
            case.poll()

        watch.run("draft", draft, case)
        watch.run("mark an organ", lambda: case.setMark("organ 0", Mark.COMPLETE), case)
        watch.run("jump to an organ", lambda: case.jumpToOrgan("organ 0"), case)
        watch.run("slices of an organ", lambda: case.drawnSlices("organ 0", "k"), case)
        watch.run("is an organ drawn", lambda: case.hasVoxels(f"organ {options.organs - 1}"), case)
        watch.run("save", case.save, case)
        draw(case)
        watch.run("close and save", case.closeCase, case)
        assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == []
        case.shutdown()


if __name__ == "__main__":
    main()

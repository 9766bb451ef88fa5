"""Driving the batch from tests: in this process, or as a program of its own; and files for it."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import SSLSegmentationLib
import widget_helpers  # noqa: F401 - before the helpers that it finds
from cohort_doubles import Settings
from SSLSegmentationLib.batch.Batch import Batch
from SSLSegmentationLib.batch.Interruption import Interruption
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.SetupLogic import SetupLogic, SetupState

from sslseg.contract.cohort import Cohort

sys.path.append(str(Path(__file__).parents[1] / "backend"))  # the makers of volumes beside the tests there

SCRIPT = Path(SSLSegmentationLib.__file__).with_name("sslseg_batch.py")
LIVER_TERM = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
SHAPE = (8, 10, 12)
TINY = ("--network", "vnet", "--patch-size", "16,16,16", "--labelled-batch", "1", "--unlabelled-batch", "1",
        "--validation-cases", "0", "--device", "cpu")  # fmt: skip
"""A training of milliseconds a step."""


@dataclass(frozen=True)
class Said:
    """How a batch ended, and what it printed."""

    code: int
    out: str
    err: str


class BatchCase(unittest.TestCase):
    """A folder, and a scene in which nothing is left behind."""

    _sentence: str | None = None

    @classmethod
    def setUpClass(cls) -> None:
        if BatchCase._sentence is None:
            BatchCase._sentence = _obstacle()
        if BatchCase._sentence:
            raise unittest.SkipTest(BatchCase._sentence)

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.place = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = self.place / "cohort"

    def batch(self, *words: object) -> Said:
        return run_batch(*words)

    def cohort(self) -> Cohort:
        return Cohort.read(self.folder)


def run_batch(*words: object, settings: Settings | None = None) -> Said:
    """Carry out a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = Batch([str(word) for word in words], Terminal(out, err), settings or Settings()).run()
    return Said(code, out.getvalue(), err.getvalue())


def start_batch(*words: object) -> subprocess.Popen[str]:
    """Start a command as a program of its own, as `Slicer --python-script` does."""
    options = ["--testing", "--no-splash", "--no-main-window", "--python-script", str(SCRIPT), "--"]
    return subprocess.Popen(
        [sys.executable, "-m", "standin", *options, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        start_new_session=True,
    )


def add_volume(name: str, seed: int) -> Any:
    """A CT volume in the scene."""
    voxels = np.random.default_rng(seed).integers(-1000, 800, SHAPE).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, np.diag([1.5, 1.5, 2.5, 1.0]), name)
    node.SetOrigin(-31.25, 12.5, 800.0625)
    return node


def add_segmentation(volume: Any, segments: dict[str, np.ndarray], *, over: bool = True) -> Any:
    """A segmentation of a volume in the scene; `over`: that says so."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.CreateDefaultDisplayNodes()
    if over:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, voxels in segments.items():
        segment = node.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, segment, volume)
    return node


def a_box(*corner: int) -> np.ndarray:
    """A few voxels of an organ."""
    voxels = np.zeros(SHAPE, np.uint8)
    z, y, x = corner
    voxels[z : z + 2, y : y + 3, x : x + 4] = 1
    return voxels


@contextlib.contextmanager
def an_empty_scene() -> Iterator[None]:
    """Whatever the block adds is gone afterwards."""
    slicer.mrmlScene.Clear(0)
    yield
    slicer.mrmlScene.Clear(0)


def node_ids() -> set[str]:
    """Everything in the scene."""
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def _obstacle() -> str:
    """Why the Python that is used here cannot run the backend; empty if it can."""
    setup = SetupLogic(Settings())
    setup.check()
    while setup.state is SetupState.CHECKING:
        Interruption().pause()
        setup.poll()
    return "" if setup.isReady else setup.sentence

"""A cohort of two tiny cases in a turned scan, and the logic of the open case over it."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from cohort_doubles import Asked, Settings
from review_cohort import StagingHere, settle
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.VolumeLoader import VolumeLoader

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.labels import Label

SHAPE = (7, 11, 13)
"""Voxels (z, y, x)."""
LIVER_TERM = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
    "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = [
    Label("liver", 200, (221, 130, 101), LIVER_TERM),
    Label("Left Kidney", 7, (185, 102, 83)),
    Label("Ösophagus", 2, (211, 171, 143)),
]
LIVER, KIDNEY, GULLET = (label.name for label in LABELS)
NOW = 1_700_000_000.0


def turned(degrees: float, axis: int) -> np.ndarray:
    """A rotation around one axis."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    first, second = [other for other in range(3) if other != axis]
    matrix[[first, first, second, second], [first, second, first, second]] = (cosine, -sine, sine, cosine)
    return matrix


GEOMETRIES = {
    "straight": ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3)),
    "anisotropic": ((0.7, 0.83, 5.0), (-212.5, 187.25, -903.25), np.eye(3)),
    "oblique": ((0.8, 0.9, 2.5), (-31.25, 12.125, 800.0625), turned(20, 2) @ turned(-35, 0)),
    "mirrored": ((1.5, 0.6, 3.0), (100.5, -80.25, 40.0), np.diag([1.0, -1.0, -1.0]) @ turned(10, 1)),
    "permuted": ((1.1, 2.2, 0.9), (5.0, 6.0, 7.0), np.eye(3)[[2, 0, 1]]),
}
"""Spacing, origin and direction, as SimpleITK has them."""


def an_image(voxels: np.ndarray, geometry: str = "oblique") -> sitk.Image:
    spacing, origin, direction = GEOMETRIES[geometry]
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    return image


def scan_voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1200, SHAPE).astype(np.int16)


def drawn_voxels() -> np.ndarray:
    """The liver and the kidney are drawn, and one voxel nobody annotated."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[1:4, 2:6, 3:9] = 200
    voxels[3:6, 6:9, 4:7] = 7
    voxels[6, 10, 12] = 255
    return voxels


class CaseTest(unittest.TestCase):
    """`first` is annotated, `second` is not; nothing is open."""

    geometry = "oblique"

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = self.place / "cohort"
        self.make_cohort()
        self.now = NOW
        self.open_logic()

    def make_cohort(self) -> None:
        cohorts = CohortLogic(Settings())
        cohorts.createCohort(self.folder, "abdomen", "CT", LABELS)
        for name in ("images", "labels"):
            (self.folder / name).mkdir()
        for name in ("first", "second"):
            sitk.WriteImage(
                an_image(scan_voxels(), self.geometry), str(self.folder / "images" / f"{name}.nrrd")
            )
        self.write_label("first", drawn_voxels())
        with cohorts.edit() as cohort:
            cohort.cases += [
                Case("first", "images/first.nrrd", "labels/first.nii.gz", [LIVER]),
                Case("second", "images/second.nrrd"),
            ]

    def open_logic(self) -> None:
        """As a Slicer that was just started has it."""
        self.cohorts = CohortLogic(Settings())
        self.cohorts.openCohort(self.folder)
        self.confirm = Asked()
        self.logic = CaseLogic(
            self.cohorts,
            VolumeLoader(StagingHere()),
            confirm=self.confirm,
            rescueFolder=self.place / "rescued",
            clock=lambda: self.now,
        )
        self.addCleanup(self.logic.shutdown)
        self.said: list[str] = []
        self.events: list[str] = []
        self.logic.noticed.connect(self.said.append)
        self.logic.failed.connect(self.said.append)
        for name in ("opened", "aboutToClose", "closed", "saved"):
            getattr(self.logic, name).connect(lambda *a, name=name: self.events.append(" ".join([name, *a])))

    def open(self, case_id: str, source: Any = "auto") -> None:
        self.assertTrue(self.logic.openCase(case_id, source))
        settle(self.logic)
        self.assertEqual(self.logic.caseId, case_id, self.said)

    def close(self) -> None:
        self.assertTrue(self.logic.closeCase())
        settle(self.logic)

    def draw(self, organ: str, voxels: np.ndarray) -> None:
        """Draw an organ anew, as an effect of the Segment Editor does: it takes voxels from the others."""
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            voxels.astype(np.uint8),
            self.logic.segmentationNode,
            self.logic.segmentId(organ),
            self.logic.volumeNode,
        )

    def a_box(self, *slices: slice) -> np.ndarray:
        voxels = np.zeros(SHAPE, bool)
        voxels[slices] = True
        return voxels

    def drawn(self, organ: str) -> np.ndarray:
        """What is drawn of an organ in the scene."""
        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.logic.segmentationNode, self.logic.segmentId(organ), self.logic.volumeNode
        ).astype(bool)

    def saved_voxels(self, case_id: str) -> np.ndarray:
        return sitk.GetArrayFromImage(self.saved_label(case_id))

    def saved_label(self, case_id: str) -> sitk.Image:
        return sitk.ReadImage(str(self.folder / "labels" / f"{case_id}.nii.gz"))

    def on_disk(self, case_id: str) -> Case:
        return Cohort.read(self.folder).case(case_id)

    def write_label(self, case_id: str, voxels: np.ndarray) -> None:
        path = self.folder / "labels" / f"{case_id}.nii.gz"
        sitk.WriteImage(an_image(voxels, self.geometry), str(path))

    def drafts(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "drafts").glob("[!.]*"))

    def case_nodes(self) -> list[str]:
        """Names of all nodes that could belong to a case."""
        kinds = (
            "vtkMRMLVolumeNode", "vtkMRMLVolumeDisplayNode", "vtkMRMLSegmentationNode",
            "vtkMRMLSegmentationDisplayNode", "vtkMRMLStorageNode",
        )  # fmt: skip
        return [node.GetName() for kind in kinds for node in slicer.util.getNodesByClass(kind)]

"""A cohort with predictions, quality cards and a ranking, made in a moment, and what the review of it needs."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from cohort_doubles import Settings
from job_doubles import ALauncher, ASetup
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.VolumeLoader import VolumeLoader

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.files import write_json
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.models import case_digest
from sslseg.contract.quality import (
    CaseQuality,
    OrganQuality,
    RankedCase,
    Ranking,
    Verdict,
    write_quality,
    write_ranking,
)

MODEL = "first"
ORGANS = LabelTable(
    [
        Label("liver", 1, (221, 130, 101)),
        Label("pancreas", 2, (249, 180, 111)),
        Label("left kidney", 5, (185, 102, 83)),
    ]
)
SHAPE = (12, 16, 20)
"""Voxels (z, y, x) of every volume."""
BOXES = {1: np.s_[2:8, 3:9, 3:9], 2: np.s_[4:7, 10:13, 4:12], 5: np.s_[3:9, 3:8, 12:17]}
UNSURE = (5, 11, 6)
"""Index (z, y, x) of the middle of the least sure place of the pancreas."""
SPACING = (2.0, 2.0, 3.0)


class EndedProcess:
    """A process that ended when it was launched."""

    pid = 0

    def __init__(self, code: int, output: str) -> None:
        self._code, self._output = code, output

    def poll(self) -> int:
        return self._code

    def kill(self) -> None:
        """It has ended."""

    def output(self) -> str:
        return self._output


class StagingHere:
    """Reads volumes in this process: a fresh interpreter for each would take most of the time of the tests."""

    def launch(
        self, command: list[str], environment: Any, output: Any, detached: bool = False
    ) -> EndedProcess:
        from sslseg.data.staging import main

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = main(command[command.index("sslseg.data.staging") + 1 :])
        return EndedProcess(code, printed.getvalue())


def case_id(number: int) -> str:
    return f"case_{number:04d}"


def drawn_voxels(shift: int = 0) -> np.ndarray:
    """A label map with all organs; `shift` moves them along x."""
    voxels = np.zeros(SHAPE, np.uint8)
    for value, box in BOXES.items():
        voxels[box] = value
    return np.roll(voxels, shift, axis=2)


def write_volume(path: Path, voxels: np.ndarray) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    image.SetOrigin((-20.0, 30.0, 100.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def make_review_cohort(folder: Path, predicted: int = 3, *, annotated: int = 2) -> Cohort:
    """A cohort of `annotated` cases, from which a model learned, and `predicted` more that it predicted."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(1, annotated + predicted + 1):
        name = case_id(number)
        write_volume(folder / "images" / f"{name}.nii.gz", rng.normal(50, 20, SHAPE).astype(np.int16))
        case = Case(name, f"images/{name}.nii.gz")
        if number <= annotated:
            write_volume(folder / "labels" / f"{name}.nii.gz", drawn_voxels())
            case.label, case.annotated = f"labels/{name}.nii.gz", ORGANS.names
        cases.append(case)
    Cohort.create(folder, name="abdomen", modality="CT", labels=ORGANS)
    with Cohort.edit(folder) as cohort:
        cohort.cases += cases
    add_model(cohort, MODEL)
    for number in range(annotated + 1, annotated + predicted + 1):
        add_prediction(cohort, MODEL, case_id(number))
    return Cohort.read(folder)


def add_model(cohort: Cohort, model: str) -> None:
    """A model that learned from the cases that are annotated now."""
    record = {
        "method": "mean_teacher",
        "settings": {"preset": "quick", "method_settings": {}},
        "annotations": [
            {"case": case_digest(case.id), "content": "", "use": "training"}
            for case in cohort.cases
            if case.is_annotated
        ],
        "finished": time.time(),
    }
    plan = {"labels": [{"name": label.name, "value": label.value} for label in cohort.labels]}
    write_json(cohort.model_folder(model) / "sslseg.json", {"record": record, "plan": plan})


def add_prediction(cohort: Cohort, model: str, name: str, *, uncertainty: bool = True) -> None:
    write_volume(cohort.prediction_path(model, name), drawn_voxels(shift=1))
    if uncertainty:
        percent = np.zeros(SHAPE, np.uint8)
        z, y, x = UNSURE
        percent[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 80
        write_volume(cohort.uncertainty_path(model, name), percent)


def add_card(
    cohort: Cohort, name: str, verdict: Verdict, uncertainty: float = 0.2, model: str = MODEL
) -> None:
    """A quality card; the verdict is that of the pancreas, the other organs are fine."""
    reasons = [] if verdict is Verdict.FINE else ["smaller than in any annotated case"]
    organs = [
        OrganQuality("liver", Verdict.FINE, [], 1450.0, 1, 1.0, False, 0.05, 0.02, 0.94),
        OrganQuality("pancreas", verdict, reasons, 8.4, 2, 0.8, False, uncertainty, 0.31, 0.61),
        OrganQuality("left kidney", Verdict.FINE, [], 160.0, 1, 1.0, False, 0.06, 0.03, None),
    ]
    write_quality(cohort, CaseQuality(name, model, verdict, [], organs, uncertainty, [1.0, 0.0]))


def add_ranking(cohort: Cohort, priorities: dict[str, float], model: str = MODEL) -> None:
    reason = "pancreas: the two networks disagree on 31 % of its border"
    cases = [RankedCase(name, gain, "review", reason, gain, 0.5) for name, gain in priorities.items()]
    write_ranking(cohort, Ranking(model, sorted(cases, key=lambda case: -case.priority)))


def set_use(folder: Path, name: str, use: Use) -> None:
    with Cohort.edit(folder) as cohort:
        cohort.case(name).use = use


def open_cohort(folder: Path) -> tuple[CohortLogic, CaseLogic]:
    """The logic of an open cohort, with its quality cards read."""
    cohorts = CohortLogic(Settings())
    cohorts.openCohort(folder)
    while cohorts.refresh():
        pass
    return cohorts, CaseLogic(cohorts, VolumeLoader(StagingHere()))


def settle(cases: CaseLogic, seconds: float = 10.0) -> None:
    """Wait until the case is open, saved and read ahead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        cases.poll()
        slicer.app.processEvents()
        if cases.isIdle:
            return
    raise AssertionError("the case is still being opened or saved")


class ReviewCase(unittest.TestCase):
    """A scene, a cohort of two annotated and three predicted cases, and the logic over them."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.folder = Path(tempfile.mkdtemp()) / "abdomen"
        self.addCleanup(shutil.rmtree, self.folder.parent, ignore_errors=True)
        self.made = make_review_cohort(self.folder)

    def open(self) -> None:
        """Open the cohort; to be called when the predictions, cards and rankings of the test are there."""
        self.cohorts, self.cases = open_cohort(self.folder)
        self.launcher = ALauncher()
        self.jobs = JobLogic(ASetup(), self.cohorts, launcher=self.launcher)
        self.addCleanup(self.jobs.close)
        self.addCleanup(self.cases.shutdown)

    def saved(self, name: str) -> Case:
        """A case as it is on disk once everything is saved."""
        settle(self.cases)
        self.cases.closeCase()
        settle(self.cases)
        return Cohort.read(self.folder).case(name)

    def voxels_on_disk(self, name: str) -> np.ndarray:
        case = Cohort.read(self.folder).case(name)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(self.folder / case.label)))

"""Adding cases: from the scene in slices of time, from files as a job whose refusals are shown."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import slicer
from cohort_doubles import CohortCase, make_cohort
from job_doubles import AClock, ALauncher, ASetup
from SSLSegmentationLib.logic.CaseAdding import CaseAdding, SceneCase
from SSLSegmentationLib.logic.JobLogic import JobLogic

from sslseg.contract.errors import SSLSegError
from sslseg.contract.imports import Refusal, write_refusals
from sslseg.contract.jobs import Job
from sslseg.contract.settings import ImportSettings, PredictSettings

FILES = ImportSettings(paths=["/scans"], copy=True)


class CaseAddingCase(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        slicer.mrmlScene.Clear(0)
        make_cohort(self.folder, 1)
        self.logic.openCohort(self.folder)
        self.launcher, self.clock, self.setup = ALauncher(), AClock(), ASetup()
        self.jobs = JobLogic(self.setup, self.logic, launcher=self.launcher, clock=self.clock)
        self.adding = CaseAdding(self.logic, self.jobs)
        self.told = 0
        self.adding.changed.connect(self._tell)

    def _tell(self) -> None:
        self.told += 1

    def volume(self, name: str, seed: int = 0) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        voxels = np.random.default_rng(seed).integers(0, 100, (4, 5, 6)).astype(np.int16)
        slicer.util.updateVolumeFromArray(node, voxels)
        return node

    def finish(self) -> None:
        while self.adding.isWorking:
            self.adding.poll()


class FromTheSceneTest(CaseAddingCase):
    def test_volumes_are_added_one_after_the_other_and_their_number_is_said(self) -> None:
        self.adding.addFromScene([SceneCase(n, self.volume(n, i)) for i, n in enumerate(("CT 1", "CT 2"))])
        self.assertTrue(self.adding.isBusy)
        self.assertEqual(self.adding.status, "Adding 'CT 1' …")
        self.finish()
        self.assertEqual([row.id for row in self.logic.rows()], ["case_0001", "case_0002", "case_0003"])
        self.assertEqual((self.adding.status, self.adding.refusals), ("2 cases were added.", []))

    def test_one_that_does_not_fit_does_not_keep_the_others_out(self) -> None:
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        self.adding.addFromScene([SceneCase("empty", empty), SceneCase("CT", self.volume("CT"))])
        self.finish()
        self.assertEqual(self.adding.status, "One case was added.")
        self.assertEqual(self.adding.refusals[0].file, "empty")
        self.assertIn("is empty", self.adding.refusals[0].reason)

    def test_stopping_leaves_what_is_whole_and_nothing_else(self) -> None:
        self.adding.addFromScene([SceneCase("CT", self.volume("CT"))])
        self.adding.cancel()
        self.assertFalse(self.adding.isBusy)
        self.assertEqual(len(self.logic.rows()), 1)
        self.assertFalse(list((self.folder / "cache").glob(".importing-*")))

    def test_a_fault_of_the_program_is_not_swallowed(self) -> None:
        with patch("SSLSegmentationLib.logic.SceneImport.gridOf", side_effect=ZeroDivisionError):
            self.adding.addFromScene([SceneCase("CT", self.volume("CT"))])
            with self.assertRaises(ZeroDivisionError):
                self.finish()
        self.assertFalse(self.adding.isWorking)


class FromFilesTest(CaseAddingCase):
    def end(self, event: str, **fields: Any) -> Job:
        monitor = self.jobs.monitors[-1]
        monitor.job.events.write(event, **fields)
        self.launcher.processes[-1].exitCode = 0
        self.clock.now += 2
        self.jobs.poll()
        return monitor.job

    def test_an_import_is_a_job_whose_progress_is_followed(self) -> None:
        self.adding.addFiles(FILES)
        job = self.jobs.monitors[0].job
        self.assertEqual(job.settings, FILES)
        job.events.write("started", command="import", device="cpu")
        job.events.write("progress", step=1, steps=4, seconds_left=60.0)
        self.jobs.poll()
        self.assertEqual((self.adding.isBusy, self.adding.fraction), (True, 0.25))
        self.assertIn("file 1 of 4", self.adding.status)
        with self.assertRaisesRegex(SSLSegError, "running already"):
            self.adding.addFiles(FILES)
        write_refusals(job.folder, [Refusal("/scans/bad.nii", "/scans/bad.nii: The file is cut short.")])
        job.events.write("artifact", path="cohort.json", kind="cases", cases=["case_0002", "case_0003"])
        self.end("finished")
        self.assertEqual((self.adding.isBusy, self.adding.status), (False, "2 cases were added."))
        self.assertEqual([refusal.file for refusal in self.adding.refusals], ["/scans/bad.nii"])

    def test_an_import_that_was_stopped_or_failed_says_what_became_of_it(self) -> None:
        self.adding.addFiles(FILES)
        self.jobs.monitors[-1].job.events.write("started", command="import", device="cpu")
        self.jobs.poll()
        self.adding.cancel()
        self.assertTrue(self.jobs.monitors[-1].job.cancel_requested)
        self.end("cancelled", step=0)
        self.assertEqual(self.adding.status, "The import was stopped. Nothing was added.")
        self.adding.addFiles(FILES)
        write_refusals(self.jobs.monitors[-1].job.folder, [Refusal("/scans/x", "/scans/x: No.")])
        self.end("failed", message="None of the 1 volume(s) was imported; the list says why.")
        self.assertEqual(self.adding.status, "None of the 1 volume(s) was imported; the list says why.")
        self.assertEqual(len(self.adding.refusals), 1)

    def test_an_import_that_another_slicer_started_is_found(self) -> None:
        job = Job.create(self.folder, FILES)
        job.events.write("started", command="import", device="cpu")
        with job.running():
            self.clock.now += 10
            for _ in range(5):
                self.jobs.poll()
            self.assertTrue(self.adding.isBusy)

    def test_other_jobs_are_none_of_its_business(self) -> None:
        self.jobs.start(PredictSettings("m"))
        self.end("finished")
        self.assertEqual((self.adding.status, self.adding.isBusy), ("", False))

    def test_without_a_backend_nothing_is_started(self) -> None:
        self.setup.isReady = False
        with self.assertRaisesRegex(SSLSegError, "not set up yet"):
            self.adding.addFiles(FILES)
        self.assertFalse(self.adding.isBusy)

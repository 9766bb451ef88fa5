"""The cohort of phantoms is made by the backend in another process, and opened."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import SampleData
from job_doubles import ALauncher, make_cohort, wait_for
from setup_doubles import ASettings, probe_answer
from SSLSegmentationLib.logic import SampleCohort as SampleCohortModule
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.SampleCohort import CATEGORY, NAME, SampleCohort, registerSampleCohort
from SSLSegmentationLib.logic.SetupLogic import SetupLogic

from sslseg.contract.errors import SSLSegError


class SampleCohortTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.folder = folder / NAME
        self.probes, self.launcher = ALauncher(), ALauncher()
        self.setup = SetupLogic(ASettings(), self.probes)
        self.cohorts = CohortLogic(ASettings())
        self.sample = SampleCohort(self.setup, self.cohorts, self.launcher, lambda: self.folder)
        self.said: list[str] = []
        self.sample.changed.connect(lambda: self.said.append(self.sample.sentence))

    def _check(self, **missing: None) -> None:
        self.setup.check()
        self.probes.processes[-1].printed = probe_answer(**missing)
        self.probes.processes[-1].exitCode = 0
        self.setup.poll()

    def _end(self, code: int | None, printed: str = "") -> None:
        self.launcher.processes[-1].printed, self.launcher.processes[-1].exitCode = printed, code
        self.sample.poll()

    def test_the_backend_is_asked_for_it_and_the_cohort_is_opened(self) -> None:
        self._check()
        self.sample.request()
        self.assertTrue(self.sample.isBusy)
        self.assertIn("Making a cohort of phantoms", self.said[0])
        self.assertEqual(
            self.launcher.commands[0][3:], ["phantoms", str(self.folder), "--cases", "12", "--annotated", "3"]
        )
        make_cohort(self.folder)
        self._end(0)
        self.assertEqual(self.cohorts.folder, self.folder)
        self.assertEqual(self.said[-1], "")
        self.assertFalse(self.sample.isBusy)

    def test_a_cohort_that_is_there_is_opened_at_once(self) -> None:
        make_cohort(self.folder)
        self.sample.request()
        self.assertEqual(self.cohorts.folder, self.folder)
        self.assertEqual(self.launcher.commands, [])

    def test_it_waits_until_the_python_has_been_looked_at(self) -> None:
        self.setup.check()
        self.sample.request()
        self.sample.request()
        self.sample.poll()
        self.assertEqual(self.launcher.commands, [])
        self._check()
        self.sample.poll()
        self.assertEqual(len(self.launcher.commands), 1)

    def test_a_backend_that_is_not_ready_is_said_with_the_remedy(self) -> None:
        self._check(torch=None)
        self.sample.request()
        self.assertIn("lacks PyTorch", self.sample.sentence)
        self.assertIn("See the Setup section", self.sample.sentence)
        self.assertFalse(self.sample.isBusy)

    def test_a_failure_is_said_with_its_last_line(self) -> None:
        self._check()
        self.sample.request()
        self._end(2, "noise\n/there: The file cannot be written (No space left on device).\n\n")
        self.assertIn("could not be made: /there: The file cannot be written", self.sample.sentence)
        self.assertIsNone(self.cohorts.folder)

    def test_a_process_that_cannot_be_started_is_said(self) -> None:
        self._check()
        self.launcher.failure = SSLSegError("The program cannot be started")
        self.sample.request()
        self.assertIn("cannot be started", self.sample.sentence)
        self.assertFalse(self.sample.isBusy)

    def test_it_is_ended_with_the_module(self) -> None:
        self._check()
        self.sample.request()
        self.sample.close()
        self.assertTrue(self.launcher.processes[-1].killed)
        self.assertFalse(self.sample.isBusy)

    def test_the_real_backend_makes_a_cohort_with_annotated_and_unannotated_cases(self) -> None:
        setup = SetupLogic(ASettings())
        self.addCleanup(setup.close)
        setup.check()
        self.assertTrue(wait_for(lambda: setup.findings is not None, setup.poll))
        if not setup.isReady:
            self.skipTest(setup.sentence)
        sample = SampleCohort(setup, self.cohorts, folder=lambda: self.folder)
        self.addCleanup(sample.close)
        with mock.patch.multiple(SampleCohortModule, CASES=2, ANNOTATED=1):
            sample.request()
        self.assertTrue(wait_for(lambda: not sample.isBusy, sample.poll, seconds=120))
        self.assertEqual(sample.sentence, "")
        self.assertEqual([case.is_annotated for case in self.cohorts.cohort.cases], [True, False])


class RegistrationTest(unittest.TestCase):
    def test_the_module_sample_data_offers_it_once_and_hands_over_the_click(self) -> None:
        clicked: list[object] = []
        registerSampleCohort(clicked.append)
        registerSampleCohort(clicked.append)
        sources = SampleData.SampleDataLogic.sampleDataSourcesByCategory(CATEGORY)
        self.assertEqual([source.sampleName for source in sources], [NAME])
        self.assertTrue(Path(sources[0].thumbnailFileName).is_file())

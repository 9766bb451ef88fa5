"""Jobs of real processes: small ones that do as they are told, and one real training."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from job_doubles import ACohort, ASetup, add_model, make_cohort, wait_for
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.JobMonitor import JobMonitor

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import TrainSettings

TRAINING = TrainSettings(method="supervised", model="first")
BEGIN = """
import os, signal, subprocess, sys, time
from sslseg.contract.jobs import Job
job = Job.open(sys.argv[-1])
def work(steps):
    job.events.write("started", command="train", device="cpu")
    for step in range(1, steps + 1):
        job.events.write("progress", step=step, steps=steps, seconds_left=1.0, losses={"total": 1.0 / step})
"""
WORK = BEGIN + 'with job.running():\n    work(5)\n    job.events.write("finished")\n'
STUBBORN = BEGIN + "with job.running():\n    work(5)\n    time.sleep(600)\n"
OBEDIENT = BEGIN + (
    "with job.running():\n    work(5)\n"
    "    while not job.cancel_requested: time.sleep(0.02)\n"
    '    job.events.write("cancelled", step=5)\n'
)
CRASH = BEGIN + 'with job.running():\n    work(5)\n    print("Segfault ahead", flush=True)\n    os._exit(3)\n'
FAMILY = BEGIN + (
    'child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])\n'
    'with job.running():\n    work(1)\n    job.events.write("warning", message=str(child.pid))\n    time.sleep(600)\n'
)


class JobProcessTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.setup = ASetup()
        self.jobs = JobLogic(self.setup, ACohort(make_cohort(self.folder / "cohort")), graceSeconds=0.3)

    def start(self, script: str, then: tuple[str, ...] = ()) -> JobMonitor:
        self.setup.script = script
        monitor = self.jobs.start(TRAINING, then=then)
        self.addCleanup(lambda: monitor._process is not None and monitor._process.kill())
        return monitor

    def until(self, monitor: JobMonitor, *states: JobState) -> None:
        self.assertTrue(
            wait_for(lambda: monitor.state in states, self.jobs.poll), f"{monitor.state}: {monitor.sentence}"
        )

    def test_a_job_runs_to_its_end_and_is_followed(self) -> None:
        add_model(self.folder / "cohort", "first")
        monitor = self.start(WORK, then=("predict",))
        self.until(monitor, JobState.FINISHED)
        self.assertEqual([step for step, _ in monitor.losses.rows], [1, 2, 3, 4, 5])
        self.assertTrue(
            wait_for(lambda: [m.state for m in self.jobs.monitors] == [JobState.FINISHED] * 2, self.jobs.poll)
        )

    def test_a_crash_is_told_with_the_last_words(self) -> None:
        monitor = self.start(CRASH)
        self.until(monitor, JobState.INTERRUPTED)
        self.assertIn("ended with code 3. Its last words: Segfault ahead", monitor.sentence)

    def test_a_program_that_cannot_even_begin_is_told(self) -> None:
        monitor = self.start("import sys; sys.exit('the licence of the moon has expired')")
        self.until(monitor, JobState.FAILED)
        self.assertIn("the licence of the moon has expired", monitor.sentence)

    def test_a_killed_process_is_an_interruption_from_which_it_goes_on(self) -> None:
        monitor = self.start(STUBBORN)
        self.until(monitor, JobState.RUNNING)
        assert monitor._process is not None
        os.kill(monitor._process.pid, signal.SIGKILL)
        self.until(monitor, JobState.INTERRUPTED)
        self.setup.script = WORK
        self.jobs.resume(monitor.job)
        self.until(monitor, JobState.FINISHED)

    def test_an_obedient_one_stops_by_itself_and_a_stubborn_one_after_the_grace_period(self) -> None:
        for script in (OBEDIENT, STUBBORN):
            monitor = self.start(script)
            self.until(monitor, JobState.RUNNING)
            self.jobs.cancel(monitor)
            self.until(monitor, JobState.CANCELLED)
            self.assertEqual(read_events(monitor.job.events_path)[-1].event, "cancelled")

    @unittest.skipIf(os.name == "nt", "process groups of POSIX")
    def test_the_end_of_a_stubborn_one_is_that_of_its_children(self) -> None:
        monitor = self.start(FAMILY)
        self.assertTrue(wait_for(lambda: bool(monitor.warnings), self.jobs.poll))
        child = int(monitor.warnings[0])
        self.jobs.cancel(monitor)
        self.until(monitor, JobState.CANCELLED)
        self.assertTrue(wait_for(lambda: not _is_alive(child), self.jobs.poll, 10))

    def test_a_job_runs_on_without_slicer_and_is_found_again_by_two(self) -> None:
        monitor = self.start(STUBBORN)
        self.assertTrue(wait_for(lambda: monitor.story.step == 5, self.jobs.poll))
        self.jobs.close()
        later = [JobLogic(self.setup, ACohort(self.folder / "cohort")) for _ in range(2)]
        for jobs in later:
            self.assertEqual((jobs.monitors[0].state, jobs.monitors[0].story.step), (JobState.RUNNING, 5))
        assert monitor._process is not None
        monitor._process.kill()
        monitor._process.poll()
        for jobs in later:
            found = jobs.monitors[0]
            self.assertTrue(wait_for(lambda m=found: m.state is JobState.INTERRUPTED, jobs.poll, 15))

    def test_a_process_that_another_program_started_is_watched_the_same(self) -> None:
        job = Job.create(self.folder / "cohort", TRAINING)
        other = subprocess.Popen(
            [sys.executable, "-c", OBEDIENT, str(job.folder)],
            env=self.setup.environment(),
        )
        self.addCleanup(other.wait)
        self.assertTrue(wait_for(lambda: bool(self.jobs.active), self.jobs.poll))
        self.jobs.cancel(self.jobs.active[0])
        self.until(self.jobs.monitors[0], JobState.CANCELLED)

    def test_a_real_training_makes_a_model(self) -> None:
        cohort = self.folder / "cohort"
        _add_cube(cohort)
        settings = TrainSettings(
            method="supervised", model="cubes", network="vnet", steps=3, patch_size=(16, 16, 16),
            labelled_batch=1, unlabelled_batch=1, device="cpu", validation_cases=0,
        )  # fmt: skip
        monitor = self.jobs.start(settings)
        self.until(monitor, JobState.FINISHED, JobState.FAILED, JobState.INTERRUPTED)
        self.assertIs(monitor.state, JobState.FINISHED, monitor.sentence)
        self.assertEqual(Cohort.read(cohort).models(), ["cubes"])
        self.assertEqual((monitor.losses.rows[-1][0], "total" in monitor.losses.names), (3, True))
        self.assertIn("No annotated case was held back", monitor.warnings[0])


def _add_cube(folder: Path) -> None:
    """One annotated case of 24 x 24 x 24 voxels of 4 mm with a bright block for each organ."""
    image = np.full((24, 24, 24), -1000, np.int16)
    image[2:-2, 2:-2, 2:-2] = 0
    label = np.zeros(image.shape, np.uint8)
    for value, corner in ((1, 3), (3, 12)):
        block = (slice(corner, corner + 8),) * 3
        image[block], label[block] = 100 * value, value
    for kind, voxels in (("images", image), ("labels", label)):
        volume = sitk.GetImageFromArray(voxels)
        volume.SetSpacing((4.0, 4.0, 4.0))
        (folder / kind).mkdir()
        sitk.WriteImage(volume, str(folder / kind / "case_1.nii.gz"))
    with Cohort.edit(folder) as cohort:
        case = Case("case_1", "images/case_1.nii.gz", "labels/case_1.nii.gz", list(cohort.labels.names))
        cohort.cases.append(case)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Without a parent that waits, it stays as a zombie.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


if __name__ == "__main__":
    unittest.main()

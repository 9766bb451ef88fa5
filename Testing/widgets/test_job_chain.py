"""What follows a training: once, whoever watches, and also when Slicer was closed in between."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

from job_doubles import AClock, ACohort, ALauncher, ASetup, add_model, make_cohort, tell_training
from SSLSegmentationLib.logic.JobChain import LAUNCH_SECONDS, JobChain
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.JobMonitor import JobMonitor

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import locked
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings, TrainSettings

TRAINING = TrainSettings(method="supervised", model="first", device="cpu")
THEN = ("predict", "predict")
"""Two jobs in a row."""


class JobChainTest(unittest.TestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = make_cohort(self.place / "cohort")
        self.setup, self.clock = ASetup(), AClock()
        self.jobs, self.launcher = self.slicer()

    def slicer(self) -> tuple[JobLogic, ALauncher]:
        launcher = ALauncher()
        return JobLogic(self.setup, ACohort(self.folder), launcher=launcher, clock=self.clock), launcher

    def end(self, monitor: JobMonitor, ending: str = "finished", **fields: object) -> None:
        """The process of the job does its work and ends."""
        tell_training(monitor.job, range(1, 4))
        if ending == "finished" and not (self.folder / "models" / "first").exists():
            add_model(self.folder, "first")
        monitor.job.events.write(ending, **fields)
        self.launcher.processes[-1].exitCode = 0
        self.clock.now += 2
        self.jobs.poll()

    def test_a_finished_training_is_followed_by_all_that_was_asked_for_one_after_the_other(self) -> None:
        followed: list[str] = []
        self.jobs.followed.connect(lambda monitor: followed.append(monitor.job.folder.name))
        training = self.jobs.start(TRAINING, then=THEN)
        self.assertEqual(self.jobs.then(training), THEN)
        self.end(training)
        self.assertEqual(followed, ["predict-0002"])
        second = self.jobs.monitors[1]
        self.assertEqual(second.job.settings, PredictSettings(model="first", device="cpu"))
        self.assertTrue(second.isActive)
        self.end(second)
        self.end(self.jobs.monitors[2])
        self.jobs.poll()
        self.assertEqual(self.launcher.launched(), ["train-0001", "predict-0002", "predict-0003"])

    def test_nothing_follows_a_training_that_did_not_finish_until_it_does(self) -> None:
        training = self.jobs.start(TRAINING, then=("predict",))
        self.end(training, "cancelled", step=3)
        self.assertEqual(self.launcher.launched(), ["train-0001"])
        self.jobs.resume(training.job)
        self.end(training)
        self.assertEqual(self.launcher.launched(), ["train-0001", "train-0001", "predict-0002"])

    def test_the_user_may_change_what_follows_while_the_training_runs_and_not_afterwards(self) -> None:
        training = self.jobs.start(TRAINING, then=THEN)
        self.jobs.setThen(training, ())
        self.assertEqual(self.jobs.then(training), ())
        self.jobs.setThen(training, ("predict",))
        self.end(training)
        self.jobs.setThen(training, THEN)
        self.end(self.jobs.monitors[1])
        self.assertEqual(self.launcher.launched(), ["train-0001", "predict-0002"])

    def test_two_slicers_that_watch_start_it_once(self) -> None:
        training = self.jobs.start(TRAINING, then=("predict",))
        other, its_launcher = self.slicer()
        self.end(training)
        other.poll()
        other.poll()
        self.assertEqual((self.launcher.launched()[1:], its_launcher.launched()), (["predict-0002"], []))

    def test_a_second_slicer_waits_while_the_first_is_at_it(self) -> None:
        job = self._finished_alone(then=("predict",))
        with locked(job.folder / ".then.lock"):
            other, its_launcher = self.slicer()
            other.poll()
            self.assertEqual(its_launcher.launched(), [])
        other.poll()
        self.assertEqual(its_launcher.launched(), ["predict-0002"])

    def test_it_follows_when_slicer_is_opened_again(self) -> None:
        self._finished_alone(then=("predict",))
        again, launcher = self.slicer()
        again.poll()
        self.assertEqual(launcher.launched(), ["predict-0002"])
        third, its_launcher = self.slicer()
        third.poll()
        self.assertEqual(its_launcher.launched(), [])

    def test_one_that_was_made_but_never_got_going_is_started_by_the_next_slicer(self) -> None:
        job = self._finished_alone(then=("predict",))
        now = [1e9]
        made: list[Job] = []
        self.assertTrue(JobChain(job, now=lambda: now[0]).advance(made.append))
        again: list[Job] = []
        self.assertFalse(JobChain(job, now=lambda: now[0] + 1).advance(again.append))
        self.assertTrue(JobChain(job, now=lambda: now[0] + LAUNCH_SECONDS + 1).advance(again.append))
        self.assertEqual([one.folder for one in again], [made[0].folder])

    def test_it_waits_for_the_backend_and_does_not_follow_without_the_model(self) -> None:
        self._finished_alone(then=("predict",))
        self.setup.isReady = False
        logic, launcher = self.slicer()
        logic.poll()
        self.assertEqual(launcher.launched(), [])
        self.setup.isReady = True
        shutil.rmtree(self.folder / "models")
        logic.poll()
        self.assertEqual((launcher.launched(), len(Job.all(self.folder))), ([], 1))

    def test_a_follow_up_that_cannot_be_launched_is_told_and_not_tried_for_ever(self) -> None:
        training = self.jobs.start(TRAINING, then=("predict",))
        self.launcher.failure = SSLSegError("The program cannot be started", remedy="Check the path.")
        self.end(training)
        self.assertEqual(
            training.warnings,
            ["What follows could not be started. The program cannot be started. Check the path."],
        )
        self.jobs.poll()
        self.jobs.poll()
        self.assertEqual([m.state for m in self.jobs.monitors], [JobState.FINISHED, JobState.FAILED])

    def test_nothing_follows_where_the_cohort_was_before_it_was_moved(self) -> None:
        training = self.jobs.start(TRAINING, then=("predict",))
        self.setup.isReady = False
        self.end(training)
        self.folder.rename(self.place / "moved")
        self.setup.isReady = True
        self.jobs.poll()
        self.assertFalse(self.folder.exists())

    def test_a_damaged_word_of_what_follows_does_nothing(self) -> None:
        job = self._finished_alone(then=("predict",))
        (job.folder / "then.json").write_text('{"then": ["format the disk"], "version": 7}')
        logic, launcher = self.slicer()
        logic.poll()
        self.assertEqual((launcher.launched(), logic.then(logic.monitors[0])), ([], ()))

    def _finished_alone(self, then: tuple[str, ...]) -> Job:
        """A training that finished while no Slicer watched."""
        job = Job.create(self.folder, TRAINING)
        JobChain(job).ask(then)
        tell_training(job, range(1, 4))
        add_model(self.folder, "first")
        job.events.write("finished")
        return job


if __name__ == "__main__":
    unittest.main()

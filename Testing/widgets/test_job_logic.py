"""Jobs as Slicer sees them, with processes whose end the test decides on."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import unittest
from pathlib import Path

from job_doubles import AClock, ACohort, ALauncher, ASetup, make_cohort, tell_training
from SSLSegmentationLib.logic.JobLogic import JobLogic
from SSLSegmentationLib.logic.JobMonitor import LINGER_SECONDS, LOOK_SECONDS, JobMonitor

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.settings import PredictSettings, TrainSettings

TRAINING = TrainSettings(method="supervised", model="first")


class JobLogicCase(unittest.TestCase):
    """A cohort, and a JobLogic that starts nothing real."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = make_cohort(self.place / "cohort")
        self.cohort, self.setup, self.clock = ACohort(self.folder), ASetup(), AClock()
        self.jobs, self.launcher = self.slicer()
        self.ended: list[JobState] = []
        self.jobs.finished.connect(lambda monitor: self.ended.append(monitor.state))

    def slicer(self) -> tuple[JobLogic, ALauncher]:
        """Another Slicer that has the cohort open."""
        launcher = ALauncher()
        logic = JobLogic(
            self.setup, ACohort(self.cohort.folder), launcher=launcher, clock=self.clock, graceSeconds=60.0
        )
        return logic, launcher

    def pass_(self, seconds: float = LOOK_SECONDS) -> None:
        self.clock.now += seconds
        self.jobs.poll()


class StartingTest(JobLogicCase):
    def test_a_job_is_launched_so_that_it_outlives_slicer_and_its_story_is_followed(self) -> None:
        monitor = self.jobs.start(TRAINING)
        folder = monitor.job.folder
        self.assertEqual(self.launcher.commands[0][-2:], ["run", str(folder)])
        self.assertEqual((self.launcher.outputs, self.launcher.detached), ([folder / "output.txt"], [True]))
        self.assertEqual(
            (monitor.state, monitor.sentence), (JobState.WAITING, "The training of 'first' is starting.")
        )
        monitor.job.events.write("started", command="train", device="cpu")
        monitor.job.events.write(
            "progress", step=0, steps=1000, seconds_left=None, phase="preparing", done=3, total=56
        )
        self.pass_()
        self.assertEqual(monitor.sentence, "Training 'first': preparing the cases, 3 of 56.")
        self.assertAlmostEqual(monitor.fraction or 0, 3 / 56)
        tell_training(monitor.job, range(100, 700, 100), start=False)
        self.pass_()
        self.assertEqual((monitor.state, monitor.fraction, monitor.secondsLeft), (JobState.RUNNING, 0.6, 400))
        self.assertEqual(monitor.sentence, "Training 'first': step 600 of 1000, about 7 minutes left.")
        monitor.job.events.write("finished")
        self.launcher.processes[0].exitCode = 0
        self.pass_()
        self.assertEqual(
            (monitor.state, monitor.fraction, self.ended), (JobState.FINISHED, 1, [JobState.FINISHED])
        )
        self.assertIn("The model 'first' is trained. It took less than a minute.", monitor.sentence)

    def test_without_a_cohort_or_a_backend_nothing_is_started_and_no_job_is_left_behind(self) -> None:
        self.setup.isReady = False
        with self.assertRaisesRegex(SSLSegError, "not set up yet. Open the Setup section"):
            self.jobs.start(TRAINING)
        self.assertEqual(Job.all(self.folder), [])
        with self.assertRaisesRegex(SSLSegError, "No cohort is open"):
            JobLogic(ASetup(), ACohort(None), launcher=ALauncher()).start(TRAINING)

    def test_a_launch_that_fails_is_told_to_whoever_looks_later(self) -> None:
        self.launcher.failure = SSLSegError("The program cannot be started", remedy="Check the path.")
        with self.assertRaisesRegex(SSLSegError, "Check the path"):
            self.jobs.start(TRAINING)
        self.pass_()
        self.assertEqual(self.jobs.monitors[0].state, JobState.FAILED)
        self.assertEqual(self.jobs.monitors[0].sentence, "The program cannot be started. Check the path.")

    def test_what_can_be_resumed_is_launched_again_and_what_is_at_work_is_not(self) -> None:
        monitor = self.jobs.start(TRAINING)
        with self.assertRaisesRegex(SSLSegError, "still at work"):
            self.jobs.resume(monitor.job)
        tell_training(monitor.job, range(1, 4))
        monitor.job.events.write("cancelled", step=3)
        self.pass_()
        self.assertTrue(monitor.state is JobState.CANCELLED and monitor.isStopping)
        with self.assertRaisesRegex(SSLSegError, "still at work"):
            self.jobs.resume(monitor.job)
        self.launcher.processes[0].exitCode = 130
        self.pass_()
        self.assertTrue(monitor.canResume)
        self.assertIs(self.jobs.resume(monitor.job), monitor)
        self.assertEqual(monitor.state, JobState.WAITING)
        self.pass_()
        self.assertTrue(monitor.isActive, "the ending of the run before is not that of this one")
        tell_training(monitor.job, range(3, 6))
        self.pass_()
        self.assertEqual(
            (monitor.state, [step for step, _ in monitor.losses.rows]), (JobState.RUNNING, [1, 2, 3, 4, 5])
        )


class EndingTest(JobLogicCase):
    def test_a_program_that_never_begins_fails_with_its_last_words_in_every_slicer(self) -> None:
        monitor = self.jobs.start(TRAINING)
        process = self.launcher.processes[0]
        process.printed, process.exitCode = "Traceback\n\n  boom\nValueError: bad luck\n", 1
        self.pass_()
        self.assertEqual(monitor.state, JobState.FAILED)
        self.assertIn("Its last words: Traceback / boom / ValueError: bad luck", monitor.sentence)
        other, _ = self.slicer()
        self.assertEqual(
            (other.monitors[0].state, other.monitors[0].sentence), (JobState.FAILED, monitor.sentence)
        )

    def test_a_backend_that_lacks_a_package_leads_to_the_setup(self) -> None:
        monitor = self.jobs.start(TRAINING)
        process = self.launcher.processes[0]
        process.printed, process.exitCode = "python: No module named sslseg", 1
        self.pass_()
        self.assertIn("Open the Setup section", monitor.sentence)

    def test_a_crash_after_the_start_is_an_interruption_that_says_why_and_can_go_on(self) -> None:
        for code, printed, why in (
            (-9, "", "memory ran out"),
            (137, "", "memory ran out"),
            (9, "", "memory ran out"),
            (11, "", "crashed"),
            (3221225477, "", "crashed"),
            (-11, "", "crashed"),
            (1, "OSError: [Errno 28] No space left on device", "The disk is full"),
        ):
            with self.subTest(code=code, printed=printed):
                monitor = self.jobs.start(TRAINING)
                tell_training(monitor.job, range(1, 4))
                self.pass_()
                process = self.launcher.processes[-1]
                process.printed, process.exitCode = printed, code
                self.pass_()
                self.assertEqual(monitor.state, JobState.INTERRUPTED)
                self.assertIn(why, monitor.sentence)
                self.assertIn("interrupted at step 3 of 1000. It can go on", monitor.sentence)
                self.assertTrue(monitor.canResume)

    def test_the_last_events_of_a_process_that_has_just_ended_are_not_missed(self) -> None:
        monitor = self.jobs.start(TRAINING)
        tell_training(monitor.job, range(1, 3))
        monitor.job.events.write("failed", message="The scan is cut off. Copy it again.", kind="user")
        self.launcher.processes[0].exitCode = 2
        self.pass_()
        self.assertEqual(
            (monitor.state, monitor.sentence), (JobState.FAILED, "The scan is cut off. Copy it again.")
        )

    def test_a_process_that_stays_after_its_ending_is_ended(self) -> None:
        monitor = self.jobs.start(TRAINING)
        monitor.job.events.write("started", command="train", device="cpu")
        monitor.job.events.write("finished")
        self.pass_()
        self.assertEqual(monitor.state, JobState.FINISHED)
        self.assertFalse(self.launcher.processes[0].killed)
        self.pass_(LINGER_SECONDS + 1)
        self.assertTrue(self.launcher.processes[0].killed)

    def test_one_that_another_process_was_faster_to_run_is_watched_on(self) -> None:
        monitor = self.jobs.start(TRAINING)
        with monitor.job.running():
            self.launcher.processes[0].exitCode = 2
            self.pass_()
            self.assertEqual(monitor.state, JobState.RUNNING)
            self.assertNotIn("failed", [event.event for event in read_events(monitor.job.events_path)])
        self.pass_()
        self.assertEqual(monitor.state, JobState.INTERRUPTED)


class CancellingTest(JobLogicCase):
    def test_a_job_is_asked_to_stop_and_has_time_to_save(self) -> None:
        monitor = self.jobs.start(TRAINING)
        tell_training(monitor.job, range(1, 4))
        self.pass_()
        self.jobs.cancel(monitor)
        self.assertTrue(monitor.job.cancel_requested and monitor.isCancelling)
        self.assertEqual(monitor.sentence, "The training of 'first' is stopping and keeps what it has done.")
        self.pass_(59)
        self.assertFalse(self.launcher.processes[0].killed)
        monitor.job.events.write("cancelled", step=3)
        self.launcher.processes[0].exitCode = 130
        self.pass_()
        self.assertEqual((monitor.state, monitor.isCancelling), (JobState.CANCELLED, False))
        self.assertIn("was stopped at step 3 of 1000. It can go on", monitor.sentence)

    def test_one_that_does_not_stop_in_time_is_ended_and_everybody_sees_that(self) -> None:
        monitor = self.jobs.start(TRAINING)
        tell_training(monitor.job, range(1, 4))
        self.pass_()
        self.jobs.cancel(monitor)
        self.pass_(61)
        self.pass_()
        self.assertTrue(self.launcher.processes[0].killed)
        self.assertEqual((monitor.state, Job.open(monitor.job.folder).state()), (JobState.CANCELLED,) * 2)

    def test_one_that_has_not_begun_is_ended_at_once(self) -> None:
        monitor = self.jobs.start(TRAINING)
        self.jobs.cancel(monitor)
        self.pass_()
        self.assertTrue(self.launcher.processes[0].killed)
        self.assertEqual((monitor.state, self.ended), (JobState.CANCELLED, [JobState.CANCELLED]))

    def test_one_that_somebody_else_started_is_asked_and_never_ended(self) -> None:
        job = Job.create(self.folder, TRAINING)
        with job.running():
            tell_training(job, range(1, 4))
            self.pass_()
            monitor = self.jobs.monitors[0]
            self.assertEqual(monitor.state, JobState.RUNNING)
            self.jobs.cancel(monitor)
            self.assertTrue(job.cancel_requested)
            self.pass_(10_000)
            self.assertTrue(monitor.isCancelling)
            other, _ = self.slicer()
            self.assertTrue(other.monitors[0].isCancelling, "the other Slicer sees it, too")
            job.events.write("cancelled", step=3)
        self.pass_()
        self.assertEqual(monitor.state, JobState.CANCELLED)
        self.assertEqual(self.launcher.processes, [])

    def test_cancelling_what_has_ended_does_nothing(self) -> None:
        monitor = self.jobs.start(TRAINING)
        tell_training(monitor.job, range(1, 4))
        monitor.job.events.write("finished")
        self.pass_()
        self.jobs.cancel(monitor)
        self.assertFalse(monitor.job.cancel_requested)


class FoundAgainTest(JobLogicCase):
    def test_jobs_of_all_states_are_found_when_the_cohort_is_opened(self) -> None:
        endings = {"finished": {}, "cancelled": {"step": 3}, "failed": {"message": "m"}}
        for ending, fields in endings.items():
            job = Job.create(self.folder, TRAINING)
            tell_training(job, range(1, 200))
            job.events.write(ending, **fields)
        Job.create(self.folder, PredictSettings(model="first"))
        tell_training(Job.create(self.folder, TRAINING), range(1, 300))
        other, _ = self.slicer()
        other.poll()
        states = [monitor.state.value for monitor in other.monitors]
        self.assertEqual(states, ["finished", "cancelled", "failed", "waiting", "interrupted"])
        self.assertEqual(
            other.monitors[3].sentence, "The segmentation with 'first' is prepared and has not begun."
        )
        self.assertIn("interrupted at step 299 of 1000", other.monitors[4].sentence)

    def test_a_long_story_is_read_from_its_end_and_the_rest_when_somebody_asks(self) -> None:
        job = Job.create(self.folder, TRAINING)
        tell_training(job, range(1, 1000), validate_every=100)
        job.events.write("finished")
        self.pass_()
        monitor = self.jobs.monitors[0]
        self.assertLess(len(monitor.losses), 100)
        monitor.loadHistory()
        self.pass_()
        self.assertEqual([step for step, _ in monitor.losses.rows], list(range(1, 1000)))
        self.assertEqual(len(monitor.validation), 9)
        self.assertEqual((monitor.state, monitor.needsPolling), (JobState.FINISHED, False))

    def test_a_running_job_is_followed_while_its_history_is_read(self) -> None:
        job = Job.create(self.folder, TRAINING)
        with job.running():
            tell_training(job, range(1, 400))
            monitor = JobMonitor(job, clock=self.clock)
            self.assertEqual((monitor.state, monitor.story.step), (JobState.RUNNING, 399))
            monitor.poll(0.0)
            tell_training(job, range(400, 500), start=False)
            for _ in range(20):
                monitor.poll(0.0)
        self.assertEqual([step for step, _ in monitor.losses.rows], list(range(1, 500)))

    def test_jobs_that_have_ended_are_not_read_again(self) -> None:
        for _ in range(200):
            job = Job.create(self.folder, TRAINING)
            tell_training(job, range(1, 30))
            job.events.write("finished")
        logic, _ = self.slicer()
        while len(logic.monitors) < 200:
            logic.poll()
        for monitor in logic.monitors:
            path = monitor.job.events_path
            path.write_bytes(b"x" * path.stat().st_size)
            (monitor.job.folder / "job.json").unlink()
        times = []
        for _ in range(50):
            began = time.perf_counter()
            logic.poll()
            times.append(time.perf_counter() - began)
        self.assertEqual({monitor.state for monitor in logic.monitors}, {JobState.FINISHED})
        self.assertLess(sorted(times)[25], 0.01, "half of the polls")

    def test_one_that_somebody_resumes_is_noticed(self) -> None:
        job = Job.create(self.folder, TRAINING)
        tell_training(job, range(1, 4))
        job.events.write("cancelled", step=3)
        self.pass_()
        self.assertEqual(self.jobs.monitors[0].state, JobState.CANCELLED)
        with job.running():
            tell_training(job, range(4, 8))
            self.pass_()
            self.pass_()
            self.assertEqual(
                (self.jobs.monitors[0].state, self.jobs.monitors[0].story.step), (JobState.RUNNING, 7)
            )

    def test_jobs_that_others_make_or_remove_come_and_go_and_damaged_ones_are_left_alone(self) -> None:
        changes: list[int] = []
        self.jobs.changed.connect(lambda: changes.append(1))
        first = Job.create(self.folder, TRAINING)
        damaged = Job.create(self.folder, TRAINING)
        (damaged.folder / "job.json").write_text("{")
        (self.folder / "jobs" / "train-0003").mkdir()
        self.pass_()
        self.assertEqual(([m.job.folder for m in self.jobs.monitors], changes), ([first.folder], [1]))
        content = json.loads((first.folder / "job.json").read_text())
        (self.folder / "jobs" / "train-0003" / "job.json").write_text(json.dumps(content))
        self.pass_()
        self.assertEqual([m.job.number for m in self.jobs.monitors], [1, 3])
        shutil.rmtree(first.folder)
        self.pass_()
        self.assertEqual([m.job.number for m in self.jobs.monitors], [3])

    def test_a_cohort_that_is_moved_while_a_job_runs_is_said_and_the_job_found_at_its_new_place(self) -> None:
        job = Job.create(self.folder, TRAINING)
        with job.running():
            tell_training(job, range(1, 4))
            self.pass_()
            moved = self.place / "moved"
            self.folder.rename(moved)
            self.pass_()
            monitor = self.jobs.monitors[0]
            self.assertEqual(monitor.state, JobState.INTERRUPTED)
            self.assertIn("If the cohort was moved, open it at its new place", monitor.sentence)
            there = JobLogic(self.setup, ACohort(moved), launcher=ALauncher(), clock=self.clock)
            self.assertEqual(there.monitors[0].state, JobState.RUNNING)

    def test_nothing_is_made_where_a_cohort_was_before_it_was_moved(self) -> None:
        job = Job.create(self.folder, TRAINING)
        tell_training(job, range(1, 4))
        self.pass_()
        self.folder.rename(self.place / "moved")
        for start in (lambda: self.jobs.start(TRAINING), lambda: self.jobs.resume(job)):
            with self.assertRaisesRegex(SSLSegError, "no longer there. If the cohort was moved"):
                start()
        self.pass_()
        self.assertFalse(self.folder.exists())

    def test_a_job_that_somebody_else_runs_between_two_looks_is_told_as_ended(self) -> None:
        job = Job.create(self.folder, TRAINING)
        self.pass_()
        tell_training(job, range(1, 4))
        job.events.write("finished")
        self.pass_()
        self.assertEqual(self.ended, [JobState.FINISHED])

    def test_a_job_of_ours_is_still_ours_after_another_cohort_was_open(self) -> None:
        cohort, launcher = ACohort(self.folder), ALauncher()
        jobs = JobLogic(self.setup, cohort, launcher=launcher, clock=self.clock)
        monitor = jobs.start(TRAINING)
        tell_training(monitor.job, range(1, 4))
        cohort.open(make_cohort(self.place / "other"))
        self.assertEqual(jobs.monitors, [])
        jobs.poll()
        cohort.open(self.folder)
        self.assertEqual(jobs.monitors, [monitor])
        jobs.cancel(monitor)
        self.clock.now += 100
        jobs.poll()
        self.assertTrue(launcher.processes[0].killed)

    def test_a_cohort_that_one_may_only_read_shows_its_jobs(self) -> None:
        job = Job.create(self.folder, TRAINING)
        with job.running():
            tell_training(job, range(1, 4))
            job.events.write("finished")
        for path in job.folder.iterdir():
            path.chmod(0o444)
        job.folder.chmod(0o555)
        self.addCleanup(job.folder.chmod, 0o755)
        self.pass_()
        self.assertEqual(self.jobs.monitors[0].state, JobState.FINISHED)


if __name__ == "__main__":
    unittest.main()

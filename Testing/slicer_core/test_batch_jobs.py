"""The batch trains, predicts and exports in the backend's process, and stops when it is asked to."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import batch_driving
import numpy as np
import SimpleITK as sitk
import slicer
import tiny_training
import vtk
from batch_driving import LIVER_TERM, TINY, BatchCase, Said, run_batch, start_batch
from cohort_doubles import Settings
from SSLSegmentationLib.batch.JobRun import JobRun
from SSLSegmentationLib.logic.SetupLogic import PYTHON_KEY

from sslseg.contract.cohort import Cohort
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.settings import ExportSettings

TRAIN = ("--method", "supervised", *TINY)


class TrainedTest(BatchCase):
    """A cohort and a model that was trained by the batch."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.trained = Path(tempfile.mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.trained, ignore_errors=True)
        make_cohort(cls.trained)
        cls.training = run_batch("train", cls.trained, "--name", "cubes", "--steps", 3, *TRAIN)

    def setUp(self) -> None:
        super().setUp()
        self.assertEqual((self.training.code, self.training.err), (0, ""), self.training.out)
        self.folder = self.trained
        self.output = self.place / "segmented"

    def test_a_training_tells_how_it_went(self) -> None:
        out = self.training.out
        self.assertIn("train-0001 on cpu", out)
        self.assertIn("The model 'cubes' is trained. It took ", out)
        self.assertIn(f"model: {self.folder / 'models' / 'cubes'}", out)
        job = Job.open(self.folder / "jobs" / "train-0001")
        self.assertEqual((job.state(), job.settings.steps), (JobState.FINISHED, 3))

    def test_the_cases_of_the_cohort_are_segmented_and_ranked(self) -> None:
        said = self.batch("predict", self.folder, "--model", "cubes", "--device", "cpu")
        self.assertEqual((said.code, said.err), (0, ""), said.out)
        self.assertTrue(self.cohort().prediction_path("cubes", "case_2").exists())
        said = self.batch("rank", self.folder, "--model", "cubes", "--json", "--device", "cpu")
        self.assertEqual((said.code, said.err), (0, ""), said.out)
        self.assertEqual([entry["case"] for entry in json.loads(said.out)["cases"]], ["case_2"])

    def test_studies_become_segmentations_that_slicer_opens_with_their_names_and_colours(self) -> None:
        scans = self.place / "scans"
        (scans / "deep").mkdir(parents=True)
        shutil.copy(self.folder / "images" / "case_0.nii.gz", scans / "first.nii.gz")
        with batch_driving.an_empty_scene():
            path = self.folder / "images" / "case_1.nii.gz"
            node = slicer.util.loadVolume(str(path), {"name": "CT: thorax"})
            spacing, origin = node.GetSpacing(), np.array(node.GetOrigin()) * (-1, -1, 1)
            slicer.util.addVolumeFromArray(np.zeros((1, 4, 4), np.int16), name="scout")
            slicer.util.saveScene(str(scans / "deep" / "study.mrb"))
        (scans / "broken.mrb").write_bytes(b"no scene")
        said = self.batch("predict", "--model", self.folder / "models" / "cubes", "--input", scans,
                          "--output", self.output, "--format", "seg.nrrd", "--device", "cpu")  # fmt: skip
        self.assertEqual((said.code, said.err), (12, "Not opened: 2.\n"), said.out)
        listed = (self.output / "summary.csv").read_text()
        self.assertIn("first.nii.gz,done,", listed)
        self.assertIn("deep/study/CT_thorax.nrrd,done,", listed)
        self.assertIn("broken.mrb: Slicer cannot open the file.", said.out)
        self.assertIn("study.mrb: 'scout' is a single slice, not a volume.", said.out)
        written = {path.relative_to(self.output).as_posix() for path in self.output.rglob("*.seg.nrrd")}
        self.assertEqual(written, {"first.seg.nrrd", "deep/study/CT_thorax.seg.nrrd"})
        for name in written:
            self.assert_is_segmentation(self.output / name)
        image = sitk.ReadImage(str(self.output / "deep/study/CT_thorax.seg.nrrd"))
        np.testing.assert_allclose(image.GetSpacing(), spacing, atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), origin, atol=1e-6)

    def test_annotations_are_exported_with_terminology(self) -> None:
        said = self.batch("export", self.folder, "--format", "seg.nrrd", "--cases", "case_0",
                          "--output", self.output)  # fmt: skip
        self.assertEqual((said.code, said.err), (0, ""), said.out)
        self.assert_is_segmentation(self.output / "case_0.seg.nrrd")

    def assert_is_segmentation(self, path: Path) -> None:
        with batch_driving.an_empty_scene():
            segmentation = slicer.util.loadSegmentation(str(path)).GetSegmentation()
            found = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
            self.assertEqual([segment.GetName() for segment in found], ["liver", "spleen"])
            colours = [[round(255 * channel) for channel in segment.GetColor()] for segment in found]
            self.assertEqual(colours, [[200, 80, 80], [80, 80, 200]])
            entry = vtk.reference("")
            found[0].GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
            self.assertEqual(str(entry), LIVER_TERM)


class EndingTest(BatchCase):
    def test_the_exit_code_tells_whose_fault_it_is(self) -> None:
        make_cohort(self.folder)
        job = Job.create(self.folder, ExportSettings(format="nifti", output="out"))
        for state, code, events in (
            (JobState.FINISHED, 0, [("warning", {"message": "m"}), ("finished", {})]),
            (JobState.FINISHED, 2, [("warning", {"message": "m", "failed": True}), ("finished", {})]),
            (JobState.CANCELLED, 130, [("cancelled", {"step": 1})]),
            (JobState.FAILED, 2, [("failed", {"message": "m", "kind": "user"})]),
            (JobState.FAILED, 1, [("failed", {"message": "m", "kind": "program"})]),
            (JobState.INTERRUPTED, 1, []),
        ):
            job.events.write("started", command="export", device="cpu")
            for event, fields in events:
                job.events.write(event, **fields)
            self.assertEqual(JobRun.exitCode(job, state), code, events)

    def test_a_job_that_is_at_work_elsewhere_is_left_alone(self) -> None:
        make_cohort(self.folder)
        job = Job.create(self.folder, ExportSettings(format="nifti", output="out"))
        with job.running():
            said = self.batch("run", job.folder)
        self.assertEqual(said.code, 2)
        self.assertIn("The job is still at work", said.err)


class RefusalTest(BatchCase):
    def test_what_cannot_be_done_is_said_in_one_sentence(self) -> None:
        make_cohort(self.folder)
        for words, sentence in (
            (("train", self.place / "nowhere"), "There is no cohort in this folder"),
            (("train", self.folder, "--steps", "many"), "Invalid value for '--steps'"),
            (("predict", self.folder, "--model", "none"), "The cohort has no model 'none'"),
            (("run", self.folder / "images"), "Give the folder of a job"),
            (("transmogrify",), "No such command 'transmogrify'"),
            (("--python",), "--python needs the path of a Python"),
            (("--python", self.place / "no-python", "status"), "There is no such file"),
        ):
            with self.subTest(words=words):
                said = self.batch(*words)
                self.assertEqual((said.code, said.out), (2, ""), said.err)
                self.assertIn(sentence, said.err)
                self.assertEqual(said.err.count("\n"), 1, said.err)
                self.assertNotIn("Usage", said.err)
        self.assertFalse((self.folder / "jobs").exists())

    def test_the_python_of_the_settings_is_taken_unless_another_one_is_named(self) -> None:
        settings = Settings({PYTHON_KEY: str(self.place / "gone")})
        said = run_batch("--version", settings=settings)
        self.assertEqual(said.code, 2)
        self.assertIn(str(self.place / "gone"), said.err)
        self.assertIn("Choose another with --python PATH", said.err)
        said = run_batch("--python", sys.executable, "--version", settings=settings)
        self.assertEqual(said.code, 0, said.err)
        self.assertRegex(said.out, r"^\d+\.\d+")
        self.assertEqual(settings, {PYTHON_KEY: str(self.place / "gone")})

    def test_help_is_the_backends_with_a_note(self) -> None:
        for words, option in (((), "predict"), (("train", "--help"), "--learning-rate")):
            said = self.batch(*words)
            self.assertIn(option, said.out)
            self.assertIn("--python PATH", said.out)
            self.assertIn(".mrb", said.out)


@unittest.skipUnless("standin" in sys.modules, "another Slicer cannot be started from here")
class InterruptedTest(BatchCase):
    """The batch as a program of its own, and Ctrl-C."""

    def start(self, *words: object) -> Any:
        process = start_batch("--python", sys.executable, *words)
        self.addCleanup(process.kill)
        for stream in (process.stdout, process.stderr):
            self.addCleanup(stream.close)
        return process

    def until_step(self, process: Any, job: Path, step: int) -> None:
        """Wait until the training has told of a step."""
        deadline = time.monotonic() + 240
        while not any(
            event.fields.get("losses") and event.fields["step"] >= step
            for event in read_events(job / "events.jsonl")
        ):
            self.assertLess(time.monotonic(), deadline, "it did not come so far in time")
            self.assertIsNone(process.poll(), "it ended before it came so far")
            time.sleep(0.05)

    def interrupted(self, process: Any) -> Said:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        return Said(process.returncode, out, err)

    def test_ctrl_c_keeps_the_training_which_goes_on_later(self) -> None:
        make_cohort(self.folder)
        folder = self.folder / "jobs" / "train-0001"
        process = self.start("train", self.folder, "--steps", 100_000, *TRAIN)
        self.until_step(process, folder, 3)
        said = self.interrupted(process)
        self.assertEqual((said.code, said.err), (130, ""), said.out)
        self.assertIn("The training of 'supervised' was stopped at step", said.out)
        self.assertIn(f"Go on with: run {folder}", said.out)
        job = Job.open(folder)
        self.assertEqual(job.state(), JobState.CANCELLED)
        reached = read_events(job.events_path)[-1].fields["step"]
        process = self.start("run", folder)
        self.until_step(process, folder, reached + 1)
        self.assertEqual(self.interrupted(process).code, 130)
        events = read_events(job.events_path)
        began = [index for index, event in enumerate(events) if event.event == "started"]
        self.assertEqual(len(began), 2)
        steps = [event.fields["step"] for event in events[began[1] :] if event.fields.get("losses")]
        self.assertGreaterEqual(steps[0], reached)


def make_cohort(folder: Path) -> None:
    """Two annotated cases and one without annotation; the liver has a term."""
    tiny_training.make_cohort(folder, annotated=2, unlabelled=1)
    with Cohort.edit(folder) as cohort:
        liver, spleen = cohort.labels
        cohort.labels = LabelTable([Label(liver.name, liver.value, liver.color, LIVER_TERM), spleen])


if __name__ == "__main__":
    unittest.main()

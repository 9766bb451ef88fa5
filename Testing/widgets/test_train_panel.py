"""The Train section as a person uses it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import slicer
from cohort_doubles import Settings
from job_doubles import AClock, ALauncher, ASetup, add_model, tell_training
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.JobLogic import AFTER_TRAINING, JobLogic
from SSLSegmentationLib.logic.SceneNodes import OWNED
from SSLSegmentationLib.widgets.TrainPanel import TrainPanel, TrainState

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import TrainSettings


class PanelCase(unittest.TestCase):
    annotated, unlabelled = 4, 52

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.cohorts, self.setup, self.clock = CohortLogic(Settings()), ASetup(), AClock()
        self.launcher, self.errors = ALauncher(), []
        self.jobs = JobLogic(self.setup, self.cohorts, launcher=self.launcher, clock=self.clock)
        self.questions: list[str] = []
        self.answer = True
        self.panel = TrainPanel(
            self.cohorts, self.jobs, self.setup, showError=self.errors.append, confirm=self.confirm
        )
        self.addCleanup(self.panel.cleanup)
        self.ui = self.panel.ui
        self.cohorts.openCohort(self.make_cohort("cohort", self.annotated, self.unlabelled))

    def make_cohort(self, name: str, annotated: int, unlabelled: int) -> Path:
        folder = self.place / name
        Cohort.create(folder, name=name, modality="CT", labels=parse_labels("liver=1,pancreas=3"))
        with Cohort.edit(folder) as cohort:
            for number in range(annotated + unlabelled):
                case = Case(f"case_{number}", f"images/{number}.nii.gz")
                if number < annotated:
                    case.label, case.annotated = f"labels/{number}.nii.gz", ["liver", "pancreas"]
                cohort.cases.append(case)
        return folder

    def shown(self, widget: Any) -> bool:
        """Whether a widget would be seen if the panel were."""
        return widget.isVisibleTo(self.panel.widget)

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.answer

    def choose(self, combo: Any, data: str) -> None:
        combo.currentIndex = combo.findData(data)

    def pass_(self, seconds: float = 2.0) -> None:
        self.clock.now += seconds
        self.jobs.poll()

    def end(self, ending: str, monitor: Any = None, **fields: Any) -> None:
        """The process that was launched last ends."""
        job = (monitor or self.jobs.monitors[-1]).job
        if ending == "finished" and isinstance(job.settings, TrainSettings):
            add_model(self.cohorts.folder, job.settings.model)
        job.events.write(ending, **fields)
        self.launcher.processes[-1].exitCode = 0
        self.pass_()


class ReadinessTest(PanelCase):
    def test_it_says_what_will_be_learned_from_and_can_start(self) -> None:
        self.assertEqual(self.ui.summaryLabel.text, "4 annotated cases, 52 without annotation, 2 organs.")
        self.assertEqual((self.panel.state, self.ui.trainButton.enabled), (TrainState.READY, True))
        self.assertIn("Choose it first", self.ui.methodLabel.text)
        self.assertFalse(self.shown(self.ui.obstacleLabel) or self.shown(self.ui.curvesWidget))

    def test_without_a_cohort_it_says_so_and_shows_the_methods_all_the_same(self) -> None:
        self.cohorts.closeCohort()
        self.assertEqual((self.panel.state, self.ui.trainButton.enabled), (TrainState.BLOCKED, False))
        self.assertIn("Open or make a cohort", self.ui.obstacleLabel.text)
        self.assertGreater(self.ui.methodCombo.count, 5)

    def test_a_backend_that_is_not_ready_leads_to_the_setup(self) -> None:
        wanted: list[int] = []
        self.panel.setupWanted.connect(lambda: wanted.append(1))
        self.setup.isReady = False
        self.setup.changed.emit()
        self.assertIn("backend is not ready", self.ui.obstacleLabel.text)
        self.assertFalse(self.ui.trainButton.enabled)
        self.assertEqual((self.shown(self.ui.wayOutButton), self.ui.wayOutButton.text), (True, "Open Setup"))
        self.ui.wayOutButton.click()
        self.assertEqual(wanted, [1])

    def test_a_cohort_without_annotation_is_refused_until_the_first_case_is_annotated(self) -> None:
        self.cohorts.openCohort(self.make_cohort("empty", 0, 3))
        self.assertIn("No training case is annotated yet", self.ui.obstacleLabel.text)
        self.assertFalse(self.shown(self.ui.wayOutButton))
        with self.cohorts.edit() as cohort:
            cohort.cases[0].label, cohort.cases[0].annotated = "labels/0.nii.gz", ["liver"]
        self.assertEqual(self.panel.state, TrainState.READY)
        self.assertIn("the model will not find it: pancreas", self.ui.hintsLabel.text)

    def test_without_unlabelled_cases_supervised_is_one_click_away(self) -> None:
        self.cohorts.openCohort(self.make_cohort("all", 3, 0))
        self.assertEqual(self.panel.state, TrainState.BLOCKED)
        self.assertEqual(self.ui.wayOutButton.text, "Use 'Supervised'")
        self.ui.wayOutButton.click()
        self.assertEqual(
            (self.ui.methodCombo.currentData, self.panel.state), ("supervised", TrainState.READY)
        )

    def test_test_cases_are_not_trained_on(self) -> None:
        self.cohorts.setUse([f"case_{number}" for number in range(10, 56)], Use.TEST)
        self.assertIn("6 without annotation", self.ui.summaryLabel.text)
        self.assertEqual(self.ui.hintsLabel.text, "46 cases kept apart for testing.")


class NameTest(PanelCase):
    def test_a_free_name_is_proposed_that_follows_the_method(self) -> None:
        self.assertEqual(self.ui.nameEdit.text, "mean_teacher")
        self.choose(self.ui.methodCombo, "cps")
        self.assertEqual(self.ui.nameEdit.text, "cps")
        add_model(self.cohorts.folder, "cps")
        self.cohorts.refresh()
        self.assertEqual(self.ui.nameEdit.text, "cps-2")

    def test_a_name_that_was_given_stays(self) -> None:
        self.ui.nameEdit.text = "mine"
        self.choose(self.ui.methodCombo, "cps")
        self.assertEqual(self.ui.nameEdit.text, "mine")

    def test_a_name_that_cannot_be_is_said_while_it_is_typed(self) -> None:
        self.ui.nameEdit.text = "liver & co"
        self.assertEqual(self.panel.state, TrainState.BLOCKED)
        self.assertIn("cannot be a name of a model", self.ui.obstacleLabel.text)
        self.ui.nameEdit.text = "liver"
        self.assertEqual(self.panel.state, TrainState.READY)

    def test_the_name_of_a_model_or_of_an_unfinished_training_is_taken(self) -> None:
        tell_training(Job.create(self.cohorts.folder, TrainSettings("cps", "half")), range(1, 4))
        add_model(self.cohorts.folder, "whole")
        self.cohorts.refresh()
        self.pass_()
        for name in ("half", "whole"):
            self.ui.nameEdit.text = name
            self.assertIn("already", self.ui.obstacleLabel.text)


class SettingsTest(PanelCase):
    def test_left_alone_the_settings_are_the_defaults(self) -> None:
        self.assertEqual(self.panel.settings(), TrainSettings("mean_teacher", "mean_teacher", preset="quick"))

    def test_what_is_chosen_is_what_is_trained(self) -> None:
        ui = self.ui
        self.choose(ui.methodCombo, "cgs")
        self.choose(ui.presetCombo, "thorough")
        self.choose(ui.networkCombo, "segresnet")
        ui.stepsSpin.value, ui.seedSpin.value, ui.heldBackSpin.value = 500, 7, 0
        ui.deviceCombo.setCurrentText("cuda:1")
        ui.leaveOneOutCheck.checked = True
        ui.thenCheck.checked = False
        ui.trainButton.click()
        job = self.jobs.monitors[0].job
        self.assertEqual(
            Job.open(job.folder).settings,
            TrainSettings(
                "cgs", "cgs", preset="thorough", network="segresnet", steps=500, seed=7, validation_cases=0,
                device="cuda:1", leave_one_out=True,
            ),
        )  # fmt: skip
        self.assertEqual((self.jobs.then(self.jobs.monitors[0]), self.errors), ((), []))

    def test_the_settings_of_a_method_are_a_form_and_only_what_differs_is_passed_on(self) -> None:
        self.choose(self.ui.methodCombo, "mean_teacher")
        fields = {child.name: child for child in slicer.util.findChildren(self.ui.methodSettingsWidget)}
        self.assertEqual(fields["ema_decay"].maximum, 1.0)
        self.assertIn("emory of the teacher", fields["ema_decay"].toolTip)
        fields["ema_decay"].value = 0.95
        fields["view"].currentIndex = 1
        fields["teacher_in_train_mode"].checked = True
        changed = {"ema_decay": 0.95, "view": "noise", "teacher_in_train_mode": True}
        self.assertEqual(self.panel.settings().method_settings, changed)
        self.choose(self.ui.methodCombo, "supervised")
        self.assertEqual(self.panel.settings().method_settings, {})
        self.choose(self.ui.methodCombo, "mean_teacher")
        self.assertEqual(self.panel.settings().method_settings, changed)
        self.ui.advancedGroup.collapsed = False
        self.ui.defaultsButton.click()
        self.assertEqual(self.panel.settings().method_settings, {})

    def test_the_form_of_every_method_holds_its_defaults_exactly(self) -> None:
        for index in range(self.ui.methodCombo.count):
            self.ui.methodCombo.currentIndex = index
            self.assertEqual(self.panel.settings().method_settings, {}, self.ui.methodCombo.currentText)

    def test_a_training_goes_on_from_a_model_with_its_method_and_cannot_leave_its_cases_out(self) -> None:
        add_model(self.cohorts.folder, "first")
        record = {"method": "micd", "settings": {}, "annotations": []}
        content = {"record": record, "plan": {"labels": []}}
        (self.cohorts.folder / "models" / "first" / "sslseg.json").write_text(json.dumps(content))
        self.cohorts.refresh()
        self.ui.leaveOneOutCheck.checked = True
        self.choose(self.ui.startCombo, "first")
        settings = self.panel.settings()
        self.assertEqual((settings.start_from, settings.method, settings.model), ("first", "micd", "first-2"))
        self.assertFalse(settings.leave_one_out or self.ui.leaveOneOutCheck.enabled)
        shutil.rmtree(self.cohorts.folder / "models")
        self.cohorts.refresh()
        self.assertIsNone(self.panel.settings().start_from)
        self.assertTrue(self.ui.leaveOneOutCheck.enabled)

    def test_the_time_of_a_preset_is_told_once_a_model_like_it_was_trained(self) -> None:
        self.assertNotIn("Takes", self.ui.presetLabel.text)
        add_model(self.cohorts.folder, "first")
        record = {
            "method": "mean_teacher", "settings": {"network": "unet", "device": "auto"}, "device": "cpu",
            "seconds_per_step": 1.0,
        }  # fmt: skip
        content = {"record": record, "plan": {"labels": []}}
        (self.cohorts.folder / "models" / "first" / "sslseg.json").write_text(json.dumps(content))
        self.cohorts.refresh()
        self.assertIn("Takes about 10 minutes, going by 'first'.", self.ui.presetLabel.text)
        self.ui.stepsSpin.value = 1200
        self.assertIn("Takes about 20 minutes", self.ui.presetLabel.text)


class TrainingTest(PanelCase):
    def start(self) -> Any:
        self.ui.trainButton.click()
        self.assertEqual(self.errors, [])
        return self.jobs.monitors[-1]

    def test_a_training_is_shown_from_its_start_to_the_segmentation_that_follows(self) -> None:
        monitor = self.start()
        self.assertEqual((self.panel.state, self.ui.trainButton.text), (TrainState.WORKING, "Cancel"))
        self.assertFalse(self.shown(self.ui.choicesWidget))
        self.assertEqual((self.ui.progressBar.maximum, self.shown(self.ui.progressBar)), (0, True))
        tell_training(monitor.job, range(1, 601))
        self.pass_()
        self.assertEqual((self.ui.progressBar.value, self.ui.progressBar.maximum), (600, 1000))
        self.assertIn("step 600 of 1000, about 7 minutes left", self.ui.statusLabel.text)
        self.assertTrue(self.shown(self.ui.curvesWidget) and self.ui.lossButton.checked)
        self.assertIn("total&nbsp;0.003", self.ui.figuresLabel.text)
        self.end("finished", monitor)
        following = self.jobs.monitors[1]
        self.assertEqual(following.job.description.command, AFTER_TRAINING[0])
        following.job.events.write("started", command="predict", device="cpu")
        following.job.events.write("progress", step=3, steps=56, seconds_left=600.0, share=1.0)
        self.pass_()
        self.assertIn("Segmenting with 'mean_teacher': case 3 of 56", self.ui.statusLabel.text)
        self.assertEqual(self.panel.state, TrainState.WORKING)
        self.assertFalse(self.shown(self.ui.thenCheck), "it is on its way already")
        self.end("failed", following, message="The scan is cut off.")
        self.assertEqual(
            (self.panel.state, self.ui.statusLabel.text), (TrainState.READY, "The scan is cut off.")
        )
        self.ui.resumeButton.click()
        self.assertEqual(self.launcher.launched()[-1], following.job.folder.name)

    def test_dice_is_shown_as_soon_as_it_is_known_with_the_colours_of_the_organs(self) -> None:
        monitor = self.start()
        tell_training(monitor.job, range(1, 100))
        self.pass_()
        self.assertFalse(self.ui.diceButton.enabled)
        tell_training(monitor.job, range(100, 301), start=False, validate_every=100)
        self.pass_()
        self.assertTrue(self.ui.diceButton.checked)
        text = self.ui.figuresLabel.text
        self.assertIn("liver&nbsp;0.30", text)
        self.assertIn("pancreas&nbsp;none", text)
        self.assertIn("Dice on one case.", text)
        self.ui.lossButton.click()
        tell_training(monitor.job, range(301, 401), start=False, validate_every=100)
        self.pass_()
        self.assertTrue(self.ui.lossButton.checked, "what a person chose stays")

    def test_cancel_asks_the_job_to_stop_and_it_can_be_resumed(self) -> None:
        monitor = self.start()
        tell_training(monitor.job, range(1, 51))
        self.pass_()
        self.ui.trainButton.click()
        self.assertTrue(monitor.job.cancel_requested)
        self.assertEqual((self.panel.state, self.ui.trainButton.enabled), (TrainState.STOPPING, False))
        self.end("cancelled", step=50)
        self.assertEqual(self.panel.state, TrainState.READY)
        self.assertTrue(self.shown(self.ui.resumeButton) and self.shown(self.ui.choicesWidget))
        self.assertEqual((self.ui.trainButton.text, self.shown(self.ui.progressBar)), ("Train anew", False))
        self.assertEqual(self.ui.nameEdit.text, "mean_teacher-2", "the name of the unfinished one is kept")
        self.ui.resumeButton.click()
        self.assertEqual(
            (self.panel.state, self.launcher.launched()), (TrainState.WORKING, ["train-0001"] * 2)
        )

    def test_an_unfinished_training_is_left_behind_only_when_a_person_agrees(self) -> None:
        monitor = self.start()
        tell_training(monitor.job, range(1, 51))
        self.pass_()
        self.end("cancelled", step=50)
        self.answer = False
        self.ui.trainButton.click()
        self.assertIn(f"sslseg run {monitor.job.folder}", self.questions[0])
        self.assertEqual(self.launcher.launched(), ["train-0001"])
        self.answer = True
        self.ui.trainButton.click()
        self.assertEqual(self.launcher.launched(), ["train-0001", "train-0002"])

    def test_a_crash_is_told_and_can_be_resumed(self) -> None:
        monitor = self.start()
        tell_training(monitor.job, range(1, 51))
        self.pass_()
        self.launcher.processes[0].exitCode = -9
        self.pass_()
        self.assertIn("memory ran out", self.ui.statusLabel.text)
        self.assertTrue(self.shown(self.ui.resumeButton))
        self.setup.isReady = False
        self.setup.changed.emit()
        self.assertFalse(self.ui.resumeButton.enabled)

    def test_a_launch_that_fails_is_said(self) -> None:
        self.launcher.failure = SSLSegError("The program cannot be started", remedy="Check the path.")
        self.ui.trainButton.click()
        self.assertEqual(self.errors, ["The program cannot be started. Check the path."])

    def test_warnings_of_the_training_are_shown_the_last_ones_first_in_sight(self) -> None:
        monitor = self.start()
        monitor.job.events.write("started", command="train", device="cpu")
        for number in range(5):
            monitor.job.events.write("warning", message=f"Warning {number}.")
        self.pass_()
        self.assertEqual(
            self.ui.warningsLabel.text.splitlines(), ["Warning 2.", "Warning 3.", "Warning 4.", "And 2 more."]
        )
        self.assertIn("Warning 0.", self.ui.warningsLabel.toolTip)

    def test_what_follows_can_be_changed_while_the_training_runs(self) -> None:
        monitor = self.start()
        self.ui.thenCheck.checked = False
        self.assertEqual(self.jobs.then(monitor), ())
        self.ui.thenCheck.checked = True
        self.assertEqual(self.jobs.then(monitor), AFTER_TRAINING)

    def test_a_training_that_runs_already_is_found_with_its_curves_when_the_panel_is_made(self) -> None:
        job = Job.create(self.cohorts.folder, TrainSettings("cps", "night"))
        with job.running():
            tell_training(job, range(1, 501), validate_every=100)
            jobs = JobLogic(self.setup, self.cohorts, launcher=ALauncher(), clock=self.clock)
            panel = TrainPanel(self.cohorts, jobs, self.setup, showError=self.errors.append)
            self.addCleanup(panel.cleanup)
            jobs.poll()
            self.assertEqual(panel.state, TrainState.WORKING)
            self.assertIn("Training 'night': step 500 of 1000", panel.ui.statusLabel.text)
            self.assertFalse(panel.ui.thenCheck.checked, "nobody asked for it")
            self.assertEqual(len(panel.training.losses), 500)

    def test_one_that_nobody_finished_is_offered_to_go_on_with_when_the_cohort_is_opened(self) -> None:
        folder = self.make_cohort("other", 2, 5)
        tell_training(Job.create(folder, TrainSettings("cps", "night")), range(1, 51))
        self.cohorts.openCohort(folder)
        self.pass_()
        self.assertTrue(self.shown(self.ui.resumeButton))
        self.assertIn("interrupted at step 50 of 1000", self.ui.statusLabel.text)
        self.cohorts.openCohort(self.place / "cohort")
        self.pass_()
        self.assertFalse(self.shown(self.ui.resumeButton) or self.shown(self.ui.progressWidget))

    def test_one_whose_model_was_made_by_another_run_is_not_offered(self) -> None:
        tell_training(Job.create(self.cohorts.folder, TrainSettings("cps", "night")), range(1, 51))
        add_model(self.cohorts.folder, "night")
        self.cohorts.refresh()
        self.pass_()
        self.assertEqual(self.jobs.monitors[0].state, JobState.INTERRUPTED)
        self.assertFalse(self.shown(self.ui.resumeButton))


class SceneTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        self.ui.trainButton.click()
        tell_training(self.jobs.monitors[0].job, range(1, 201), validate_every=50)
        self.pass_()

    def owned(self) -> list[str]:
        nodes = [slicer.mrmlScene.GetNthNode(i) for i in range(slicer.mrmlScene.GetNumberOfNodes())]
        return [node.GetClassName() for node in nodes if node.GetAttribute(OWNED) is not None]

    def test_the_plot_shows_the_chart_again_after_the_scene_was_closed(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.pass_()
        plot = self.ui.curvesWidget.layout().itemAt(1).widget()
        self.assertEqual(plot.chart().GetNumberOfPlots(), 2)
        self.assertIn("vtkMRMLPlotChartNode", self.owned())

    def test_the_curves_are_shown_large_and_put_back_when_the_module_is_left(self) -> None:
        layouts = slicer.app.layoutManager()
        layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.ui.largeButton.click()
        self.assertEqual(layouts.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        self.panel.exit()
        self.assertEqual(layouts.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.assertFalse(self.ui.largeButton.checked)

    def test_nothing_is_left_in_the_scene_when_the_cohort_is_closed_and_the_curves_come_back(self) -> None:
        folder = self.cohorts.folder
        self.cohorts.closeCohort()
        self.pass_()
        self.assertEqual(self.owned(), [])
        self.cohorts.openCohort(folder)
        self.pass_()
        plot = self.ui.curvesWidget.layout().itemAt(1).widget()
        self.assertEqual(plot.chart().GetNumberOfPlots(), 2)

    def test_nothing_is_left_in_the_scene_when_the_panel_goes_and_the_training_runs_on(self) -> None:
        self.assertIn("vtkMRMLPlotChartNode", self.owned())
        self.panel.cleanup()
        self.assertEqual(self.owned(), [])
        self.assertFalse(self.launcher.processes[0].killed or self.jobs.monitors[0].job.cancel_requested)


class SpeedTest(PanelCase):
    annotated, unlabelled = 100, 400

    def test_the_panel_of_500_cases_and_100_jobs_keeps_up_with_a_training(self) -> None:
        for number in range(100):
            job = Job.create(self.cohorts.folder, TrainSettings("cps", f"m{number}"))
            tell_training(job, range(1, 5))
            job.events.write("finished")
        while len(self.jobs.monitors) < 100:
            self.pass_()
        self.ui.trainButton.click()
        job = self.jobs.monitors[-1].job
        tell_training(job, range(1, 1001), of=4000, validate_every=100)
        self.pass_()
        times = []
        for step in range(1001, 1021):
            tell_training(job, range(step, step + 1), of=4000, start=False)
            began = time.perf_counter()
            self.pass_()
            times.append(time.perf_counter() - began)
        self.assertLess(sorted(times)[10], 0.05, "half of the polls, with all that is shown")
        began = time.perf_counter()
        self.panel.refresh()
        self.assertLess(time.perf_counter() - began, 0.1)


if __name__ == "__main__":
    unittest.main()

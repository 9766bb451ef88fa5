"""The module's panel in the scene: sections, saved scenes, closed scenes, reload, the end of Slicer."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import slicer
from case_doubles import LIVER, CaseTest
from job_doubles import AClock, ALauncher, make_cohort
from review_cohort import settle
from setup_doubles import ASettings, probe_answer
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.Parameters import parametersOf
from SSLSegmentationLib.logic.SceneNodes import ownedNodes
from SSLSegmentationLib.logic.SetupLogic import SetupLogic
from SSLSegmentationLib.logic.WorkProgress import Section
from SSLSegmentationLib.widgets import ModuleWidget as ModuleWidgetFile
from SSLSegmentationLib.widgets.ModuleWidget import POLL_SECONDS, ModuleWidget

from sslseg.contract.cohort import Case, Cohort


def _parameter_node() -> Any:
    """As ScriptedLoadableModuleLogic does it."""
    node = slicer.mrmlScene.GetSingletonNode("SSLSegmentation", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag("SSLSegmentation")
        node.SetAttribute("ModuleName", "SSLSegmentation")
        node = slicer.mrmlScene.AddNode(node)
    return node


class ModuleTestCase(unittest.TestCase):
    """The whole panel over a Python that answers as the test wants."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.clock = AClock()
        self.errors: list[str] = []
        self.chosen = ""
        self.module = self.make()
        self.addCleanup(self.module.cleanup)

    def make(self) -> ModuleWidget:
        self.launcher = ALauncher()
        return ModuleWidget(
            _parameter_node,
            setupLogic=SetupLogic(ASettings(), self.launcher),
            cohortLogic=CohortLogic(ASettings()),
            confirm=lambda question: True,
            showError=self.errors.append,
            chooseFolder=lambda title: self.chosen,
            clock=self.clock,
        )

    def cohort(self, name: str = "cohort") -> Path:
        return make_cohort(self.folder / name)

    def is_open(self, section: Section) -> bool:
        return not self.module.section(section).collapsed

    def notice(self) -> str:
        """What the notice says; empty when it is not shown."""
        return "" if self.module.ui.noticeFrame.isHidden() else self.module.ui.noticeLabel.text

    def answer(self, **packages: Any) -> None:
        """The Python of the backend tells what it has."""
        self.launcher.processes[-1].printed = probe_answer(**packages)
        self.launcher.processes[-1].exitCode = 0
        self.round()

    def round(self) -> None:
        """What the timer does within half a second."""
        self.clock.now += POLL_SECONDS
        self.module.poll()

    def recorded(self) -> str:
        return _parameter_node().GetParameter("cohortFolder")


class SectionsTest(ModuleTestCase):
    def test_every_panel_lies_in_its_section_in_the_order_of_the_work(self) -> None:
        for section in Section:
            parent = self.module.panels[section].widget.parentWidget()
            self.assertEqual(parent.name, f"{section.value}Section")
            self.assertTrue(self.module.section(section).toolTip)

    def test_setup_opens_when_something_is_missing_and_closes_once_it_is_there(self) -> None:
        self.answer(torch=None)
        self.assertTrue(self.is_open(Section.SETUP))
        self.assertFalse(self.is_open(Section.COHORT))
        self.module.setupLogic.check()
        self.answer()
        self.assertFalse(self.is_open(Section.SETUP))
        self.assertTrue(self.is_open(Section.COHORT))

    def test_what_a_person_opened_or_closed_stays_as_it_is(self) -> None:
        self.answer()
        self.module.section(Section.COHORT).collapsed = True
        self.module.section(Section.EXPORT).collapsed = False
        self.module.cohortLogic.openCohort(self.cohort())
        self.round()
        self.assertFalse(self.is_open(Section.COHORT))
        self.assertTrue(self.is_open(Section.EXPORT))

    def test_train_opens_when_a_case_becomes_annotated_even_by_another_program(self) -> None:
        self.answer()
        folder = self.cohort()
        self.module.cohortLogic.openCohort(folder)
        self.assertFalse(self.is_open(Section.TRAIN))
        with Cohort.edit(folder) as cohort:
            cohort.cases.append(Case("case_0001", "a.nii.gz", label="b.nii.gz", annotated=["liver"]))
        self.round()
        self.assertTrue(self.is_open(Section.TRAIN))

    def test_annotate_opens_when_a_person_wants_to_correct_a_prediction(self) -> None:
        self.module.panels[Section.REVIEW].correctionAsked.emit("liver")
        self.assertTrue(self.is_open(Section.ANNOTATE))

    def test_the_keys_of_the_editor_and_of_its_effect_are_left_to_it_while_it_is_shown(self) -> None:
        frame = self.module.panels[Section.ANNOTATE].editorFrame
        with mock.patch.object(self.module.panels[Section.REVIEW], "setEditing") as shared:
            self.module.section(Section.ANNOTATE).collapsed = False
            frame.effectChanged.emit("Draw")
            self.module.section(Section.ANNOTATE).collapsed = True
        self.assertEqual([tuple(call.args) for call in shared.call_args_list][-3:],
                         [(True, ""), (True, "Draw"), (False, "Draw")])  # fmt: skip

    def test_setup_opens_when_a_person_wants_to_train_without_a_backend(self) -> None:
        self.module.panels[Section.TRAIN].setupWanted.emit()
        self.assertTrue(self.is_open(Section.SETUP))

    def test_the_panel_fits_into_400_pixels_with_every_section_open(self) -> None:
        self.answer(torch=None)
        for section in Section:
            self.module.section(section).collapsed = False
        # However long the paths are that stand in it.
        path = "/data/" + "of everybody who was here before/" * 6
        self.module.panels[Section.SETUP].ui.pythonPathEdit.currentPath = path
        self.module.panels[Section.EXPORT].ui.folderEdit.currentPath = path
        for section in Section:
            width = self.module.panels[section].widget.minimumSizeHint.width()
            self.assertLessEqual(width, 400, f"{section.value} needs {width} pixels")


class SavedSceneTest(ModuleTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.place = self.cohort("here")
        self.scene = self.folder / "scene.mrml"

    def _save_with_cohort(self) -> None:
        self.module.cohortLogic.openCohort(self.place)
        self.assertTrue(slicer.util.saveScene(str(self.scene)))
        self.module.cohortLogic.closeCohort()
        slicer.mrmlScene.Clear(0)

    def _load(self) -> None:
        slicer.util.loadScene(str(self.scene))

    def test_the_scene_knows_the_open_cohort(self) -> None:
        self.module.cohortLogic.openCohort(self.place)
        self.assertEqual(self.recorded(), str(self.place))
        self.module.cohortLogic.closeCohort()
        self.assertEqual(self.recorded(), "")

    def test_the_parameters_are_wrapped_once_for_a_scene(self) -> None:
        # A wrapper observes its node for ever, and a cohort changes all the time.
        with mock.patch.object(ModuleWidgetFile, "parametersOf", wraps=parametersOf) as wrapped:
            for _number in range(5):
                self.module.cohortLogic.openCohort(self.place)
                self.assertEqual(self.recorded(), str(self.place))
                self.module.cohortLogic.closeCohort()
        self.assertLessEqual(wrapped.call_count, 1)

    def test_a_saved_scene_opens_its_cohort_again(self) -> None:
        self._save_with_cohort()
        self._load()
        self.assertEqual(self.module.cohortLogic.folder, self.place)
        self.assertEqual(self.notice(), "")

    def test_a_scene_whose_cohort_is_elsewhere_asks_where_and_opens_it_there(self) -> None:
        self._save_with_cohort()
        moved = self.place.rename(self.folder / "moved")
        self._load()
        self.assertIn(str(self.place), self.notice())
        self.assertIn("Find its folder, or go on without it", self.notice())
        self.assertFalse(self.module.ui.findCohortButton.isHidden())
        self.assertIsNone(self.module.cohortLogic.folder)
        self.assertEqual(self.errors, [])
        self.chosen = str(moved)
        self.module.ui.findCohortButton.click()
        self.assertEqual(self.module.cohortLogic.folder, moved)
        self.assertEqual(self.notice(), "")
        self.assertEqual(self.recorded(), str(moved))

    def test_a_folder_without_a_cohort_and_no_folder_keep_asking(self) -> None:
        self._save_with_cohort()
        self.place.rename(self.folder / "moved")
        self._load()
        self.module.ui.findCohortButton.click()
        self.assertIn(str(self.place), self.notice())
        self.chosen = str(self.folder)
        self.module.ui.findCohortButton.click()
        self.assertIn("There is no cohort in this folder", self.notice())
        self.assertEqual(self.recorded(), str(self.place))

    def test_going_on_without_the_cohort_forgets_it(self) -> None:
        self._save_with_cohort()
        self.place.rename(self.folder / "moved")
        self._load()
        self.module.ui.dismissButton.click()
        self.assertEqual(self.notice(), "")
        self.assertEqual(self.recorded(), "")

    def test_opening_another_cohort_answers_the_question(self) -> None:
        self._save_with_cohort()
        self.place.rename(self.folder / "moved")
        self._load()
        other = self.cohort("other")
        self.module.cohortLogic.openCohort(other)
        self.assertEqual(self.notice(), "")
        self.assertEqual(self.recorded(), str(other))

    def test_a_cohort_that_cannot_be_read_is_said_and_nothing_fails(self) -> None:
        self._save_with_cohort()
        (self.place / "cohort.json").write_text("{ damaged")
        self._load()
        self.assertIn("not valid JSON", self.notice())
        self.assertEqual(self.errors, [])

    def test_a_scene_of_somebody_else_leaves_the_cohort_open(self) -> None:
        slicer.mrmlScene.RemoveNode(_parameter_node())
        self.assertTrue(slicer.util.saveScene(str(self.scene)))
        self.module.cohortLogic.openCohort(self.place)
        self._load()
        self.assertEqual(self.module.cohortLogic.folder, self.place)
        self.assertEqual(self.recorded(), str(self.place))

    def test_closing_the_scene_keeps_the_cohort_and_the_new_scene_knows_it(self) -> None:
        self.module.cohortLogic.openCohort(self.place)
        slicer.mrmlScene.Clear(0)
        self.assertEqual(self.module.cohortLogic.folder, self.place)
        self.assertEqual(self.recorded(), str(self.place))


class LifeTest(ModuleTestCase):
    def test_a_reload_opens_the_cohort_again(self) -> None:
        place = self.cohort()
        self.module.cohortLogic.openCohort(place)
        self.module.cleanup()
        again = self.make()
        self.addCleanup(again.cleanup)
        self.assertEqual(again.cohortLogic.folder, place)

    def test_after_cleanup_nothing_of_ours_is_left_and_all_of_the_user_s_is(self) -> None:
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "mine")
        self.module.cohortLogic.openCohort(self.cohort())
        self.module.enter()
        self.module.exit()
        self.module.cleanup()
        self.assertTrue(slicer.mrmlScene.IsNodePresent(mine))
        self.assertEqual(ownedNodes(), [])
        slicer.mrmlScene.Clear(0)
        self.assertEqual(self.recorded(), "", "a closed module still watches the scene")

    def test_the_end_of_slicer_saves_the_open_case(self) -> None:
        with mock.patch.object(self.module.caseLogic, "shutdown") as shutdown:
            self.module.onApplicationQuit()
        shutdown.assert_called_once_with()

    def test_a_part_that_fails_keeps_nothing_else_from_working_and_is_logged_once(self) -> None:
        self.module._steps = (self._break, *self.module._steps)
        with self.assertLogs(level="ERROR") as logged:
            self.answer()
            self.round()
        self.assertEqual(sum("_break failed" in line for line in logged.output), 1)
        self.assertTrue(self.module.setupLogic.isReady)

    def _break(self) -> None:
        raise RuntimeError("broken")

    def test_what_is_drawn_is_saved_before_a_training_starts(self) -> None:
        events: list[str] = []
        case = self.module.caseLogic
        with (
            mock.patch.object(type(case), "isModified", property(lambda _case: "saved" not in events)),
            mock.patch.object(case, "save", lambda: events.append("saved")),
            mock.patch.object(
                self.module.jobLogic, "start", lambda *_settings, **_then: events.append("started")
            ),
        ):
            self.module.cohortLogic.openCohort(self.cohort())
            self.module.panels[Section.TRAIN].onTrain()
        self.assertEqual(events, ["saved", "started"])

    def test_the_timer_follows_the_open_case(self) -> None:
        self.assertEqual(self.module._timer.interval, 500)
        self.assertTrue(self.module._timer.isActive())
        self.module.cleanup()
        self.assertFalse(self.module._timer.isActive())

    def test_the_sample_cohort_is_asked_of_the_backend_and_said_meanwhile(self) -> None:
        self.answer()
        sample = self.module.sampleCohort
        with mock.patch.multiple(sample, _launcher=self.launcher, _folder=lambda: self.folder / "sample"):
            self.module.openSampleCohort()
            self.assertIn("Making a cohort of phantoms", self.notice())
            make_cohort(self.folder / "sample")
            self.launcher.processes[-1].exitCode = 0
            self.round()
        self.assertEqual(self.notice(), "")
        self.assertEqual(self.module.cohortLogic.folder, self.folder / "sample")


class OpenCaseTest(CaseTest):
    """With a case that is open and drawn in."""

    def setUp(self) -> None:
        super().setUp()
        self.module = ModuleWidget(
            _parameter_node,
            setupLogic=SetupLogic(ASettings(), ALauncher()),
            cohortLogic=self.cohorts,
            caseLogic=self.logic,
            confirm=lambda question: True,
            showError=self.said.append,
        )
        self.addCleanup(self.module.cleanup)
        self.open("first")
        self.box = self.a_box(slice(2, 4), slice(3, 6), slice(4, 8))
        self.draw(LIVER, self.box)

    def _assert_saved(self) -> None:
        np.testing.assert_array_equal(self.saved_voxels("first") == 200, self.box)
        self.assertEqual(self.said, [])

    def test_the_section_in_which_it_is_drawn_is_open(self) -> None:
        self.assertFalse(self.module.section(Section.ANNOTATE).collapsed)

    def test_what_is_drawn_is_saved_when_slicer_ends(self) -> None:
        self.module.onApplicationQuit()
        self._assert_saved()
        self.assertEqual(self.case_nodes(), [])

    def test_what_is_drawn_is_saved_when_the_module_is_reloaded(self) -> None:
        self.module.cleanup()
        self._assert_saved()
        self.assertEqual(ownedNodes(), [])

    def test_what_is_drawn_is_saved_when_the_scene_is_closed_and_the_next_case_opens(self) -> None:
        slicer.mrmlScene.Clear(0)
        self._assert_saved()
        self.assertEqual(self.cohorts.folder, self.folder)
        self.open("second")

    def test_a_saved_scene_opens_the_cohort_and_the_case_again(self) -> None:
        scene = self.place / "scene.mrb"
        self.assertTrue(slicer.util.saveScene(str(scene)))
        self.module.cohortLogic.closeCohort()
        settle(self.logic)
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(scene))
        settle(self.logic)
        self.assertEqual(self.cohorts.folder, self.folder)
        self.assertEqual(self.logic.caseId, "first")
        np.testing.assert_array_equal(self.drawn(LIVER), self.box)

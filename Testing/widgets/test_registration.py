"""What Slicer sees of the module."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import qt
import slicer
import SSLSegmentation as Module  # the file that Slicer loads
from SSLSegmentationLib.logic.Paths import MODULE_FOLDER


def _parent() -> Any:
    return types.SimpleNamespace(path=str(MODULE_FOLDER / "SSLSegmentation.py"))


class ModuleTest(unittest.TestCase):
    def test_the_module_says_what_it_is(self) -> None:
        module = Module.SSLSegmentation(_parent())
        parent = module.parent
        self.assertEqual(parent.title, "SSLSegmentation")
        self.assertEqual(list(parent.categories), ["Segmentation"])
        self.assertTrue(parent.contributors)
        self.assertIn("not a medical device", parent.helpText)
        self.assertIn("MONAI", parent.acknowledgementText)
        self.assertFalse(parent.icon.isNull())

    def test_a_click_in_sample_data_shows_the_module_and_asks_it_for_the_phantoms(self) -> None:
        asked = mock.Mock()
        widget = types.SimpleNamespace(moduleWidget=asked)
        with (
            mock.patch.object(slicer.modules, "SSLSegmentationWidget", widget, create=True),
            mock.patch.object(slicer.util, "selectModule") as selected,
        ):
            Module.openSampleCohort(None)
        selected.assert_called_once_with("SSLSegmentation")
        asked.openSampleCohort.assert_called_once_with()

    def test_the_sample_cohort_is_registered_when_slicer_has_started(self) -> None:
        with mock.patch.object(Module, "registerSampleCohort") as register:
            Module.onStartupCompleted()
        register.assert_called_once_with(Module.openSampleCohort)

    def test_the_tests_of_the_module_are_found_from_a_source_checkout(self) -> None:
        found = mock.Mock()
        found.return_value = unittest.TestSuite()
        with mock.patch.object(unittest.TestLoader, "discover", found):
            Module.SSLSegmentationTest().runTest()
        folder = Path(found.call_args.args[0])
        self.assertEqual(folder, MODULE_FOLDER.parent / "Testing" / "widgets")
        self.assertTrue((folder / "test_registration.py").is_file())


class WidgetTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        self.widget = Module.SSLSegmentationWidget(parent)
        self.addCleanup(self.widget.cleanup)
        self.widget.setup()

    def test_the_panel_is_set_up_entered_left_and_cleaned_up(self) -> None:
        panel = self.widget.moduleWidget
        self.assertEqual(panel.widget.parentWidget().className(), "qMRMLWidget")
        self.widget.enter()
        self.widget.exit()
        self.widget.cleanup()
        self.assertIsNone(self.widget.moduleWidget)
        self.widget.cleanup()


class ReloadTest(unittest.TestCase):
    def test_a_reload_takes_every_file_of_the_module_anew_and_works_on(self) -> None:
        slicer.mrmlScene.Clear(0)
        if not hasattr(slicer.modules, "sslsegmentation"):
            slicer.modules.add("SSLSegmentation", MODULE_FOLDER / "SSLSegmentation.py")
        with mock.patch.dict(sys.modules):
            before = slicer.util.getModuleWidget("SSLSegmentation")
            old = before.moduleWidget
            before.enter()
            before.onReload()
            self.assertIsNone(before.moduleWidget)
            before.exit()
            widget = slicer.util.getModuleWidget("SSLSegmentation")
            new = widget.moduleWidget
            self.assertIsNot(type(new), type(old))
            new.ui.reviewSection.collapsed = False
            review = next(panel for section, panel in new.panels.items() if section.value == "review")
            listens = review.shortcuts.enabled
            widget.cleanup()
        self.assertTrue(listens, "nobody entered the panel that was made anew")

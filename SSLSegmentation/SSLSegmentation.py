"""Registration of the module with Slicer; all it does lies in SSLSegmentationLib."""

import sys
import unittest
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from SSLSegmentationLib.logic.SampleCohort import registerSampleCohort


class SSLSegmentation(ScriptedLoadableModule):
    """What Slicer knows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SSLSegmentation")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["SSLSegmentation contributors"]
        self.parent.helpText = _(
            "Annotate a few scans, segment them all. Make a cohort of CT or MR volumes, draw the organs in a few of "
            "them, and train on this computer: the method learns from the annotated volumes and from all the others. "
            "Then look at the predictions, those that need it most first, correct what is wrong and train again. "
            "It is research software, not a medical device. "
            'More in the <a href="https://github.com/SSLSegmentation/SSLSegmentation">documentation</a>.'
        )
        self.parent.acknowledgementText = _(
            "Built on 3D Slicer, PyTorch, MONAI, Lightning and SimpleITK, and on the published work that each "
            "training method names."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted():
    """Other modules are there only now."""
    registerSampleCohort(openSampleCohort)


def openSampleCohort(source):
    """A person asked for the phantoms in the module Sample Data: show this module and make them."""
    slicer.util.selectModule("SSLSegmentation")
    slicer.modules.SSLSegmentationWidget.moduleWidget.openSampleCohort()


class SSLSegmentationWidget(ScriptedLoadableModuleWidget):
    """Hands what happens to the module's panel over to `ModuleWidget`."""

    def __init__(self, parent=None):
        self.logic = None
        self.moduleWidget = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        from SSLSegmentationLib.widgets.ModuleWidget import ModuleWidget

        ScriptedLoadableModuleWidget.setup(self)
        self.logic = SSLSegmentationLogic()
        self.moduleWidget = ModuleWidget(self.logic.getParameterNode)
        self.layout.addWidget(self.moduleWidget.widget)

    def enter(self):
        if self.moduleWidget is not None:
            self.moduleWidget.enter()

    def exit(self):
        if self.moduleWidget is not None:
            self.moduleWidget.exit()

    def cleanup(self):
        if self.moduleWidget is not None:
            self.moduleWidget.cleanup()
            self.moduleWidget = None

    def onReload(self):
        """Reload the files of the library too, not only this one."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("SSLSegmentationLib", "sslseg")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        # Slicer enters a module that is chosen; the widget that was made anew belongs to one that was chosen before.
        slicer.modules.SSLSegmentationWidget.enter()


class SSLSegmentationLogic(ScriptedLoadableModuleLogic):
    """Keeps the parameter node; the work is done in SSLSegmentationLib.logic."""


class SSLSegmentationTest(ScriptedLoadableModuleTest):
    """Runs the module's tests in this Slicer, from a source checkout."""

    def runTest(self):
        testing = Path(__file__).resolve().parents[1] / "Testing"
        if not testing.is_dir():
            self.delayDisplay(_("The tests are not installed; run them from a source checkout."))
            return
        folder = str(testing / "widgets")
        suite = unittest.TestLoader().discover(folder, pattern="test_*.py", top_level_dir=folder)
        result = unittest.TextTestRunner(verbosity=2).run(suite)
        if not result.wasSuccessful():
            raise AssertionError(
                _("{count} tests failed.").format(count=len(result.failures + result.errors))
            )
        self.delayDisplay(_("{count} tests passed.").format(count=result.testsRun))

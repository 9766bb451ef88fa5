"""`slicer`: the real scene, and what the stand-in adds of the application."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import Annotated

import ctk
import numpy as np
import pytest
import qt
import SampleData
import slicer
import vtk
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget

import standin

IJK_TO_RAS = np.array([[-0.8, 0, 0, 40], [0, -0.9, 0, 20], [0, 0, 2.5, -10], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def an_empty_scene():
    slicer.mrmlScene.Clear(0)
    slicer.util.clearMessages()


@pytest.fixture
def a_volume():
    return slicer.util.addVolumeFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5), IJK_TO_RAS, "scan")


def test_a_volume_goes_from_array_to_file_and_back(a_volume, tmp_path):
    assert slicer.util.saveNode(a_volume, tmp_path / "scan.nrrd")
    loaded = slicer.util.loadVolume(tmp_path / "scan.nrrd", {"name": "again"})
    assert loaded.GetName() == "again"
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(a_volume))
    matrix = vtk.vtkMatrix4x4()
    loaded.GetIJKToRASMatrix(matrix)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(matrix), IJK_TO_RAS, atol=1e-6)
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == loaded.GetID()
    with pytest.raises(RuntimeError, match="Failed to load node from file"):
        slicer.util.loadVolume(tmp_path / "missing.nrrd")


def test_a_segment_goes_from_array_to_file_and_back(a_volume, tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.SetReferenceImageGeometryParameterFromVolumeNode(a_volume)
    node.GetSegmentation().AddEmptySegment("liver", "Liver", (1.0, 0.5, 0.0))
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 1:3, 2:4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "liver", a_volume)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, "liver"), mask)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert slicer.util.exportNode(node, tmp_path / "organs.seg.nrrd")
    loaded = slicer.util.loadSegmentation(tmp_path / "organs.seg.nrrd")
    assert loaded.GetSegmentation().GetSegment("liver").GetName() == "Liver"
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "liver", a_volume), mask)


def test_a_scene_is_saved_with_its_data_and_opened_again(a_volume, tmp_path):
    assert slicer.util.saveScene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(0)
    assert slicer.util.getNodes("scan") == {}
    assert slicer.util.loadScene(tmp_path / "scene.mrb")
    assert slicer.util.arrayFromVolume(slicer.util.getNode("scan"))[2, 3, 4] == 59


def test_views_and_logics_survive_an_emptied_scene(a_volume):
    slicer.mrmlScene.Clear(0)
    for name in slicer.app.layoutManager().sliceViewNames():
        assert slicer.app.layoutManager().sliceWidget(name).sliceLogic().GetSliceNode().GetScene()
    assert slicer.app.layoutManager().threeDWidget(0).mrmlViewNode().GetScene()
    assert slicer.app.applicationLogic().GetSelectionNode().GetScene()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segment = node.GetSegmentation().GetSegment(node.GetSegmentation().AddEmptySegment("a"))
    logic = slicer.modules.segmentations.logic()
    logic.SetSegmentStatus(segment, logic.Completed)
    assert logic.GetSegmentStatus(segment) == logic.Completed
    text = vtk.reference("")
    assert segment.GetTag(segment.GetTerminologyEntryTagName(), text) and "Tissue" in str(text)


def test_data_nodes_have_an_item_in_the_subject_hierarchy(a_volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(a_volume)
    assert item and hierarchy.GetItemName(item) == "scan"
    slicer.mrmlScene.RemoveNode(a_volume)
    assert not hierarchy.GetItemByDataNode(a_volume)


def test_nodes_are_found_by_name_id_and_class(a_volume):
    assert slicer.util.getNode("sc*") == a_volume
    assert slicer.util.getNode(a_volume.GetID()) == a_volume
    assert slicer.util.getNodesByClass("vtkMRMLVolumeNode") == [a_volume]
    assert slicer.util.getFirstNodeByName("scan") == a_volume
    with pytest.raises(slicer.util.MRMLNodeNotFoundException):
        slicer.util.getNode("nothing")


def test_observations_end_on_request_and_keep_no_object_alive(a_volume):
    seen = []

    class Observer(slicer.util.VTKObservationMixin):
        def __init__(self):
            slicer.util.VTKObservationMixin.__init__(self)

        def onModified(self, caller, event):
            seen.append((caller, event))

    observer = Observer()
    observer.addObserver(a_volume, vtk.vtkCommand.ModifiedEvent, observer.onModified)
    assert observer.hasObserver(a_volume, vtk.vtkCommand.ModifiedEvent, observer.onModified)
    a_volume.Modified()
    with slicer.util.NodeModify(a_volume):
        a_volume.SetName("b")
        a_volume.SetName("c")
    assert seen == [(a_volume, "ModifiedEvent")] * 2
    observer.removeObservers()
    a_volume.Modified()
    assert len(seen) == 2 and not observer.Observations


def test_nobody_is_asked_and_every_message_is_kept():
    assert slicer.util.confirmOkCancelDisplay("Really?") is True
    assert slicer.util.confirmRetryCloseDisplay("Again?") is False
    slicer.util.errorDisplay("Broken")
    with pytest.raises(OSError, match="full"), slicer.util.tryWithErrorDisplay("Failed to save."):
        raise OSError("disk full")
    assert [message.kind for message in slicer.util.messages] == ["confirm", "confirm", "error", "error"]
    assert slicer.util.messages[-1].text == "Failed to save.\n\ndisk full"


def test_settings_are_typed_and_have_a_default():
    settings = slicer.app.settings()
    settings.setValue("Standin/flag", "true")
    settings.setValue("Standin/number", "7")
    assert slicer.util.settingsValue("Standin/flag", False, converter=slicer.util.toBool) is True
    assert slicer.util.settingsValue("Standin/number", 0, converter=int) == 7
    assert slicer.util.settingsValue("Standin/missing", 3, converter=int) == 3
    assert qt.QSettings().value("Standin/number") == "7"
    settings.remove("Standin")


def test_another_process_runs_with_the_wanted_environment():
    code = "import os; print(os.environ['STANDIN'], 'PATH' in os.environ)"
    process = slicer.util.launchConsoleProcess(
        [sys.executable, "-c", code], updateEnvironment={"STANDIN": "here", "PATH": None}
    )
    assert process.communicate()[0].strip() == "here False"


def test_installing_packages_is_only_noted():
    assert not slicer.packaging.pip_check("torch>=2.8")
    slicer.packaging.pip_ensure("torch>=2.8")
    assert slicer.packaging.pip_check("torch>=2.8")
    assert slicer.packaging.asked[-1][0] == ["torch>=2.8"]
    slicer.packaging.satisfied.clear()


def test_sample_data_is_registered_as_slicer_wants_it():
    register, click = SampleData.SampleDataLogic.registerCustomSampleDataSource, [].append
    register(category="Test", sampleName="Phantom", uris="", nodeNames="Phantom", customDownloader=click)
    (source,) = SampleData.SampleDataLogic.sources.pop("Test")
    assert (source.uris, source.nodeNames, source.customDownloader) == ([""], ["Phantom"], click)
    with pytest.raises(TypeError):
        register(category="Test", sampleName="Phantom")
    with pytest.raises(ValueError, match="Inconsistent"):
        register(category="Test", sampleName="Phantom", uris=["a", "b"], fileNames=["a"])


class Mode(enum.Enum):
    FAST = 1
    GOOD = 2


@parameterNodeWrapper
class Parameters:
    volume: slicer.vtkMRMLScalarVolumeNode
    folder: Path
    organ: Annotated[str, Choice(["liver", "spleen"])] = "spleen"
    threshold: Annotated[float, WithinRange(0, 10)] = 2.5
    visible: bool = True
    mode: Mode = Mode.GOOD


@pytest.fixture
def parameters():
    logic = ScriptedLoadableModuleLogic()
    logic.moduleName = "Standin"
    return Parameters(logic.getParameterNode())


def test_parameters_are_typed_and_live_in_their_node(parameters, a_volume):
    assert (parameters.organ, parameters.threshold, parameters.visible) == ("spleen", 2.5, True)
    parameters.volume, parameters.mode, parameters.folder = a_volume, Mode.FAST, Path("/data")
    again = Parameters(parameters.parameterNode)
    assert (again.volume, again.mode, again.folder) == (a_volume, Mode.FAST, Path("/data"))
    for name, value in (("organ", "tail"), ("threshold", 11.0)):
        with pytest.raises(ValueError, match="Value"):
            setattr(parameters, name, value)
    with pytest.raises(TypeError, match="must be of type"):
        parameters.visible = "yes"
    slicer.mrmlScene.RemoveNode(a_volume)
    assert parameters.volume is None


def test_widgets_and_parameters_follow_each_other(parameters):
    panel = qt.QWidget()
    layout = qt.QVBoxLayout(panel)
    widgets = {"organ": qt.QComboBox(), "threshold": ctk.ctkSliderWidget(), "visible": qt.QCheckBox()}
    for name, widget in widgets.items():
        widget.setProperty("SlicerParameterName", name)
        layout.addWidget(widget)
    tag = parameters.connectGui(panel)
    assert (widgets["organ"].currentText, widgets["threshold"].value, widgets["visible"].checked) == (
        "spleen", 2.5, True,
    )  # fmt: skip
    assert widgets["threshold"].maximum == 10
    widgets["organ"].currentIndex = 0
    widgets["visible"].checked = False
    parameters.threshold = 4.0
    assert (parameters.organ, parameters.visible, widgets["threshold"].value) == ("liver", False, 4.0)
    parameters.disconnectGui(tag)
    widgets["visible"].checked = True
    parameters.threshold = 5.0
    assert (parameters.visible, widgets["threshold"].value) == (False, 4.0)


def test_a_module_widget_sets_itself_up_in_a_panel_of_its_own():
    class StandinWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
        def setup(self):
            ScriptedLoadableModuleWidget.setup(self)
            self.layout.addWidget(qt.QPushButton("Go"))

    widget = StandinWidget()
    assert widget.moduleName == "Standin"
    assert widget.parent.findChild(qt.QPushButton).text == "Go"
    assert widget.parent.mrmlScene() == slicer.mrmlScene
    widget.parent.hide()


def test_installing_twice_changes_nothing():
    before = slicer.mrmlScene
    standin.install()
    assert sys.modules["slicer"].mrmlScene is before
    assert standin.slicerIsHere()

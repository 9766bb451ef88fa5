"""The doubles of ctk and qMRML widgets, alone and in `.ui` files."""

from __future__ import annotations

import ctk
import numpy as np
import pytest
import qt
import slicer

PANEL = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Panel</class>
 <widget class="qMRMLWidget" name="Panel">
  <layout class="QVBoxLayout" name="outer">
   <item>
    <widget class="ctkCollapsibleButton" name="section">
     <property name="text"><string>Section</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout" name="form">
      <item row="0" column="0"><widget class="QLabel" name="label"><property name="text"><string>Path:</string>
       </property></widget></item>
      <item row="0" column="1"><widget class="ctkPathLineEdit" name="path">
       <property name="currentPath"><string>/tmp</string></property>
       <property name="SlicerParameterName" stdset="0"><string>folder</string></property></widget></item>
      <item row="1" column="1"><widget class="qMRMLNodeComboBox" name="volume">
       <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
       <property name="noneEnabled"><bool>true</bool></property></widget></item>
     </layout>
    </widget>
   </item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends><header>x.h</header>
   <container>1</container></customwidget>
  <customwidget><class>ctkPathLineEdit</class><extends>QWidget</extends><header>x.h</header></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends><header>x.h</header></customwidget>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends><header>x.h</header>
   <container>1</container></customwidget>
 </customwidgets>
</ui>
"""


@pytest.fixture(autouse=True)
def an_empty_scene():
    slicer.mrmlScene.Clear(0)


@pytest.fixture
def a_panel(tmp_path):
    (tmp_path / "Panel.ui").write_text(PANEL)
    return slicer.util.loadUI(str(tmp_path / "Panel.ui"))


@pytest.fixture
def a_segmentation():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    for name in ("liver", "spleen"):
        node.GetSegmentation().AddEmptySegment(name, name.title())
    return node


def test_a_panel_is_loaded_with_its_doubles_and_properties(a_panel):
    ui = slicer.util.childWidgetVariables(a_panel)
    assert type(a_panel) is slicer.qMRMLWidget
    assert type(ui.section) is ctk.ctkCollapsibleButton
    assert (ui.section.text, ui.section.collapsed) == ("Section", True)
    assert (ui.path.currentPath, ui.path.property("SlicerParameterName")) == ("/tmp", "folder")
    assert ui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert ui.label.text.strip() == "Path:"
    assert slicer.util.findChild(a_panel, "volume") == ui.volume
    with pytest.raises(RuntimeError, match="file not found"):
        slicer.util.loadUI("/nowhere.ui")


def test_a_panel_with_a_widget_that_has_no_double_is_refused(tmp_path):
    (tmp_path / "Panel.ui").write_text(PANEL.replace("ctkPathLineEdit", "ctkNobodyKnows"))
    with pytest.raises(RuntimeError, match="no double of ctkNobodyKnows"):
        slicer.util.loadUI(str(tmp_path / "Panel.ui"))


def test_a_collapsible_button_hides_its_contents_and_says_so():
    section, seen = ctk.ctkCollapsibleButton(), []
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.visible = False
    open_ = section.sizeHint.height()
    section.connect("contentsCollapsed(bool)", seen.append)
    section.collapsed = True
    assert shown.isHidden() and section.maximumHeight < open_
    section.collapsed = False
    assert seen == [True, False]
    assert not shown.isHidden() and hidden.isHidden()


def test_a_path_a_colour_and_a_slider_tell_of_their_changes():
    path, color, slider, seen = ctk.ctkPathLineEdit(), ctk.ctkColorPickerButton(), ctk.ctkSliderWidget(), []
    assert path.connect("currentPathChanged(QString)", seen.append)
    assert color.connect("colorChanged(QColor)", lambda c: seen.append(c.name()))
    assert slider.connect("valueChanged(double)", seen.append)
    path.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Writable
    path.currentPath = "/data"
    path.currentPath = "/data"
    color.color = qt.QColor(255, 0, 0)
    slider.maximum, slider.singleStep, slider.decimals = 10, 0.5, 1
    slider.value = 2.5
    assert seen == ["/data", "#ff0000", 2.5]
    assert path.filters == 0x21
    with pytest.raises(AttributeError, match="'path' does not exist on ctkPathLineEdit"):
        path.path = "/other"


def test_checked_entries_of_a_combo_box_are_told():
    combo, seen = ctk.ctkCheckableComboBox(), []
    combo.addItems(["liver", "spleen"])
    combo.connect("checkedIndexesChanged()", lambda: seen.append(1))
    combo.setCheckState(combo.checkableModel().index(1, 0), qt.Qt.Checked)
    assert [index.row() for index in combo.checkedIndexes()] == [1]
    assert seen


def test_a_node_selector_follows_the_scene():
    selector, seen = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is None
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "a")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode", "not this")
    assert (selector.currentNode(), selector.nodeCount()) == (volume, 1)
    selector.noneEnabled = True
    selector.setCurrentNode(None)
    selector.currentNodeID = volume.GetID()
    slicer.mrmlScene.RemoveNode(volume)
    assert selector.currentNode() is None
    assert seen == [volume, None, volume, None]


def test_the_segment_editor_shares_its_state_with_its_node(a_segmentation):
    editor, seen = slicer.qMRMLSegmentEditorWidget(), []
    volume = slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.uint8), name="scan")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
    editor.connect("currentSegmentIDChanged(QString)", seen.append)
    editor.setMRMLScene(slicer.mrmlScene)
    editor.setMRMLSegmentEditorNode(node)
    editor.setSegmentationNode(a_segmentation)
    editor.setSourceVolumeNode(volume)
    assert (editor.segmentationNode(), node.GetSegmentationNode()) == (a_segmentation, a_segmentation)
    assert node.GetSourceVolumeNode() == volume
    editor.setCurrentSegmentID("spleen")
    assert (editor.currentSegmentID(), node.GetSelectedSegmentID()) == ("spleen", "spleen")
    assert seen == ["liver", "spleen"]
    editor.installKeyboardShortcuts()
    editor.uninstallKeyboardShortcuts()
    editor.setActiveEffectByName("Paint")
    assert node.GetActiveEffectName() == "Paint"
    slicer.mrmlScene.Clear(0)
    assert editor.segmentationNode() is None


def test_the_segments_table_lists_and_selects_segments(a_segmentation):
    table, seen = slicer.qMRMLSegmentsTableView(), []
    table.connect("selectionChanged(QItemSelection,QItemSelection)", lambda *a: seen.append(len(a)))
    table.setSegmentationNode(a_segmentation)
    assert (table.segmentCount(), table.selectedSegmentIDs()) == (2, ())
    table.setSelectedSegmentIDs(["spleen"])
    assert table.selectedSegmentIDs() == ("spleen",)
    assert seen and set(seen) == {2}
    a_segmentation.GetSegmentation().RemoveSegment("spleen")
    assert table.segmentCount() == 1


def test_a_chart_gets_a_plot_view_through_the_layout():
    manager, seen = slicer.app.layoutManager(), []
    manager.connect("layoutChanged(int)", seen.append)
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "losses")
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert manager.layout != slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    assert manager.plotViewCount == 1
    assert manager.plotWidget(0).mrmlPlotViewNode().GetPlotChartNode() == chart
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    assert seen[-1] == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    manager.disconnect("layoutChanged(int)", seen.append)

"""Pictures of the scene and of widgets, made without a screen."""

from __future__ import annotations

import numpy as np
import pytest
import qt
import slicer

from standin import rendering

RED = (230, 50, 50)


@pytest.fixture
def a_scene():
    slicer.mrmlScene.Clear(0)
    voxels = np.full((20, 30, 40), 100, np.int16)
    voxels[:, :, 30:] = 0
    volume = slicer.util.addVolumeFromArray(voxels, np.diag([1, 1, 1, 1]), "scan")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(100, 50)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.GetSegmentation().AddEmptySegment("liver", "Liver", tuple(c / 255 for c in RED))
    mask = np.zeros(voxels.shape, np.uint8)
    mask[5:15, 10:20, 4:14] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, "liver", volume)
    slicer.util.setSliceViewerLayers(background=volume)
    return node


def test_a_slice_shows_volume_and_segmentation_the_radiological_way(a_scene):
    pixels = rendering.renderSlice("Red", size=(400, 300)).astype(int)
    assert pixels.shape == (300, 400, 3)
    right, left = (
        pixels[150, 30],
        pixels[150, 380],
    )  # of the patient: right is where R grows, shown on the left
    assert tuple(right) == (0, 0, 0) and min(left) > 240
    redness = pixels[:, :, 0] - pixels[:, :, 1]
    rows, columns = np.nonzero(redness > 60)
    assert 255 < columns.min() < columns.max() < 365
    assert (rows.max() - rows.min(), columns.max() - columns.min()) == pytest.approx((100, 100), abs=4)


def test_the_slice_that_is_asked_for_is_shown(a_scene):
    hit = rendering.renderSlice("Red", offset=10).astype(int)
    missed = rendering.renderSlice("Red", offset=2).astype(int)
    assert (hit[:, :, 0] - hit[:, :, 1] > 60).any()
    assert not (missed[:, :, 0] - missed[:, :, 1] > 60).any()


def test_a_surface_is_seen_in_3d(a_scene, tmp_path):
    a_scene.CreateClosedSurfaceRepresentation()
    pixels = rendering.render3D(tmp_path / "view.png", size=(200, 200)).astype(int)
    share = (pixels[:, :, 0] - pixels[:, :, 2] > 80).mean()
    assert 0.3 < share < 0.95
    assert qt.QImage(str(tmp_path / "view.png")).width() == 200
    a_scene.GetDisplayNode().SetVisibility(False)
    hidden = rendering.render3D(size=(200, 200)).astype(int)
    assert not (hidden[:, :, 0] - hidden[:, :, 2] > 80).any()


def test_a_view_shows_what_it_shows_unless_it_is_fitted(a_scene):
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    rendering.renderSlice("Red", size=(400, 300), offset=10)
    node.SetFieldOfView(10, 7.5, 1)
    node.JumpSliceByCentering(9, 15, 10)
    pixels = rendering.renderSlice("Red", size=(400, 300), fit=False).astype(int)
    assert (pixels[:, :, 0] - pixels[:, :, 1] > 60).mean() > 0.9


def test_organs_fill_the_picture_from_wherever_they_are_seen(a_scene):
    a_scene.CreateClosedSurfaceRepresentation()
    for azimuth, elevation in ((0, 0), (30, 10)):
        pixels = rendering.render3D(size=(200, 100), fill=True, azimuth=azimuth, elevation=elevation).astype(
            int
        )
        rows, _columns = np.nonzero(pixels[:, :, 0] - pixels[:, :, 2] > 80)
        assert 60 < rows.max() - rows.min() < 100


def test_four_views_are_one_picture(a_scene):
    assert rendering.renderViews(size=(90, 80)).shape == (160, 180, 3)


def test_a_widget_is_pictured_in_both_palettes_and_left_as_it_was(tmp_path):
    label = qt.QLabel(
        "A sentence that is too long for one line of a narrow panel, and so has to be wrapped. " * 3
    )
    label.wordWrap = True
    light = rendering.grabWidget(label, tmp_path / "light.png")
    dark = rendering.grabWidget(label, dark=True)
    assert light.width() == dark.width() == 400
    assert light.height() == label.heightForWidth(400)
    assert light.pixelColor(0, 0).lightness() > 200
    assert dark.pixelColor(0, 0).lightness() < 80
    assert not label.visible
    assert slicer.app.palette().window().color().lightness() > 200


def test_curves_are_drawn_in_their_colour():
    slicer.mrmlScene.Clear(0)
    table = slicer.util.updateTableFromArray(None, [np.arange(5.0), np.arange(5.0) ** 2], ["step", "loss"])
    series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "loss")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("step")
    series.SetYColumnName("loss")
    series.SetColor(0, 0, 1)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "training")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view.SetPlotChartNodeID(chart.GetID())
    widget = slicer.qMRMLPlotWidget()
    widget.setMRMLPlotViewNode(view)
    image = rendering.grabWidget(widget)
    colors = {image.pixelColor(x, y).name() for x in range(60, 380, 2) for y in range(image.height())}
    assert "#0000ff" in colors

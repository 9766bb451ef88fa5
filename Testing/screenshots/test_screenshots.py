"""How the pictures of the README are made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from PySide6 import QtGui
from review_cohort import add_card, add_ranking, make_review_cohort
from standin import rendering

from screenshots.cohorts import beginning
from screenshots.framing import fill_views, show_organs
from screenshots.pictures import PICTURES, Cohorts
from screenshots.window import GAP, HEIGHT, PANEL_WIDTH, VIEWS_WIDTH, save
from sslseg.contract.quality import Verdict

VIEW = (200, 150)


@pytest.fixture
def a_body() -> tuple[object, object]:
    """A body of soft tissue in the corner of a scan full of air, with a large organ and a small one."""
    slicer.mrmlScene.Clear(0)
    voxels = np.full((30, 40, 50), -1000, np.int16)
    voxels[:, 20:36, 6:30] = 40
    voxels[:, 2:4, 45:49] = 40  # a couch
    volume = slicer.util.addVolumeFromArray(voxels, np.diag([1, 1, 2, 1]), "scan")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevelMinMax(-160, 240)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, box in (("large", np.s_[5:20, 22:34, 8:28]), ("small", np.s_[17:22, 21:22, 10:12])):
        mask = np.zeros(voxels.shape, np.uint8)
        mask[box] = 1
        node.GetSegmentation().AddEmptySegment(name, name, (1.0, 0.0, 0.0))
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, name, volume)
    slicer.util.setSliceViewerLayers(background=volume)
    return volume, node


def test_the_slice_with_the_most_organs_is_shown_and_the_body_fills_it(a_body) -> None:
    volume, segmentation = a_body
    show_organs(volume, segmentation)
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert 17 * 2 <= node.GetSliceOffset() <= 19 * 2  # both organs, 2 mm slices
    fill_views(volume, VIEW)
    pixels = rendering.renderSlice("Red", size=VIEW, fit=False).astype(int).sum(axis=2)
    rows, columns = np.nonzero(pixels)
    assert rows.max() - rows.min() > 0.7 * VIEW[1]
    assert abs((columns.min() + columns.max()) / 2 - VIEW[0] / 2) < 5


def test_a_picture_file_keeps_the_colour_of_a_few_pixels(tmp_path: Path) -> None:
    image = QtGui.QImage(256, 64, QtGui.QImage.Format.Format_RGB888)
    for column in range(256):
        for row in range(64):
            image.setPixelColor(column, row, QtGui.QColor(column, column, column))
    organs = {(3, 3): "#46a375", (9, 3): "#85cda8", (15, 3): "#f4d631", (21, 3): "#dec665"}
    for place, color in organs.items():
        image.setPixelColor(*place, QtGui.QColor(color))
    save(image, tmp_path / "picture.png")
    read = QtGui.QImage(str(tmp_path / "picture.png"))
    for x, y in [*organs, (250, 60), (100, 60)]:
        wanted, found = image.pixelColor(x, y), read.pixelColor(x, y)
        pairs = zip(wanted.getRgb(), found.getRgb(), strict=True)
        assert max(abs(one - other) for one, other in pairs) <= 6, (wanted.name(), found.name())


def test_a_training_is_shown_as_far_as_it_had_come() -> None:
    events = [
        {"event": "started"},
        *({"event": "progress", "step": step} for step in (0, 50, 70, 71, 100)),
        {"event": "finished"},
    ]
    lines = "\n".join(map(json.dumps, events))
    assert [json.loads(line).get("step") for line in beginning(lines, 0.7).splitlines()] == [None, 0, 50, 70]


def test_the_review_of_a_cohort_is_pictured(tmp_path: Path) -> None:
    cohort = make_review_cohort(tmp_path / "cohort")
    for number, verdict in ((3, Verdict.FINE), (4, Verdict.LOOK)):
        add_card(cohort, f"case_{number:04d}", verdict)
    add_ranking(cohort, {"case_0003": 0.9, "case_0004": 0.5})
    image = PICTURES["review"](Cohorts(cohort.folder, tmp_path / "work"))
    assert (image.width(), image.height()) == (PANEL_WIDTH + VIEWS_WIDTH + GAP, HEIGHT)
    views = image.copy(PANEL_WIDTH + GAP, 0, VIEWS_WIDTH, HEIGHT)
    colors = {views.pixelColor(x, y).name() for x in range(0, VIEWS_WIDTH, 2) for y in range(0, HEIGHT, 2)}
    assert len(colors) > 100

"""The curves of a training as nodes of the real scene."""

from __future__ import annotations

import math
import time
import unittest

import slicer
from SSLSegmentationLib.logic.CurveLogic import LIGHTEST, CurveLogic, dashesOf, readable
from SSLSegmentationLib.logic.SceneNodes import OWNED
from SSLSegmentationLib.logic.StepSeries import StepSeries
from vtkmodules.util.numpy_support import vtk_to_numpy


class ATraining:
    """The series of a job."""

    def __init__(self) -> None:
        self.losses = StepSeries()
        self.validation = StepSeries()

    def train(self, steps: range, validate_every: int = 0) -> None:
        for step in steps:
            self.losses.add(step, {"supervised": 1.0 / step, "total": 2.0 / step})
            if validate_every and step % validate_every == 0:
                self.validation.add(step, {"liver": 0.5, "pancreas": None if step < 60 else 0.25})


class CurveTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.curves, self.training = CurveLogic(), ATraining()
        self.addCleanup(self.curves.close)

    def owned(self, class_name: str = "vtkMRMLNode") -> list:
        nodes = slicer.mrmlScene.GetNodesByClass(class_name)
        found = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return [node for node in found if node.GetAttribute(OWNED)]

    def chart(self, kind: str):
        self.curves.choose(kind)
        return self.curves.viewNode().GetPlotChartNode()

    def columns(self, kind: str) -> dict[str, list[float]]:
        table = self.chart(kind).GetNthPlotSeriesNode(0).GetTableNode().GetTable()
        found = [table.GetColumn(index) for index in range(table.GetNumberOfColumns())]
        return {column.GetName(): list(vtk_to_numpy(column)) for column in found}

    def test_the_charts_hold_the_series_in_the_colours_of_the_organs(self) -> None:
        self.training.train(range(1, 101), validate_every=50)
        self.curves.show(self.training, {"liver": (0.6, 0.3, 0.2)})
        dice = self.columns("dice")
        self.assertEqual((dice["step"], dice["liver"]), ([50, 100], [0.5, 0.5]))
        self.assertTrue(math.isnan(dice["pancreas"][0]) and dice["pancreas"][1] == 0.25)
        chart = self.chart("dice")
        self.assertEqual((chart.GetYAxisRangeAuto(), chart.GetYAxisRange()), (False, (0.0, 1.0)))
        series = {(node := chart.GetNthPlotSeriesNode(i)).GetName(): node for i in range(2)}
        for wanted, found in zip((0.6, 0.3, 0.2), series["liver"].GetColor(), strict=True):
            self.assertAlmostEqual(wanted, found, places=6)
        self.assertEqual(series["liver"].GetXColumnName(), "step")
        self.assertEqual(series["liver"].GetLineStyle(), slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)
        losses = self.columns("loss")
        self.assertEqual(list(losses), ["step", "total", "supervised"])
        self.assertEqual(losses["total"], [2.0 / step for step in range(1, 101)])

    def test_organs_of_like_colours_are_drawn_with_different_dashes(self) -> None:
        self.training.train(range(1, 101), validate_every=50)
        self.curves.show(self.training, {"liver": (0.6, 0.3, 0.2), "pancreas": (0.6, 0.35, 0.2)})
        chart = self.chart("dice")
        styles = [chart.GetNthPlotSeriesNode(index).GetLineStyle() for index in range(2)]
        self.assertEqual(
            styles, [slicer.vtkMRMLPlotSeriesNode.LineStyleSolid, slicer.vtkMRMLPlotSeriesNode.LineStyleDash]
        )
        self.assertEqual(self.curves.dashes("dice"), {"liver": 0, "pancreas": 1})

    def test_what_comes_at_the_end_is_added_in_place(self) -> None:
        self.training.train(range(1, 51))
        self.curves.show(self.training, {})
        table = self.chart("loss").GetNthPlotSeriesNode(0).GetTableNode()
        column = table.GetTable().GetColumnByName("total")
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        updates: list[int] = []
        self.chart("loss").AddObserver("ModifiedEvent", lambda *_: updates.append(1))
        self.training.train(range(51, 61))
        self.curves.show(self.training, {})
        self.assertIs(table.GetTable().GetColumnByName("total"), column)
        self.assertEqual((column.GetNumberOfTuples(), slicer.mrmlScene.GetNumberOfNodes()), (60, nodes))
        self.assertEqual(len(updates), 1, "the views are told once, whatever the number of curves")
        self.curves.show(self.training, {})
        self.assertEqual(len(updates), 1, "nothing new, nothing drawn")

    def test_a_resumed_training_and_another_one_are_drawn_anew_with_the_nodes_that_are_there(self) -> None:
        self.training.train(range(1, 51))
        self.curves.show(self.training, {})
        nodes = {node.GetID() for node in self.owned()}
        self.training.train(range(30, 36))
        self.curves.show(self.training, {})
        self.assertEqual(self.columns("loss")["step"], list(range(1, 36)))
        other = ATraining()
        other.train(range(1, 4))
        self.curves.show(other, {})
        self.assertEqual(self.columns("loss")["step"], [1, 2, 3])
        self.assertEqual({node.GetID() for node in self.owned()}, nodes)

    def test_curves_that_another_training_lacks_go(self) -> None:
        self.training.train(range(1, 5))
        self.curves.show(self.training, {})
        other = ATraining()
        other.losses.add(1, {"total": 1.0, "consistency": 0.1})
        self.curves.show(other, {})
        self.assertEqual(list(self.columns("loss")), ["step", "total", "consistency"])
        self.assertEqual(self.chart("loss").GetNumberOfPlotSeriesNodes(), 2)
        self.assertEqual(len(self.owned("vtkMRMLPlotSeriesNode")), 2)

    def test_nothing_is_in_the_scene_before_there_is_something_to_draw_and_after_it_was_closed(self) -> None:
        self.curves.show(self.training, {})
        self.assertEqual(self.owned("vtkMRMLPlotChartNode"), [])
        self.training.train(range(1, 5), validate_every=2)
        self.curves.show(self.training, {})
        self.curves.close()
        self.assertEqual(self.owned(), [])

    def test_the_curves_are_there_again_after_the_scene_was_closed(self) -> None:
        self.training.train(range(1, 51), validate_every=10)
        self.curves.show(self.training, {})
        view = self.curves.viewNode()
        slicer.mrmlScene.Clear(0)
        self.curves.show(self.training, {})
        self.assertIsNot(self.curves.viewNode(), view)
        self.assertEqual(self.columns("loss")["step"], list(range(1, 51)))
        self.assertEqual(self.columns("dice")["step"], [10, 20, 30, 40, 50])

    def test_a_curve_that_the_user_removes_comes_back(self) -> None:
        self.training.train(range(1, 5))
        self.curves.show(self.training, {})
        slicer.mrmlScene.RemoveNode(self.chart("loss").GetNthPlotSeriesNode(0))
        self.curves.show(self.training, {})
        self.assertEqual(self.chart("loss").GetNumberOfPlotSeriesNodes(), 2)
        self.assertEqual(len(self.owned("vtkMRMLPlotChartNode")), 1)

    def test_nodes_of_the_user_stay_as_they_are_and_ours_are_not_saved(self) -> None:
        mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "mine")
        view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
        view.SetPlotChartNodeID(mine.GetID())
        self.training.train(range(1, 5), validate_every=2)
        self.curves.show(self.training, {})
        self.curves.choose("dice")
        self.assertIs(view.GetPlotChartNode(), mine)
        self.assertEqual({node.GetSaveWithScene() for node in self.owned()}, {False})
        self.curves.close()
        self.assertTrue(slicer.mrmlScene.IsNodePresent(mine))

    def test_slicers_views_are_given_back_as_they_were(self) -> None:
        layouts, selection = slicer.app.layoutManager(), slicer.app.applicationLogic().GetSelectionNode()
        layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.training.train(range(1, 5))
        self.curves.choose("loss")
        self.curves.show(self.training, {})
        self.curves.showInLayout()
        self.assertEqual(layouts.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
        self.assertEqual(selection.GetActivePlotChartID(), self.chart("loss").GetID())
        self.assertTrue(self.chart("loss").GetLegendVisibility() and self.curves.isInLayout)
        self.curves.restoreLayout()
        self.assertEqual(layouts.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.assertFalse(self.chart("loss").GetLegendVisibility())

    def test_views_that_the_user_arranged_otherwise_since_stay(self) -> None:
        layouts = slicer.app.layoutManager()
        layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.training.train(range(1, 5))
        self.curves.show(self.training, {})
        self.curves.showInLayout()
        layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
        self.curves.restoreLayout()
        self.assertEqual(layouts.layout, slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)

    def test_a_training_of_a_day_is_drawn_in_time(self) -> None:
        self.training.train(range(1, 80_000))
        began = time.perf_counter()
        self.curves.show(self.training, {})
        self.assertLess(time.perf_counter() - began, 0.1)
        self.assertLessEqual(len(self.columns("loss")["step"]), 2000)


class ColorTest(unittest.TestCase):
    def test_a_light_colour_is_darkened_and_keeps_its_hue(self) -> None:
        red, green, blue = readable((1.0, 1.0, 0.5))
        self.assertAlmostEqual(0.2126 * red + 0.7152 * green + 0.0722 * blue, LIGHTEST)
        self.assertAlmostEqual(blue / red, 0.5)

    def test_a_dark_one_stays(self) -> None:
        for color in ((0.6, 0.3, 0.2), (0.0, 0.0, 0.0)):
            self.assertEqual(readable(color), color)

    def test_curves_of_like_colours_differ_in_their_dashes(self) -> None:
        cord, mandible, parotid = (0.96, 0.84, 0.19), (0.87, 0.78, 0.40), (0.27, 0.64, 0.46)
        self.assertEqual(dashesOf([cord, parotid, mandible, cord, cord]), [0, 0, 1, 2, 0])


if __name__ == "__main__":
    unittest.main()

"""3D surfaces of segments: closed, in the right place, built in short steps; and the least sure place of an organ."""

from __future__ import annotations

import time
import unittest
import unittest.mock

import numpy as np
import slicer
import vtk
from SSLSegmentationLib.logic.SegmentArrays import segmentVoxels
from SSLSegmentationLib.logic.SurfaceBuilder import SURFACE, SurfaceBuilder, dropSurface
from SSLSegmentationLib.logic.WorstPlace import worstPlace
from vtk.util.numpy_support import numpy_to_vtk

TO_WORLD = np.array([[-0.8, 0, 0, 100.0], [0, -0.8, 0, 50.0], [0, 0, 2.0, -300.0], [0, 0, 0, 1.0]])
VOXEL_MM3 = 0.8 * 0.8 * 2.0


def an_ellipsoid(shape: tuple[int, ...], middle: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(side) for side in shape)]
    return sum(((a - m) / r) ** 2 for a, m, r in zip(axes, middle, radii, strict=True)) < 1


def a_segmentation(voxels: np.ndarray, values: tuple[int, ...], to_world: np.ndarray = TO_WORLD):
    """A node whose segments S1, S2… share one label map, as those of an opened case do."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel(), deep=True))
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(to_world))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    for value in values:
        segment = slicer.vtkSegment()
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment, f"S{value}")
    return node


def build(builder: SurfaceBuilder, node, *segment_ids: str) -> None:
    builder.start(node, segment_ids)
    while builder.step():
        pass


def surface(node, segment_id: str):
    return node.GetSegmentation().GetSegment(segment_id).GetRepresentation(SURFACE)


def volume(poly_data) -> float:
    properties = vtk.vtkMassProperties()
    properties.SetInputData(poly_data)
    return properties.GetVolume()


class SurfaceTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)

    def test_a_surface_is_closed_and_encloses_the_volume_of_its_organ(self):
        voxels = np.zeros((40, 60, 60), np.uint8)
        voxels[an_ellipsoid(voxels.shape, (20, 20, 20), (10, 14, 14))] = 1
        voxels[:6, 40:60, 40:60] = 2  # reaches the edge of the volume
        for to_world in (TO_WORLD, TO_WORLD @ np.diag([-1, 1, 1, 1])):
            node = a_segmentation(voxels, (1, 2), to_world)
            build(SurfaceBuilder(), node, "S1", "S2")
            for value in (1, 2):
                found = surface(node, f"S{value}")
                edges = vtk.vtkFeatureEdges()
                edges.SetInputData(found)
                edges.FeatureEdgesOff()
                edges.ManifoldEdgesOff()
                edges.Update()
                self.assertEqual(edges.GetOutput().GetNumberOfCells(), 0)
                true = (voxels == value).sum() * VOXEL_MM3
                self.assertAlmostEqual(volume(found) / true, 1.0, delta=0.05)

    def test_a_surface_lies_where_its_voxels_are_however_coarsely_it_is_contoured(self):
        voxels = np.zeros((40, 60, 60), np.uint8)
        voxels[8:30, 10:40, 20:50] = 1
        corners = TO_WORLD[:3, :3] @ np.array([[19.5, 49.5], [9.5, 39.5], [7.5, 29.5]]) + TO_WORLD[:3, 3:]
        expected = np.sort(corners, axis=1).ravel()
        for most in (10**6, 2000):
            node = a_segmentation(voxels, (1,))
            build(SurfaceBuilder(most), node, "S1")
            bounds = np.array(surface(node, "S1").GetBounds())
            np.testing.assert_allclose(bounds, expected, atol=2.5)
            middle, true = (ends.reshape(3, 2).mean(axis=1) for ends in (bounds, expected))
            self.assertTrue(np.all(np.abs(middle - true) < np.array([0.8, 0.8, 2.0]) / 2), middle - true)

    def test_normals_point_outwards_whichever_way_the_axes_run(self):
        voxels = np.zeros((20, 20, 20), np.uint8)
        voxels[an_ellipsoid(voxels.shape, (10, 10, 10), (6, 6, 6))] = 1
        for to_world in (TO_WORLD, TO_WORLD @ np.diag([-1, 1, 1, 1])):
            node = a_segmentation(voxels, (1,), to_world)
            build(SurfaceBuilder(), node, "S1")
            found = surface(node, "S1")
            points = vtk.util.numpy_support.vtk_to_numpy(found.GetPoints().GetData())
            normals = vtk.util.numpy_support.vtk_to_numpy(found.GetPointData().GetNormals())
            outwards = points - points.mean(axis=0)
            self.assertGreater((outwards * normals).sum(axis=1).min(), 0)

    def test_a_surface_that_is_there_stays_and_one_that_was_dropped_is_built_anew(self):
        voxels = np.zeros((20, 20, 20), np.uint8)
        voxels[5:12, 5:12, 5:12] = 1
        node = a_segmentation(voxels, (1,))
        build(SurfaceBuilder(), node, "S1")
        first = surface(node, "S1")
        build(SurfaceBuilder(), node, "S1")
        self.assertIs(surface(node, "S1"), first)
        dropSurface(node, "S1")
        self.assertIsNone(surface(node, "S1"))
        build(SurfaceBuilder(), node, "S1")
        self.assertGreater(surface(node, "S1").GetNumberOfPoints(), 100)

    def test_segments_and_nodes_that_go_away_and_empty_ones_are_passed_over(self):
        voxels = np.zeros((20, 20, 20), np.uint8)
        voxels[5:12, 5:12, 5:12] = 1
        node = a_segmentation(voxels, (1, 2))
        builder = SurfaceBuilder()
        build(builder, node, "gone", "S2", "S1")
        self.assertEqual((builder.done, builder.total), (3, 3))
        self.assertIsNone(surface(node, "S2"))
        other = a_segmentation(voxels, (1,))
        builder.start(other, ["S1"])
        builder.step()
        slicer.mrmlScene.RemoveNode(other)
        while builder.step():
            pass
        self.assertFalse(builder.isBusy)

    def test_no_step_for_a_large_organ_takes_more_than_a_tenth_of_a_second(self):
        voxels = np.zeros((200, 400, 400), np.uint8)
        voxels[an_ellipsoid(voxels.shape, (100, 190, 190), (80, 150, 150))] = 1
        node = a_segmentation(voxels, (1,))
        builder = SurfaceBuilder()
        builder.start(node, ["S1"])
        steps, busy = [], True
        while busy:
            begin = time.process_time()  # of this process alone: the machine may be busy with other things
            busy = builder.step()
            steps.append(time.process_time() - begin)
        self.assertGreater(surface(node, "S1").GetNumberOfPoints(), 10_000)
        self.assertLess(max(steps), 0.1)

    def test_the_thin_part_of_a_segment_is_in_its_box_and_in_its_surface(self):
        voxels = np.zeros((40, 60, 60), np.uint8)
        voxels[2:10, 20:28, 20:28] = 1
        voxels[10:37, 21:23, 22:24] = 1
        node = a_segmentation(voxels, (1,))
        self.assertEqual((segmentVoxels(node, "S1").labels == 1).sum(), voxels.sum())
        build(SurfaceBuilder(), node, "S1")
        low, high = surface(node, "S1").GetBounds()[4:]
        spacing = abs(TO_WORLD[2, 2])
        self.assertGreater(high - low, 33 * spacing)

    def test_the_box_of_a_thin_segment_is_found(self):
        voxels = np.zeros((40, 60, 60), np.uint8)
        voxels[5:35, 31, 33] = 1
        found = segmentVoxels(a_segmentation(voxels, (1, 2)), "S1")
        self.assertEqual((found.labels == 1).sum(), 30)
        self.assertLess(found.labels.size, 40 * 9 * 9)
        self.assertIsNone(segmentVoxels(a_segmentation(voxels, (1, 2)), "S2"))


class WorstPlaceTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        voxels = np.zeros((30, 60, 60), np.uint8)
        voxels[3:27, 5:55, 5:55] = 1
        self.node = a_segmentation(voxels, (1, 2))
        self.uncertainty = np.zeros(voxels.shape, np.uint8)

    def place(self, to_world: np.ndarray = TO_WORLD) -> np.ndarray | None:
        """Index (z, y, x) of the worst place."""
        volume_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        volume_node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(to_world))
        slicer.util.updateVolumeFromArray(volume_node, self.uncertainty)
        found = worstPlace(self.node, "S1", volume_node)
        return None if found is None else (np.linalg.inv(to_world) @ [*found, 1.0])[2::-1]

    def test_much_uncertainty_together_counts_more_than_the_highest_voxel(self):
        self.uncertainty[20:24, 40:48, 12:20] = 60
        self.uncertainty[5, 10, 50] = 100
        place = self.place()
        self.assertTrue(np.all(np.abs(place - [21.5, 43.5, 15.5]) < [4, 8, 8]), place)

    def test_of_a_large_organ_not_every_voxel_is_looked_at(self):
        self.uncertainty[20:24, 40:48, 12:20] = 60
        with unittest.mock.patch("SSLSegmentationLib.logic.WorstPlace.MOST_VOXELS", 5000):
            place = self.place()
        self.assertTrue(np.all(np.abs(place - [21.5, 43.5, 15.5]) < [4, 8, 8]), place)

    def test_only_the_organ_itself_counts(self):
        self.uncertainty[:, :, 57:] = 100
        self.uncertainty[10:12, 30:34, 30:34] = 20
        self.assertTrue(np.all(np.abs(self.place() - [10.5, 31.5, 31.5]) < 4))

    def test_the_map_may_have_another_grid_than_the_organs(self):
        coarse = TO_WORLD @ np.diag([2.0, 2.0, 1.0, 1.0])
        self.uncertainty = np.zeros((30, 30, 30), np.uint8)
        self.uncertainty[20:24, 20:24, 6:10] = 60
        place = self.place(coarse)
        self.assertTrue(np.all(np.abs(place - [21.5, 21.5, 7.5]) < [4, 4, 4]), place)

    def test_there_is_none_where_the_model_is_sure_or_nothing_is_drawn(self):
        self.assertIsNone(self.place())
        self.assertIsNone(worstPlace(self.node, "S2", None))


if __name__ == "__main__":
    unittest.main()

"""Curves that grow, are gone back on, and get long."""

from __future__ import annotations

import itertools
import unittest

from SSLSegmentationLib.logic.StepSeries import StepSeries


class StepSeriesTest(unittest.TestCase):
    def test_rows_that_come_at_the_end_leave_the_revision_as_it_is(self) -> None:
        series = StepSeries()
        series.add(1, {"a": 1.0})
        before = series.revision
        series.add(2, {"a": 0.5})
        self.assertEqual((series.revision, series.rows), (before, [(1, {"a": 1.0}), (2, {"a": 0.5})]))

    def test_a_run_that_goes_on_from_a_checkpoint_takes_the_place_of_what_was_lost(self) -> None:
        series = StepSeries()
        for step in range(1, 11):
            series.add(step, {"a": float(step)})
        before = series.revision
        series.add(6, {"a": 60.0})
        self.assertEqual([step for step, _ in series.rows], [1, 2, 3, 4, 5, 6])
        self.assertEqual((series.rows[-1][1], series.revision > before), ({"a": 60.0}, True))

    def test_a_new_name_is_a_new_curve(self) -> None:
        series = StepSeries()
        series.add(1, {"a": 1.0})
        before = series.revision
        series.add(2, {"a": 1.0, "b": None})
        self.assertEqual((series.names, series.revision > before), (["a", "b"], True))

    def test_a_long_curve_is_thinned_evenly_and_keeps_both_its_ends(self) -> None:
        series = StepSeries(most=100)
        for step in range(10_000):
            series.add(step, {"a": 0.0})
            self.assertLessEqual(len(series), 100)
        steps = [step for step, _ in series.rows]
        self.assertEqual(len({b - a for a, b in itertools.pairwise(steps)}), 1)
        self.assertEqual(steps[0], 0)
        self.assertGreater(steps[-1], 9_800)
        self.assertGreater(len(steps), 50)


if __name__ == "__main__":
    unittest.main()

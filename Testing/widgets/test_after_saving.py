"""What reads the files of a case waits until they hold what is drawn."""

from __future__ import annotations

import unittest
from unittest import mock

import numpy as np
from case_doubles import LIVER, CaseTest
from review_cohort import settle
from SSLSegmentationLib.logic.AfterSaving import AfterSaving


class AfterSavingTest(CaseTest):
    def setUp(self) -> None:
        super().setUp()
        self.after = AfterSaving(self.logic)
        self.addCleanup(self.after.close)
        self.found: list[int] = []

    def do(self) -> None:
        """Look at what is on disk, as a job would, once it may."""
        self.after.do(lambda: self.found.append(int((self.saved_voxels("first") == 200).sum())))

    def draw_liver(self) -> int:
        liver = self.a_box(slice(0, 2))
        self.draw(LIVER, liver)
        return int(liver.sum())

    def test_without_anything_to_save_it_is_done_at_once(self) -> None:
        self.do()
        self.assertEqual(len(self.found), 1)

    def test_what_is_drawn_is_on_disk_first(self) -> None:
        self.open("first")
        drawn = self.draw_liver()
        self.do()
        self.assertTrue(self.after.isWaiting)
        settle(self.logic)
        self.assertEqual(self.found, [drawn])

    def test_opening_another_case_meanwhile_does_not_make_it_wait_for_ever(self) -> None:
        self.open("first")
        drawn = self.draw_liver()
        self.do()
        self.open("second")
        self.assertEqual(self.found, [drawn])

    def test_an_opening_that_fails_meanwhile_does_not_either(self) -> None:
        self.open("first")
        drawn = self.draw_liver()
        (self.folder / "images" / "second.nrrd").unlink()
        self.do()
        self.logic.openCase("second")
        settle(self.logic)
        self.assertEqual(self.found, [drawn])

    def test_nothing_is_done_where_saving_fails(self) -> None:
        self.open("first")
        before = self.saved_voxels("first")
        self.draw_liver()
        with mock.patch.object(
            type(self.logic._open.store), "commit", side_effect=OSError(28, "No space left")
        ):
            self.do()
            settle(self.logic)
        self.assertEqual(self.found, [])
        self.assertFalse(self.after.isWaiting)
        self.assertIn("No space left", self.said[-1])
        np.testing.assert_array_equal(self.saved_voxels("first"), before)


if __name__ == "__main__":
    unittest.main()

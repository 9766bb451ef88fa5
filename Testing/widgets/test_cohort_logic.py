"""The open cohort: what its folder holds, and what happens to it behind one's back."""

from __future__ import annotations

import os
import shutil
import time
import unittest
from unittest.mock import patch

from cohort_doubles import (
    MODEL,
    CohortCase,
    Settings,
    add_dice,
    add_results,
    make_cohort,
    touch,
)
from SSLSegmentationLib.logic import ModelResults
from SSLSegmentationLib.logic.CohortLogic import RECENT_COUNT, CohortLogic

from sslseg.contract.cohort import AnnotatedSlices, Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import locked
from sslseg.contract.labels import parse_labels
from sslseg.contract.quality import (
    CaseQuality,
    Ranking,
    Verdict,
    quality_path,
    ranking_path,
    write_quality,
    write_ranking,
)

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class OpeningTest(CohortCase):
    def test_a_new_cohort_is_made_and_open(self) -> None:
        self.logic.createCohort(self.folder, "Abdomen", "MR", parse_labels("liver=1"))
        cohort = self.logic.cohort
        assert cohort is not None
        self.assertEqual((cohort.name, cohort.modality, self.logic.folder), ("Abdomen", "MR", self.folder))
        self.assertEqual((self.logic.rows(), self.logic.model, self.changes), ([], None, 1))

    def test_a_folder_that_holds_a_cohort_already_is_not_overwritten(self) -> None:
        make_cohort(self.folder, 2)
        with self.assertRaisesRegex(SSLSegError, "a cohort here already"):
            self.logic.createCohort(self.folder, "Other", "CT", parse_labels("liver=1"))
        self.assertEqual(len(Cohort.read(self.folder, check_files=False).cases), 2)

    def test_a_folder_without_a_cohort_is_refused_and_the_open_one_stays(self) -> None:
        make_cohort(self.folder, 1)
        self.logic.openCohort(self.folder)
        with self.assertRaisesRegex(SSLSegError, "Choose the folder that holds the file cohort.json"):
            self.logic.openCohort(self.place)
        touch(self.place / "bad" / "cohort.json", "{}")
        with self.assertRaisesRegex(SSLSegError, "not a cohort"):
            self.logic.openCohort(self.place / "bad")
        self.assertEqual((self.logic.folder, len(self.logic.rows())), (self.folder, 1))

    def test_recent_folders_are_kept_newest_first_once_each_and_not_for_ever(self) -> None:
        folders = [self.place / f"c{number}" for number in range(RECENT_COUNT + 2)]
        for folder in folders:
            make_cohort(folder, 0)
            self.logic.openCohort(folder)
        self.logic.openCohort(folders[5])
        later = CohortLogic(self.settings).recentFolders()
        self.assertEqual(later[:2], [folders[5], folders[-1]])
        self.assertEqual(len(later), RECENT_COUNT)
        self.logic.forgetFolder(folders[5])
        self.assertNotIn(folders[5], self.logic.recentFolders())

    def test_closing_leaves_nothing_open(self) -> None:
        make_cohort(self.folder, 1)
        self.logic.openCohort(self.folder)
        self.logic.closeCohort()
        self.assertEqual((self.logic.cohort, self.logic.rows(), self.logic.model), (None, [], None))
        self.assertFalse(self.logic.refresh())
        with self.assertRaisesRegex(SSLSegError, "No cohort is open"), self.logic.edit():
            pass


class RowsTest(CohortCase):
    def row(self, case: str = "case_0001"):  # type: ignore[no-untyped-def]
        self.logic.refresh()
        row = self.logic.row(case)
        assert row is not None
        return row

    def test_the_state_of_a_case_is_said_in_words(self) -> None:
        make_cohort(self.folder, 3, annotated=2)
        self.logic.openCohort(self.folder)
        with self.logic.edit() as cohort:
            cohort.case("case_0002").slices = {"liver": AnnotatedSlices("k", [3])}
        self.assertEqual([row.state for row in self.logic.rows()], ["annotated", "partly annotated", "new"])
        words = {
            ReviewState.IN_PROGRESS: "in progress",
            ReviewState.COMPLETED: "completed",
            ReviewState.FLAGGED: "flagged",
        }
        for state, word in words.items():
            with self.logic.edit() as cohort:
                cohort.case("case_0003").review = state
            self.assertEqual(self.row("case_0003").state, word)

    def test_results_of_the_newest_model_are_shown_until_another_is_chosen(self) -> None:
        make_cohort(self.folder, 3)
        add_results(self.folder, "old")
        self.logic.openCohort(self.folder)
        self.assertEqual(
            (self.logic.model, self.row().verdict, self.row().predicted), ("old", Verdict.FINE, True)
        )
        future = time.time_ns() + 10**9
        touch(self.folder / "models" / "new" / "sslseg.json")
        os.utime(self.folder / "models" / "new" / "sslseg.json", ns=(future, future))
        self.assertEqual((self.row().verdict, self.row().priority, self.logic.model), (None, None, "new"))
        self.logic.setModel("old")
        self.assertEqual((self.row().priority, self.row().reason), (1.0, "liver: two pieces"))
        self.logic.setModel(None)
        self.assertEqual((self.logic.model, self.logic.models), ("new", ["new", "old"]))

    def test_dice_is_shown_as_long_as_the_annotation_it_was_measured_on_stays(self) -> None:
        make_cohort(self.folder, 2, annotated=2)
        add_results(self.folder)
        add_dice(self.folder, {"case_0002": 0.875})
        self.logic.openCohort(self.folder)
        self.assertEqual((self.row().dice, self.row("case_0002").dice), (None, 0.875))
        self.assertFalse(self.logic.needsDice("case_0002") or self.logic.needsDice("case_0001"))
        touch(self.folder / "labels" / "case_0002.nii.gz", "drawn anew")
        self.logic.setUse(["case_0001"], Use.VALIDATION)
        self.assertEqual((self.row().dice, self.row("case_0002").dice), (None, None))
        self.assertTrue(self.logic.needsDice("case_0002") and self.logic.needsDice("case_0001"))

    @patch("SSLSegmentationLib.logic.CohortLogic.PRESENCE_SECONDS", 0.0)
    def test_a_file_that_was_deleted_is_noticed_and_one_that_came_back_too(self) -> None:
        make_cohort(self.folder, 2, annotated=1)
        self.logic.openCohort(self.folder)
        for path in (self.folder / "images" / "case_0001.nrrd", self.folder / "labels" / "case_0001.nii.gz"):
            path.unlink()
            row = self.row()
            self.assertEqual(
                (row.missing, row.state, self.row("case_0002").missing), (True, "file missing", False)
            )
            touch(path)
            self.assertFalse(self.row().missing)


class RefreshTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        make_cohort(self.folder, 3)
        self.logic.openCohort(self.folder)
        self.changes = 0

    def test_what_another_program_writes_is_taken_over_and_nothing_else_is_read(self) -> None:
        self.assertFalse(self.logic.refresh())
        with Cohort.edit(self.folder) as cohort:
            cohort.cases.pop()
        self.assertTrue(self.logic.refresh())
        self.assertEqual((len(self.logic.rows()), self.changes), (2, 1))
        with patch.object(Cohort, "read", side_effect=AssertionError("read without need")):
            self.assertFalse(self.logic.refresh())

    def test_two_programs_edit_one_cohort_and_neither_loses_anything(self) -> None:
        other = CohortLogic(Settings())
        other.openCohort(self.folder)
        with self.logic.edit() as cohort:
            cohort.case("case_0001").review = ReviewState.COMPLETED
        with other.edit() as cohort:
            cohort.case("case_0002").review = ReviewState.FLAGGED
        self.logic.removeCases(["case_0003"])
        other.refresh()
        for logic in (self.logic, other):
            self.assertEqual(
                [(row.id, row.state) for row in logic.rows()],
                [("case_0001", "completed"), ("case_0002", "flagged")],
            )

    def test_a_program_that_writes_for_long_is_not_waited_for_for_ever(self) -> None:
        with (
            locked(self.folder / ".cohort.lock"),
            patch("SSLSegmentationLib.logic.CohortLogic.EDIT_SECONDS", 0.1),
        ):
            begin = time.monotonic()
            with self.assertRaisesRegex(SSLSegError, "Another program has been writing"):
                self.logic.setUse(["case_0001"], Use.TEST)
            self.assertLess(time.monotonic() - begin, 2.0)
        self.assertIs(self.logic.rows()[0].use, Use.TRAIN)

    def test_a_cohort_that_was_moved_is_said_so_and_found_again_when_it_is_back(self) -> None:
        away = self.folder.rename(self.place / "elsewhere")
        self.assertTrue(self.logic.refresh())
        self.assertIn("no longer at", self.logic.problem)
        self.assertEqual(len(self.logic.rows()), 3)
        with self.assertRaises(SSLSegError):
            self.logic.setUse(["case_0001"], Use.TEST)
        self.assertFalse(self.folder.exists())
        away.rename(self.folder)
        self.assertTrue(self.logic.refresh())
        self.assertEqual(self.logic.problem, "")

    def test_a_damaged_cohort_json_is_told_and_what_was_known_stays(self) -> None:
        good = (self.folder / "cohort.json").read_text()
        (self.folder / "cohort.json").write_text("{")
        self.logic.refresh()
        self.assertIn("not valid JSON", self.logic.problem)
        self.assertEqual(len(self.logic.rows()), 3)
        self.assertFalse(self.logic.refresh())
        (self.folder / "cohort.json").write_text(good)
        self.logic.refresh()
        self.assertEqual(self.logic.problem, "")

    @unittest.skipIf(ROOT, "root may write everywhere")
    def test_a_read_only_folder_is_told_before_anything_is_lost(self) -> None:
        self.folder.chmod(0o555)
        self.addCleanup(self.folder.chmod, 0o755)
        self._read_only()

    def test_a_folder_that_may_not_be_written_to_is_told(self) -> None:
        with patch("os.access", return_value=False):
            self._read_only()
        self.logic.refresh()
        self.assertEqual(self.logic.problem, "")

    def _read_only(self) -> None:
        self.logic.refresh()
        self.assertIn("can be looked at but not changed", self.logic.problem)
        self.assertEqual(len(self.logic.rows()), 3)

    def test_a_full_disk_leaves_the_cohort_as_it_was(self) -> None:
        before = (self.folder / "cohort.json").read_text()
        with (
            patch("os.fsync", side_effect=OSError(28, "No space left on device")),
            self.assertRaisesRegex(SSLSegError, "No space left on device"),
        ):
            self.logic.removeCases(["case_0001"])
        self.assertEqual((self.folder / "cohort.json").read_text(), before)
        self.assertEqual(len(self.logic.rows()), 3)
        self.assertFalse(list(self.folder.glob(".writing-*")))


class ResultsTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        make_cohort(self.folder, 3)
        add_results(self.folder)
        self.logic.openCohort(self.folder)
        self.cohort = self.logic.cohort
        assert self.cohort is not None

    def rewrite(self, case: str, verdict: Verdict) -> None:
        write_quality(self.cohort, CaseQuality(case, MODEL, verdict, [], [], uncertainty=0.7))

    def test_a_quality_card_is_read_again_only_when_it_changed(self) -> None:
        self.rewrite("case_0001", Verdict.LIKELY_WRONG)
        with patch.object(ModelResults.json, "loads", wraps=ModelResults.json.loads) as loads:
            self.logic.refresh()
            self.assertEqual(loads.call_count, 1)
        row = self.logic.row("case_0001")
        assert row is not None
        self.assertEqual((row.verdict, row.uncertainty), (Verdict.LIKELY_WRONG, 0.7))
        card = self.logic.quality("case_0001")
        assert card is not None
        self.assertEqual(card.uncertainty, 0.7)
        self.assertIs(self.logic.quality("case_0001"), card)

    def test_cards_beyond_the_time_of_a_refresh_are_read_by_the_next_ones(self) -> None:
        for number in (1, 2, 3):
            self.rewrite(f"case_000{number}", Verdict.LIKELY_WRONG)
        with patch("SSLSegmentationLib.logic.CohortLogic.REFRESH_SECONDS", -1.0):
            self.logic.refresh()
        self.assertNotIn(Verdict.LIKELY_WRONG, [row.verdict for row in self.logic.rows()[:2]])
        self.logic.refresh()
        self.assertEqual([row.verdict for row in self.logic.rows()], [Verdict.LIKELY_WRONG] * 3)

    def test_a_new_prediction_is_seen_and_a_deleted_one_too(self) -> None:
        path = self.cohort.prediction_path(MODEL, "case_0002")
        path.unlink()
        self.assertTrue(self.logic.refresh())
        row = self.logic.row("case_0002")
        assert row is not None
        self.assertEqual((row.predicted, row.state), (False, "new"))
        touch(path)
        self.assertTrue(self.logic.refresh())
        row = self.logic.row("case_0002")
        assert row is not None
        self.assertEqual((row.predicted, row.state), (True, "predicted"))

    def test_a_ranking_follows_its_file_and_a_damaged_one_is_told(self) -> None:
        self.assertEqual(len(self.logic.ranking().cases), 3)  # type: ignore[union-attr]
        write_ranking(self.cohort, Ranking(MODEL, []))
        self.logic.refresh()
        self.assertEqual(self.logic.ranking().cases, [])  # type: ignore[union-attr]
        ranking_path(self.cohort, MODEL).write_text("{}")
        self.logic.refresh()
        self.assertIsNone(self.logic.ranking())
        self.assertIn("sslseg rank", self.logic.problem)

    def test_a_damaged_card_has_no_verdict_and_says_why_when_asked_for(self) -> None:
        quality_path(self.cohort, MODEL, "case_0001").write_text("{}")
        self.logic.refresh()
        row = self.logic.row("case_0001")
        assert row is not None and row.verdict is None
        with self.assertRaises(SSLSegError):
            self.logic.quality("case_0001")

    def test_a_model_that_was_removed_is_no_longer_shown(self) -> None:
        shutil.rmtree(self.folder / "models")
        self.logic.refresh()
        self.assertEqual((self.logic.model, self.logic.quality("case_0001")), (None, None))


class SpeedTest(CohortCase):
    def test_a_refresh_of_500_cases_without_news_takes_milliseconds(self) -> None:
        make_cohort(self.folder, 500, files=False)
        add_results(self.folder)
        self.logic.openCohort(self.folder)
        while self.logic.refresh():
            pass
        times = []
        for _ in range(5):
            begin = time.thread_time()
            self.logic.refresh()
            times.append(time.thread_time() - begin)
        self.assertLess(sorted(times)[2], 0.05)

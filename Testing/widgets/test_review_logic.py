"""The review of predicted cases: decisions, what they leave on disk, undo, two programs, files that go."""

from __future__ import annotations

import unittest

import numpy as np
import slicer
from review_cohort import (
    BOXES,
    MODEL,
    ReviewCase,
    add_card,
    add_model,
    add_prediction,
    add_ranking,
    case_id,
    drawn_voxels,
    open_cohort,
    set_use,
    settle,
    write_volume,
)
from SSLSegmentationLib.logic.ReviewLogic import ReviewLogic
from SSLSegmentationLib.logic.ReviewQueue import Decision

from sslseg.contract.cohort import Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.quality import Verdict, quality_path
from sslseg.contract.settings import TrainSettings

FIRST, SECOND, THIRD = case_id(3), case_id(4), case_id(5)


class ReviewLogicCase(ReviewCase):
    def open(self) -> None:
        super().open()
        self.review = ReviewLogic(self.cohorts, self.cases, self.jobs)
        self.failures: list[str] = []
        self.review.failed.connect(self.failures.append)
        self.addCleanup(self.review.close)

    def open_case(self, name: str) -> None:
        self.review.open(name)
        settle(self.cases)
        self.assertEqual(self.cases.caseId, name)

    def draw(self, organ: str) -> None:
        """What the Segment Editor does at a stroke: it changes voxels, and the status if nobody has begun yet."""
        node, segment_id = self.cases.segmentationNode, self.cases.segmentId(organ)
        voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, segment_id)
        segment = node.GetSegmentation().GetSegment(segment_id)
        voxels[-1, -1, -2:] = segment.GetLabelValue()
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        if logic.GetSegmentStatus(segment) == logic.NotStarted:
            logic.SetSegmentStatus(segment, logic.InProgress)
        node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
        segment.Modified()


class DecisionsTest(ReviewLogicCase):
    def test_an_accepted_organ_is_annotated_and_a_rejected_one_is_not(self):
        self.open()
        self.open_case(FIRST)
        self.review.accept("liver")
        self.review.reject("pancreas")
        case = self.saved(FIRST)
        self.assertEqual(case.annotated, ["liver"])
        self.assertIs(case.review, ReviewState.FLAGGED)
        self.assertIs(case.organ_review["liver"], ReviewState.COMPLETED)
        self.assertIs(case.organ_review["left kidney"], ReviewState.NOT_STARTED)
        self.assertNotIn("review", case.provenance)  # an organ is still to be decided
        np.testing.assert_array_equal(self.voxels_on_disk(FIRST) == 1, drawn_voxels(shift=1) == 1)

    def test_the_state_of_an_organ_lives_in_the_status_of_its_segment(self):
        self.open()
        self.open_case(FIRST)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        segment = self.cases.segmentationNode.GetSegmentation().GetSegment(self.cases.segmentId("liver"))
        for decide, status in (
            (self.review.correct, logic.InProgress),
            (self.review.accept, logic.Completed),
            (self.review.reject, logic.Flagged),
        ):
            decide("liver")
            self.assertEqual(logic.GetSegmentStatus(segment), status)

    def test_an_accepted_case_is_wholly_annotated_and_known_as_accepted_as_it_was(self):
        self.open()
        self.open_case(FIRST)
        self.review.acceptCase()
        self.assertIs(self.review.decision, Decision.ACCEPTED)
        case = self.saved(FIRST)
        self.assertEqual(set(case.annotated), {"liver", "pancreas", "left kidney"})
        self.assertIs(case.review, ReviewState.COMPLETED)
        self.assertEqual(case.provenance["review"], "accepted")
        self.assertEqual(case.provenance["reviewed model"], MODEL)
        np.testing.assert_array_equal(self.voxels_on_disk(FIRST), drawn_voxels(shift=1))
        self.assertEqual(self.review.progress, "1 of 3 reviewed; 1 accepted as it was")

    def test_accepting_a_case_leaves_rejected_organs_rejected(self):
        self.open()
        self.open_case(FIRST)
        self.review.reject("pancreas")
        self.review.acceptCase()
        self.assertIs(self.review.decision, Decision.REJECTED)
        case = self.saved(FIRST)
        self.assertEqual(case.annotated, ["liver", "left kidney"])
        self.assertEqual(case.provenance["review"], "rejected")

    def test_an_organ_that_was_edited_and_accepted_makes_the_case_a_corrected_one(self):
        self.open()
        self.open_case(FIRST)
        self.draw("liver")
        self.assertIs(self.review.decision, Decision.CORRECTING)
        self.review.acceptCase()
        case = self.saved(FIRST)
        self.assertEqual(case.provenance["review"], "corrected")
        before = int((drawn_voxels() == 1).sum())
        self.assertEqual((self.voxels_on_disk(FIRST) == 1).sum(), before + 2)
        self.assertEqual(self.review.progress, "1 of 3 reviewed; 1 corrected")

    def test_a_case_can_be_corrected_and_rejected_as_a_whole(self):
        self.open()
        self.open_case(FIRST)
        self.review.accept("liver")
        self.review.correctCase()
        statuses = [card.status for card in self.review.cards]
        self.assertEqual(statuses, [ReviewState.COMPLETED, ReviewState.IN_PROGRESS, ReviewState.IN_PROGRESS])
        self.review.rejectCase()
        statuses = [card.status for card in self.review.cards]
        self.assertEqual(statuses, [ReviewState.COMPLETED, ReviewState.FLAGGED, ReviewState.FLAGGED])

    def test_an_organ_that_was_not_predicted_is_accepted_as_absent(self):
        empty = drawn_voxels()
        empty[BOXES[2]] = 0
        write_volume(self.made.prediction_path(MODEL, FIRST), empty)
        self.open()
        self.open_case(FIRST)
        self.review.accept("pancreas")
        self.assertTrue(self.cases.organMark("pancreas").absent)
        self.assertEqual(self.saved(FIRST).annotated, ["pancreas"])

    def test_an_organ_that_the_model_does_not_know_is_not_part_of_the_review(self):
        path = self.made.model_folder(MODEL) / "sslseg.json"
        path.write_text(path.read_text().replace('"left kidney"', '"right kidney"'))
        self.open()
        self.open_case(FIRST)
        self.assertEqual([card.label.name for card in self.review.cards], ["liver", "pancreas"])
        self.review.acceptCase()
        self.assertEqual(self.saved(FIRST).annotated, ["liver", "pancreas"])

    def test_looking_at_a_case_without_deciding_changes_nothing_on_disk(self):
        self.open()
        before = (self.folder / "cohort.json").read_text()
        self.open_case(FIRST)
        self.saved(FIRST)
        self.assertEqual((self.folder / "cohort.json").read_text(), before)
        self.assertFalse((self.folder / "labels" / f"{FIRST}.nii.gz").exists())

    def test_a_case_that_is_drawn_from_scratch_is_not_reviewed(self):
        self.open()
        name = case_id(1)
        self.cases.openCase(name)
        settle(self.cases)
        self.draw("liver")
        self.cases.setOrganStatus("liver", ReviewState.COMPLETED)
        self.assertNotIn("review", self.saved(name).provenance)

    def test_a_case_that_was_opened_before_it_was_predicted_is_reviewed_once_it_shows_the_prediction(self):
        self.made.prediction_path(MODEL, FIRST).unlink()
        self.open()
        self.cases.openCase(FIRST)
        settle(self.cases)
        add_prediction(self.made, MODEL, FIRST)
        self.cohorts.refresh()
        self.assertIn(FIRST, self.review.queue.caseIds)
        self.assertFalse(self.review.isReviewing)
        self.assertFalse(
            self.review.accept("liver") or self.review.acceptCase(), "nothing is shown to be accepted"
        )
        self.open_case(FIRST)
        self.assertTrue(self.review.isReviewing and self.cases.hasVoxels("liver"))
        self.assertTrue(self.review.accept("liver"))

    def test_what_a_person_annotated_is_not_replaced_by_the_prediction(self):
        with Cohort.edit(self.folder) as cohort:
            case = cohort.case(FIRST)
            case.label, case.annotated = f"labels/{FIRST}.nii.gz", ["liver"]
        write_volume(self.folder / "labels" / f"{FIRST}.nii.gz", drawn_voxels(shift=3))
        self.open()
        self.open_case(FIRST)
        self.review.acceptCase()
        self.saved(FIRST)
        voxels = self.voxels_on_disk(FIRST)
        np.testing.assert_array_equal(voxels == 1, drawn_voxels(shift=3) == 1)
        np.testing.assert_array_equal(voxels == 5, drawn_voxels(shift=1) == 5)

    def test_a_test_case_is_pointed_out(self):
        set_use(self.folder, FIRST, Use.TEST)
        self.open()
        self.open_case(FIRST)
        self.assertIn("test case", self.review.note)
        self.open_case(SECOND)
        self.assertEqual(self.review.note, "")


class UndoTest(ReviewLogicCase):
    def test_decisions_are_taken_back_one_after_the_other(self):
        self.open()
        self.open_case(FIRST)
        self.assertFalse(self.review.canUndo)
        self.review.reject("pancreas")
        self.review.acceptCase()
        self.assertTrue(self.review.undo())
        statuses = [card.status for card in self.review.cards]
        self.assertEqual(statuses, [ReviewState.NOT_STARTED, ReviewState.FLAGGED, ReviewState.NOT_STARTED])
        self.assertTrue(self.review.undo())
        self.assertIs(self.review.decision, Decision.OPEN)
        self.assertFalse(self.review.undo())

    def test_the_last_decision_of_a_case_that_was_left_is_taken_back_there(self):
        self.open()
        self.open_case(FIRST)
        self.review.acceptCase()
        self.open_case(SECOND)
        self.assertEqual(Cohort.read(self.folder).case(FIRST).provenance["review"], "accepted")
        self.review.undo()
        settle(self.cases)
        self.assertEqual(self.cases.caseId, FIRST)
        self.assertIs(self.review.decision, Decision.OPEN)
        case = self.saved(FIRST)
        self.assertEqual((case.annotated, case.review), ([], ReviewState.NOT_STARTED))
        self.assertNotIn("review", case.provenance)

    def test_a_correction_that_was_taken_back_does_not_count_as_one(self):
        self.open()
        self.open_case(FIRST)
        self.review.correct("liver")
        self.review.accept("liver")
        self.review.undo()
        self.review.undo()
        self.review.acceptCase()
        self.assertIs(self.review.decision, Decision.ACCEPTED)

    def test_decisions_of_another_cohort_cannot_be_taken_back(self):
        self.open()
        self.open_case(FIRST)
        self.review.accept("liver")
        self.cohorts.closeCohort()
        self.assertFalse(self.review.canUndo)


class MovingOnTest(ReviewLogicCase):
    def test_the_next_case_is_read_ahead_and_opened(self):
        add_ranking(self.made, {SECOND: 0.9, THIRD: 0.5, FIRST: 0.1})
        self.open()
        self.review.openNext()
        settle(self.cases)
        self.assertEqual(self.cases.caseId, SECOND)
        staged = {path.name for path in (self.folder / "cache" / "staged").iterdir()}
        self.review.openNext()
        settle(self.cases)
        self.assertEqual(self.cases.caseId, THIRD)
        self.review.openPrevious()
        settle(self.cases)
        self.assertEqual(self.cases.caseId, SECOND)
        self.assertEqual(len(staged), 4)  # image and prediction of this case and of the next one

    def test_a_prediction_that_was_deleted_meanwhile_is_said_and_the_case_leaves_the_queue(self):
        self.open()
        self.assertEqual(self.review.queue.next(), FIRST)
        self.made.prediction_path(MODEL, FIRST).unlink()
        with self.assertRaisesRegex(SSLSegError, "no longer there.*Segment the cases again"):
            self.review.openNext()
        self.assertEqual(self.review.queue.caseIds, [SECOND, THIRD])
        self.assertIsNone(self.cases.caseId)

    def test_a_damaged_quality_card_is_said_and_the_case_can_be_reviewed_without_it(self):
        add_card(self.made, FIRST, Verdict.LOOK)
        quality_path(self.made, MODEL, FIRST).write_text("{")
        self.open()
        self.open_case(FIRST)
        self.assertEqual(len(self.failures), 1)
        self.assertIn("Predict the case again", self.failures[0])
        self.assertIsNone(self.review.quality)
        self.review.acceptCase()
        self.assertIs(self.review.decision, Decision.ACCEPTED)

    def test_the_decision_of_another_program_is_seen(self):
        self.open()
        others, cases = open_cohort(self.folder)
        other = ReviewLogic(others, cases, self.jobs)
        self.addCleanup(cases.shutdown)
        self.addCleanup(other.close)
        self.open_case(FIRST)
        other.open(SECOND)
        settle(cases)
        other.acceptCase()
        cases.closeCase()
        settle(cases)
        self.cohorts.refresh()
        self.assertIs(self.review.queue.entry(SECOND).decision, Decision.ACCEPTED)
        self.review.acceptCase()
        self.assertEqual(self.review.queue.next(FIRST), THIRD)
        self.saved(FIRST)
        decisions = {case.id: case.provenance.get("review") for case in Cohort.read(self.folder).cases}
        self.assertEqual(decisions[FIRST], "accepted")
        self.assertEqual(decisions[SECOND], "accepted")

    def test_a_new_model_brings_the_rejected_cases_up_again(self):
        self.open()
        self.open_case(FIRST)
        self.review.rejectCase()
        self.open_case(SECOND)
        self.review.acceptCase()
        self.saved(SECOND)
        cohort = Cohort.read(self.folder)
        add_model(cohort, "first-2")
        for name in (FIRST, SECOND, THIRD):
            add_prediction(cohort, "first-2", name)
        self.cohorts.refresh()
        self.assertEqual(self.cohorts.model, "first-2")
        decisions = {entry.caseId: entry.decision for entry in self.review.queue.entries}
        self.assertEqual(decisions, {FIRST: Decision.OPEN, SECOND: Decision.ACCEPTED, THIRD: Decision.OPEN})

    def test_what_was_rejected_of_an_earlier_model_is_undecided_in_the_prediction_of_the_next(self):
        self.open()
        self.open_case(FIRST)
        self.review.accept("liver")
        self.review.reject("pancreas")
        self.saved(FIRST)
        self.open_case(FIRST)
        self.assertIs(self.review.cards[1].status, ReviewState.FLAGGED)
        self.saved(FIRST)
        add_model(Cohort.read(self.folder), "first-2")
        add_prediction(Cohort.read(self.folder), "first-2", FIRST)
        self.cohorts.refresh()
        self.open_case(FIRST)
        statuses = [card.status for card in self.review.cards]
        self.assertEqual(statuses, [ReviewState.COMPLETED, ReviewState.NOT_STARTED, ReviewState.NOT_STARTED])
        self.review.acceptCase()
        case = self.saved(FIRST)
        self.assertEqual(
            (case.provenance["review"], case.provenance["reviewed model"]), ("accepted", "first-2")
        )


class RetrainingTest(ReviewLogicCase):
    def test_nothing_new_is_no_reason_to_train_again(self):
        self.open()
        advice = self.review.retraining.advice()
        self.assertFalse(advice.isPossible)
        self.assertIn("Nothing was corrected or annotated since 'first' was trained", advice.sentence)

    def test_a_corrected_case_is_a_reason_and_the_training_starts_from_the_model(self):
        self.open()
        self.open_case(FIRST)
        self.draw("liver")
        self.review.acceptCase()
        self.saved(FIRST)
        advice = self.review.retraining.advice()
        self.assertTrue(advice.isPossible and advice.isEnough)
        self.assertEqual(
            advice.sentence, "1 case corrected since 'first' was trained: enough to train again."
        )
        monitor = self.review.retraining.start()
        self.assertEqual(
            monitor.job.settings,
            TrainSettings("mean_teacher", "first-2", preset="quick", start_from="first"),
        )
        self.assertEqual(self.jobs.then(monitor), ("predict",))
        self.assertIn("under way", self.review.retraining.advice().sentence)

    def test_a_case_that_was_annotated_since_counts_and_a_test_case_does_not(self):
        self.open()
        with self.cohorts.edit() as cohort:
            for name in (FIRST, SECOND):
                case = cohort.case(name)
                case.label, case.annotated = f"labels/{name}.nii.gz", ["liver"]
            cohort.case(SECOND).use = Use.TEST
        self.assertEqual(self.review.retraining.newCases(), {FIRST: None})
        self.assertIn("1 case annotated", self.review.retraining.advice().sentence)

    def test_the_settings_of_the_model_s_own_training_are_taken_up_again(self):
        self.open()
        self.jobs.start(TrainSettings("cps", MODEL, steps=70, leave_one_out=True, network="unet"))
        settings = self.review.retraining.settings()
        self.assertEqual(settings, TrainSettings("cps", "first-2", steps=70, start_from="first"))

    def test_the_next_name_is_free(self):
        add_model(self.made, "first-2")
        self.open()
        self.cohorts.setModel("first-2")
        self.assertEqual(self.review.retraining.settings().model, "first-3")


if __name__ == "__main__":
    unittest.main()

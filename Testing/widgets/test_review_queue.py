"""Which predicted case comes next, and what is said about the order."""

from __future__ import annotations

import unittest

from review_cohort import ORGANS
from SSLSegmentationLib.logic.CohortLogic import CaseRow
from SSLSegmentationLib.logic.ReviewLogic import OrganCard
from SSLSegmentationLib.logic.ReviewQueue import (
    MODEL_KEY,
    REVIEW_KEY,
    Decision,
    ReviewQueue,
    buildQueue,
    decisionOf,
    progressInWords,
    provenanceWith,
)
from SSLSegmentationLib.widgets.OrganTable import organInWords

from sslseg.contract.cohort import Case, ReviewState, Use
from sslseg.contract.quality import OrganQuality, Verdict


def a_row(name: str, **fields) -> CaseRow:
    values = {
        "use": Use.TRAIN,
        "state": "predicted",
        "review": ReviewState.NOT_STARTED,
        "annotated": (),
        "dice": None,
        "priority": None,
        "reason": "",
        "verdict": None,
        "predicted": True,
        **fields,
    }
    return CaseRow(id=name, **values)


def a_queue(rows: list[CaseRow], **provenance: dict[str, str]) -> ReviewQueue:
    cases = [Case(row.id, "image.nrrd", provenance=provenance.get(row.id, {})) for row in rows]
    return buildQueue(rows, cases, "first", ORGANS.names)


class ReviewQueueTest(unittest.TestCase):
    def test_ranked_cases_come_by_their_priority_with_the_reason_of_the_ranking(self):
        queue = a_queue(
            [a_row("a", priority=0.2, reason="small"), a_row("b", priority=0.9, reason="two pieces")]
        )
        self.assertEqual(queue.caseIds, ["b", "a"])
        self.assertEqual(queue.entries[0].reason, "two pieces")
        self.assertIn("expected to gain", queue.order)

    def test_cases_that_are_not_ranked_come_after_the_ranked_ones_and_it_says_so(self):
        queue = a_queue([a_row("a", verdict=Verdict.LIKELY_WRONG), a_row("b", priority=0.0)])
        self.assertEqual(queue.caseIds, ["b", "a"])
        self.assertIn("the last 1 are not ranked", queue.order)
        self.assertIn("likely wrong", queue.entry("a").reason)

    def test_without_a_ranking_the_verdict_decides_and_then_the_uncertainty(self):
        queue = a_queue(
            [
                a_row("a", verdict=Verdict.FINE, uncertainty=0.9),
                a_row("b", verdict=Verdict.LOOK, uncertainty=0.1),
                a_row("c", verdict=Verdict.LOOK, uncertainty=0.2),
                a_row("d", verdict=Verdict.LIKELY_WRONG, uncertainty=0.0),
            ]
        )
        self.assertEqual(queue.caseIds, ["d", "c", "b", "a"])
        self.assertIn("'first' has not ranked the cases", queue.order)

    def test_without_ranking_and_cards_the_cohort_s_order_stays_and_it_says_so(self):
        queue = a_queue([a_row("b"), a_row("a"), a_row("c")])
        self.assertEqual(queue.caseIds, ["b", "a", "c"])
        self.assertIn("neither ranked the cases nor written quality cards", queue.order)

    def test_a_case_without_prediction_or_annotated_by_hand_is_not_in_the_queue(self):
        whole = tuple(ORGANS.names)
        rows = [a_row("a", predicted=False), a_row("b", annotated=whole), a_row("c", annotated=whole[:1])]
        self.assertEqual(a_queue(rows).caseIds, ["c"])
        self.assertEqual(a_queue(rows, b={REVIEW_KEY: "accepted"}).caseIds, ["b", "c"])

    def test_next_is_the_following_undecided_case_and_begins_again_at_the_top(self):
        rows = [a_row(name) for name in "abcd"]
        queue = a_queue(rows, b={REVIEW_KEY: "accepted"})
        self.assertEqual([queue.next(name) for name in (None, "a", "c", "d")], ["a", "c", "d", "a"])
        self.assertIsNone(a_queue(rows[:1]).next("a"))

    def test_previous_goes_back_to_decided_cases_too(self):
        queue = a_queue([a_row("a"), a_row("b")], a={REVIEW_KEY: "accepted"})
        self.assertEqual(queue.previous("b"), "a")
        self.assertIsNone(queue.previous("a"))
        self.assertEqual(queue.previous(None), "b")

    def test_progress_is_told_in_words(self):
        decided = {"a": "accepted", "b": "corrected", "c": "rejected", "d": "accepted"}
        provenance = {name: {REVIEW_KEY: word, MODEL_KEY: "first"} for name, word in decided.items()}
        queue = a_queue([a_row(name) for name in "abcde"], **provenance)
        self.assertEqual(
            progressInWords(queue), "4 of 5 reviewed; 2 accepted as they were, 1 corrected, 1 rejected"
        )
        self.assertEqual(progressInWords(a_queue([a_row("e")])), "0 of 1 reviewed")


class DecisionTest(unittest.TestCase):
    def test_a_rejected_case_comes_up_again_with_the_next_model_and_an_accepted_one_does_not(self):
        rejected = Case("a", "i", provenance={REVIEW_KEY: "rejected", MODEL_KEY: "first"})
        accepted = Case("b", "i", provenance={REVIEW_KEY: "accepted", MODEL_KEY: "first"})
        self.assertIs(decisionOf(rejected, "first"), Decision.REJECTED)
        self.assertIs(decisionOf(rejected, "second"), Decision.OPEN)
        self.assertIs(decisionOf(accepted, "second"), Decision.ACCEPTED)

    def test_a_case_in_progress_is_being_corrected(self):
        case = Case("a", "i", organ_review={"liver": ReviewState.IN_PROGRESS})
        self.assertIs(decisionOf(case, "first"), Decision.CORRECTING)

    def test_a_decision_is_kept_with_the_model_it_was_about_and_taken_back_without_a_trace(self):
        case = Case("a", "i", provenance={"annotation": "drawn"})
        case.provenance = provenanceWith(case, Decision.CORRECTED, "first")
        self.assertEqual(
            case.provenance, {"annotation": "drawn", REVIEW_KEY: "corrected", MODEL_KEY: "first"}
        )
        self.assertEqual(provenanceWith(case, Decision.CORRECTED, "second"), case.provenance)
        self.assertEqual(provenanceWith(case, Decision.REJECTED, "second")[MODEL_KEY], "second")
        self.assertEqual(
            provenanceWith(case, Decision.OPEN, "second"), {"annotation": "drawn", MODEL_KEY: "second"}
        )
        self.assertEqual(provenanceWith(case, Decision.OPEN, None), {"annotation": "drawn"})


class WordsTest(unittest.TestCase):
    def test_what_the_parts_of_a_model_disagree_on_is_said_once(self):
        reason = "the two networks disagree on 31 % of its border"
        for reasons, share in (([reason], 0.31), ([], 0.31), (["in 3 pieces"], 0.31)):
            quality = OrganQuality("liver", Verdict.LOOK, reasons, 10.0, 1, 1.0, False, 0.1, share)
            words = organInWords(OrganCard(ORGANS[0], quality, ReviewState.NOT_STARTED))
            self.assertEqual(words.count("31 % of its border"), 1, words)


if __name__ == "__main__":
    unittest.main()

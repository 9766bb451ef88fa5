"""Sections open as the work moves on, and nothing a person opened or closed is touched."""

from __future__ import annotations

import unittest
from dataclasses import replace
from pathlib import Path

from SSLSegmentationLib.logic.WorkProgress import Section, WorkProgress

NOTHING = WorkProgress()
READY = WorkProgress(checked=True, ready=True)


class WorkProgressTest(unittest.TestCase):
    def test_setup_opens_when_something_is_missing(self) -> None:
        self.assertEqual(replace(NOTHING, checked=True).sectionsSince(NOTHING), {Section.SETUP: True})

    def test_setup_closes_and_the_cohort_opens_once_the_backend_is_ready(self) -> None:
        self.assertEqual(READY.sectionsSince(NOTHING), {Section.SETUP: False, Section.COHORT: True})

    def test_annotate_opens_with_the_first_case_and_not_again(self) -> None:
        first = replace(READY, opened=True)
        self.assertEqual(first.sectionsSince(READY), {Section.ANNOTATE: True})
        self.assertEqual(first.sectionsSince(first), {})

    def test_a_case_that_is_opened_for_review_leaves_annotate_alone(self) -> None:
        self.assertEqual(replace(READY, opened=True).sectionsSince(READY, isReviewing=True), {})

    def test_another_cohort_begins_anew(self) -> None:
        one = replace(READY, folder=Path("one"), opened=True, annotated=True)
        other = replace(one, folder=Path("other"))
        self.assertEqual(other.sectionsSince(one), {Section.ANNOTATE: True, Section.TRAIN: True})
        self.assertEqual(replace(READY, folder=None).sectionsSince(one), {})

    def test_train_opens_with_the_first_annotation(self) -> None:
        self.assertEqual(replace(READY, annotated=True).sectionsSince(READY), {Section.TRAIN: True})

    def test_review_opens_with_the_first_prediction(self) -> None:
        before = replace(READY, annotated=True)
        self.assertEqual(replace(before, predicted=True).sectionsSince(before), {Section.REVIEW: True})

    def test_export_opens_when_all_is_completed(self) -> None:
        before = replace(READY, annotated=True, predicted=True)
        self.assertEqual(replace(before, completed=True).sectionsSince(before), {Section.EXPORT: True})

    def test_of_an_old_cohort_only_the_furthest_section_opens(self) -> None:
        opened = replace(READY, annotated=True, predicted=True)
        self.assertEqual(opened.sectionsSince(READY), {Section.REVIEW: True})

    def test_without_news_nothing_is_touched(self) -> None:
        self.assertEqual(READY.sectionsSince(READY), {})
        self.assertEqual(NOTHING.sectionsSince(NOTHING), {})
        self.assertEqual(READY.sectionsSince(replace(READY, annotated=True, opened=True)), {})

"""Pictures and Dice of the cases that are looked at, found out by another process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from unittest.mock import patch

from cohort_doubles import MODEL, CohortCase, add_dice, add_results, make_cohort, touch
from job_doubles import ALauncher
from SSLSegmentationLib.logic.CaseFacts import CASES_AT_A_TIME, CaseFacts


class CaseFactsTest(CohortCase):
    def setUp(self) -> None:
        super().setUp()
        make_cohort(self.folder, 9, annotated=1)
        add_results(self.folder)
        self.logic.openCohort(self.folder)
        self.launcher = ALauncher()
        self.facts = CaseFacts(self.logic, self.launcher, python=Path("python"))
        self.told: list[tuple[str, ...]] = []
        self.facts.changed.connect(self.told.append)

    def picture(self, *cases: str) -> None:
        """As the process leaves them."""
        assert self.logic.cohort is not None
        for case in cases:
            touch(self.logic.cohort.thumbnail_path(case), "png")

    def end(self, exit_code: int = 0) -> None:
        self.launcher.processes[-1].exitCode = exit_code
        self.facts.poll()

    def asked(self) -> list[str]:
        return self.launcher.commands[-1][5:]

    def test_only_cases_that_are_looked_at_are_asked_for_a_few_at_a_time(self) -> None:
        cases = [row.id for row in self.logic.rows()]
        self.facts.request(cases)
        self.facts.poll()
        self.assertEqual(
            self.launcher.commands[0],
            ["python", "-m", "sslseg.evaluate.case_facts", str(self.folder), MODEL, *cases[:CASES_AT_A_TIME]],
        )
        self.picture(*cases[:CASES_AT_A_TIME])
        self.end()
        self.assertEqual(self.told, [tuple(cases[:CASES_AT_A_TIME])])
        self.facts.poll()
        self.assertEqual(self.asked(), cases[CASES_AT_A_TIME:])

    def test_a_picture_is_made_again_when_what_it_shows_has_changed(self) -> None:
        self.picture("case_0001", "case_0002")
        self.facts.request(["case_0001", "case_0002"])
        self.facts.poll()
        self.assertFalse(self.launcher.commands)
        label = self.folder / "labels" / "case_0001.nii.gz"
        later = time.time_ns() + 10**9
        os.utime(label, ns=(later, later))
        self.facts.poll()
        self.assertEqual(self.asked(), ["case_0001"])

    def test_a_dice_that_can_be_told_and_is_not_known_is_asked_for(self) -> None:
        add_dice(self.folder, {"case_0001": 0.5})
        self.logic.refresh()
        self.picture("case_0001")
        self.facts.request(["case_0001"])
        self.facts.poll()
        self.assertFalse(self.launcher.commands)
        (self.folder / "predictions" / MODEL / "dice.json").unlink()
        self.logic.refresh()
        self.facts.poll()
        self.assertEqual(self.asked(), ["case_0001"])

    def test_a_case_that_cannot_be_read_is_not_tried_for_ever(self) -> None:
        self.facts.request(["case_0003"])
        self.facts.poll()
        self.end(2)
        self.facts.poll()
        self.assertEqual(len(self.launcher.commands), 1)
        touch(self.folder / "images" / "case_0003.nrrd", "whole again")
        self.facts.poll()
        self.assertEqual(len(self.launcher.commands), 2)

    def test_nothing_is_asked_for_a_missing_image_or_in_a_folder_one_may_not_write_to(self) -> None:
        (self.folder / "images" / "case_0004.nrrd").unlink()
        self.facts.request(["case_0004"])
        self.facts.poll()
        self.facts.request(["case_0005"])
        with patch("os.access", return_value=False):
            self.facts.poll()
        self.assertFalse(self.launcher.commands)

    def test_what_is_under_way_ends_with_the_module(self) -> None:
        self.facts.request(["case_0003"])
        self.facts.poll()
        self.facts.close()
        self.assertTrue(self.launcher.processes[0].killed)
        self.assertFalse(self.facts.isBusy or self.told)

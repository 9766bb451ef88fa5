"""What a person reads of a job."""

from __future__ import annotations

import unittest

from SSLSegmentationLib.logic.JobSentences import duration, exitSentence
from SSLSegmentationLib.logic.JobStory import JobStory

from sslseg.contract.events import Event


def story(*events: tuple[str, dict]) -> JobStory:
    told = JobStory()
    for number, (event, fields) in enumerate(events):
        told.add(Event(100.0 + number, event, fields))
    return told


class JobSentencesTest(unittest.TestCase):
    def test_time_is_said_as_coarsely_as_it_is_known(self) -> None:
        for seconds, words in (
            (3, "less than a minute"),
            (70, "about a minute"),
            (400, "about 7 minutes"),
            (40 * 60, "about 40 minutes"),
            (41 * 60, "about 40 minutes"),
            (3599, "about an hour"),
            (3600, "about an hour"),
            (5400, "about an hour and 30 minutes"),
            (2.26 * 3600, "about 2 hours and 15 minutes"),
            (3 * 3600, "about 3 hours"),
            (14.2 * 3600, "about 14 hours"),
        ):
            with self.subTest(seconds=seconds):
                self.assertEqual(duration(seconds), words)

    def test_a_full_disk_is_said_whatever_the_exit_code(self) -> None:
        self.assertIn("disk is full", exitSentence(1, "OSError: [Errno 28] No space left on device: 'x'"))

    def test_a_program_that_said_nothing_is_told_by_its_code_alone(self) -> None:
        self.assertEqual(exitSentence(3, " \n"), "Its program ended with code 3.")


class JobStoryTest(unittest.TestCase):
    def test_the_share_of_a_case_counts_until_the_case_is_done(self) -> None:
        for step, share, fraction in ((3, 0.5, 0.35), (4, 1.0, 0.4)):
            told = story(("progress", {"step": step, "steps": 10, "seconds_left": 5.0, "share": share}))
            self.assertAlmostEqual(told.fraction or 0, fraction)

    def test_the_parts_of_a_leave_one_out_are_one_whole(self) -> None:
        fields = {"step": 50, "steps": 100, "seconds_left": 5.0, "part": 2, "parts": 5}
        self.assertAlmostEqual(story(("progress", fields)).fraction or 0, 0.3)

    def test_an_event_of_another_version_is_passed_over(self) -> None:
        told = story(("progress", {"step": "many"}), ("dance", {}), ("validation", {}), ("failed", {}))
        self.assertEqual((told.fraction, told.marker, told.message), (None, "failed", ""))

    def test_a_warning_is_said_once_and_forgotten_at_the_next_start(self) -> None:
        warning = ("warning", {"message": "small"})
        self.assertEqual(story(warning, warning).warnings, ["small"])
        self.assertEqual(story(warning, ("started", {"command": "train", "device": "cpu"})).warnings, [])


if __name__ == "__main__":
    unittest.main()

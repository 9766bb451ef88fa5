"""What a person is told before a training."""

from __future__ import annotations

import unittest
from pathlib import Path

from SSLSegmentationLib.logic.TrainingOutlook import (
    TrainingOutlook,
    expectedSeconds,
    freeName,
    nameProblem,
    presetSentence,
)

from sslseg.contract.choices import read_choices
from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.labels import parse_labels
from sslseg.contract.models import ModelOrigin
from sslseg.contract.settings import TrainSettings

CHOICES = read_choices()
ORGANS = ["liver", "spleen", "pancreas"]


def a_case(number: int, annotated: list[str], use: Use = Use.TRAIN) -> Case:
    label = f"labels/{number}.nii.gz" if annotated else None
    return Case(f"case_{number}", f"images/{number}.nii.gz", label, annotated, use=use)


def a_cohort(*annotated: list[str], apart: tuple[Use, ...] = ()) -> Cohort:
    """A case for every list of annotated organs, and annotated ones for other uses."""
    cases = [a_case(number, organs) for number, organs in enumerate(annotated)]
    cases += [a_case(100 + number, ORGANS, use) for number, use in enumerate(apart)]
    return Cohort(Path("nowhere"), "c", "CT", parse_labels("liver=1,spleen=2,pancreas=3"), cases)


def outlook(cohort: Cohort | None, method: str = "mean_teacher") -> TrainingOutlook:
    return TrainingOutlook.of(cohort, CHOICES.method(method), CHOICES)


class TrainingOutlookTest(unittest.TestCase):
    def test_it_says_what_will_be_used(self) -> None:
        found = outlook(a_cohort(ORGANS, ORGANS, [], [], []))
        self.assertEqual(found.summary, "2 annotated cases, 3 without annotation, 3 organs.")
        self.assertEqual((found.hints, found.refusal), ([], ""))

    def test_organs_that_few_cases_show_are_pointed_out(self) -> None:
        found = outlook(a_cohort(ORGANS, ["liver", "pancreas"], ["liver"], ["liver"], []))
        self.assertEqual(
            found.hints, ["Annotated in 1 case only: spleen.", "Annotated in 2 cases only: pancreas."]
        )

    def test_organs_that_no_case_shows_are_pointed_out_as_such(self) -> None:
        found = outlook(a_cohort(["liver"], []))
        self.assertEqual(
            found.hints, ["Annotated nowhere, so the model will not find them: spleen and pancreas."]
        )

    def test_an_annotated_case_that_is_kept_apart_is_not_counted(self) -> None:
        found = outlook(a_cohort([], [], apart=(Use.TEST, Use.TEST, Use.VALIDATION)))
        self.assertIn("0 annotated cases, 2 without annotation", found.summary)
        self.assertEqual(
            found.hints, ["1 case kept apart to measure while training.", "2 cases kept apart for testing."]
        )
        self.assertIn("No training case is annotated yet", found.refusal)

    def test_a_method_that_needs_unlabelled_cases_is_refused_without_them_and_another_offered(self) -> None:
        found = outlook(a_cohort(ORGANS, ORGANS))
        self.assertIn(
            "'Mean teacher' learns from cases without annotation, and there are none", found.refusal
        )
        self.assertEqual(found.instead, "supervised")
        self.assertEqual(outlook(a_cohort(ORGANS, ORGANS), "supervised").refusal, "")

    def test_supervised_says_that_it_leaves_cases_aside(self) -> None:
        found = outlook(a_cohort(ORGANS, []), "supervised")
        self.assertEqual(found.hints, ["'Supervised' leaves the cases without annotation aside."])

    def test_without_a_cohort_there_is_nothing_to_train_on(self) -> None:
        self.assertIn("Open or make a cohort", outlook(None).refusal)


class NameTest(unittest.TestCase):
    def test_a_name_is_one_that_every_system_takes_and_that_is_free(self) -> None:
        self.assertEqual(nameProblem("first", {"second"}), "")
        self.assertIn("already", nameProblem("First", {"first"}))
        for name in ("", "a/b", "über", "-x", "a b"):
            self.assertIn("cannot be a name of a model", nameProblem(name, set()))

    def test_a_free_name_is_numbered_on(self) -> None:
        self.assertEqual(freeName("cps", set()), "cps")
        self.assertEqual(freeName("cps", {"cps", "CPS-2", "cps-4"}), "cps-3")


class ExpectedTimeTest(unittest.TestCase):
    def origin(self, **changes: object) -> ModelOrigin:
        fields: dict = {
            "method": "cps",
            "settings": {"network": "unet", "device": "auto"},
            "device": "cpu (2 threads)",
            "seconds_per_step": 0.5,
        }
        return ModelOrigin(**fields | changes)

    def test_it_is_that_of_the_steps_at_the_speed_of_an_earlier_model(self) -> None:
        steps = CHOICES.preset("quick", "cpu").steps
        settings = TrainSettings("cps", "m", preset="quick")
        self.assertEqual(
            expectedSeconds(settings, CHOICES, [("first", self.origin())]), (steps * 0.5, "first")
        )
        settings = TrainSettings("cps", "m", preset="quick", steps=10)
        self.assertEqual(expectedSeconds(settings, CHOICES, [("first", self.origin())]), (5.0, "first"))
        self.assertIn(
            "Takes less than a minute, going by 'first'.",
            presetSentence(settings, CHOICES, [("first", self.origin())]),
        )

    def test_it_is_not_guessed_from_one_that_is_not_alike(self) -> None:
        settings = TrainSettings("cps", "m", preset="quick")
        for other in (
            self.origin(method="supervised"),
            self.origin(settings={"network": "vnet", "device": "auto"}),
            self.origin(settings={"network": "unet", "device": "cuda"}),
            self.origin(seconds_per_step=0.0),
        ):
            self.assertIsNone(expectedSeconds(settings, CHOICES, [("other", other)]))
        self.assertNotIn("Takes", presetSentence(settings, CHOICES, []))

    def test_a_training_that_goes_on_from_a_model_keeps_its_network(self) -> None:
        settings = TrainSettings("cps", "m", preset="quick", start_from="first")
        origin = self.origin(settings={"network": "vnet", "device": "auto"})
        self.assertIsNotNone(expectedSeconds(settings, CHOICES, [("first", origin)]))


if __name__ == "__main__":
    unittest.main()

"""Cohorts for the tests of the Cohort section: on disk as the backend leaves them, with settings in memory."""

from __future__ import annotations

import json
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

from SSLSegmentationLib.logic.CohortLogic import CohortLogic

from sslseg.contract.cohort import Case, Cohort, ReviewState, Use
from sslseg.contract.labels import parse_labels
from sslseg.contract.quality import (
    CaseQuality,
    OrganQuality,
    RankedCase,
    Ranking,
    Verdict,
    quality_path,
    write_ranking,
)
from sslseg.contract.scores import CaseDice, add_scores, compared_files
from sslseg.contract.strict import to_json

ORGANS = "spleen=1,right kidney=2,left kidney=3,liver=6"
MODEL = "mean_teacher"


class Settings(dict[str, Any]):
    """The application's settings, in memory."""

    def value(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    def setValue(self, key: str, value: Any) -> None:
        self[key] = value


class Asked:
    """A confirmation that answers as it is told and remembers what was asked."""

    def __init__(self, answer: bool = True) -> None:
        self.answer = answer
        self.sentences: list[str] = []

    def __call__(self, sentence: str) -> bool:
        self.sentences.append(sentence)
        return self.answer


class CohortCase(unittest.TestCase):
    """A place on the disk and a logic with settings of its own."""

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)
        self.folder = self.place / "abdomen"
        self.settings = Settings()
        self.logic = CohortLogic(self.settings)
        self.changes = 0
        self.logic.changed.connect(self._count)

    def _count(self) -> None:
        self.changes += 1


def make_cohort(folder: Path, cases: int, *, annotated: int = 0, files: bool = True) -> Cohort:
    """A cohort of so many cases, the first ones annotated; `files` are empty ones in the places of the real ones."""
    made = Cohort.create(folder, name=folder.name, modality="CT", labels=parse_labels(ORGANS))
    with Cohort.edit(folder) as cohort:
        for number in range(1, cases + 1):
            case = Case(f"case_{number:04d}", f"images/case_{number:04d}.nrrd")
            if number <= annotated:
                case.label, case.annotated = f"labels/{case.id}.nii.gz", list(cohort.labels.names)
            cohort.cases.append(case)
            for path in (cohort.image_path(case), cohort.label_path(case)):
                if files and path is not None:
                    touch(path)
    return Cohort.read(made.folder, check_files=False)


def add_results(folder: Path, model: str = MODEL) -> None:
    """What a training, a prediction and a ranking leave behind for every case."""
    cohort = Cohort.read(folder, check_files=False)
    touch(cohort.model_folder(model) / "sslseg.json", json.dumps({}))
    verdicts = list(Verdict)
    ranked = []
    for number, case in enumerate(cohort.cases):
        touch(cohort.prediction_path(model, case.id))
        verdict = verdicts[number % len(verdicts)]
        organ = OrganQuality("liver", verdict, [], 1500.0, 1, 1.0, False, 0.1, 0.1)
        card = CaseQuality(case.id, model, verdict, [], [organ], uncertainty=0.1)
        # Not through write_quality, which makes sure that each of hundreds of files is on the disk.
        touch(quality_path(cohort, model, case.id), json.dumps(to_json(card)))
        priority = round(1 - number / max(1, len(cohort.cases)), 3)
        ranked.append(RankedCase(case.id, priority, "review", "liver: two pieces", 0.5, 0.5))
    write_ranking(cohort, Ranking(model, ranked))


def add_dice(folder: Path, dice: dict[str, float], model: str = MODEL) -> None:
    """Measured Dice of cases that are kept apart for testing from now on."""
    with Cohort.edit(folder) as cohort:
        for case_id in dice:
            cohort.case(case_id).use = Use.TEST
            cohort.case(case_id).review = ReviewState.NOT_STARTED
    scores = {}
    for case_id, value in dice.items():
        files = compared_files(cohort, model, cohort.case(case_id))
        assert files is not None
        scores[case_id] = CaseDice({"liver": value}, files)
    add_scores(cohort, model, scores)


def touch(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

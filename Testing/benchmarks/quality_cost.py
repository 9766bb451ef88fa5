"""What quality cards cost: processor time of predictions with and without them, by turns on the same scans.

`python Testing/benchmarks/quality_cost.py COHORT MODEL [CASES]`: the networks' part alone, and all that
`sslseg predict` does with a cohort, cards, files and ranking included. Nothing in the cohort is changed.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sslseg.bundle.model_folder import load_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.settings import PredictSettings
from sslseg.data.volumes import read_volume
from sslseg.inference.predictor import VolumePredictor
from sslseg.predict.cohort_prediction import predict_cohort
from sslseg.predict.pipeline import Scan, predict_scans
from sslseg.rank.cohort_ranking import refresh_ranking

ROUNDS = 5
"""The first is not counted."""


class Silence:
    def write(self, event: str, **fields: Any) -> None:
        pass


def ratios(plain: Callable[[], object], full: Callable[[], object]) -> list[float]:
    """Processor time of `full` over that of `plain`, pair by pair."""
    found = []
    for _ in range(ROUNDS):
        seconds = []
        for work in (plain, full):
            begun = time.process_time()
            work()
            seconds.append(time.process_time() - begun)
        found.append(seconds[1] / seconds[0])
    return found[1:]


def told(what: str, found: list[float]) -> None:
    print(f"{what}: {statistics.median(found):.3f} times, from {min(found):.3f} to {max(found):.3f}")


def main(folder: str, name: str, count: str = "8") -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "cohort")
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("predictions", "jobs"))
        cohort = Cohort.read(copy)
        cases = cohort.cases[: int(count)]
        model = load_model(cohort.model_folder(name))
        plain, watching = VolumePredictor(model), VolumePredictor(model, evidence=True)
        found = []
        for case in cases[:4]:
            prepared = plain.prepare(read_volume(cohort.image_path(case)))
            found += ratios(lambda p=prepared: plain(p), lambda p=prepared: watching(p))
        told("the networks' part", found)

        def maps_alone() -> None:
            scans = [
                Scan(
                    case.id,
                    cohort.image_path(case),
                    Path(place, "labels", f"{case.id}.nii.gz"),
                    Path(place, "uncertainty", f"{case.id}.nii.gz"),
                )
                for case in cases
            ]
            predictor = VolumePredictor(load_model(cohort.model_folder(name)))
            predict_scans(predictor, scans, Silence(), lambda: False)

        def with_cards() -> None:
            settings = PredictSettings(name, cases=[case.id for case in cases], device="cpu")
            predict_cohort(cohort, settings, Silence())
            refresh_ranking(cohort, name, Silence())

        told("a whole prediction", ratios(maps_alone, with_cards))


if __name__ == "__main__":
    main(*sys.argv[1:])

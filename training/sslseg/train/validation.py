"""Measuring a model on annotated cases that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import Precision
from sslseg.data.plan import Plan
from sslseg.data.store import StoredCase
from sslseg.evaluate.overlap import dice_per_class
from sslseg.inference.sliding_window import segment_patch_grid
from sslseg.networks.base import SegmentationNetwork

CASES_PER_HELD_BACK = 5
"""One annotated case in five is held back; with fewer than five, training needs every one of them."""
MOST_HELD_BACK = 5


@dataclass(frozen=True)
class Split:
    """Ids of the cases of a run by what they are used for; test cases are in none of the lists."""

    labelled: tuple[str, ...]
    unlabelled: tuple[str, ...]
    validation: tuple[str, ...]


def split_cases(
    cohort: Cohort,
    held_back: int | None,
    seed: int,
    *,
    learned: Collection[str] = (),
    measured: Collection[str] = (),
) -> Split:
    """Share the training cases out.

    Cases the cohort keeps for validation are measured on. Where it keeps none, some annotated ones are held
    back: those with the most annotated organs first, but none that is the last one of an organ.

    Args:
        cohort: the cohort.
        held_back: annotated cases to hold back; None takes one in five, at most five, unless the cohort keeps
            cases for validation.
        seed: chooses among equals.
        learned: ids of cases whose labels are in the weights that the run starts with: they are never held back,
            because measuring on them would flatter.
        measured: ids of cases that those weights were measured on: they are held back before others.

    Raises:
        SSLSegError: there is no annotated case, or too few to hold so many back.
    """
    training = [case for case in cohort.cases if case.use is Use.TRAIN]
    annotated = [case for case in training if case.is_annotated]
    if not annotated:
        raise SSLSegError(
            "No training case of the cohort is annotated",
            file=cohort.folder,
            remedy="Segment the organs in at least one case, and train again.",
        )
    kept_apart = [case for case in cohort.cases if case.use is Use.VALIDATION and case.is_annotated]
    if kept_apart and held_back is None:
        held_back = 0
    wanted = min(len(annotated) // CASES_PER_HELD_BACK, MOST_HELD_BACK) if held_back is None else held_back
    chosen = _held_back(annotated, wanted, seed, learned, measured)
    if held_back is not None and len(chosen) < held_back:
        reason = "every organ needs a case to be learned from" + (
            ", and the model to start from has learned from some of the others" if learned else ""
        )
        raise SSLSegError(
            f"Of {len(annotated)} annotated cases {len(chosen)} can be held back, not {held_back}, "
            f"because {reason}",
            file=cohort.folder,
            remedy="Hold fewer cases back, or annotate more.",
        )
    kept = [case.id for case in annotated if case.id not in chosen]
    return Split(
        labelled=tuple(kept),
        unlabelled=tuple(case.id for case in training if not case.is_annotated),
        validation=tuple(case.id for case in [*kept_apart, *(c for c in annotated if c.id in chosen)]),
    )


def _held_back(
    annotated: Sequence[Case], wanted: int, seed: int, learned: Collection[str], measured: Collection[str]
) -> set[str]:
    order = np.random.default_rng(seed).permutation(len(annotated))
    candidates = sorted(
        (annotated[i] for i in order if annotated[i].id not in learned),
        key=lambda case: (case.id not in measured, -len(case.annotated)),
    )
    left = list(annotated)
    chosen: set[str] = set()
    for case in candidates:
        others = [other for other in left if other is not case]
        if len(chosen) < wanted and others and _organs(others) >= set(case.annotated):
            chosen.add(case.id)
            left = others
    return chosen


def _organs(cases: Sequence[Case]) -> set[str]:
    return {organ for case in cases for organ in case.annotated}


def describe_measurement(cases: int, *, leave_one_out: bool = False) -> str:
    """How much a figure that stands on so many cases is worth, in a sentence."""
    if leave_one_out:
        return (
            f"Mean Dice of {cases} annotated cases, each measured by a model trained without it; "
            "the model itself was trained on all of them."
        )
    if cases == 0:
        return (
            "No annotated case was held back, so nothing says yet how good the model is. "
            "Look at its predictions, measure by leaving each case out in turn (--leave-one-out), or annotate at "
            "least five cases."
        )
    if cases == 1:
        return "Dice on one held-back case: a rough guide at best."
    if cases < MOST_HELD_BACK:
        return f"Mean Dice of {cases} held-back cases: a rough guide."
    return f"Mean Dice of {cases} held-back cases."


def measure(
    networks: Sequence[SegmentationNetwork],
    cases: Sequence[StoredCase],
    plan: Plan,
    *,
    device: torch.device,
    precision: Precision,
) -> dict[str, float | None]:
    """Mean Dice of each organ over the cases that annotated it, on the plan's grid; None where none did."""
    scores: dict[str, list[float]] = {label.name: [] for label in plan.labels}
    for case in cases:
        image, truth = case.read_all()
        assert truth is not None
        predicted = segment_patch_grid(
            networks,
            image,
            patch_size=plan.patch_size,
            classes=plan.classes,
            device=device,
            precision=precision,
        )
        # Dice of an organ that is in neither map, because the scan does not reach it, says nothing: NaN.
        for index, score in enumerate(dice_per_class(predicted, truth, range(1, plan.classes)), start=1):
            if case.known[index] and not math.isnan(score):
                scores[plan.labels[index - 1].name].append(float(score))
    return {name: round(fmean(values), 4) if values else None for name, values in scores.items()}

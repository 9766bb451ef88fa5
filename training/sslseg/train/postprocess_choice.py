"""Which rules clean up the predictions of a model: those that the annotated cases and the validation allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import numpy.typing as npt
import torch

from sslseg.contract.cohort import Cohort
from sslseg.contract.postprocess import OrganRule
from sslseg.contract.settings import Precision
from sslseg.data.plan import Plan
from sslseg.data.store import StoredCase
from sslseg.evaluate.overlap import dice_per_class
from sslseg.inference.postprocess import components, holes, postprocess
from sslseg.inference.sliding_window import segment_patch_grid
from sslseg.networks.base import SegmentationNetwork

LEAST_CASES = 2
"""What a single annotated case shows may be chance."""
SHARE_OF_SMALLEST = 0.5
"""A predicted piece is scattered if it is smaller than this share of the smallest piece that anybody drew."""


@dataclass(frozen=True)
class _Shape:
    """What an organ looks like in one annotated case: its pieces, the smallest in ml, whether it has holes."""

    pieces: int
    smallest_ml: float
    has_holes: bool


def choose_rules(
    cohort: Cohort,
    annotated: Sequence[StoredCase],
    validation: Sequence[StoredCase],
    networks: Sequence[SegmentationNetwork],
    plan: Plan,
    *,
    device: torch.device,
    precision: Precision,
) -> tuple[OrganRule, ...]:
    """The rules for the organs of a model, those that do something.

    A rule has to hold in every annotated case: an organ that is always in one piece keeps its largest, one that is in
    several loses pieces far below the smallest, one without holes gets them filled. Where there are validation cases,
    the rule must not lower the organ's mean Dice there either.

    Args:
        cohort: says which organs were drawn on some slices only; these show nothing.
        annotated: the annotated cases, for training and for validation.
        validation: those of them that the networks did not learn from; none where nothing was held back.
        networks: of the model.
        plan: of the model.
        device: where to predict the validation cases.
        precision: arithmetic of the convolutions.
    """
    candidates = _candidates(cohort, annotated, plan)
    if not candidates or not validation:
        return tuple(candidates)
    truths, predictions = [], []
    for case in validation:
        image, truth = case.read_all()
        assert truth is not None
        truths.append(truth)
        predictions.append(
            segment_patch_grid(
                networks,
                image,
                patch_size=plan.patch_size,
                classes=plan.classes,
                device=device,
                precision=precision,
            )
        )
    kept = []
    for rule in candidates:
        index = 1 + [label.value for label in plan.labels].index(rule.value)
        known = [n for n, case in enumerate(validation) if case.known[index]]
        pairs = [(predictions[n], truths[n]) for n in known]
        kept.append(_without_harm(rule, index, pairs, _voxel_ml(plan)))
    return tuple(rule for rule in kept if rule.does_something)


def _candidates(cohort: Cohort, annotated: Sequence[StoredCase], plan: Plan) -> list[OrganRule]:
    rules = []
    for index, label in enumerate(plan.labels, start=1):
        whole = [
            case for case in annotated if case.known[index] and label.name not in cohort.case(case.id).slices
        ]
        shapes = list(_shapes(whole, index, _voxel_ml(plan)))
        if len(shapes) < LEAST_CASES:
            continue
        single = all(shape.pieces == 1 for shape in shapes)
        rule = OrganRule(
            label.name,
            label.value,
            largest_only=single,
            smallest_ml=0.0 if single else SHARE_OF_SMALLEST * min(shape.smallest_ml for shape in shapes),
            fill_holes=not any(shape.has_holes for shape in shapes),
        )
        if rule.does_something:
            rules.append(rule)
    return rules


def _shapes(cases: Iterable[StoredCase], index: int, voxel_ml: float) -> Iterable[_Shape]:
    """The organ of class `index` in each case that has it."""
    for case in cases:
        _, truth = case.read_all()
        assert truth is not None
        places = np.nonzero(truth == index)
        if not places[0].size:
            continue
        region = truth[tuple(slice(int(p.min()), int(p.max()) + 1) for p in places)]
        mask = region == index
        _, sizes = components(mask)
        yield _Shape(
            pieces=len(sizes) - 1,
            smallest_ml=float(sizes[1:].min()) * voxel_ml,
            has_holes=bool((holes(mask) & (region == 0)).any()),
        )


def _without_harm(
    rule: OrganRule,
    index: int,
    pairs: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]],
    voxel_ml: float,
) -> OrganRule:
    """The rule without those parts that lower the mean Dice of its organ over the validation cases."""
    before = _mean_dice(pairs, index)
    if before is None:
        return rule
    pieces = replace(rule, value=index, fill_holes=False)
    if pieces.does_something and (_after(pieces, pairs, voxel_ml) or 0.0) < before:
        rule = replace(rule, largest_only=False, smallest_ml=0.0)
    filling = OrganRule(rule.organ, index, fill_holes=True)
    if rule.fill_holes and (_after(filling, pairs, voxel_ml) or 0.0) < before:
        rule = replace(rule, fill_holes=False)
    return rule


def _after(
    rule: OrganRule,
    pairs: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]],
    voxel_ml: float,
) -> float | None:
    changed = []
    for predicted, truth in pairs:
        cleaned = predicted.copy()
        postprocess(cleaned, [rule], voxel_ml)
        changed.append((cleaned, truth))
    return _mean_dice(changed, rule.value)


def _mean_dice(
    pairs: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]], index: int
) -> float | None:
    scores = [float(dice_per_class(predicted, truth, [index])[0]) for predicted, truth in pairs]
    # Of an organ that is in neither map Dice says nothing.
    defined = [score for score in scores if not math.isnan(score)]
    return fmean(defined) if defined else None


def _voxel_ml(plan: Plan) -> float:
    return math.prod(plan.spacing) / 1000

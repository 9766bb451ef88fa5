"""What the quality cards are worth: how well the expected Dice of an organ follows the true one.

A model is trained on a few labelled cases and predicts cases that were kept apart from the training list. Their labels
say how good each organ is; the card has to tell without them. Where the expectation is fitted to known Dice, that of
the case in question is never among them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from sslseg.bench.experiment import run_experiment
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.files import write_json, write_text
from sslseg.contract.jobs import Job
from sslseg.contract.quality import OrganQuality, Verdict
from sslseg.contract.settings import PredictSettings, Preset, TrainSettings
from sslseg.evaluate.table import Evaluation
from sslseg.jobs.finishing import RunJob, finish_job
from sslseg.quality.expectation import Expectation, Known
from sslseg.quality.judging import Judge
from sslseg.quality.rules import judge_organ
from sslseg.report.figures import LIGHT, chart_figure, save_figure, style_axes

FEW = (1, 2, 4)
"""With so few known cases the expectation is fitted as well."""
DRAWS = 50
"""How often the few are drawn."""
ENTROPY, SOFT_DICE, FITTED = "mean softmax entropy", "soft Dice", "expected Dice"

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class QualitySettings:
    """A benchmark of quality cards on one data set.

    Attributes:
        dataset: folder with a dataset.json.
        labelled: the first so many training cases keep their labels.
        validation: the last so many training cases are predicted and compared with their labels.
        method: how to train.
        steps: optimiser steps; None takes the preset's.
        preset: where the other settings come from.
        network: name of the network; None takes the preset's.
        mirror: whether mirrored windows are looked at as well.
        seed: of the training.
        device: where to train and predict.
    """

    dataset: Path
    labelled: int
    validation: int
    method: str = "mean_teacher"
    steps: int | None = None
    preset: Preset = "quick"
    network: str | None = None
    mirror: bool = False
    seed: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Judged:
    """A predicted organ: its card, its true Dice, and the verdict of a judge who does not know it."""

    case: str
    card: OrganQuality
    dice: float
    expected: float
    verdict: Verdict


@dataclass(frozen=True)
class Agreement:
    """How an estimate goes with the true Dice.

    Attributes:
        pooled: Spearman's correlation over all organs of all cases.
        within: mean over the organs of the correlation within each.
        error: mean distance from the true Dice; None for what is no Dice.
    """

    pooled: float
    within: float
    error: float | None


def bench_quality(settings: QualitySettings, output: Path, run: RunJob) -> str:
    """Train, predict, compare; write `quality.md`, `quality.json` and `quality.png`.

    What was done by an earlier call is taken from the folder.

    Returns:
        The table, as Markdown.

    Raises:
        SSLSegError: the data set cannot be read, or a job failed or was stopped.
    """
    folder = output / "cohort"
    if not (folder / "cohort.json").exists():
        from sslseg.data.importing import init_from_dataset

        init_from_dataset(
            folder, settings.dataset, labelled=settings.labelled, validation=settings.validation
        )
    train = TrainSettings(
        method=settings.method,
        model=f"{settings.method}-seed{settings.seed}",
        preset=settings.preset,
        steps=settings.steps,
        network=settings.network,
        device=settings.device,
        seed=settings.seed,
        validation_every=settings.steps,
    )
    evaluation = run_experiment(
        folder, train, run, device=settings.device, use=Use.VALIDATION, mirror=settings.mirror
    ).evaluation
    cases = [case.id for case in Cohort.read(folder).cases if case.use is Use.VALIDATION]
    wanted = PredictSettings(
        train.model,
        cases=cases,
        device=settings.device,
        skip_existing=True,
        mirror=settings.mirror,
    )
    finish_job(Job.create(folder, wanted), run)
    cohort = Cohort.read(folder)
    judged = judge_without_knowing(cohort, train.model, evaluation)
    few = dict(_few(cohort, train.model, evaluation))
    table = quality_table(settings, judged, few)
    write_text(output / "quality.md", table)
    write_json(
        output / "quality.json",
        [
            {
                "case": entry.case,
                "organ": entry.card.organ,
                "dice": entry.dice,
                "expected": entry.expected,
                "verdict": entry.verdict.value,
                "uncertainty": entry.card.uncertainty,
                "disagreement": entry.card.disagreement,
                "volume_ml": entry.card.volume_ml,
                **entry.card.evidence,
            }
            for entry in judged
        ],
    )
    _plot(settings, judged, output / "quality.png")
    return table


def judge_without_knowing(cohort: Cohort, model: str, evaluation: Evaluation) -> list[Judged]:
    """Every organ whose Dice is known, judged by an expectation that was fitted to the other cases."""
    judge = Judge(cohort, model)
    truths = _truths(judge, evaluation)
    every = [card for quality in judge.cards.values() for card in quality.organs]
    judged = []
    for case, organs in truths.items():
        others = [known for other, entries in truths.items() if other != case for known in entries]
        expectation = Expectation.fitted(every, others, judge.volumes)
        for known in organs:
            expected = expectation.dice(known.card)
            assert expected is not None
            card = dataclasses.replace(known.card, expected_dice=expected)
            judged.append(Judged(case, card, known.dice, expected, judge_organ(card, judge.background)[0]))
    return judged


def agreement(estimate: Array, dice: Array, organs: Sequence[str], *, is_dice: bool = True) -> Agreement:
    """How an estimate goes with the true Dice; an organ of fewer than three cases has no correlation of its own."""
    names = np.array(organs)
    within = [
        spearman(estimate[names == organ], dice[names == organ])
        for organ in sorted(set(organs))
        if (names == organ).sum() >= 3
    ]
    return Agreement(
        pooled=spearman(estimate, dice),
        within=float(np.mean(within)) if within else 0.0,
        error=float(np.abs(estimate - dice).mean()) if is_dice else None,
    )


def estimates(judged: Sequence[Judged]) -> dict[str, Agreement]:
    """The agreement of the entropy, of the networks' own word, and of the fitted expectation."""
    dice = np.array([entry.dice for entry in judged])
    organs = [entry.card.organ for entry in judged]
    found = {
        ENTROPY: (np.array([1 - entry.card.uncertainty for entry in judged]), False),
        SOFT_DICE: (np.array([entry.card.evidence["soft_dice"] for entry in judged]), True),
        FITTED: (np.array([entry.expected for entry in judged]), True),
    }
    return {name: agreement(x, dice, organs, is_dice=is_dice) for name, (x, is_dice) in found.items()}


def quality_table(
    settings: QualitySettings, judged: Sequence[Judged], few: Mapping[int, tuple[Agreement, Agreement]]
) -> str:
    """Markdown: the agreement of each estimate, what few known cases suffice for, and what the verdicts mean."""
    cases = len({entry.case for entry in judged})
    lines = [
        f"{settings.dataset.name}: {settings.method}, {settings.labelled} labelled; {len(judged)} organs of {cases} "
        f"cases that were kept apart{', mirrored windows too' if settings.mirror else ''}; mean Dice "
        f"{np.mean([entry.dice for entry in judged]):.3f}.",
        "",
        "| estimate | Spearman, all organs | Spearman within an organ, mean | mean error |",
        "|---|---|---|---|",
    ]
    for name, found in estimates(judged).items():
        what = f"{name}, fitted to the {cases - 1} other cases" if name == FITTED else name
        lines.append(_row(what, found))
    for count, (fitted, entropy) in few.items():
        lines.append(_row(f"{FITTED}, fitted to {count} case{'s' if count > 1 else ''}", fitted))
        lines.append(_row(f"{ENTROPY} on the same cases", entropy))
    lines += ["", "| verdict | organs | mean Dice | below 0.5 |", "|---|---|---|---|"]
    for verdict in Verdict:
        dice = [entry.dice for entry in judged if entry.verdict is verdict]
        if dice:
            poor = sum(value < 0.5 for value in dice)
            lines.append(f"| {verdict.value} | {len(dice)} | {np.mean(dice):.3f} | {poor} |")
    return "\n".join(lines) + "\n"


def _few(
    cohort: Cohort, model: str, evaluation: Evaluation
) -> Iterator[tuple[int, tuple[Agreement, Agreement]]]:
    """With few known cases, drawn again and again: the mean agreement on all others, and that of the entropy."""
    judge = Judge(cohort, model)
    truths = _truths(judge, evaluation)
    every = [card for quality in judge.cards.values() for card in quality.organs]
    for count in FEW:
        if len(truths) < count + 3:
            continue
        found: list[tuple[Agreement, Agreement]] = []
        for draw in range(DRAWS):
            known = {str(name) for name in np.random.default_rng(draw).permutation(list(truths))[:count]}
            fitted = [entry for name in sorted(known) for entry in truths[name]]
            expectation = Expectation.fitted(every, fitted, judge.volumes)
            others = [entry for name, entries in truths.items() if name not in known for entry in entries]
            dice = np.array([entry.dice for entry in others])
            organs = [entry.card.organ for entry in others]
            expected = np.array([expectation.dice(entry.card) for entry in others], dtype=np.float64)
            certain = np.array([1 - entry.card.uncertainty for entry in others])
            found.append((agreement(expected, dice, organs), agreement(certain, dice, organs, is_dice=False)))
        yield count, (_mean([one for one, _ in found]), _mean([other for _, other in found]))


def _mean(found: Sequence[Agreement]) -> Agreement:
    errors = [entry.error for entry in found if entry.error is not None]
    return Agreement(
        float(np.mean([entry.pooled for entry in found])),
        float(np.mean([entry.within for entry in found])),
        float(np.mean(errors)) if errors else None,
    )


def _truths(judge: Judge, evaluation: Evaluation) -> dict[str, list[Known]]:
    """The cards of the cases that were scored, with the Dice of each organ that was."""
    truths: dict[str, list[Known]] = {}
    for row in evaluation.rows:
        if row.dice is None or row.case not in judge.cards:
            continue
        card = next(organ for organ in judge.cards[row.case].organs if organ.organ == row.organ)
        truths.setdefault(row.case, []).append(Known(card, row.dice))
    return truths


def spearman(first: Array, second: Array) -> float:
    """Spearman's correlation; 0 where one side does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(stats.spearmanr(first, second).statistic)


def _row(name: str, found: Agreement) -> str:
    error = "-" if found.error is None else f"{found.error:.3f}"
    return f"| {name} | {found.pooled:.2f} | {found.within:.2f} | {error} |"


def _plot(settings: QualitySettings, judged: Sequence[Judged], path: Path) -> None:
    """The true Dice against the entropy, and against the expected Dice."""
    figure = chart_figure(LIGHT, (8.4, 3.8))
    agreements = estimates(judged)
    left, right = figure.subplots(1, 2, sharey=True)
    panels = (
        (left, ENTROPY, "mean softmax entropy in the organ", [entry.card.uncertainty for entry in judged]),
        (right, FITTED, "expected Dice, fitted to the other cases", [entry.expected for entry in judged]),
    )
    organs = list(dict.fromkeys(entry.card.organ for entry in judged))
    for axes, name, label, values in panels:
        style_axes(axes, LIGHT)
        for number, organ in enumerate(organs):
            points = [
                (x, entry.dice) for x, entry in zip(values, judged, strict=True) if entry.card.organ == organ
            ]
            color = LIGHT.series[number % len(LIGHT.series)]
            axes.plot(*zip(*points, strict=True), "o", ms=3.5, color=color, alpha=0.75, label=organ)
        axes.set_xlabel(label, size=9, color=LIGHT.faint)
        title = f"Spearman {abs(agreements[name].pooled):.2f}"
        axes.set_title(title, loc="left", size=10, color=LIGHT.ink)
    right.axline((0.6, 0.6), slope=1, color=LIGHT.faint, lw=0.8, ls=":")
    left.set_ylabel(f"true Dice, {settings.dataset.name}", size=9, color=LIGHT.faint)
    if len(organs) <= len(LIGHT.series):
        right.legend(frameon=False, fontsize=7.5, labelcolor=LIGHT.ink)
    save_figure(figure, path, dpi=110)

"""What the ranking is worth: annotate a few cases a round as it says, or by chance, and compare the test Dice.

The expert is played by the data set: a chosen case gets the label map that lies there. Both strategies begin with the
same cases and the same model; every later model starts from the one before, as in a cohort that grows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslseg.bench.experiment import run_experiment
from sslseg.bench.quality import spearman
from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json, write_text
from sslseg.contract.jobs import Job
from sslseg.contract.quality import read_ranking
from sslseg.contract.settings import Preset, RankSettings, TrainSettings
from sslseg.contract.strict import from_json, to_json
from sslseg.evaluate.evaluation import Pair, evaluate_pairs
from sslseg.jobs.finishing import RunJob, finish_job
from sslseg.report.figures import dice_vs_steps_figure, save_figure

STRATEGIES = ("random", "ranked")


@dataclass(frozen=True)
class LoopSettings:
    """A simulated loop of annotating and training.

    Attributes:
        dataset: folder with a dataset.json.
        start: cases that are annotated at first.
        add: cases that are annotated in each round.
        rounds: how often cases are added.
        seeds: each is a loop of its own, with other first cases.
        steps: optimiser steps of the first model.
        more_steps: of each later one, which starts from the one before.
        pool: the first so many training cases are there to be annotated, and are learned from unlabelled.
        test: the first so many test cases are measured on.
        method: how to train.
        preset: where the other settings come from.
        network: name of the network; None takes the preset's.
        device: where to train and predict.
    """

    dataset: Path
    start: int
    add: int
    rounds: int
    seeds: tuple[int, ...]
    steps: int
    more_steps: int
    pool: int
    test: int
    method: str = "supervised"
    preset: Preset = "quick"
    network: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Point:
    """What a model of a loop reached.

    Attributes:
        seed: of the loop.
        strategy: how its cases were chosen.
        annotated: how many it learned from.
        dice: mean over the test cases of the mean over their organs.
        organs: mean of each organ.
    """

    seed: int
    strategy: str
    annotated: int
    dice: float
    organs: dict[str, float | None]


@dataclass(frozen=True)
class Finding:
    """How well a ranking tells which of the cases that are left were segmented badly.

    Attributes:
        seed: of the loop.
        annotated: cases that its model learned from.
        pool: mean true Dice of the cases that are left.
        chosen: of those that the ranking puts first.
        spearman: between the uncertainty and the true Dice; negative where it tells.
        worst_found: share of the worst quarter that is in the least certain quarter; 0.25 by chance.
    """

    seed: int
    annotated: int
    pool: float
    chosen: float
    spearman: float
    worst_found: float


def bench_ranking(
    settings: LoopSettings, output: Path, run: RunJob, announce: Callable[[str], None]
) -> list[Point]:
    """Play the loops; write `loop.md`, `loop.json` and `loop.png`, anew after every model.

    What was done by an earlier call is taken from the folder, so that the command can be repeated after any end.

    Args:
        settings: the loops.
        output: for everything.
        run: runs a job to its end.
        announce: told of every model.

    Raises:
        SSLSegError: the data set cannot be read or is too small, or a job failed or was stopped.
    """
    bench = _Bench(settings, output, run)
    points: list[Point] = []
    for seed in settings.seeds:
        for point in bench.play(seed):
            points.append(point)
            announce(
                f"seed {point.seed}, {point.strategy}, {point.annotated} annotated: Dice {point.dice:.3f}"
            )
            _write(settings, output, points, bench.findings)
    return points


class _Bench:
    def __init__(self, settings: LoopSettings, output: Path, run: RunJob) -> None:
        self.settings, self.output, self.run = settings, output, run
        self.folder = output / "cohort"
        self.expert = self._prepare()
        self.findings: list[Finding] = []

    def play(self, seed: int) -> Iterator[Point]:
        """The models of both strategies, round by round; the first one is the same for both."""
        settings = self.settings
        by_chance = [str(name) for name in np.random.default_rng(seed).permutation(list(self.expert))]
        chosen = dict.fromkeys(STRATEGIES, by_chance[: settings.start])
        models = dict.fromkeys(STRATEGIES, f"seed{seed}-first")
        first = self._train(seed, models["random"], chosen["random"], None)
        for strategy in STRATEGIES:
            yield self._point(seed, strategy, first, chosen[strategy])
        for number in range(1, settings.rounds + 1):
            for strategy in STRATEGIES:
                before = models[strategy]
                chosen[strategy] = self._choose(seed, strategy, number, chosen[strategy], before, by_chance)
                models[strategy] = f"seed{seed}-{strategy}-{number}"
                summary = self._train(seed, models[strategy], chosen[strategy], before)
                yield self._point(seed, strategy, summary, chosen[strategy])

    def _prepare(self) -> dict[str, tuple[str, list[str]]]:
        """The cohort of pool and test cases; label map and organs of each case of the pool."""
        kept = self.output / "expert.json"
        if not kept.exists():
            from sslseg.data.importing import init_from_dataset

            if not (self.folder / "cohort.json").exists():
                init_from_dataset(self.folder, self.settings.dataset, labelled=self.settings.pool)
            with Cohort.edit(self.folder) as cohort:
                pool = [case for case in cohort.cases if case.use is Use.TRAIN and case.is_annotated]
                test = [case for case in cohort.cases if case.use is Use.TEST]
                cohort.cases = pool[: self.settings.pool] + test[: self.settings.test]
            write_json(kept, {case.id: [case.label, case.annotated] for case in pool})
        expert = {name: (label, organs) for name, (label, organs) in read_json(kept).items()}
        most = self.settings.start + self.settings.add * self.settings.rounds
        if len(expert) < most:
            raise SSLSegError(
                f"{most} cases are to be annotated, and the pool has {len(expert)}",
                remedy="Choose a larger pool, or fewer rounds.",
            )
        return expert

    def _choose(
        self,
        seed: int,
        strategy: str,
        number: int,
        annotated: Sequence[str],
        model: str,
        by_chance: Sequence[str],
    ) -> list[str]:
        """The annotated cases and those that are added in round `number`."""
        count = self.settings.add
        if strategy == "random":
            return list(by_chance[: self.settings.start + count * number])
        path = self.output / "choices" / f"seed{seed}-{number}.json"
        if not path.exists():
            self._annotate(annotated)
            finish_job(Job.create(self.folder, RankSettings(model, device=self.settings.device)), self.run)
            ranking = read_ranking(Cohort.read(self.folder), model)
            assert ranking is not None
            write_json(path, [entry.case for entry in ranking.cases[:count]])
        added = read_json(path)
        self.findings.append(self._finding(seed, model, len(annotated), added))
        return [*annotated, *added]

    def _finding(self, seed: int, model: str, annotated: int, added: Sequence[str]) -> Finding:
        """Hold the ranking of a model against the label maps of the expert."""
        path = self.output / "findings" / f"{model}.json"
        if not path.exists():
            cohort = Cohort.read(self.folder)
            ranking = read_ranking(cohort, model)
            assert ranking is not None
            uncertainty = {entry.case: entry.uncertainty for entry in ranking.cases}
            dice = self._true_dice(cohort, model, list(uncertainty))
            write_json(path, to_json(_held_against(seed, annotated, uncertainty, dice, added)))
        return from_json(Finding, read_json(path), file=path)

    def _true_dice(self, cohort: Cohort, model: str, names: Sequence[str]) -> dict[str, float]:
        """Mean Dice of the organs of each predicted case of the pool."""
        pairs = [
            Pair(name, cohort.folder / self.expert[name][0], cohort.prediction_path(model, name))
            for name in names
        ]
        known = {name: self.expert[name][1] for name in names}
        values = {label.name: label.value for label in cohort.labels}
        dice: dict[str, list[float]] = {}
        for row in evaluate_pairs(pairs, values, known=known).rows:
            if row.dice is not None:
                dice.setdefault(row.case, []).append(row.dice)
        return {name: statistics.fmean(scores) for name, scores in dice.items()}

    def _annotate(self, chosen: Sequence[str]) -> None:
        """Only the chosen cases of the pool have their label map."""
        with Cohort.edit(self.folder) as cohort:
            for case in cohort.cases:
                if case.id in self.expert:
                    label, organs = self.expert[case.id]
                    case.label, case.annotated = (label, organs) if case.id in chosen else (None, [])

    def _train(self, seed: int, model: str, chosen: Sequence[str], start_from: str | None) -> dict[str, Any]:
        """Dice of a model on the test cases: overall and by organ."""
        settings = self.settings
        self._annotate(chosen)
        result = run_experiment(
            self.folder,
            TrainSettings(
                method=settings.method,
                model=model,
                preset=settings.preset,
                steps=settings.steps if start_from is None else settings.more_steps,
                network=settings.network,
                device=settings.device,
                seed=seed,
                validation_cases=0,
                start_from=start_from,
            ),
            self.run,
            device=settings.device,
        )
        summary = result.evaluation.summary()
        return {
            "dice": summary.overall.scores["dice"].mean or 0.0,
            "organs": {name: group.scores["dice"].mean for name, group in summary.organs.items()},
        }

    @staticmethod
    def _point(seed: int, strategy: str, found: dict[str, Any], chosen: Sequence[str]) -> Point:
        return Point(seed, strategy, len(chosen), found["dice"], found["organs"])


def _held_against(
    seed: int,
    annotated: int,
    uncertainty: Mapping[str, float],
    dice: Mapping[str, float],
    chosen: Sequence[str],
) -> Finding:
    names = list(dice)
    quarter = max(1, len(names) // 4)
    worst = sorted(names, key=lambda name: dice[name])[:quarter]
    uncertain = sorted(names, key=lambda name: -uncertainty[name])[:quarter]
    correlation = spearman(*(np.array([values[name] for name in names]) for values in (uncertainty, dice)))
    return Finding(
        seed=seed,
        annotated=annotated,
        pool=round(statistics.fmean(dice.values()), 4),
        chosen=round(statistics.fmean(dice[name] for name in chosen if name in dice), 4),
        spearman=round(correlation, 4),
        worst_found=round(len(set(worst) & set(uncertain)) / quarter, 4),
    )


def loop_table(settings: LoopSettings, points: Sequence[Point], findings: Sequence[Finding] = ()) -> str:
    """Markdown: a line per number of annotated cases, differences taken within each seed; what the rankings found."""
    counts = sorted({point.annotated for point in points})
    lines = [
        f"{settings.dataset.name}: {settings.method}, {settings.steps} steps, then {settings.more_steps} more a "
        f"round; a pool of {settings.pool}, {settings.test} test cases. Mean test Dice ± standard deviation "
        "between seeds.",
        "",
        "| annotated | random | ranked | ranked - random | seeds |",
        "|---|---|---|---|---|",
    ]
    for count in counts:
        by_strategy = {
            strategy: {p.seed: p.dice for p in points if (p.strategy, p.annotated) == (strategy, count)}
            for strategy in STRATEGIES
        }
        random, ranked = (by_strategy[strategy] for strategy in STRATEGIES)
        both = sorted(set(random) & set(ranked))
        if both:
            cells = [_spread([values[seed] for seed in both]) for values in (random, ranked)]
            cells.append(_spread([ranked[seed] - random[seed] for seed in both], sign="+"))
            lines.append(f"| {count} | " + " | ".join(cells) + f" | {', '.join(map(str, both))} |")
    if findings:
        lines += [
            "",
            f"Which predictions are bad, over {len(findings)} rankings of the cases not annotated yet: Spearman of "
            f"uncertainty and true Dice {_mean(findings, 'spearman'):.2f}; of the worst quarter of the cases "
            f"{100 * _mean(findings, 'worst_found'):.0f} % are in the least certain quarter (25 % by chance); true "
            f"Dice {_mean(findings, 'pool'):.3f} on average, {_mean(findings, 'chosen'):.3f} in the cases put first.",
        ]
    return "\n".join(lines) + "\n"


def _mean(findings: Sequence[Finding], name: str) -> float:
    return statistics.fmean(getattr(finding, name) for finding in findings)


def _write(
    settings: LoopSettings, output: Path, points: Sequence[Point], findings: Sequence[Finding]
) -> None:
    write_text(output / "loop.md", loop_table(settings, points, findings))
    write_json(output / "loop.json", {"points": to_json(list(points)), "findings": to_json(list(findings))})
    curves = {
        strategy: [
            [(float(p.annotated), p.dice) for p in points if (p.seed, p.strategy) == (seed, strategy)]
            for seed in sorted({p.seed for p in points})
        ]
        for strategy in STRATEGIES
    }
    figure = dice_vs_steps_figure(
        curves, title=f"{settings.dataset.name}: which cases to annotate", ylabel="mean test Dice"
    )
    figure.axes[0].set_xlabel("annotated cases")
    save_figure(figure, output / "loop.png")


def _spread(values: Sequence[float], sign: str = "") -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{sign}.3f}{spread}"

"""`sslseg rank`: predict what is not predicted yet, judge every card anew, and put the cases in order."""

from __future__ import annotations

from collections.abc import Callable

from sslseg.contract.cohort import Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.quality import Ranking, ranking_path, write_ranking
from sslseg.contract.scores import compared_files, read_scores
from sslseg.contract.settings import PredictSettings, RankSettings
from sslseg.evaluate.case_facts import measure_dice
from sslseg.predict.cohort_prediction import predict_cohort
from sslseg.quality.cards import read_cards
from sslseg.quality.judging import Judge
from sslseg.rank.gain import rank_cases


def rank_cohort(
    cohort: Cohort, settings: RankSettings, events: EventSink, cancel: Callable[[], bool] = lambda: False
) -> bool:
    """Write `predictions/<model>/ranking.json` and the cards of all predicted cases, judged by what is annotated now.

    Args:
        cohort: its training cases are ranked.
        settings: the model.
        events: takes what a prediction tells, and the ranking as an artifact.
        cancel: asked between any two forward passes.

    Returns:
        False when it was cancelled.

    Raises:
        SSLSegError: the model is unknown or does not fit the cohort, or no case could be predicted.
    """
    there = read_cards(cohort, settings.model)
    missing = [case.id for case in cohort.cases if case.use is Use.TRAIN and case.id not in there]
    if missing:
        wanted = PredictSettings(
            settings.model,
            cases=missing,
            device=settings.device,
            precision=settings.precision,
            mirror=settings.mirror,
        )
        if predict_cohort(cohort, wanted, events, cancel).cancelled:
            return False
    else:
        events.write("started", command="rank", device="cpu", model=settings.model)
    refresh_ranking(cohort, settings.model, events)
    return True


def refresh_ranking(cohort: Cohort, model: str, events: EventSink) -> Ranking:
    """Judge the cards of a model anew, after measuring the Dice wherever a person has annotated, and rank.

    Raises:
        SSLSegError: a file cannot be written.
    """
    scores = read_scores(cohort, model).cases
    for case in cohort.cases:
        if case.id in scores and scores[case.id].files == compared_files(cohort, model, case):
            continue
        try:
            measure_dice(cohort, model, [case])
        except SSLSegError as error:
            # That it cannot be told takes nothing from the predictions.
            events.write("warning", message=f"The Dice of {case.id} is not known. {error}", case=case.id)
    judge = Judge(cohort, model)
    ranking = Ranking(model, rank_cases(cohort, judge.judge_all(), judge.background))
    write_ranking(cohort, ranking)
    events.write("artifact", path=str(ranking_path(cohort, model)), kind="ranking", cases=len(ranking.cases))
    return ranking

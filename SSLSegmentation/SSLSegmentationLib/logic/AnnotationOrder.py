"""Which case to annotate next."""

from __future__ import annotations

from sslseg.contract.cohort import Case, Use
from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.CohortLogic import CohortLogic


def nextToAnnotate(cohortLogic: CohortLogic, current: str | None) -> tuple[str, str] | None:
    """The next training case in which nothing was annotated, and why it comes next; None if there is none.

    In the order of the ranking if the current model has made one: cases that are best annotated afresh first. Without
    a ranking in the order of the cohort, going on from the current case.
    """
    cohort = cohortLogic.cohort
    if cohort is None:
        return None
    open_ = {case.id for case in cohort.cases if _isToBeAnnotated(case) and case.id != current}
    try:
        ranking = cohortLogic.ranking()
    except SSLSegError:
        ranking = None
    ranked = [] if ranking is None else [one for one in ranking.cases if one.case in open_]
    if ranked:
        first = next((one for one in ranked if one.purpose == "annotate"), ranked[0])
        return first.case, first.reason
    ids = [case.id for case in cohort.cases]
    start = ids.index(current) + 1 if current in ids else 0
    following = next((caseId for caseId in ids[start:] + ids[:start] if caseId in open_), None)
    return None if following is None else (following, "")


def _isToBeAnnotated(case: Case) -> bool:
    return case.use is Use.TRAIN and not case.is_annotated

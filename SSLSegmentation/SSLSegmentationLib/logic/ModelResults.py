"""What lies in `predictions/<model>`: predicted cases, verdicts, Dice, the ranking. Only what changed is read again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.models import ModelOrigin, read_origin
from sslseg.contract.quality import (
    CaseQuality,
    RankedCase,
    Ranking,
    Verdict,
    quality_path,
    ranking_path,
    read_quality,
    read_ranking,
)
from sslseg.contract.scores import Scores, can_be_scored, compared_files, read_scores, scores_path

PREDICTION_SUFFIX = ".nii.gz"
SETTLING_SECONDS = 2.0
"""A folder that changed so recently is looked at again: the clocks of some disks tick no faster."""

Stamp = tuple[int, int, int]


def stampOf(path: Path) -> Stamp | None:
    """Time of change, size and number of a file: it changed if they did. None if there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size, state.st_ino


class FolderWatch:
    """Tells which files of a folder came, went or changed since the last look.

    Args:
        folder: it may be missing.
        suffix: of the files that are looked at.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix
        self._stamp: Stamp | None = None
        self.files: dict[str, Stamp] = {}
        """Time, size and number of each file, by its name without the suffix."""

    def changedNames(self) -> set[str]:
        """Look again; the names that are new, gone or changed."""
        stamp = stampOf(self._folder)
        settled = stamp is None or time.time() - stamp[0] / 1e9 > SETTLING_SECONDS
        if stamp == self._stamp and settled:
            return set()
        self._stamp = stamp
        before, self.files = self.files, self._list()
        return {
            name for name in before.keys() | self.files.keys() if before.get(name) != self.files.get(name)
        }

    def _list(self) -> dict[str, Stamp]:
        files: dict[str, Stamp] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if entry.name.endswith(self._suffix) and not entry.name.startswith("."):
                        state = entry.stat()
                        name = entry.name[: -len(self._suffix)]
                        files[name] = state.st_mtime_ns, state.st_size, state.st_ino
        except OSError:  # gone, or being written to: the next look sees it whole
            return files
        return files


class ModelResults:
    """The results of one model of a cohort.

    Quality cards are many and long: for the table only the verdict and the uncertainty are taken from each, in slices
    of time; a whole card is read when it is asked for.

    Args:
        cohort: the cohort.
        model: name of the model.
    """

    def __init__(self, cohort: Cohort, model: str) -> None:
        self.cohort = cohort
        self.model = model
        self.problem = ""
        """What cannot be read, in a sentence."""
        self.verdicts: dict[str, Verdict] = {}
        self.uncertainties: dict[str, float] = {}
        """Of the cases, 0..1, as their quality cards say."""
        self.ranked: dict[str, RankedCase] = {}
        self.dice: dict[str, float] = {}
        """Mean measured Dice of the cases where it can be told, 0..1."""
        self._ranking: Ranking | None = None
        self._rankingStamp: Stamp | None = None
        self._predictions = FolderWatch(cohort.prediction_path(model, "case").parent, PREDICTION_SUFFIX)
        self._cards = FolderWatch(quality_path(cohort, model, "case").parent, ".json")
        self._scores = Scores(model)
        self._scoresStamp: Stamp | None = None
        self._scored: set[str] = set()
        self._compare = False
        self._origin: ModelOrigin | None = None
        self._originStamp: Stamp | None = None
        self._unread: set[str] = set()
        self._quality: dict[str, tuple[Stamp, CaseQuality | None]] = {}

    def refresh(self, deadline: float) -> bool:
        """Look for changes until `time.monotonic()` reaches `deadline`; True if there were any."""
        changed = bool(self._predictions.changedNames())
        changed |= self._refreshRanking()
        self._compare |= changed
        changed |= self._refreshDice()
        self._unread |= self._cards.changedNames()
        while self._unread and time.monotonic() < deadline:
            changed |= self._readVerdict(self._unread.pop())
        return changed

    def isPredicted(self, caseId: str) -> bool:
        return caseId in self._predictions.files

    def predictionStamp(self, caseId: str) -> Stamp | None:
        """Changes when the case is predicted again."""
        return self._predictions.files.get(caseId)

    def takeCohort(self, cohort: Cohort) -> None:
        """The cohort was read again: what a person drew may have changed, and scores may no longer hold."""
        self.cohort = cohort
        self._compare = True

    def needsDice(self, case: Case) -> bool:
        """Whether the Dice of a case could be told and has not been measured."""
        isKnown = case.id in self._scored or not self.isPredicted(case.id)
        return not isKnown and can_be_scored(case, self._readOrigin())

    def ranking(self) -> Ranking | None:
        return self._ranking

    def quality(self, caseId: str) -> CaseQuality | None:
        """The whole quality card of a case.

        Raises:
            SSLSegError: the file is damaged.
        """
        stamp = stampOf(quality_path(self.cohort, self.model, caseId))
        if stamp is None:
            return None
        known = self._quality.get(caseId)
        if known is None or known[0] != stamp:
            known = stamp, read_quality(self.cohort, self.model, caseId)
            self._quality[caseId] = known
        return known[1]

    def _refreshRanking(self) -> bool:
        stamp = stampOf(ranking_path(self.cohort, self.model))
        if stamp == self._rankingStamp:
            return False
        self._rankingStamp = stamp
        try:
            self._ranking = read_ranking(self.cohort, self.model)
            self.problem = ""
        except SSLSegError as error:
            self._ranking = None
            self.problem = str(error)
        self.ranked = {entry.case: entry for entry in self._ranking.cases} if self._ranking else {}
        return True

    def _refreshDice(self) -> bool:
        stamp = stampOf(scores_path(self.cohort, self.model))
        if stamp != self._scoresStamp:
            self._scoresStamp, self._compare = stamp, True
            try:
                self._scores = read_scores(self.cohort, self.model)
            except SSLSegError:
                self._scores = Scores(self.model)  # it is measured again
        if not self._compare:
            return False
        self._compare = False
        before, self.dice, self._scored = self.dice, {}, set()
        for case in self.cohort.cases:
            score = self._scores.cases.get(case.id)
            if score is None or score.files != compared_files(self.cohort, self.model, case):
                continue
            self._scored.add(case.id)
            if score.mean is not None:
                self.dice[case.id] = score.mean
        return self.dice != before

    def _readOrigin(self) -> ModelOrigin | None:
        stamp = stampOf(self.cohort.model_folder(self.model) / "sslseg.json")
        if stamp != self._originStamp:
            self._originStamp = stamp
            self._origin = read_origin(self.cohort, self.model)
        return self._origin

    def _readVerdict(self, caseId: str) -> bool:
        before = self.verdicts.pop(caseId, None), self.uncertainties.pop(caseId, None)
        if caseId in self._cards.files:
            try:
                card = json.loads(quality_path(self.cohort, self.model, caseId).read_bytes())
                self.verdicts[caseId] = Verdict(card["verdict"])
                self.uncertainties[caseId] = float(card["uncertainty"])
            except (OSError, ValueError, KeyError, TypeError):
                return before != (None, None)  # whoever opens the case is told by quality()
        return (self.verdicts.get(caseId), self.uncertainties.get(caseId)) != before

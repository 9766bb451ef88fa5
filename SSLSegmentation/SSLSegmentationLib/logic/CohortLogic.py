"""The cohort that is open in Slicer: what its folder holds, and changes to it that lose nothing of others'."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME, Case, Cohort, ReviewState, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.quality import CaseQuality, Ranking, Verdict
from SSLSegmentationLib.logic.ModelResults import ModelResults, Stamp, stampOf
from SSLSegmentationLib.logic.Signal import Signal

RECENT_KEY = "SSLSegmentation/RecentCohorts"
RECENT_COUNT = 10
EDIT_SECONDS = 5.0
"""How long a change waits for another program that is writing, before it gives up."""
REFRESH_SECONDS = 0.03
"""What a refresh may take of the GUI's time for files that can wait for the next one."""
PRESENCE_SECONDS = 10.0
"""Time between two rounds of looking whether the files of the cases are there."""


class Settings(Protocol):
    """The application's settings: a QSettings, or one of a test."""

    def value(self, key: str, default: Any = None) -> Any: ...

    def setValue(self, key: str, value: Any) -> None: ...


@dataclass(frozen=True)
class CaseRow:
    """One case as a table shows it.

    Attributes:
        id: of the case.
        use: training, validation or test.
        state: how far it is, in words.
        review: how far a person has looked at it.
        annotated: organs that were annotated.
        dice: measured Dice of the current model, mean over the organs, 0..1; None where it cannot be known.
        priority: how much it is worth a person's time, 0..1; None where the model has not ranked it.
        reason: why, in words.
        verdict: what to think of the prediction before looking at it.
        predicted: whether the current model has predicted it.
        missing: whether its image or its label map is not where the cohort says.
        uncertainty: of the prediction, 0..1; None without a quality card.
    """

    id: str
    use: Use
    state: str
    review: ReviewState
    annotated: tuple[str, ...]
    dice: float | None
    priority: float | None
    reason: str
    verdict: Verdict | None
    predicted: bool
    missing: bool = False
    uncertainty: float | None = None


class CohortLogic:
    """The open cohort.

    The truth is on disk, and others may change it at any time: the command line, a job, a second Slicer. `refresh`
    looks for that cheaply and is meant for a timer; `edit` changes the cohort as it is on disk at that moment.

    ```
    logic = CohortLogic()
    logic.changed.connect(panel.refresh)
    logic.openCohort(folder)
    with logic.edit() as cohort:
        cohort.case("case_0001").review = ReviewState.COMPLETED
    ```

    Args:
        settings: where the recent folders are kept; None takes Slicer's.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.cohort: Cohort | None = None
        self.problem = ""
        """What is wrong with the open cohort, in a sentence; empty if nothing is."""
        self.changed = Signal()
        self._settings = settings
        self._stamp: Stamp | None = None
        self._cases: dict[str, Case] = {}
        self._chosenModel: str | None = None
        self._models: list[str] = []
        self._results: ModelResults | None = None
        self._missing: set[str] = set()
        self._unchecked: list[Case] = []
        self._nextRound = 0.0

    @property
    def folder(self) -> Path | None:
        return None if self.cohort is None else self.cohort.folder

    def createCohort(
        self, folder: str | Path, name: str, modality: Literal["CT", "MR"], labels: Iterable[Label]
    ) -> None:
        """Make an empty cohort and open it.

        Raises:
            SSLSegError: there is a cohort already, the organs clash, or the folder cannot be written to.
        """
        Cohort.create(folder, name=name, modality=modality, labels=LabelTable(labels))
        self.openCohort(folder)

    def openCohort(self, folder: str | Path) -> None:
        """Open a cohort; the one that was open stays open if this fails.

        Raises:
            SSLSegError: there is none in the folder, or it cannot be read.
        """
        folder = Path(folder).absolute()
        if not (folder / FILE_NAME).is_file():
            raise SSLSegError(
                _("There is no cohort in this folder"),
                file=folder,
                remedy=_("Choose the folder that holds the file cohort.json, or make a new cohort."),
            )
        stamp = stampOf(folder / FILE_NAME)
        cohort = Cohort.read(folder, check_files=False)
        self._forget()
        self._take(cohort, stamp)
        self._refreshModels()
        self._refreshProblem()
        self._lookAtFiles(time.monotonic() + REFRESH_SECONDS)
        self._remember(folder)
        self.changed.emit()

    def closeCohort(self) -> None:
        """Open none."""
        if self.cohort is not None:
            self._forget()
            self.changed.emit()

    def refresh(self) -> bool:
        """Take over what others changed on disk; cheap if nothing did. True if anything had changed.

        Nothing is raised: what cannot be read is said by `problem`, and what was known before stays.
        """
        if self.cohort is None:
            return False
        changed = self._refreshCohort()
        changed |= self._refreshModels()
        changed |= self._lookAtFiles(time.monotonic() + REFRESH_SECONDS)
        changed |= self._refreshProblem()
        if changed:
            self.changed.emit()
        return changed

    @contextlib.contextmanager
    def edit(self) -> Iterator[Cohort]:
        """Change the cohort as it is on disk now: nothing that others did meanwhile is lost.

        Raises:
            SSLSegError: no cohort is open, or it cannot be written; it is then as it was.
        """
        if self.cohort is None:
            raise SSLSegError(_("No cohort is open"), remedy=_("Open one in the Cohort section."))
        with Cohort.edit(self.cohort.folder, timeout=EDIT_SECONDS) as cohort:
            yield cohort
        self.refresh()

    def removeCases(self, caseIds: Iterable[str]) -> None:
        """Take cases out of the cohort; their files stay where they are."""
        removed = set(caseIds)
        with self.edit() as cohort:
            cohort.cases[:] = [case for case in cohort.cases if case.id not in removed]

    def setUse(self, caseIds: Iterable[str], use: Use) -> None:
        """Say what cases are for; those that are no longer in the cohort are passed over."""
        chosen = set(caseIds)
        with self.edit() as cohort:
            for case in cohort.cases:
                if case.id in chosen:
                    case.use = use

    def rows(self) -> list[CaseRow]:
        """The cases in the order of the cohort."""
        return [self._row(case) for case in self._cases.values()]

    def row(self, caseId: str) -> CaseRow | None:
        """One case, or None if it is not in the cohort."""
        case = self._cases.get(caseId)
        return None if case is None else self._row(case)

    @property
    def models(self) -> list[str]:
        """The trained models, newest first."""
        return list(self._models)

    @property
    def model(self) -> str | None:
        """The model whose results are shown: the chosen one, else the newest."""
        if self._chosenModel in self._models:
            return self._chosenModel
        return self._models[0] if self._models else None

    @property
    def chosenModel(self) -> str | None:
        """The model that was chosen; None where the newest is shown."""
        return self._chosenModel

    def setModel(self, name: str | None) -> None:
        """Choose the model whose results are shown; None goes back to the newest."""
        if name != self._chosenModel:
            self._chosenModel = name
            self._refreshResults()
            self._refreshProblem()
            self.changed.emit()

    def quality(self, caseId: str) -> CaseQuality | None:
        """The quality card of a case for the current model, if there is one.

        Raises:
            SSLSegError: the file is damaged.
        """
        return None if self._results is None else self._results.quality(caseId)

    def needsDice(self, caseId: str) -> bool:
        """Whether the Dice of a case could be told and has not been measured for the current model."""
        case = self._cases.get(caseId)
        return case is not None and self._results is not None and self._results.needsDice(case)

    def ranking(self) -> Ranking | None:
        """The ranking by the current model, if there is one."""
        return None if self._results is None else self._results.ranking()

    def recentFolders(self) -> list[Path]:
        """Folders of the cohorts that were open last, newest first; they may have been moved since."""
        text = self._applicationSettings().value(RECENT_KEY, "")
        return [Path(line) for line in str(text or "").split("\n") if line]

    def forgetFolder(self, folder: Path) -> None:
        """Take a folder off the recent ones."""
        self._writeRecent([path for path in self.recentFolders() if path != Path(folder)])

    def _remember(self, folder: Path) -> None:
        self._writeRecent([folder, *(path for path in self.recentFolders() if path != folder)])

    def _writeRecent(self, folders: list[Path]) -> None:
        # One text: a list of one entry comes back from a QSettings as something else.
        text = "\n".join(str(path) for path in folders[:RECENT_COUNT])
        self._applicationSettings().setValue(RECENT_KEY, text)

    def _applicationSettings(self) -> Settings:
        if self._settings is None:
            self._settings = slicer.app.userSettings()
        return self._settings

    def _forget(self) -> None:
        self.cohort = None
        self.problem = ""
        self._stamp = None
        self._cases = {}
        self._chosenModel = None
        self._models = []
        self._results = None
        self._missing = set()
        self._unchecked = []
        self._nextRound = 0.0

    def _take(self, cohort: Cohort, stamp: Stamp | None) -> None:
        self.cohort = cohort
        self._stamp = stamp
        self._cases = {case.id: case for case in cohort.cases}
        self._missing &= set(self._cases)
        self._unchecked = []
        self._nextRound = 0.0
        if self._results is not None:
            self._results.takeCohort(cohort)

    def _refreshCohort(self) -> bool:
        assert self.cohort is not None
        stamp = stampOf(self.cohort.folder / FILE_NAME)
        if stamp == self._stamp or stamp is None:
            return False
        try:
            self._take(Cohort.read(self.cohort.folder, check_files=False), stamp)
        except SSLSegError as error:
            changed = self.problem != str(error)
            self.problem = str(error)
            return changed
        return True

    def _refreshModels(self) -> bool:
        assert self.cohort is not None
        made = {
            name: stampOf(self.cohort.model_folder(name) / "sslseg.json") for name in self.cohort.models()
        }
        models = sorted(made, key=lambda name: made[name] or (0, 0, 0), reverse=True)
        changed = models != self._models
        self._models = models
        return self._refreshResults() or changed

    def _refreshResults(self) -> bool:
        if self.cohort is None or self.model is None:
            changed = self._results is not None
            self._results = None
            return changed
        changed = self._results is None or self._results.model != self.model
        if changed:
            self._results = ModelResults(self.cohort, self.model)
        assert self._results is not None
        return self._results.refresh(time.monotonic() + REFRESH_SECONDS) or changed

    def _refreshProblem(self) -> bool:
        before = self.problem
        self.problem = self._findProblem()
        return self.problem != before

    def _findProblem(self) -> str:
        assert self.cohort is not None
        folder = self.cohort.folder
        stamp = stampOf(folder / FILE_NAME)
        if stamp is None:
            return _(
                "The cohort is no longer at {folder}: it was moved, renamed or removed, or its disk is not connected. "
                "Put it back, or open it where it is now."
            ).format(folder=folder)
        if stamp != self._stamp:
            return self.problem  # cohort.json cannot be read; _refreshCohort has said why
        if not os.access(folder, os.W_OK):
            return _(
                "The cohort can be looked at but not changed: you may not write to {folder}. "
                "Ask for the right to write there, or copy the cohort to a folder of your own."
            ).format(folder=folder)
        return "" if self._results is None else self._results.problem

    def _lookAtFiles(self, deadline: float) -> bool:
        """Look for missing files of cases, as many as the time allows; the next call goes on from there."""
        assert self.cohort is not None
        if not self._unchecked and time.monotonic() >= self._nextRound:
            self._nextRound = time.monotonic() + PRESENCE_SECONDS
            self._unchecked = list(self._cases.values())
        before = set(self._missing)
        while self._unchecked and time.monotonic() < deadline:
            case = self._unchecked.pop()
            paths = (self.cohort.image_path(case), self.cohort.label_path(case))
            present = all(path is None or path.exists() for path in paths)
            (self._missing.discard if present else self._missing.add)(case.id)
        return self._missing != before

    def _row(self, case: Case) -> CaseRow:
        results = self._results
        ranked = None if results is None else results.ranked.get(case.id)
        predicted = results is not None and results.isPredicted(case.id)
        missing = case.id in self._missing
        return CaseRow(
            id=case.id,
            use=case.use,
            state=self._stateInWords(case, predicted, missing),
            review=case.review,
            annotated=tuple(case.annotated),
            dice=None if results is None else results.dice.get(case.id),
            priority=None if ranked is None else ranked.priority,
            reason="" if ranked is None else ranked.reason,
            verdict=None if results is None else results.verdicts.get(case.id),
            predicted=predicted,
            missing=missing,
            uncertainty=None if results is None else results.uncertainties.get(case.id),
        )

    def _stateInWords(self, case: Case, predicted: bool, missing: bool) -> str:
        assert self.cohort is not None
        if missing:
            return _("file missing")
        if case.review is ReviewState.COMPLETED:
            return _("completed")
        if case.review is ReviewState.FLAGGED:
            return _("flagged")
        if case.review is ReviewState.IN_PROGRESS:
            return _("in progress")
        if case.is_annotated:
            whole = not case.slices and len(case.annotated) == len(self.cohort.labels)
            return _("annotated") if whole else _("partly annotated")
        return _("predicted") if predicted else _("new")

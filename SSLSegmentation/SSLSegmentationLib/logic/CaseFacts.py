"""Pictures and Dice of cases, found out in another process, a few at a time, for the cases that are looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.BackgroundCommand import BackgroundCommand, Outcome
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.ModelResults import Stamp, stampOf
from SSLSegmentationLib.logic.Paths import withBackend
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher
from SSLSegmentationLib.logic.PythonFindings import ownPython
from SSLSegmentationLib.logic.Signal import Signal

CASES_AT_A_TIME = 6
SECONDS = 300.0

_State = tuple[Stamp | None, ...]


class CaseFacts:
    """Finds out what the list of cases shows of each, as far as it is not known or no longer holds.

    ```
    facts = CaseFacts(cohortLogic)
    facts.changed.connect(panel.showPictures)
    facts.request(["case_0001", "case_0002"])    # those that can be seen
    facts.poll()                                 # from a timer
    ```
    What cannot be found out is not tried again before a file of the case has changed.

    Args:
        cohortLogic: the open cohort.
        launcher: starts the process.
        python: the interpreter for it; it needs numpy, SimpleITK and pydicom. None takes Slicer's own.

    Attributes:
        changed: emitted with the ids of the cases whose picture may have changed.
    """

    def __init__(
        self, cohortLogic: CohortLogic, launcher: Launcher | None = None, python: Path | None = None
    ) -> None:
        self.changed = Signal()
        self._cohorts = cohortLogic
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._python = python
        self._wanted: list[str] = []
        self._tried: dict[str, _State] = {}
        self._folder: Path | None = None
        self._command: BackgroundCommand | None = None
        self._inHand: tuple[str, ...] = ()

    @property
    def isBusy(self) -> bool:
        return self._command is not None

    def request(self, caseIds: Iterable[str]) -> None:
        """Name the cases that are looked at; they replace those named before that have not had their turn."""
        self._wanted = list(caseIds)

    def poll(self) -> None:
        """Start what is due, or see whether it is done. Never waits."""
        if self._command is not None:
            self._command.poll()
            return
        cohort = self._cohorts.cohort
        if cohort is None or not self._wanted:
            return
        if cohort.folder != self._folder:
            self._folder, self._tried = cohort.folder, {}
        due = [case for case in self._wantedCases(cohort) if self._isDue(cohort, case)][:CASES_AT_A_TIME]
        if due and os.access(cohort.folder, os.W_OK):
            self._start(cohort, due)

    def close(self) -> None:
        """End what is under way."""
        self._wanted = []
        if self._command is not None:
            self._command.cancel()
            self._command = None

    def _wantedCases(self, cohort: Cohort) -> list[Case]:
        known = {case.id: case for case in cohort.cases}
        return [known[caseId] for caseId in self._wanted if caseId in known]

    def _isDue(self, cohort: Cohort, case: Case) -> bool:
        state = self._state(cohort, case)
        if self._tried.get(case.id) == state:
            return False
        picture = stampOf(cohort.thumbnail_path(case.id))
        drawn = state[1] or state[2] or state[0]
        isOld = picture is None or (drawn is not None and drawn[0] > picture[0])
        return (isOld and state[0] is not None) or self._cohorts.needsDice(case.id)

    def _state(self, cohort: Cohort, case: Case) -> _State:
        """What the picture and the Dice are made of: image, annotation, prediction."""
        label = cohort.label_path(case) if case.is_annotated else None
        model = self._cohorts.model
        return (
            stampOf(cohort.image_path(case)),
            None if label is None else stampOf(label),
            None if model is None else stampOf(cohort.prediction_path(model, case.id)),
        )

    def _start(self, cohort: Cohort, cases: list[Case]) -> None:
        self._inHand = tuple(case.id for case in cases)
        self._tried.update({case.id: self._state(cohort, case) for case in cases})
        arguments = [str(cohort.folder), self._cohorts.model or "-", *self._inHand]
        try:
            self._command = BackgroundCommand(
                self._launcher,
                [str(self._python or ownPython()), "-m", "sslseg.evaluate.case_facts", *arguments],
                withBackend(os.environ),
                SECONDS,
                self._onEnded,
            )
        except SSLSegError:
            self._command = None  # the table does without pictures

    def _onEnded(self, outcome: Outcome) -> None:
        self._command = None
        self._cohorts.refresh()
        self.changed.emit(self._inHand)

"""Jobs read files, not the scene: what is drawn or decided has to be on disk before one starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from SSLSegmentationLib.logic.Signal import Signal


class OpenCase(Protocol):
    """What is needed of CaseLogic."""

    stateChanged: Signal
    problem: str

    @property
    def busy(self) -> bool: ...
    @property
    def isModified(self) -> bool: ...
    def save(self) -> None: ...


class AfterSaving:
    """Does something once the open case, and those that were closed before, are saved.

    ```
    afterSaving = AfterSaving(caseLogic)
    afterSaving.do(lambda: jobs.start(settings))    # at once if nothing has to be saved
    ```
    What cannot be saved is said by `CaseLogic.failed`; nothing is done then.
    """

    def __init__(self, caseLogic: OpenCase) -> None:
        self._case = caseLogic
        self._action: Callable[[], Any] | None = None
        caseLogic.stateChanged.connect(self._onStateChanged)

    @property
    def isWaiting(self) -> bool:
        return self._action is not None

    def close(self) -> None:
        """Wait no more."""
        self._action = None
        self._case.stateChanged.disconnect(self._onStateChanged)

    def do(self, action: Callable[[], Any]) -> None:
        """Do it, now or after saving; what was waiting before is dropped."""
        self._action = None
        if self._case.isModified:
            self._case.problem = ""
            self._case.save()
            if self._case.problem:
                return
        self._action = action
        self._onStateChanged()

    def _onStateChanged(self) -> None:
        if self._action is None or (self._case.busy and not self._case.problem):
            return
        action, self._action = self._action, None
        if not self._case.problem:
            action()

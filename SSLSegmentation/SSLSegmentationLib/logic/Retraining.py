"""Training again from the current model, once enough was corrected or annotated that it has not learned from."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from slicer.i18n import tr as _

from sslseg.contract.cohort import Case, Cohort, Use
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import JobSettings
from sslseg.contract.models import ModelOrigin, case_digest, read_origin
from sslseg.contract.settings import TrainSettings
from SSLSegmentationLib.logic.JobLogic import AFTER_TRAINING
from SSLSegmentationLib.logic.ReviewQueue import MODEL_KEY, REVIEW_KEY, Decision

ENOUGH_CASES = 3
"""So many new cases are worth a training, or half of what the model has learned from, if that is less."""


class OpenCohort(Protocol):
    """What is needed of CohortLogic."""

    @property
    def cohort(self) -> Cohort | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def models(self) -> list[str]: ...


class Jobs(Protocol):
    """What is needed of JobLogic."""

    @property
    def active(self) -> list[Any]: ...
    @property
    def trainings(self) -> list[Any]: ...
    def start(self, settings: JobSettings, then: Any = ()) -> Any: ...


@dataclass(frozen=True)
class Advice:
    """Whether to train again.

    Attributes:
        sentence: what has changed since the model was trained, and whether that is enough.
        isPossible: whether there is anything new to learn from, and no training under way.
        isEnough: whether it is worth a training by now.
    """

    sentence: str
    isPossible: bool = False
    isEnough: bool = False


class Retraining:
    """Knows what the current model has not learned from yet, and trains on.

    A case is new to a model if its annotation is not among those in the model's record, or if the prediction of this
    very model was corrected or accepted.
    """

    def __init__(self, cohortLogic: OpenCohort, jobLogic: Jobs) -> None:
        self._cohort = cohortLogic
        self._jobs = jobLogic
        self._origins: dict[tuple[Any, ...], ModelOrigin | None] = {}

    @property
    def origin(self) -> ModelOrigin | None:
        """How the current model came about; None where there is none, or its record cannot be read."""
        cohort, model = self._cohort.cohort, self._cohort.model
        if cohort is None or model is None:
            return None
        try:
            changed = (cohort.model_folder(model) / "sslseg.json").stat().st_mtime_ns
        except OSError:
            return None
        key = (cohort.folder, model, changed)
        if key not in self._origins:
            self._origins = {key: read_origin(cohort, model)}
        return self._origins[key]

    def newCases(self) -> dict[str, Decision | None]:
        """Ids of the annotated training cases that are new to the current model, and how they were reviewed."""
        cohort, model, origin = self._cohort.cohort, self._cohort.model, self.origin
        if cohort is None or model is None or origin is None:
            return {}
        return {
            case.id: _reviewed(case, model)
            for case in cohort.cases
            if case.is_annotated
            and case.use is Use.TRAIN
            and (_reviewed(case, model) is not None or case_digest(case.id) not in origin.cases)
        }

    def advice(self) -> Advice:
        """Whether to train again, in words."""
        model, origin = self._cohort.model, self.origin
        if model is None:
            return Advice(_("There is no model yet: train one in the Train section."))
        if any(isinstance(monitor.job.settings, TrainSettings) for monitor in self._jobs.active):
            return Advice(_("A training is under way; see the Train section."))
        if origin is None:
            return Advice(_("The record of the model '{model}' cannot be read.").format(model=model))
        new = self.newCases()
        if not new:
            return Advice(
                _("Nothing was corrected or annotated since '{model}' was trained.").format(model=model)
            )
        sentence = _("{changes} since '{model}' was trained").format(changes=_changes(new), model=model)
        enough = len(new) >= min(ENOUGH_CASES, max(1, math.ceil(len(origin.cases) / 2)))
        ending = _("enough to train again.") if enough else _("a few more make a training worth while.")
        return Advice(f"{sentence}: {ending}", isPossible=True, isEnough=enough)

    def settings(self) -> TrainSettings:
        """The settings of a training that goes on from the current model, as that one was trained.

        Raises:
            SSLSegError: there is no model, or its record cannot be read.
        """
        model, origin = self._cohort.model, self.origin
        if model is None or origin is None:
            raise SSLSegError(
                _("There is no model to start from"), remedy=_("Train one in the Train section first.")
            )
        asked = [m.job.settings for m in self._jobs.trainings if m.job.settings.model == model]
        if asked:
            settings = asked[-1]
        else:  # the job is gone, or the model came from elsewhere
            method = origin.settings.get("method_settings")
            settings = TrainSettings(
                origin.method, model, method_settings=method if isinstance(method, dict) else {}
            )
            preset = origin.settings.get("preset")
            if preset in ("quick", "standard", "thorough"):
                settings = dataclasses.replace(settings, preset=preset)
        return dataclasses.replace(
            settings, model=self._freeName(model), start_from=model, leave_one_out=False, network=None
        )

    def start(self) -> Any:
        """Train from the current model, then segment and rank the cases with the new one; the training's monitor.

        Raises:
            SSLSegError: there is no model to start from, or the training cannot be started.
        """
        return self._jobs.start(self.settings(), then=AFTER_TRAINING)

    def _freeName(self, model: str) -> str:
        """'first' goes on as 'first-2', 'first-3'…"""
        stem, separator, number = model.rpartition("-")
        if not separator or not number.isdigit():
            stem = model
        taken = {*self._cohort.models, *(monitor.job.settings.model for monitor in self._jobs.trainings)}
        return next(name for n in range(2, len(taken) + 3) if (name := f"{stem}-{n}") not in taken)


def _reviewed(case: Case, model: str) -> Decision | None:
    """What was decided about the prediction of this model; None if nothing was."""
    decision = case.provenance.get(REVIEW_KEY)
    known = [decision.value for decision in Decision if decision.isMade]
    return Decision(decision) if decision in known and case.provenance.get(MODEL_KEY) == model else None


def _changes(new: dict[str, Decision | None]) -> str:
    """'3 cases corrected, 1 accepted'."""
    counts = Counter(new.values())
    parts = [
        (counts[Decision.CORRECTED], _("corrected")),
        (counts[Decision.ACCEPTED], _("accepted")),
        (counts[Decision.REJECTED], _("accepted in part")),
        (counts[None], _("annotated")),
    ]
    told = [(count, word) for count, word in parts if count]
    first, word = told[0]
    noun = _("1 case {word}") if first == 1 else _("{count} cases {word}")
    rest = [f"{count} {word}" for count, word in told[1:]]
    return ", ".join([noun.format(count=first, word=word), *rest])

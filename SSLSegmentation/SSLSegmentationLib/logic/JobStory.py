"""What the events of a job have told so far."""

from __future__ import annotations

import contextlib
from typing import Any

from sslseg.contract.events import ENDINGS, Event
from SSLSegmentationLib.logic.StepSeries import StepSeries

MOST_WARNINGS = 50


class JobStory:
    """The events of one job, folded into what a person wants to know.

    Attributes:
        marker: the last of started, finished, cancelled, failed; None before the first.
        step: steps done, or cases.
        steps: of all.
        secondsLeft: as the job estimates it; None when it does not know.
        phase: "preparing" before the first step, else "".
        done: cases prepared.
        total: cases to prepare.
        share: of the case at hand, 0 to 1.
        case: id of the case at hand; empty where there is none.
        part: which of several trainings of one job this is (leave-one-out), from 1.
        parts: how many there are.
        losses: the curve of every loss.
        validation: the curve of the Dice of every organ, 0 to 1.
        measurement: how much those figures are worth, in a sentence.
        warnings: what to know, each once.
        artifacts: the fields of every artifact event: path, kind, and more.
        device: what it runs on, in words.
        message: why it failed.
        startedAt: when the last run began, in seconds since the epoch.
        heardAt: when the last event was written.
    """

    def __init__(self) -> None:
        self.marker: str | None = None
        self.step = 0
        self.steps = 0
        self.secondsLeft: float | None = None
        self.phase = ""
        self.done = 0
        self.total = 0
        self.share = 0.0
        self.case = ""
        self.part = 1
        self.parts = 1
        self.losses = StepSeries()
        self.validation = StepSeries()
        self.latestLosses: dict[str, float] = {}
        self.latestDice: dict[str, float | None] = {}
        self.measurement = ""
        self.warnings: list[str] = []
        self.artifacts: list[dict[str, Any]] = []
        self.device = ""
        self.message = ""
        self.startedAt: float | None = None
        self.heardAt: float | None = None

    @property
    def fraction(self) -> float | None:
        """How much is done, 0 to 1; None when nothing is known."""
        if self.phase == "preparing":
            return self.done / self.total if self.total else None
        if not self.steps:
            return None
        within = min(1.0, (self.step + (self.share if self.share < 1 else 0.0)) / self.steps)
        return (self.part - 1 + within) / self.parts

    @property
    def seconds(self) -> float | None:
        """How long the last run has taken so far, or took."""
        if self.startedAt is None or self.heardAt is None:
            return None
        return max(0.0, self.heardAt - self.startedAt)

    def add(self, event: Event) -> None:
        """Take the next event; one that another version wrote differently is passed over."""
        self.heardAt = event.time
        if event.event in ENDINGS or event.event == "started":
            self.marker = event.event
            self.secondsLeft = None
        take = getattr(self, f"_take{event.event.capitalize()}", None)
        if take is not None:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                take(event)

    def _takeStarted(self, event: Event) -> None:
        self.startedAt = event.time
        self.device = str(event.fields.get("device", ""))
        self.phase, self.message, self.warnings = "", "", []

    def _takeProgress(self, event: Event) -> None:
        fields = event.fields
        self.step, self.steps = int(fields["step"]), int(fields["steps"])
        self.secondsLeft = fields["seconds_left"]
        self.phase = str(fields.get("phase") or "")
        self.done, self.total = int(fields.get("done") or 0), int(fields.get("total") or 0)
        self.share = float(fields.get("share") or 0.0)
        self.case = str(fields.get("case") or "")
        self.part, self.parts = int(fields.get("part") or 1), int(fields.get("parts") or 1)
        losses = fields.get("losses")
        if losses:
            self.latestLosses = dict(losses)
            self.losses.add(self.step, losses)

    def _takeValidation(self, event: Event) -> None:
        self.latestDice = dict(event.fields["dice"])
        self.measurement = str(event.fields.get("message") or "")
        self.validation.add(int(event.fields["step"]), self.latestDice)

    def _takeWarning(self, event: Event) -> None:
        message = str(event.fields["message"])
        if message not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(message)

    def _takeArtifact(self, event: Event) -> None:
        self.artifacts.append(event.fields)

    def _takeCancelled(self, event: Event) -> None:
        self.step = int(event.fields["step"] or 0)

    def _takeFailed(self, event: Event) -> None:
        self.message = str(event.fields["message"])

"""What happens around the steps of a run: reporting, measuring, saving, stopping."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning

from sslseg.bundle.metadata import ValidationPoint
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.files import atomic_path
from sslseg.contract.strict import from_json, to_json
from sslseg.methods.base import Method
from sslseg.train.validation import describe_measurement


class ProgressReport(lightning.Callback):
    """Writes a progress event about once a second, and at the last step.

    Only these steps read the losses, and so wait for the device; they also find out when a run has diverged.

    Args:
        events: gets the progress events.
        steps: steps of the training.
        part: which of the trainings of the run this is, from 1; the time left is that of all of them.
        parts: how many there are.
        seconds: between two events.
    """

    def __init__(
        self, events: EventSink, steps: int, *, part: int = 1, parts: int = 1, seconds: float = 1.0
    ) -> None:
        self.events = events
        self.steps = steps
        self.part = part
        self.parts = parts
        self.seconds = seconds
        self._last = -math.inf
        self._started = 0.0
        self._first_step = 0

    def on_train_start(self, trainer: lightning.Trainer, method: Method) -> None:
        self._started = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: lightning.Trainer, method: Method, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        now = time.monotonic()
        step = trainer.global_step
        if now - self._last < self.seconds and step < self.steps:
            return
        self._last = now
        losses = finite_losses(method)
        seconds_a_step = (now - self._started) / max(1, step - self._first_step)
        steps_left = self.steps * (self.parts - self.part + 1) - step
        self.events.write(
            "progress",
            step=step,
            steps=self.steps,
            part=self.part,
            parts=self.parts,
            seconds_left=round(seconds_a_step * steps_left, 1),
            losses={name: round(value, 5) for name, value in losses.items()},
            learning_rate=trainer.optimizers[0].param_groups[0]["lr"],
        )


class Measurements(lightning.Callback):
    """Measures the networks that would be shipped, every so many steps and at the last one.

    Args:
        events: gets the validation events.
        measure: measures the method's networks: Dice of each organ.
        cases: how many held-back cases it measures on.
        every: steps between two measurements.
        steps: steps of the run.
    """

    def __init__(
        self,
        events: EventSink,
        measure: Callable[[Method], dict[str, float | None]],
        *,
        cases: int,
        every: int,
        steps: int,
    ) -> None:
        self.events = events
        self.measure = measure
        self.cases = cases
        self.every = every
        self.steps = steps
        self.measured: list[ValidationPoint] = []
        self.seconds_spent = 0.0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, method: Method, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if not self.cases or (step % self.every and step != self.steps):
            return
        begun = time.monotonic()
        dice = self.measure(method)
        self.seconds_spent += time.monotonic() - begun
        self.measured.append(ValidationPoint(step, dice))
        self.events.write(
            "validation", step=step, dice=dice, cases=self.cases, message=describe_measurement(self.cases)
        )

    def state_dict(self) -> dict[str, Any]:
        return {"measured": to_json(self.measured), "seconds_spent": self.seconds_spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.measured = [from_json(ValidationPoint, point) for point in state["measured"]]
        self.seconds_spent = state["seconds_spent"]


class Checkpoints(lightning.Callback):
    """Saves the run every so many seconds, and stops it when that is asked for.

    Args:
        path: the checkpoint; it is replaced in one step.
        cancel: whether somebody wants the run to stop; asked at every step.
        seconds: between two checkpoints.
    """

    def __init__(self, path: Path, cancel: Callable[[], bool], *, seconds: float = 60.0) -> None:
        self.path = path
        self.cancel = cancel
        self.seconds = seconds
        self.cancelled = False
        self._begun = self._saved = time.monotonic()
        self._spent_before = 0.0

    @property
    def seconds_spent(self) -> float:
        """Time of the run so far, without the time between an interruption and its resumption."""
        return self._spent_before + time.monotonic() - self._begun

    def on_train_start(self, trainer: lightning.Trainer, method: Method) -> None:
        self._begun = self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, method: Method, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        self.cancelled = self.cancel()
        due = time.monotonic() - self._saved >= self.seconds or trainer.global_step == trainer.max_steps
        if self.cancelled or due:
            self._save(trainer, method)
        if self.cancelled:
            trainer.should_stop = True

    def _save(self, trainer: lightning.Trainer, method: Method) -> None:
        # A run must never resume from weights that are lost already.
        finite_losses(method)
        with atomic_path(self.path) as temporary:
            trainer.save_checkpoint(temporary)
        self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds_spent": self.seconds_spent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._spent_before = state["seconds_spent"]


class OwnSigterm(lightning.Callback):
    """Keeps the handler of SIGTERM that was there: Lightning's ends the run before a checkpoint is saved."""

    def __init__(self) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: lightning.Trainer, method: Method) -> None:
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


def finite_losses(method: Method) -> dict[str, float]:
    """The losses of the last step.

    Raises:
        SSLSegError: one of them is not a finite number.
    """
    losses = method.measured_losses()
    if not all(math.isfinite(value) for value in losses.values()):
        diverged = next(name for name, value in losses.items() if not math.isfinite(value))
        raise SSLSegError(
            f"The training diverged: the loss '{diverged}' is no longer a number",
            remedy="Train again with a smaller learning rate, or with the precision float32.",
        )
    return losses

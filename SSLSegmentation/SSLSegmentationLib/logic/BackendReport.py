"""What the backend tells about itself after its one-second job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from SSLSegmentationLib.logic.BackgroundCommand import Outcome
from SSLSegmentationLib.logic.PythonFindings import nameOf


@dataclass(frozen=True)
class BackendReport:
    """The result of a test of the backend.

    Attributes:
        isGood: whether it works.
        sentence: the result in words.
        warnings: what to know though it works, or more about why it does not.
    """

    isGood: bool
    sentence: str
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, seconds: float) -> BackendReport:
        """Read the outcome of `sslseg check --json`.

        Args:
            outcome: how the command ended.
            seconds: how long it was given.
        """
        if outcome.exitCode is None:
            return cls(
                False,
                _(
                    "The backend did not answer within {seconds} seconds. Try again when the computer is less busy."
                ).format(seconds=round(seconds)),
            )
        answer = outcome.answer()
        if answer is None or "ok" not in answer:
            return cls(False, _crash(outcome), _lastLines(outcome.output))
        warnings = _texts(answer.get("warnings"))
        if answer["ok"]:
            return cls(True, _success(answer), warnings)
        errors = _texts(answer.get("errors")) or (_("The backend starts, but its test job failed."),)
        return cls(False, errors[0], (*errors[1:], *warnings))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in value) if isinstance(value, list) else ()


def _success(answer: dict[str, Any]) -> str:
    device = str(answer.get("device") or _("an unknown device"))
    if device.startswith("cpu"):
        device = _("the processor") + device.removeprefix("cpu")
    if answer.get("memory_gb"):
        device = _("{device}, {memory:g} GB of memory").format(device=device, memory=answer["memory_gb"])
    versions = (answer.get("versions") or {}).items()
    return _(
        "The backend works on {device}. The test job took {seconds:.1f} s. Versions: {versions}."
    ).format(
        device=device,
        seconds=float(answer.get("seconds") or 0),
        versions=", ".join(f"{nameOf(name)} {version}" for name, version in versions if version),
    )


def _crash(outcome: Outcome) -> str:
    if outcome.exitCode is not None and outcome.exitCode < 0:
        return _("The backend crashed (signal {number}).").format(number=-outcome.exitCode)
    return _("The backend does not start (exit code {code}).").format(code=outcome.exitCode)


def _lastLines(output: str, count: int = 3) -> tuple[str, ...]:
    return tuple(line.strip() for line in output.splitlines() if line.strip())[-count:]

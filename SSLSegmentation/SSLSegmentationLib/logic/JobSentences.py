"""What a job is doing, or how it ended, in a sentence."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from slicer.i18n import tr as _

from sslseg.contract.jobs import Job, JobState
from SSLSegmentationLib.logic.JobStory import JobStory

LOG_LINES = 3
WINDOWS_CRASH = 0xC0000005
"""Exit code of a program that touched memory which is not its own."""
DISK_FULL = ("No space left on device", "not enough space on the disk", "Disk quota exceeded")


@dataclass(frozen=True)
class _Phrases:
    """The words for one kind of job; {model} is the name of its model."""

    subject: str
    running: str
    finished: str
    counts: str


def _phrases(command: str) -> _Phrases:
    known = {
        "train": _Phrases(
            _("The training of '{model}'"),
            _("Training '{model}'"),
            _("The model '{model}' is trained."),
            _("step {step} of {steps}"),
        ),
        "predict": _Phrases(
            _("The segmentation with '{model}'"),
            _("Segmenting with '{model}'"),
            _("The cases are segmented with '{model}'."),
            _("case {step} of {steps}"),
        ),
        "rank": _Phrases(
            _("The ranking with '{model}'"),
            _("Ranking the cases with '{model}'"),
            _("The cases are ranked with '{model}'."),
            _("case {step} of {steps}"),
        ),
        "export": _Phrases(
            _("The export"), _("Exporting"), _("The export is done."), _("case {step} of {steps}")
        ),
        "export-model": _Phrases(
            _("The export of the model '{model}'"),
            _("Exporting the model '{model}'"),
            _("The model '{model}' is exported as a MONAI bundle."),
            _("{step} of {steps}"),
        ),
        "import": _Phrases(
            _("The import"), _("Importing"), _("The import is done."), _("file {step} of {steps}")
        ),
    }
    other = _Phrases(
        _("The job"), _("Working"), _("The job is done."), _("{step} of {steps}")
    )  # of a newer version
    return known.get(command, other)


def jobSentence(job: Job, state: JobState, story: JobStory, *, started: bool, cancelling: bool) -> str:
    """What the job is doing or how it ended.

    Args:
        job: which.
        state: where it stands.
        story: what it has told.
        started: whether its process is there, for a job that has told nothing yet.
        cancelling: whether it has been asked to stop.
    """
    phrases = _phrases(job.description.command)
    model = getattr(job.settings, "model", None) or ""
    subject, counts = phrases.subject.format(model=model), ""
    if story.steps and story.phase != "preparing":
        counts = phrases.counts.format(step=story.step, steps=story.steps)
    if state is JobState.WAITING:
        text = _("{subject} is starting.") if started else _("{subject} is prepared and has not begun.")
        return text.format(subject=subject)
    if state is JobState.RUNNING:
        if cancelling:
            return _("{subject} is stopping and keeps what it has done.").format(subject=subject)
        return _runningSentence(phrases.running.format(model=model), counts, story)
    if state is JobState.FINISHED:
        sentences = [phrases.finished.format(model=model)]
        if story.seconds is not None:
            sentences.append(_("It took {time}.").format(time=duration(story.seconds)))
        return " ".join(sentences)
    if state is JobState.FAILED:
        return story.message or _("{subject} failed.").format(subject=subject)
    text = (
        _("{subject} was stopped{where}.")
        if state is JobState.CANCELLED
        else _("{subject} was interrupted{where}.")
    )
    where = _(" at {counts}").format(counts=counts) if counts else ""
    return text.format(subject=subject, where=where) + " " + _("It can go on from what is saved.")


def _runningSentence(doing: str, counts: str, story: JobStory) -> str:
    if story.phase == "preparing":
        return _("{doing}: preparing the cases, {done} of {total}.").format(
            doing=doing, done=story.done, total=story.total
        )
    if not counts:
        return _("{doing}.").format(doing=doing)
    if story.parts > 1:
        counts = _("part {part} of {parts}, {counts}").format(
            part=story.part, parts=story.parts, counts=counts
        )
    if story.secondsLeft is None:
        return _("{doing}: {counts}.").format(doing=doing, counts=counts)
    return _("{doing}: {counts}, {time} left.").format(
        doing=doing, counts=counts, time=duration(story.secondsLeft)
    )


def duration(seconds: float) -> str:
    """A length of time as people say it, coarse on purpose: estimates that jump by seconds only disturb."""
    minutes = round(seconds / 60)
    if seconds < 50:
        return _("less than a minute")
    if minutes <= 1:
        return _("about a minute")
    if minutes < 60:
        return _("about {count} minutes").format(count=minutes if minutes < 20 else 5 * round(minutes / 5))
    hours, rest = divmod(15 * round(minutes / 15), 60)
    if hours >= 12 or not rest:
        hours = round(minutes / 60)
        return _("about an hour") if hours == 1 else _("about {count} hours").format(count=hours)
    whole = _("an hour") if hours == 1 else _("{count} hours").format(count=hours)
    return _("about {hours} and {rest} minutes").format(hours=whole, rest=rest)


def exitSentence(code: int, output: str) -> str:
    """Why a process ended that said nothing itself.

    Args:
        code: its exit code. The signal that ended it comes negative from Python, above 128 from a shell, and as it is
            from the launcher of Slicer's Python; the backend itself ends with no such code.
        output: what it printed.
    """
    if any(sign in output for sign in DISK_FULL):
        return _("The disk is full. Free some space and go on.")
    number = code - 128 if code > 128 else abs(code)
    if number == getattr(signal, "SIGKILL", 9):
        return _("The system ended its program, most often because the memory ran out.")
    if "ModuleNotFoundError" in output or "No module named" in output:
        return _("The backend is incomplete. Open the Setup section.")
    lines = [line.strip() for line in output.splitlines() if line.strip()][-LOG_LINES:]
    ended = _("Its program ended with code {code}.").format(code=code)
    if number == signal.SIGSEGV or code == WINDOWS_CRASH:
        ended = _("Its program crashed.")
    if not lines:
        return ended
    return ended + " " + _("Its last words: {lines}").format(lines=" / ".join(lines))

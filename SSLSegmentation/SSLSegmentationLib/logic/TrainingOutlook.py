"""What a training of the open cohort would learn from, what stands in its way, and how long it may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from slicer.i18n import tr as _

from sslseg.contract.choices import Choices, MethodDescription
from sslseg.contract.cohort import Case, Cohort, Use, check_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.models import ModelOrigin
from sslseg.contract.settings import TrainSettings
from SSLSegmentationLib.logic.JobSentences import duration

FEW_CASES = 2
"""So few annotated cases of an organ are pointed out, when others have more."""


@dataclass(frozen=True)
class TrainingOutlook:
    """What a training would be like.

    Attributes:
        summary: what it would use: "4 annotated cases, 52 without annotation, 6 organs."
        hints: what is worth knowing before, each a sentence.
        refusal: why it cannot be started; empty if it can.
        instead: name of a method that could be trained where the chosen one cannot; empty if there is none.
    """

    summary: str
    hints: list[str] = field(default_factory=list)
    refusal: str = ""
    instead: str = ""

    @classmethod
    def of(cls, cohort: Cohort | None, method: MethodDescription, choices: Choices) -> TrainingOutlook:
        """Look at a cohort with a method in mind; `choices` has the methods to offer instead."""
        if cohort is None:
            return cls(
                _("No cohort is open."), refusal=_("Open or make a cohort in the Cohort section first.")
            )
        training = [case for case in cohort.cases if case.use is Use.TRAIN]
        annotated = [case for case in training if case.is_annotated]
        unlabelled = len(training) - len(annotated)
        summary = _("{annotated}, {unlabelled} without annotation, {organs}.").format(
            annotated=_count(len(annotated), _("annotated case"), _("annotated cases")),
            unlabelled=unlabelled,
            organs=_count(len(cohort.labels), _("organ"), _("organs")),
        )
        hints = [*_organHints(cohort, annotated), *_apartHints(cohort)]
        if not annotated:
            refusal = _(
                "No training case is annotated yet. Draw the organs of at least one in the Annotate section."
            )
            return cls(summary, [] if not cohort.cases else _apartHints(cohort), refusal)
        if method.uses_unlabelled and not unlabelled:
            instead = next(other for other in choices.methods if not other.uses_unlabelled)
            refusal = _(
                "'{method}' learns from cases without annotation, and there are none. Choose '{instead}', or add "
                "volumes in the Cohort section."
            ).format(method=method.title, instead=instead.title)
            return cls(summary, hints, refusal, instead.name)
        if not method.uses_unlabelled and unlabelled:
            hints.append(
                _("'{method}' leaves the cases without annotation aside.").format(method=method.title)
            )
        return cls(summary, hints)


def nameProblem(name: str, taken: Collection[str]) -> str:
    """Why a new model cannot have this name; empty if it can."""
    try:
        check_name(name, _("name of a model"))
    except SSLSegError as error:
        return str(error)
    # Names that differ by case alone are one folder on some systems.
    if name.lower() in {other.lower() for other in taken}:
        return _("There is a model '{name}' already, or one in the making. Choose another name.").format(
            name=name
        )
    return ""


def freeName(base: str, taken: Collection[str]) -> str:
    """`base`, or `base-2`, `base-3` if that is taken."""
    candidates = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in candidates if not nameProblem(name, taken))


def expectedSeconds(
    settings: TrainSettings, choices: Choices, earlier: Iterable[tuple[str, ModelOrigin]]
) -> tuple[float, str] | None:
    """How long the steps of a training will take, by the measured speed of an earlier one like it.

    Args:
        settings: of the training.
        choices: what presets stand for.
        earlier: names and origins of models, the newest first.

    Returns:
        Seconds and the name of the model they are inferred from; None where none is alike.
    """
    for name, origin in earlier:
        used = origin.settings
        preset = choices.preset(settings.preset, origin.device.split(" ")[0])
        network = settings.network or (used.get("network") if settings.start_from else preset.network)
        alike = (
            origin.method == settings.method
            and used.get("network") == network
            and used.get("device", "auto") == settings.device
            and not settings.leave_one_out
        )
        if alike and origin.seconds_per_step > 0:
            return origin.seconds_per_step * (settings.steps or preset.steps), name
    return None


def presetSentence(
    settings: TrainSettings, choices: Choices, earlier: Sequence[tuple[str, ModelOrigin]]
) -> str:
    """When to choose a preset, and how long it takes where that is known."""
    sentence = {
        "quick": _("A first result soon, to see whether it works at all."),
        "standard": _("The usual choice once the annotations are right."),
        "thorough": _("The most careful, for a final model; best left to run overnight."),
    }[settings.preset]
    expected = expectedSeconds(settings, choices, earlier)
    if expected is None:
        return sentence
    seconds, name = expected
    return sentence + " " + _("Takes {time}, going by '{name}'.").format(time=duration(seconds), name=name)


def _organHints(cohort: Cohort, annotated: Sequence[Case]) -> list[str]:
    """Organs that are annotated in few cases or in none."""
    counts = Counter(organ for case in annotated for organ in case.annotated)
    most = max(counts.values(), default=0)
    hints = []
    for count in range(min(FEW_CASES, most - 1) + 1):
        organs = [name for name in cohort.labels.names if counts[name] == count]
        if not organs or not annotated:
            continue
        listed = _listed(organs)
        if count == 0:
            hints.append(
                _("Annotated nowhere, so the model will not find it: {organs}.").format(organs=listed)
                if len(organs) == 1
                else _("Annotated nowhere, so the model will not find them: {organs}.").format(organs=listed)
            )
        else:
            cases = _count(count, _("case"), _("cases"))
            hints.append(_("Annotated in {cases} only: {organs}.").format(cases=cases, organs=listed))
    return hints


def _apartHints(cohort: Cohort) -> list[str]:
    """Cases that are not trained on."""
    apart = []
    for use, word in ((Use.VALIDATION, _("to measure while training")), (Use.TEST, _("for testing"))):
        count = sum(case.use is use for case in cohort.cases)
        if count:
            apart.append(
                _("{cases} kept apart {purpose}.").format(
                    cases=_count(count, _("case"), _("cases")), purpose=word
                )
            )
    return apart


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return _("{first} and {last}").format(first=", ".join(names[:-1]), last=names[-1])

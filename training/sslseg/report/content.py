"""What a report is made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslseg.contract.labels import Label

MISSING = "\N{EN DASH}"
"""Written where there is nothing to write."""

MOST_HEADLINES = 3

Points = Sequence[tuple[float, float]]
"""(step, value) of a curve; a value that is not finite leaves a gap."""


def readable(name: str) -> str:
    """'right_kidney' as a reader would write it."""
    return name.replace("_", " ")


@dataclass(frozen=True)
class Statistic:
    """Mean and standard deviation over `count` cases; a count of 0 means that nothing could be measured."""

    mean: float
    std: float
    count: int

    @property
    def measured(self) -> bool:
        return self.count > 0 and math.isfinite(self.mean)

    @property
    def spread(self) -> float | None:
        """The standard deviation; None where there is none, as over a single case."""
        return self.std if self.count > 1 and math.isfinite(self.std) else None


@dataclass
class MethodResult:
    """One way of training and what it achieved.

    Attributes:
        name: as shown, such as 'Mean teacher'.
        description: one or two sentences for someone who never trained a network.
        settings: what was set, by name.
        seconds: the training took.
        loss: the training loss by step.
        val_dice: of every organ, the Dice on the validation cases by step.
        summary: of every organ, of the metrics 'dice', 'hd95', 'assd' (mm) and 'surface_dice'.
    """

    name: str
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    loss: Points = ()
    val_dice: Mapping[str, Points] = field(default_factory=dict)
    summary: Mapping[str, Mapping[str, Statistic]] = field(default_factory=dict)


@dataclass
class ReportCase:
    """One segmented volume. Arrays are (z, y, x) in LPS order: x to the left, y to the back, z to the head.

    Attributes:
        case: the name of the case.
        image: intensities; HU for CT.
        prediction: uint8, values of the labels.
        reference: the expert's segmentation, if there is one; 255 where nobody annotated.
        uncertainty: 0 (sure) .. 1, if it was computed.
        spacing: mm, (z, y, x).
        note: a sentence shown with the case.
        scores: Dice of every organ; None where it is not defined or not known.
    """

    case: str
    image: NDArray[Any]
    prediction: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    reference: NDArray[np.uint8] | None = None
    uncertainty: NDArray[np.floating[Any]] | None = None
    note: str = ""
    scores: Mapping[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        others = {"prediction": self.prediction, "reference": self.reference, "uncertainty": self.uncertainty}
        for name, array in others.items():
            if array is not None and array.shape != self.image.shape:
                raise ValueError(
                    f"{self.case}: the {name} has {array.shape} voxels, the image {self.image.shape}"
                )

    def volume_ml(self, label: Label, *, reference: bool = False) -> float | None:
        """Millilitres of an organ; None if there is no reference to measure."""
        voxels = self.reference if reference else self.prediction
        if voxels is None:
            return None
        return float((voxels == label.value).sum()) * math.prod(self.spacing) / 1000


@dataclass(frozen=True)
class OrganCard:
    """What is said of one organ of a case.

    Attributes:
        label: name and colour.
        volume_ml: of what is shown; None where nothing is known of the organ.
        source: accepted, when a person drew or accepted it, or predicted.
        verdict: fine, look, likely wrong; None where there is none.
        reasons: for the verdict, each a short clause.
        dice: agreement with an annotation the model has not learned from; None where there is none.
    """

    label: Label
    volume_ml: float | None
    source: str
    verdict: str | None = None
    reasons: Sequence[str] = ()
    dice: float | None = None


@dataclass(frozen=True)
class CaseCard:
    """One case in the grid of a report.

    Attributes:
        case: its name.
        state: what a person has done with it, in a few words.
        verdict: of the prediction: fine, look, likely wrong; None where there is none.
        reasons: what concerns the case as a whole.
        organs: those of which something is known.
        picture: a small JPEG, or None where none could be made.
        figure: a large JPEG of three planes, for the few that are shown large.
        note: why there is no picture.
    """

    case: str
    state: str
    verdict: str | None = None
    reasons: Sequence[str] = ()
    organs: Sequence[OrganCard] = ()
    picture: bytes | None = None
    figure: bytes | None = None
    note: str = ""

    @property
    def headlines(self) -> list[str]:
        """The reasons that matter most, one of each organ, and how many more there are."""
        worst = [organ for organ in self.organs if organ.reasons and organ.verdict == self.verdict]
        first = [*self.reasons, *(f"{readable(organ.label.name)}: {organ.reasons[0]}" for organ in worst)]
        shown = first[:MOST_HEADLINES]
        more = len(self.reasons) + sum(len(organ.reasons) for organ in worst) - len(shown)
        return [*shown, f"and {more} more"] if more else shown

    @property
    def dice(self) -> float | None:
        """Mean Dice of the organs that could be compared."""
        known = [organ.dice for organ in self.organs if organ.dice is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class OrganVolumes:
    """Millilitres of an organ: in the annotated cases, and in the predicted ones with the verdict of each."""

    label: Label
    annotated: Sequence[float]
    predicted: Sequence[tuple[float, str | None]]


@dataclass(frozen=True)
class RoundRow:
    """One line of the history of a cohort: how a model came about.

    Attributes:
        model: its name.
        current: whether it is the one the report is on.
        came_from: the model it began with, or an empty text.
        method: how it was trained.
        when: date and time, or an empty text.
        annotated: cases it learned from.
        measured_on: cases it was measured on.
        change: what is new against the model it began with, in words.
        dice: mean over the organs that were measured; None where nothing was.
    """

    model: str
    current: bool
    came_from: str
    method: str
    when: str
    annotated: int
    measured_on: int
    change: str
    dice: float | None


@dataclass(frozen=True)
class Tile:
    """One large figure at the top of a report, with its name above and a note below."""

    name: str
    value: str
    note: str = ""


@dataclass
class ReportInput:
    """Everything a report shows.

    Attributes:
        title: of the report.
        facts: of the cohort, by name, such as {'Cases': 16, 'Annotated': 3}.
        labels: the organs in the order of the tables.
        methods: the first one is what the others are compared with.
        cases: in the order in which somebody should look at them.
        subtitle: one sentence under the title.
        cases_method: whose segmentations the cases show.
        order: how the cases are ordered, such as 'least certain first'.
        warnings: what a reader must know to judge the numbers.
        tiles: large figures at the top.
        cards: the cases of a cohort in a grid, in the order of the review.
        volumes: of every organ.
        rounds: the models of a cohort, oldest first.
        cleaning: what is done to the predictions afterwards, a line for each organ.
        provenance: where the model came from, by name.
    """

    title: str
    labels: Sequence[Label]
    facts: Mapping[str, Any] = field(default_factory=dict)
    methods: Sequence[MethodResult] = ()
    cases: Sequence[ReportCase] = ()
    subtitle: str = ""
    cases_method: str = ""
    order: str = ""
    warnings: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    cards: Sequence[CaseCard] = ()
    volumes: Sequence[OrganVolumes] = ()
    rounds: Sequence[RoundRow] = ()
    cleaning: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

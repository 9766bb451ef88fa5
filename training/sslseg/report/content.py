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

Points = Sequence[tuple[float, float]]
"""(step, value) of a curve; a value that is not finite leaves a gap."""


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

"""How good a model of very few cases is: each is measured by a model trained without it."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from sslseg.bundle.metadata import ValidationPoint
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.strict import from_json, to_json
from sslseg.train.fitting import Fitting, Stores
from sslseg.train.validation import describe_measurement


def leave_one_out(fitting: Fitting, stores: Stores, folder: Path) -> ValidationPoint | None:
    """Train once without each annotated case, the recipe unchanged, and measure on it.

    What a finished part found is kept in `folder`, so that a resumed run does not do it again.

    Args:
        fitting: the run.
        stores: its cases; none of them is kept for validation.
        folder: of the run's checkpoint.

    Returns:
        The mean Dice per organ over the left-out cases, or None when the run was cancelled.

    Raises:
        SSLSegError: there is only one annotated case.
    """
    if len(stores.labelled) < 2:
        raise SSLSegError(
            "Leaving one out needs at least two annotated cases",
            remedy="Annotate another, or train without it.",
        )
    points = []
    fitting.parts = len(stores.labelled) + 1
    for number, left_out in enumerate(stores.labelled, start=1):
        fitting.part = number
        place = folder / f"without-{number}"
        point = _measured(place)
        if point is None:
            others = [case for case in stores.labelled if case is not left_out]
            fitted = fitting.fit(Stores(others, stores.unlabelled, [left_out]), place / "last.ckpt")
            if fitted.cancelled:
                fitting.events.write("cancelled", step=fitted.steps)
                return None
            point = fitted.measured[-1]
            write_json(place / "dice.json", to_json(point))
            (place / "last.ckpt").unlink(missing_ok=True)
        points.append(point)
    fitting.part = fitting.parts
    mean = ValidationPoint(points[-1].step, _mean_dice(points))
    fitting.events.write(
        "validation",
        step=mean.step,
        dice=mean.dice,
        cases=len(points),
        message=describe_measurement(len(points), leave_one_out=True),
    )
    return mean


def _measured(place: Path) -> ValidationPoint | None:
    path = place / "dice.json"
    return from_json(ValidationPoint, read_json(path), file=path) if path.exists() else None


def _mean_dice(points: list[ValidationPoint]) -> dict[str, float | None]:
    """Over the cases in which an organ could be measured; None where it could in none."""
    dice: dict[str, float | None] = {}
    for organ in points[0].dice:
        values = [value for point in points if (value := point.dice[organ]) is not None]
        dice[organ] = round(fmean(values), 4) if values else None
    return dice

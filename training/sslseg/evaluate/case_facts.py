"""What a list of cases shows of each: its picture, and the Dice of its prediction where that can be told.

`python -m sslseg.evaluate.case_facts COHORT MODEL CASE...` finds it out anew for the named cases, in a process of its
own; MODEL is the one whose predictions count, or `-`. Needs numpy, SimpleITK and, for DICOM, pydicom: what Slicer's
own Python has.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import SimpleITK as sitk

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.models import read_origin
from sslseg.contract.scores import CaseDice, add_scores, can_be_scored, compared_files
from sslseg.data.annotation import only_where_annotated
from sslseg.data.thumbnails import make_thumbnail, write_thumbnail
from sslseg.data.volumes import read_label_map, read_volume
from sslseg.evaluate.overlap import count_overlap


def measure_dice(cohort: Cohort, model: str, cases: Iterable[Case]) -> None:
    """Compare the predictions of a model with the annotations it has not learned from, and keep the Dice.

    Raises:
        SSLSegError: a label map is damaged, or the scores cannot be written.
    """
    origin = read_origin(cohort, model)
    scores = {}
    for case in cases:
        files = compared_files(cohort, model, case) if can_be_scored(case, origin) else None
        if files is not None:
            scores[case.id] = CaseDice(_dice(cohort, model, case), files)
    if scores:
        add_scores(cohort, model, scores)


def draw_case(cohort: Cohort, case: Case, model: str | None) -> None:
    """Make the picture of a case with its annotation or, where there is none, with the prediction of `model`.

    Raises:
        SSLSegError: a file is missing or damaged, or the picture cannot be written.
    """
    image = read_volume(cohort.image_path(case), series_uid=case.series)
    path = cohort.label_path(case) if case.is_annotated else None
    if path is None and model is not None and cohort.prediction_path(model, case.id).exists():
        path = cohort.prediction_path(model, case.id)
    label_map = None
    if path is not None:
        label_map = read_label_map(path, allowed=cohort.labels.values, reference=image)
    picture = make_thumbnail(image, label_map, cohort.labels)
    if not cohort.folder.is_dir():
        # Moved or removed meanwhile: a new folder in its place would keep it from coming back.
        raise SSLSegError("The folder of the cohort is no longer there", file=cohort.folder)
    write_thumbnail(picture, cohort.thumbnail_path(case.id))


def _dice(cohort: Cohort, model: str, case: Case) -> dict[str, float]:
    label = cohort.label_path(case)
    assert label is not None
    values = cohort.labels.values
    drawn = read_label_map(label, allowed=values)
    predicted = read_label_map(
        cohort.prediction_path(model, case.id), allowed=values, reference=drawn, resample=True
    )
    reference = only_where_annotated(sitk.GetArrayFromImage(drawn), case, list(cohort.labels), file=label)
    overlap = count_overlap(sitk.GetArrayFromImage(predicted), reference)
    dice = {name: overlap.dice(cohort.labels.find(name).value) for name in case.annotated}
    return {name: round(value, 4) for name, value in dice.items() if not math.isnan(value)}


def main(arguments: Sequence[str]) -> int:
    """Find out what is shown of the cases; one that cannot be read is passed over, and the exit code is then 2."""
    cohort = Cohort.read(Path(arguments[0]), check_files=False)
    model = None if arguments[1] == "-" else arguments[1]
    wanted = set(arguments[2:])
    failed = False
    for case in cohort.cases:
        if case.id not in wanted:
            continue
        try:
            draw_case(cohort, case, model)
            if model is not None:
                measure_dice(cohort, model, [case])
        except SSLSegError as error:
            failed = True
            print(f"{case.id}: {error}")
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

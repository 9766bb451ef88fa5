"""A cohort of phantoms to try everything on: a few annotated, the others not."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import LabelTable
from sslseg.data.importing import init_from_dataset
from sslseg.phantoms.phantom import PHANTOM_LABELS, write_phantom_dataset

NAME = "Phantoms"


def write_phantom_cohort(folder: Path, *, cases: int, annotated: int, seed: int = 0) -> Cohort:
    """Make a cohort of `cases` phantoms; the first `annotated` come with the label maps of all organs.

    Everything lies in the folder: the cohort can be moved.

    Raises:
        SSLSegError: there is a cohort already, the folder cannot be written to, or the numbers do not fit.
    """
    if not 0 < annotated <= cases:
        raise SSLSegError(
            f"{annotated} of {cases} phantoms cannot be annotated",
            remedy="Annotate at least one, at most all.",
        )
    with tempfile.TemporaryDirectory(prefix="sslseg-") as temporary:
        dataset = write_phantom_dataset(temporary, cases=cases, test=0, seed=seed)
        init_from_dataset(folder, dataset, labelled=annotated, copy=True, name=NAME)
    with Cohort.edit(folder) as cohort:
        cohort.labels = LabelTable(PHANTOM_LABELS)
    return Cohort.read(folder)

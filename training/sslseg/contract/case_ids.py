"""Ids of new cases: pseudonymous, and never those of cases whose files are still there."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path

from sslseg.contract.cohort import Cohort, check_name
from sslseg.contract.errors import SSLSegError

_SUFFIXES = (
    ".layers.seg.nrrd", ".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".raw.gz", ".raw", ".zraw",
)  # fmt: skip
"""Of the files of cases, longer ones first."""


class NewIds:
    """Hands out ids of new cases while a cohort is edited.

    ```
    with Cohort.edit(folder) as cohort:
        ids = NewIds(cohort)
        cohort.cases.append(Case(ids.next(), ...))
    ```
    In small letters throughout: ids that differ in capitals only would be one file on some systems.
    """

    def __init__(self, cohort: Cohort) -> None:
        files = itertools.chain(
            *(cohort.folder.glob(f"{place}/*.n*") for place in ("labels", "predictions/*"))
        )
        self._images_folder = (cohort.folder / "images").resolve()
        self._taken = {case.id.lower() for case in cohort.cases} | {_stem(path) for path in files}
        # Images of removed cases stay as well, and a new case must not overwrite them.
        self._images = {_stem(path) for path in self._images_folder.glob("*")}

    def next(self, name: str | None = None, image: Path | None = None) -> str:
        """The id of one more case.

        Args:
            name: taken where it can be an id and is free; else the case gets the next number.
            image: where the volume of the case lies, if it lies already where it will stay. One in the cohort's own
                `images` folder that is called `case_0007`, as after its case was removed, gives that id again.
        """
        own = set()
        if image is not None and image.resolve().parent == self._images_folder:
            own = {_stem(image)}
            name = name or next((stem for stem in own if re.fullmatch(r"case_\d+", stem)), None)
        taken = self._taken | (self._images - own)
        case_id = _free_name(taken, name) or _next_number(taken)
        self._taken.add(case_id.lower())
        return case_id


def _free_name(taken: set[str], name: str | None) -> str | None:
    if name is not None and name.lower() not in taken:
        with contextlib.suppress(SSLSegError):
            return check_name(name, "case id")
    return None


def _next_number(taken: set[str]) -> str:
    numbers = [int(match[1]) for case_id in taken if (match := re.fullmatch(r"case_(\d+)", case_id))]
    return f"case_{max(numbers, default=0) + 1:04d}"


def _stem(path: Path) -> str:
    name = path.name.lower()
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)

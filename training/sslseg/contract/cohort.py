"""The cohort folder: the truth that the panel, the command line and a batch script share.

```
cohort.json   labels and cases            labels/                what a person drew or accepted
images/       imported volumes            predictions/<model>/   label map and uncertainty map per case
models/       trained models              jobs/                  one folder per job
cache/        preprocessed data, always safe to delete
drafts/       what is being drawn in Slicer and not yet saved
```
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import locked, read_json, write_json
from sslseg.contract.labels import Label, LabelTable
from sslseg.contract.strict import from_json, to_json

SCHEMA = "sslseg.cohort"
VERSION = 2
"""Version 1, which is still read, had one list of slices for all organs of a case."""
FILE_NAME = "cohort.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ReviewState(enum.Enum):
    """How far a person has looked at a case or an organ: the states of Slicer's segment status."""

    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FLAGGED = "flagged"


class Use(enum.Enum):
    """What a case is for.

    A validation case is measured on while a model trains; a test case only afterwards. Neither is ever trained on,
    with or without its label.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass
class AnnotatedSlices:
    """The slices on which an organ was annotated when it was not on all of them.

    On the other slices nobody said where the organ is: what is drawn as another organ there still is that organ, and
    everything else is ignored by the loss.

    Attributes:
        axis: index axis of the image the slices are perpendicular to; k is the slowest in the file.
        indices: slice numbers along that axis, from 0.
    """

    axis: Literal["i", "j", "k"]
    indices: list[int]


@dataclass
class Case:
    """One volume of the cohort.

    Attributes:
        id: pseudonymous name; the stem of every file written for the case.
        image: path of the volume, relative to the cohort folder, or absolute when imported by reference.
        label: path of the label map a person drew or accepted, or None.
        annotated: names of the organs that were annotated; any other organ is unknown here, not absent.
        slices: for an annotated organ that was annotated on some slices only: which. An organ without an entry was
            annotated on all of them.
        use: training, validation or test.
        review: state of the case.
        organ_review: state per organ, where it differs from the case's.
        series: DICOM series instance UID, when `image` is a folder of several series.
        layers: path of the segmentation that `label` was flattened from, relative to the cohort folder, where organs
            overlapped in it: a label map has one organ a voxel. An organ that was not edited since is exported
            from it.
        provenance: where the case came from, in words.
    """

    id: str
    image: str
    label: str | None = None
    annotated: list[str] = field(default_factory=list)
    slices: dict[str, AnnotatedSlices] = field(default_factory=dict)
    use: Use = Use.TRAIN
    review: ReviewState = ReviewState.NOT_STARTED
    organ_review: dict[str, ReviewState] = field(default_factory=dict)
    series: str | None = None
    layers: str | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.id, "case id")

    @property
    def is_annotated(self) -> bool:
        return self.label is not None and bool(self.annotated)


@dataclass
class _Document:
    """cohort.json as it stands on disk."""

    schema: str
    version: int
    name: str
    modality: Literal["CT", "MR"]
    labels: list[Label]
    cases: list[Case]


class Cohort:
    """A cohort folder.

    Reading takes no lock: writers replace `cohort.json` in one step. To change it:

    ```
    with Cohort.edit(folder) as cohort:
        cohort.case("case_0001").review = ReviewState.COMPLETED
    ```
    """

    def __init__(
        self, folder: Path, name: str, modality: Literal["CT", "MR"], labels: LabelTable, cases: list[Case]
    ) -> None:
        self.folder = folder
        self.name = name
        self.modality = modality
        self.labels = labels
        self.cases = cases

    @classmethod
    def create(
        cls, folder: str | Path, *, name: str, modality: Literal["CT", "MR"], labels: LabelTable
    ) -> Cohort:
        """Make an empty cohort.

        Raises:
            SSLSegError: there is a cohort already.
        """
        folder = Path(folder)
        path = folder / FILE_NAME
        with locked(folder / ".cohort.lock"):
            if path.exists():
                raise SSLSegError(
                    "There is a cohort here already",
                    file=path,
                    remedy="Choose another folder, or add to this one.",
                )
            cohort = cls(folder, name, modality, labels, [])
            cohort._write()
        return cohort

    @classmethod
    def read(cls, folder: str | Path, *, check_files: bool = True) -> Cohort:
        """Read a cohort strictly.

        Args:
            folder: the cohort folder.
            check_files: also check that the image and label of every case exist.

        Raises:
            SSLSegError: the cohort is missing, of an unknown version, or inconsistent.
        """
        folder = Path(folder)
        path = folder / FILE_NAME
        if not path.exists():
            raise SSLSegError(
                "There is no cohort in this folder",
                file=folder,
                remedy="Make one with 'sslseg init', or check the path.",
            )
        cohort = cls._of_json(folder, read_json(path), path)
        if check_files:
            missing = cohort.missing_files()
            if missing:
                raise SSLSegError(
                    f"{len(missing)} file(s) of the cohort are missing, first {missing[0]}",
                    file=path,
                    remedy="Put them back, or remove their cases with 'sslseg remove'.",
                )
        return cohort

    @classmethod
    @contextlib.contextmanager
    def edit(cls, folder: str | Path, *, timeout: float = 30.0) -> Iterator[Cohort]:
        """Lock the cohort, read it, and write it when the block ends without an error.

        Args:
            folder: the cohort folder.
            timeout: seconds to wait for another program that is writing.
        """
        folder = Path(folder)
        if not (folder / FILE_NAME).exists():
            cls.read(folder)
        with locked(folder / ".cohort.lock", timeout=timeout):
            cohort = cls.read(folder, check_files=False)
            yield cohort
            cohort._check(folder / FILE_NAME)
            cohort._write()

    def case(self, case_id: str) -> Case:
        """The case called `case_id`.

        Raises:
            SSLSegError: there is none.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        raise SSLSegError(
            f"There is no case '{case_id}'",
            file=self.folder / FILE_NAME,
            remedy="'sslseg status' lists the cases.",
        )

    def missing_files(self) -> list[Path]:
        """Images and labels that the cohort names and that are not there."""
        paths = [self.image_path(case) for case in self.cases]
        paths += [path for case in self.cases if (path := self.label_path(case)) is not None]
        return [path for path in paths if not path.exists()]

    def image_path(self, case: Case) -> Path:
        return self.folder / case.image

    def label_path(self, case: Case) -> Path | None:
        return None if case.label is None else self.folder / case.label

    def layers_path(self, case: Case) -> Path | None:
        return None if case.layers is None else self.folder / case.layers

    def model_folder(self, model: str) -> Path:
        return self.folder / "models" / check_name(model, "model name")

    def models(self) -> list[str]:
        """Names of the trained models, sorted; one that is being written just now is not among them."""
        folders = (path.parent.name for path in (self.folder / "models").glob("*/sslseg.json"))
        return sorted(name for name in folders if _is_name(name))

    def prediction_path(self, model: str, case_id: str) -> Path:
        return self.folder / "predictions" / check_name(model, "model name") / f"{case_id}.nii.gz"

    def uncertainty_path(self, model: str, case_id: str) -> Path:
        return (
            self.folder
            / "predictions"
            / check_name(model, "model name")
            / "uncertainty"
            / f"{case_id}.nii.gz"
        )

    @property
    def cache_folder(self) -> Path:
        return self.folder / "cache"

    def thumbnail_path(self, case_id: str) -> Path:
        """A small picture of the case, for lists of cases."""
        return self.cache_folder / "thumbnails" / f"{case_id}.png"

    @property
    def jobs_folder(self) -> Path:
        return self.folder / "jobs"

    @classmethod
    def _of_json(cls, folder: Path, data: Any, path: Path) -> Cohort:
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise SSLSegError("The file is not a cohort", file=path, remedy="Check the path.")
        if data.get("version") not in (1, VERSION):
            raise SSLSegError(
                f"The cohort has version {data.get('version')!r}, and this program reads versions up to {VERSION}",
                file=path,
                remedy="Update the program.",
            )
        document = from_json(_Document, _upgraded(data), file=path)
        labels = LabelTable(document.labels, file=path)
        cohort = cls(folder, document.name, document.modality, labels, document.cases)
        cohort._check(path)
        return cohort

    def _check(self, path: Path) -> None:
        repeated = [case_id for case_id, count in Counter(c.id for c in self.cases).items() if count > 1]
        if repeated:
            raise SSLSegError(
                f"The case id '{repeated[0]}' occurs twice",
                file=path,
                remedy="Rename or remove one of the two cases.",
            )
        known = set(self.labels.names)
        for case in self.cases:
            strange = sorted({*case.annotated, *case.organ_review, *case.slices} - known)
            if strange:
                raise SSLSegError(
                    f"The case '{case.id}' names the organ '{strange[0]}', which the cohort does not declare",
                    file=path,
                    remedy=f"Declared are: {', '.join(self.labels.names)}.",
                )

    def to_json(self) -> Any:
        """The content of cohort.json."""
        return to_json(_Document(SCHEMA, VERSION, self.name, self.modality, list(self.labels), self.cases))

    def _write(self) -> None:
        write_json(self.folder / FILE_NAME, self.to_json())


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A cohort of version 1 as one of the present version: its slices held for every annotated organ of a case."""
    if data["version"] == VERSION or not isinstance(data.get("cases"), list):
        return data
    cases = []
    for case in data["cases"]:
        changed = dict(case) if isinstance(case, dict) else case
        if isinstance(changed, dict) and "slices" in changed:
            slices = changed.pop("slices")
            organs = changed.get("annotated") if slices is not None else None
            changed["slices"] = dict.fromkeys(organs or [], slices)
        cases.append(changed)
    return {**data, "cases": cases}


def check_name(name: str, what: str) -> str:
    """Return `name` if it can be a file name on every system, else raise SSLSegError."""
    if not _is_name(name):
        raise SSLSegError(
            f"'{name}' cannot be a {what}",
            remedy="Use up to 100 letters, digits, dots, hyphens, underscores; start with a letter or digit.",
        )
    return name


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and not name.endswith(".")


def free_name(base: str, taken: Collection[str]) -> str:
    """`base` if it is not among `taken`, else `base-2`, `base-3`, ..."""
    numbered = (f"{base}-{number}" for number in itertools.count(2))
    return next(name for name in itertools.chain([base], numbered) if name not in taken)

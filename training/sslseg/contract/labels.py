"""The organs of a cohort: name, value in every label map, colour, terminology."""

from __future__ import annotations

import colorsys
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json

BACKGROUND = 0
IGNORE = 255
"""Value of a voxel that nobody annotated; no loss and no metric looks at it."""


@dataclass(frozen=True)
class Label:
    """One organ.

    Attributes:
        name: as the user wrote it.
        value: 1..254, in every label map of the cohort; never renumbered.
        color: red, green, blue, 0..255 each.
        terminology: Slicer's serialised terminology entry, or None.
    """

    name: str
    value: int
    color: tuple[int, int, int]
    terminology: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name == "background":
            raise ValueError(f"'{self.name}' is no name for an organ")
        if not BACKGROUND < self.value < IGNORE:
            raise ValueError(f"the value {self.value} of '{self.name}' must lie between 1 and 254")
        if any(not 0 <= channel <= 255 for channel in self.color):
            raise ValueError(f"the colour of '{self.name}' must be three numbers between 0 and 255")


class LabelTable(Sequence[Label]):
    """The organs in order; class index 1..K of a network is the position in this table plus one."""

    def __init__(self, labels: Iterable[Label], *, file: Path | None = None) -> None:
        self._labels = tuple(labels)
        if not self._labels:
            raise SSLSegError("No organ is declared", file=file, remedy="Give at least one organ.")
        seen_names: dict[str, Label] = {}
        seen_values: dict[int, Label] = {}
        for label in self._labels:
            if normalised_name(label.name) in seen_names:
                raise SSLSegError(
                    f"The organ '{label.name}' is declared twice", file=file, remedy="Remove one of them."
                )
            if label.value in seen_values:
                raise SSLSegError(
                    f"'{seen_values[label.value].name}' and '{label.name}' both have the value {label.value}",
                    file=file,
                    remedy="Give each organ a value of its own.",
                )
            seen_names[normalised_name(label.name)] = label
            seen_values[label.value] = label

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._labels[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelTable) and self._labels == other._labels

    __hash__ = None  # type: ignore[assignment]

    @property
    def names(self) -> list[str]:
        return [label.name for label in self._labels]

    @property
    def values(self) -> list[int]:
        return [label.value for label in self._labels]

    def find(self, name: str) -> Label:
        """The organ called `name`, whatever its case, spaces, hyphens or underscores.

        Raises:
            SSLSegError: there is none.
        """
        for label in self._labels:
            if normalised_name(label.name) == normalised_name(name):
                return label
        raise SSLSegError(
            f"There is no organ called '{name}' in this cohort", remedy=f"Known are: {', '.join(self.names)}."
        )


def normalised_name(name: str) -> str:
    """'Left Kidney', 'left_kidney' and 'left-kidney' are one organ."""
    return re.sub(r"[\s_\-]+", " ", name).strip().lower()


def default_color(index: int) -> tuple[int, int, int]:
    """Well-separated hues: successive multiples of the golden angle."""
    red, green, blue = colorsys.hsv_to_rgb((0.02 + index * 0.61803398875) % 1.0, 0.62, 0.92)
    return round(red * 255), round(green * 255), round(blue * 255)


def parse_labels(text: str) -> LabelTable:
    """Labels from the command line: a file, or `liver=1,spleen=2`.

    A file is JSON (a list of label objects, or an object with `labels` as in `dataset.json` of the Medical
    Segmentation Decathlon and of nnU-Net) or CSV with the columns name, value and perhaps red, green, blue.

    Raises:
        SSLSegError: the text is neither, or the labels clash.
    """
    path = Path(text)
    if path.suffix.lower() in (".json", ".csv") or path.is_file():
        return read_labels(path)
    pairs = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, separator, value = part.rpartition("=")
        if not separator or not value.strip().isdigit():
            raise SSLSegError(
                f"'{part}' does not declare an organ",
                remedy="Write name=value pairs such as liver=1,spleen=2, or give a JSON or CSV file.",
            )
        pairs.append((name.strip(), int(value)))
    return _table(pairs, None)


def read_labels(path: Path) -> LabelTable:
    """Labels from a JSON or CSV file; see `parse_labels`."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    data = read_json(path)
    if isinstance(data, dict):
        data = data.get("labels")
    if isinstance(data, dict):
        return _table(_pairs_of_mapping(data, path), path)
    if isinstance(data, list):
        from sslseg.contract.strict import from_json

        complete = [
            {"color": list(default_color(i)), **entry} if isinstance(entry, dict) else entry
            for i, entry in enumerate(data)
        ]
        return LabelTable(
            (from_json(Label, e, file=path, where=f"labels[{i}]") for i, e in enumerate(complete)), file=path
        )
    raise SSLSegError(
        "The file declares no labels", file=path, remedy='Give {"labels": {"1": "liver", "2": "spleen"}}.'
    )


def _pairs_of_mapping(data: dict[str, object], path: Path) -> list[tuple[str, int]]:
    """Both habits occur: {"1": "liver"} (Decathlon) and {"liver": 1} (nnU-Net)."""
    pairs = []
    for key, value in data.items():
        if str(key).lstrip("-").isdigit() and isinstance(value, str):
            pair = (value, int(key))
        elif isinstance(value, int) and not isinstance(value, bool):
            pair = (str(key), value)
        elif isinstance(value, str) and value.isdigit():
            pair = (str(key), int(value))
        else:
            raise SSLSegError(
                f"The label '{key}' must be one number, not {value!r}",
                file=path,
                remedy="Regions of several values are not supported; give each organ a value of its own.",
            )
        if pair[1] not in (BACKGROUND, IGNORE):
            pairs.append(pair)
    return pairs


def _read_csv(path: Path) -> LabelTable:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SSLSegError(f"The file cannot be read ({error})", file=path) from error
    labels = []
    for number, row in enumerate(rows):
        try:
            colour = tuple(int(row[c]) for c in ("red", "green", "blue")) if row.get("red") else None
            labels.append(Label(row["name"], int(row["value"]), colour or default_color(number)))  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise SSLSegError(
                f"Line {number + 2} is no label ({error})",
                file=path,
                remedy="Use the columns name,value[,red,green,blue].",
            ) from error
    return LabelTable(labels, file=path)


def _table(pairs: Iterable[tuple[str, int]], path: Path | None) -> LabelTable:
    labels = []
    for index, (name, value) in enumerate(pairs):
        try:
            labels.append(Label(name, value, default_color(index)))
        except ValueError as error:
            raise SSLSegError(str(error), file=path) from error
    return LabelTable(labels, file=path)

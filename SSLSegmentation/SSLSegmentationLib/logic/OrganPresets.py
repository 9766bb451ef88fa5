"""Lists of organs to begin with: files in `Resources/OrganPresets`, which the command line reads as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json
from sslseg.contract.labels import IGNORE, Label, default_color, read_labels
from SSLSegmentationLib.logic.Paths import resourceFolder

CATEGORY = "SCT^123037004^Anatomical Structure"
OWN_LIST = "Segmentation category and type - DICOM master list"
REGIONS = "Anatomic codes - DICOM master list"


@dataclass(frozen=True)
class OrganPreset:
    """A list of organs to begin with.

    Attributes:
        name: of its file, without the extension.
        title: for people.
        description: a sentence on it.
        modalities: the kinds of images it is meant for, CT or MR or both.
        labels: the organs.
    """

    name: str
    title: str
    description: str
    modalities: tuple[str, ...]
    labels: tuple[Label, ...]


def readPresets(folder: Path | None = None) -> list[OrganPreset]:
    """The presets of a folder, by default those of the extension, sorted by their titles.

    Raises:
        SSLSegError: a file is damaged.
    """
    folder = resourceFolder() / "OrganPresets" if folder is None else folder
    presets = [_read(path) for path in folder.glob("*.json")]
    return sorted(presets, key=lambda preset: preset.title)


def _read(path: Path) -> OrganPreset:
    data = read_json(path)
    try:
        title, description = str(data["title"]), str(data["description"])
        modalities = tuple(str(modality) for modality in data["modalities"])
    except (KeyError, TypeError) as error:
        raise SSLSegError(
            "The file is no list of organs", file=path, remedy="Install the extension again."
        ) from error
    return OrganPreset(path.stem, title, description, modalities, tuple(read_labels(path)))


def newLabel(taken: Sequence[Label], name: str) -> Label:
    """An organ with the smallest free value and the colour that goes with it."""
    values = {label.value for label in taken}
    value = next((value for value in range(1, IGNORE) if value not in values), None)
    if value is None:
        raise SSLSegError("A cohort cannot have more than 254 organs", remedy="Remove some first.")
    return Label(name, value, default_color(value - 1))


def freeName(taken: Iterable[str], name: str) -> str:
    """`name`, with a number if it is taken: "organ", "organ 2", ..."""
    known = set(taken)
    numbered = (name if number == 1 else f"{name} {number}" for number in range(1, len(known) + 2))
    return next(candidate for candidate in numbered if candidate not in known)


def terminologyInWords(entry: str | None) -> str:
    """The organ of a serialised terminology entry as people say it: "Kidney, Right"; empty if there is none."""
    fields = (entry or "").split("~")
    meanings = [field.split("^")[2] for field in fields[2:4] if field.count("^") == 2]
    return ", ".join(meaning for meaning in meanings if meaning)


def ownTerminology(code: str, meaning: str) -> str:
    """A serialised entry for a code of SNOMED CT that a person typed in.

    Raises:
        SSLSegError: the code is no number of SNOMED CT, or the meaning is empty or would break the entry.
    """
    if not (code.isdigit() and 6 <= len(code) <= 18):
        raise SSLSegError(
            f"'{code}' is no code of SNOMED CT",
            remedy="A code has 6 to 18 digits, such as 10200004 for the liver.",
        )
    if not meaning.strip() or set("~^|") & set(meaning):
        raise SSLSegError("The meaning of the code must be a text", remedy="Leave out the signs ~ ^ |.")
    return f"{OWN_LIST}~{CATEGORY}~SCT^{code}^{meaning.strip()}~^^~{REGIONS}~^^~^^"

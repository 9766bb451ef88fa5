"""What an organ is in the words of a terminology, from Slicer's serialised entry."""

from __future__ import annotations

from typing import NamedTuple

from sslseg.contract.labels import Label

PRIVATE_SCHEME = "99SSLSEG"
"""Coding schemes that begin with 99 are private (DICOM PS3.16, 8.2)."""


class Code(NamedTuple):
    """A coded concept: scheme such as SCT, value, meaning."""

    scheme: str
    value: str
    meaning: str


class Codes(NamedTuple):
    """The codes of an organ; None where the entry says nothing.

    Attributes:
        category: such as Anatomical Structure.
        type: such as Kidney.
        modifier: such as Left.
        region: where it lies, for what is not an organ itself.
        region_modifier: the side of the region.
        coded: False where the organ has no terminology, so that its type is a private code.
    """

    category: Code
    type: Code
    modifier: Code | None = None
    region: Code | None = None
    region_modifier: Code | None = None
    coded: bool = True


ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")


def codes_of(label: Label) -> Codes:
    """The codes of an organ: of its terminology entry, else a private code that holds its name.

    The entry is `context~category~type~modifier~anatomic context~region~region modifier` with codes written
    `scheme^value^meaning` (Slicer's developer guide, Segmentations, "TerminologyEntry tag").
    """
    parts = (label.terminology or "").split("~")
    found = [_code(parts[index]) if index < len(parts) else None for index in (1, 2, 3, 5, 6)]
    category, kind, modifier, region, region_modifier = found
    if category is None or kind is None:
        private = Code(PRIVATE_SCHEME, str(label.value), label.name)
        return Codes(ANATOMICAL_STRUCTURE, private, coded=False)
    return Codes(category, kind, modifier, region, region_modifier)


def _code(text: str) -> Code | None:
    parts = text.split("^")
    return Code(*parts) if len(parts) == 3 and all(parts) else None

"""The organ presets: readable by the command line, with codes that DICOM knows, distinguishable by eye."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from sslseg.contract.files import read_json
from sslseg.contract.labels import LabelTable, normalised_name, parse_labels

FOLDER = Path(__file__).parents[2] / "Resources" / "OrganPresets"
PRESETS = sorted(FOLDER.glob("*.json"))
ANATOMICAL_STRUCTURE = ["SCT", "123037004", "Anatomical Structure"]
"""The category of Slicer's two lists of terms."""
SLICER_LISTS = {
    "Segmentation category and type - 3D Slicer General Anatomy list",
    "Segmentation category and type - DICOM master list",
}
SIDES = {"Right": "24028007", "Left": "7771000"}

# The codes of DICOM PS3.16 with their meanings, in small letters.
SNOMED: dict[str, set[str]] = {}
for entries in concepts["SCT"].values():
    for code, (meaning, *_) in entries.items():
        SNOMED.setdefault(code, set()).add(meaning.lower())


@pytest.fixture(params=PRESETS, ids=lambda path: path.stem)
def a_preset(request: pytest.FixtureRequest) -> Path:
    return request.param


def _terms(labels: LabelTable) -> list[tuple[str, list[list[str]], str]]:
    """Name of the organ, its codes (category, type, modifier) and the list they are taken from."""
    found = []
    for label in labels:
        fields = str(label.terminology).split("~")
        assert len(fields) == 7, f"{label.name}: a serialised entry has seven fields"
        found.append((label.name, [field.split("^") for field in fields[1:4]], fields[0]))
    return found


def test_there_are_presets_for_abdomen_head_and_neck_brain_and_heart() -> None:
    assert {path.stem for path in PRESETS} == {"AbdomenCT", "BrainMR", "HeadAndNeckCT", "Heart"}


def test_the_command_line_reads_a_preset(a_preset: Path) -> None:
    labels = parse_labels(str(a_preset))
    assert labels.values == list(range(1, len(labels) + 1))
    assert all(label.terminology for label in labels)
    assert set(read_json(a_preset)["modalities"]) <= {"CT", "MR"}


def test_every_code_means_in_dicom_what_the_preset_says(a_preset: Path) -> None:
    for name, (category, kind, modifier), source in _terms(parse_labels(str(a_preset))):
        assert source in SLICER_LISTS
        assert category == ANATOMICAL_STRUCTURE
        assert kind[0] == "SCT" and kind[2].lower() in SNOMED[kind[1]], name
        assert modifier == ["", "", ""] or modifier[1] == SIDES[modifier[2]], name


def test_the_side_of_a_paired_organ_is_in_its_code(a_preset: Path) -> None:
    for name, (_, kind, modifier), _ in _terms(parse_labels(str(a_preset))):
        side = next((side for side in SIDES if normalised_name(name).startswith(side.lower())), "")
        assert side == modifier[2] or side.lower() in kind[2].lower(), name


def test_no_two_organs_share_a_code(a_preset: Path) -> None:
    codes = [(kind[1], modifier[1]) for _, (_, kind, modifier), _ in _terms(parse_labels(str(a_preset)))]
    assert len(set(codes)) == len(codes)


def test_colours_can_be_told_apart(a_preset: Path) -> None:
    for one, other in itertools.combinations(parse_labels(str(a_preset)), 2):
        assert math.dist(one.color, other.color) > 30, f"{one.name} and {other.name}"

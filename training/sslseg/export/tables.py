"""The tables beside exported segmentations: volumes, and what the values of a label map mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from sslseg.contract.exports import LABELS_CSV, LABELS_JSON
from sslseg.contract.files import write_json, write_text
from sslseg.contract.labels import Label
from sslseg.contract.strict import to_json
from sslseg.export.composition import ExportedCase
from sslseg.export.terminology import codes_of

_CODES = ("Category", "Type", "TypeModifier", "Region", "RegionModifier")


def volume_rows(case: ExportedCase) -> list[list[str]]:
    """The lines of a case in the table of volumes."""
    return [
        [
            case.case.id,
            organ.label.name,
            str(organ.label.value),
            f"{organ.volume_ml:.3f}",
            organ.source,
            "" if organ.verdict is None else organ.verdict.value,
            organ.status,
        ]
        for organ in case.organs
    ]


def write_volumes(rows: Iterable[Sequence[str]], path: Path) -> None:
    """Write the table of volumes: one line for each exported organ of each case."""
    header = ["case", "organ", "value", "volume_ml", "source", "verdict", "status"]
    write_text(path, _csv([header, *rows]))


def write_label_tables(labels: Sequence[Label], folder: Path) -> None:
    """Write `labels.json`, which `sslseg init --organs` reads, and `labels.csv`, a colour table for Slicer."""
    write_json(folder / LABELS_JSON, to_json(list(labels)))
    header = ["LabelValue", "Name", "Color_R", "Color_G", "Color_B", "Color_A"]
    header += [f"{kind}_{part}" for kind in _CODES for part in ("CodingScheme", "CodeValue", "CodeMeaning")]
    rows = []
    for label in labels:
        codes = codes_of(label)
        found = (codes.category, codes.type, codes.modifier, codes.region, codes.region_modifier)
        cells = [cell for code in found for cell in (("", "", "") if code is None else code)]
        rows.append([str(label.value), label.name, *map(str, label.color), "255", *cells])
    # Slicer's reader takes a comma inside quotes, but not a quote.
    rows = [[cell.replace('"', "'") for cell in row] for row in rows]
    write_text(folder / LABELS_CSV, _csv([header, *rows]))


def _csv(lines: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()

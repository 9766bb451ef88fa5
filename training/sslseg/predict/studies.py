"""The studies of a folder while they are predicted: what each came to, kept so that a run can go on after any end."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import write_text
from sslseg.contract.labels import Label, LabelTable
from sslseg.data.thumbnails import make_thumbnail, write_thumbnail
from sslseg.inference.predictor import VolumePrediction
from sslseg.predict.ledger import FOLDER, Ledger, LedgerEntry, content_of, stamp_of
from sslseg.predict.pipeline import PredictionSummary, Scan

SUMMARY = "summary.csv"

_PICTURE_SIDE = 160
_MOST_VOXELS = 160
"""Along each side of what is kept of a volume until its picture is made."""
_MOST_SEEN = 4
"""Studies between reading and writing at any time, and one to spare."""


@dataclass
class FolderSummary(PredictionSummary):
    """What became of a folder; `entries` are its studies that are done, now or earlier, by name."""

    entries: dict[str, LedgerEntry] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)


@dataclass(frozen=True)
class _Seen:
    """What is kept of a volume that was read: its identity, and few enough voxels for a picture."""

    stamp: str
    content: str
    small: sitk.Image
    steps: tuple[int, ...]


class Studies:
    """Keeps the ledger of a run over a folder, and makes a small picture of each study."""

    def __init__(self, output: Path, ledger: Ledger, labels: Sequence[Label]) -> None:
        self.ledger = ledger
        self._output = output
        self._labels = LabelTable(labels)
        self._seen: dict[str, _Seen] = {}

    def not_ours(self, scans: Sequence[Scan]) -> list[tuple[str, str]]:
        """Studies whose result would replace a file that no earlier run has written, with the reason."""
        reason = str(
            SSLSegError(
                "There is a file here that was not made by this command",
                remedy="Choose another folder, or allow to overwrite it.",
            )
        )
        return [
            (scan.name, f"{scan.label_map}: {reason}")
            for scan in scans
            if scan.label_map.exists() and not self.ledger.owns(self._result(scan))
        ]

    def is_done(self, scan: Scan) -> bool:
        """Whether an earlier run has done this study, from the same voxels and with the same model."""
        try:
            entry = self.ledger.entry_of(scan.name, scan.image)
        except SSLSegError:
            # Reading the study will say what is wrong with it.
            return False
        return entry is not None and entry.result == self._result(scan)

    def glance(self, scan: Scan, image: sitk.Image) -> None:
        """Keep what is needed of a volume after it was prepared."""
        steps = tuple(-(-side // _MOST_VOXELS) for side in image.GetSize())
        small = image[:: steps[0], :: steps[1], :: steps[2]]
        self._seen[scan.name] = _Seen(stamp_of(scan.image), content_of(scan.image), small, steps)
        # Studies that failed after they were read are never asked for again.
        while len(self._seen) > _MOST_SEEN:
            del self._seen[next(iter(self._seen))]

    def describe(self, scan: Scan, prediction: VolumePrediction) -> dict[str, Any]:
        """Measure a prediction and make its picture; the volumes of the organs in ml."""
        label_map = prediction.label_map
        steps = self._seen[scan.name].steps
        picture = make_thumbnail(
            self._seen[scan.name].small,
            label_map[:: steps[0], :: steps[1], :: steps[2]],
            self._labels,
            side=_PICTURE_SIDE,
        )
        write_thumbnail(picture, picture_path(self._output, scan.name))
        counts = np.bincount(sitk.GetArrayViewFromImage(label_map).ravel(), minlength=256)
        voxel_ml = math.prod(label_map.GetSpacing()) / 1000
        self.ledger.announce(self._result(scan))
        return {
            "volumes_ml": {
                label.name: round(float(counts[label.value]) * voxel_ml, 3) for label in self._labels
            }
        }

    def finished(self, scan: Scan, told: dict[str, Any], seconds: float) -> None:
        """Note a study whose files are all written."""
        seen = self._seen.pop(scan.name)
        self.ledger.add(
            LedgerEntry(
                name=scan.name,
                result=self._result(scan),
                result_bytes=scan.label_map.stat().st_size,
                stamp=seen.stamp,
                content=seen.content,
                model=self.ledger.model,
                seconds=round(seconds, 3),
                volumes_ml=told["volumes_ml"],
            )
        )

    def _result(self, scan: Scan) -> str:
        return scan.label_map.relative_to(self._output).as_posix()


def picture_path(output: Path, name: str) -> Path:
    """Where the small picture of a study lies."""
    return output / FOLDER / "pictures" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.png"


def write_summary(output: Path, summary: FolderSummary) -> Path:
    """Write `summary.csv`: a line per study with what became of it, and the volume of each organ in ml.

    Raises:
        SSLSegError: the folder cannot be written to.
    """
    states = dict.fromkeys(summary.skipped, "done before") | dict.fromkeys(summary.done, "done")
    organs = [label.name for label in summary.labels]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["study", "state", "reason", "result", "network_s", *(f"{organ}_ml" for organ in organs)])
    for name, state in sorted(states.items()):
        entry = summary.entries.get(name)
        # A result of somebody else that was to be left alone has no entry.
        known = () if entry is None else (entry.result, entry.seconds, *map(entry.volumes_ml.get, organs))
        table.writerow([name, state, "", *known])
    table.writerows([name, "failed", reason] for name, reason in summary.failed)
    write_text(output / SUMMARY, text.getvalue())
    return output / SUMMARY

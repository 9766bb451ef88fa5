"""What a model made of a folder of studies, as one page: which failed, which look unlike the others."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import SimpleITK as sitk

from sslseg import __version__
from sslseg.contract.files import write_text
from sslseg.contract.labels import Label
from sslseg.predict.studies import FolderSummary, picture_path
from sslseg.report.case_reading import picture_jpeg
from sslseg.report.content import CaseCard, OrganCard, OrganVolumes, ReportInput, Tile
from sslseg.report.html import render_report

FILE_NAME = "report.html"

_OUTLIER = 3.5
"""Of the modified z-score (Iglewicz and Hoaglin 1993): what lies further from the median is unlike the others."""
_FEWEST = 8
"""Studies below which nothing can be called unlike the others."""


def write_folder_report(output: Path, model: str, summary: FolderSummary) -> Path:
    """Write `report.html` beside the results, atomically.

    Raises:
        SSLSegError: the folder cannot be written to.
    """
    cards = sorted(
        (_card(output, summary, name) for name in [*summary.done, *summary.skipped]),
        key=lambda card: (card.verdict != "look", card.case),
    )
    failed = [CaseCard(name, "failed", "likely wrong", [], note=reason) for name, reason in summary.failed]
    unlike = sum(card.verdict == "look" for card in cards)
    total = len(cards) + len(failed)
    text = render_report(
        ReportInput(
            title=f"Segmentations by {model}",
            subtitle=(
                f"{len(cards)} of {total} studies, reported by sslseg {__version__} on {time.strftime('%Y-%m-%d')}. "
                "Research software, not a medical device."
            ),
            labels=summary.labels,
            facts={"studies": total, "organs": len(summary.labels)},
            order="what failed and what is unlike the others come first",
            warnings=[
                "No segmentation here may be used before a person has looked at it.",
                "A volume is called unlike the others when it lies far from the median of this folder; below "
                f"{_FEWEST} studies none is.",
            ],
            tiles=[
                Tile(
                    "Segmented",
                    str(len(cards)),
                    f"of {total} studies, {len(summary.skipped)} of them earlier",
                ),
                Tile("Failed", str(len(failed)), "with the reason below"),
                Tile("Unlike the others", str(unlike), "in the volume of an organ"),
            ],
            cards=[*failed, *cards],
            volumes=[_organ_volumes(summary, label) for label in summary.labels],
        )
    )
    write_text(output / FILE_NAME, text)
    return output / FILE_NAME


def _card(output: Path, summary: FolderSummary, name: str) -> CaseCard:
    entry, organs = summary.entries.get(name), []
    for label in summary.labels if entry is not None else ():
        verdict, reasons = _judged(summary, label, name)
        organs.append(OrganCard(label, _volume(summary, label, name), "predicted", verdict, reasons))
    picture = picture_path(output, name)
    return CaseCard(
        name,
        "segmented earlier" if name in summary.skipped else "segmented",
        "look" if any(organ.verdict == "look" for organ in organs) else None,
        organs=organs,
        picture=picture_jpeg(sitk.GetArrayFromImage(sitk.ReadImage(str(picture))))
        if picture.exists()
        else None,
    )


def _jpeg(picture: Path) -> bytes:
    return picture_jpeg(sitk.GetArrayFromImage(sitk.ReadImage(str(picture))))


def _judged(summary: FolderSummary, label: Label, name: str) -> tuple[str | None, list[str]]:
    """Whether the volume of an organ is unlike that in the other studies of the folder, and how."""
    volume, all_volumes = _volume(summary, label, name), _volumes(summary, label)
    if volume is None or len(all_volumes) < _FEWEST:
        return None, []
    middle = statistics.median(all_volumes)
    spread = statistics.median(abs(other - middle) for other in all_volumes)
    if volume == 0 < middle:
        return "look", ["not found"]
    if 0.6745 * abs(volume - middle) <= _OUTLIER * spread:
        return None, []
    return "look", [f"{_millilitres(volume)}, where the middle study has {_millilitres(middle)}"]


def _millilitres(volume: float) -> str:
    return f"{volume:.0f} ml" if volume >= 100 else f"{volume:.3g} ml"


def _volume(summary: FolderSummary, label: Label, name: str) -> float | None:
    return summary.entries[name].volumes_ml.get(label.name)


def _volumes(summary: FolderSummary, label: Label) -> list[float]:
    names = [name for name in [*summary.done, *summary.skipped] if name in summary.entries]
    return [volume for name in names if (volume := _volume(summary, label, name)) is not None]


def _organ_volumes(summary: FolderSummary, label: Label) -> OrganVolumes:
    return OrganVolumes(label, [], [(volume, None) for volume in _volumes(summary, label)])

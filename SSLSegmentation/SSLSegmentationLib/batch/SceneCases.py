"""Files that Slicer opens become cases of the open cohort."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.imports import Refusal
from SSLSegmentationLib.batch.Interruption import Interruption
from SSLSegmentationLib.batch.OpenedFile import OpenedVolume, opened
from SSLSegmentationLib.batch.Sources import Source
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.SceneImport import Imported, importSteps
from SSLSegmentationLib.logic.SlicedWork import SlicedWork


@dataclass
class Added:
    """What became of files.

    Attributes:
        cases: ids of the new cases.
        notes: sentences on what was left out.
        refusals: what could not be added.
    """

    cases: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


def addToCohort(
    sources: Iterable[Source], cohorts: CohortLogic, interruption: Interruption, terminal: Terminal
) -> Added:
    """Add every volume of every file, with the segmentation over it as far as its segments are organs of the cohort.

    A volume that does not fit is told of and left out. After Ctrl-C the rest is left out; each case that was added is
    whole.

    Raises:
        SSLSegError: no cohort is open.
    """
    added = Added()
    for source in sources:
        if interruption.isAsked:
            break
        terminal.progress(_("Opening {file} …").format(file=source.place))
        try:
            with opened(source) as volumes:
                for volume in volumes:
                    if not interruption.isAsked:
                        _add(volume, source.path, cohorts, interruption, added)
        except SSLSegError as error:
            added.refusals.append(Refusal(str(source.path), str(error)))
    terminal.endProgress()
    return added


def _add(
    volume: OpenedVolume, file: Path, cohorts: CohortLogic, interruption: Interruption, added: Added
) -> None:
    done: list[Imported] = []
    work = SlicedWork(importSteps(cohorts, volume.node, volume.segmentationNode), done=done.append)
    try:
        while not work.poll(seconds=1.0):
            if interruption.isAsked:
                work.cancel()
                return
    except SSLSegError as error:
        added.refusals.append(Refusal(str(file), f"{file}: {error}"))
        return
    for imported in done:
        added.cases.append(imported.caseId)
        notes = [*([volume.note] if volume.note else []), *imported.notes]
        added.notes += [f"{imported.caseId}: {note}" for note in notes]

"""Importing as a job: progress and what was refused are told as events.

Paths may hold patients' names, so that neither events nor the log say them. Which files were refused, and why, stands
in `refused.json` of the job's folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink
from sslseg.contract.imports import Refusal, write_refusals
from sslseg.contract.settings import ImportSettings
from sslseg.data.importing import ImportReport, import_paths


class _CancelledError(Exception):
    """Somebody wants the import to stop."""


def import_into_cohort(
    cohort: Cohort, settings: ImportSettings, events: EventSink, cancel: Callable[[], bool], job_folder: Path
) -> bool:
    """Add volumes to a cohort: all that are good, in one step at the end.

    Args:
        cohort: gets the cases.
        settings: what to import, and how.
        events: gets started, progress, warning, artifact and cancelled.
        cancel: whether to stop; asked after each volume. Nothing is imported then.
        job_folder: where `refused.json` goes.

    Returns:
        False if it was cancelled.

    Raises:
        SSLSegError: no volume could be imported, or the cohort cannot be written.
    """
    events.write("started", command="import", device="cpu", step=0)
    begin = time.monotonic()

    def progress(done: int, total: int) -> None:
        if cancel():
            raise _CancelledError
        left = (time.monotonic() - begin) * (total - done) / done
        events.write("progress", step=done, steps=total, seconds_left=round(left, 1))

    try:
        if cancel():
            raise _CancelledError
        report = import_paths(
            cohort.folder,
            [Path(path) for path in settings.paths],
            labels=None if settings.labels is None else Path(settings.labels),
            dicom=settings.series,
            copy=settings.copy,
            keep_names=settings.keep_names,
            absent=settings.absent,
            progress=progress,
        )
    except _CancelledError:
        events.write("cancelled", step=0, message="Stopped; nothing was imported.")
        return False
    except SSLSegError as error:
        if error.file is not None and _is_within(error.file, cohort.folder):
            raise
        write_refusals(job_folder, [Refusal(str(error.file or ""), str(error))])
        raise SSLSegError("Nothing was imported; the list says why") from None
    _tell(report, events, job_folder)
    return True


def _tell(report: ImportReport, events: EventSink, job_folder: Path) -> None:
    refusals = [Refusal(str(path), sentence) for path, sentence in report.refused]
    write_refusals(job_folder, refusals)
    if not report.imported:
        if not refusals:
            raise SSLSegError("No volume was found", remedy="Choose volumes, or folders that hold some.")
        raise SSLSegError(f"None of the {len(refusals)} volume(s) was imported; the list says why")
    for note in report.notes:
        events.write("warning", message=note)
    if refusals:
        total = len(refusals) + len(report.imported)
        events.write(
            "warning",
            message=f"{len(refusals)} of {total} volumes were not imported; the list says which and why.",
            refused=len(refusals),
        )
    events.write("artifact", path="cohort.json", kind="cases", cases=report.imported)


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())

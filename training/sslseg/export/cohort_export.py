"""`sslseg export`: the segmentations of a cohort as files for others, with a table of volumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sslseg.bundle.model_folder import read_description
from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import EventSink, failure_message
from sslseg.contract.exports import VOLUMES, case_file, table_files
from sslseg.contract.settings import ExportSettings
from sslseg.data.segmentation_file import write_layers
from sslseg.data.volumes import write_label_map
from sslseg.export.composition import ExportedCase, compose, left_out
from sslseg.export.dicom_seg import require_highdicom, write_dicom_seg
from sslseg.export.tables import volume_rows, write_label_tables, write_volumes
from sslseg.export.terminology import codes_of

Cancel = Callable[[], bool]

OWN_FOLDERS = ("images", "labels", "predictions", "models", "jobs", "cache")

_log = logging.getLogger(__name__)


@dataclass
class ExportSummary:
    """What became of each case, by id; `failed` holds (id, reason) pairs."""

    done: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    cancelled: bool = False


def export_cohort(
    cohort: Cohort,
    settings: ExportSettings,
    events: EventSink,
    cancel: Cancel = lambda: False,
    *,
    own: frozenset[str] = frozenset(),
) -> ExportSummary:
    """Write a file for each case, `volumes.csv` and, for NIfTI, what the values mean.

    A case of which nothing can be exported does not stop the others.

    Args:
        cohort: the cohort; its own files are not changed.
        settings: format, folder, cases, model.
        events: takes progress, artifacts and warnings.
        cancel: asked between two cases.
        own: paths that an earlier, interrupted run of the same export wrote; these may be replaced.

    Raises:
        SSLSegError: the model or a case is unknown, the folder holds an export already or is the cohort's own, or
            nothing at all could be exported.
    """
    events.write("started", command="export", device="cpu", step=0)
    names = [case.id for case in cohort.cases] if settings.cases is None else settings.cases
    cases = [cohort.case(name) for name in dict.fromkeys(names)]
    predicted = _values_of(cohort, settings.model)
    if settings.format == "dicom-seg":
        require_highdicom()
        _warn_of_private_codes(cohort, events)
    folder = cohort.folder / settings.output
    _refuse_own_folder(cohort, folder)
    tables = table_files(folder, settings.format)
    _refuse_existing(tables, settings, own)
    run = _Run(cohort, settings, events, folder, predicted, own)
    begun = time.monotonic()
    for number, case in enumerate(cases, start=1):
        if cancel():
            run.summary.cancelled = True
            break
        run.export(case)
        passed = time.monotonic() - begun
        events.write(
            "progress",
            step=number,
            steps=len(cases),
            seconds_left=round(passed / number * (len(cases) - number), 1),
            case=case.id,
        )
    if run.summary.done and not run.summary.cancelled:
        write_volumes(run.rows, folder / VOLUMES)
        if settings.format == "nifti":
            write_label_tables(list(cohort.labels), folder)
        for table in tables:
            events.write("artifact", path=str(table), kind="table")
    _conclude(run.summary, settings, events)
    return run.summary


@dataclass
class _Run:
    """One export: the cases that are through, and their lines in the table of volumes."""

    cohort: Cohort
    settings: ExportSettings
    events: EventSink
    folder: Path
    predicted: frozenset[int]
    own: frozenset[str]
    summary: ExportSummary = field(default_factory=ExportSummary)
    rows: list[list[str]] = field(default_factory=list)

    def export(self, case: Case) -> None:
        """Export a case, or note why that cannot be done."""
        path = case_file(self.folder, case.id, self.settings.format)
        try:
            _refuse_existing([path], self.settings, self.own)
            exported = compose(self.cohort, case, self.settings, self.predicted)
            if exported is not None:
                self._write(exported, path)
        except Exception as error:
            self._failed(case, error)
            return
        if partial := left_out(case):
            self.events.write(
                "warning",
                message=f"{case.id}: {', '.join(partial)} was drawn on some slices only, which is not exported.",
                case=case.id,
            )
        if exported is None:
            self.summary.empty.append(case.id)
            return
        self.rows += volume_rows(exported)
        self.summary.done.append(case.id)
        self.events.write("artifact", path=str(path), kind="export")

    def _write(self, exported: ExportedCase, path: Path) -> None:
        if self.settings.format == "seg.nrrd":
            write_layers(exported.segmentation, path)
        elif self.settings.format == "nifti":
            write_label_map(exported.label_map(), path)
            if len(exported.segmentation.layers) > 1:
                self.events.write(
                    "warning",
                    message=(
                        f"{exported.case.id}: organs overlap, and a label map has one organ a voxel: "
                        "where they do, the one that the cohort declares later is in it."
                    ),
                    case=exported.case.id,
                )
        else:
            image = self.cohort.image_path(exported.case)
            write_dicom_seg(exported, image, path, model=self.settings.model)

    def _failed(self, case: Case, error: Exception) -> None:
        message = failure_message(error)
        if not isinstance(error, SSLSegError):
            _log.error("export of %s failed", case.id, exc_info=error)
        self.summary.failed.append((case.id, message))
        self.events.write(
            "warning", message=f"{case.id} could not be exported. {message}", case=case.id, failed=True
        )


def _values_of(cohort: Cohort, model: str | None) -> frozenset[int]:
    """Values of the organs that a model knows."""
    if model is None:
        return frozenset()
    if model not in cohort.models():
        raise SSLSegError(
            f"The cohort has no model '{model}'",
            file=cohort.folder,
            remedy=f"It has: {', '.join(cohort.models()) or 'none yet; train one first'}.",
        )
    return frozenset(label.value for label in read_description(cohort.model_folder(model)).plan.labels)


def _refuse_own_folder(cohort: Cohort, folder: Path) -> None:
    """What lies in the cohort's own folders has the same names; an export must never take its place."""
    own = cohort.folder.resolve()
    inside = folder.resolve()
    if inside == own or any(inside.is_relative_to(own / name) for name in OWN_FOLDERS):
        raise SSLSegError(
            "This folder is the cohort's own",
            file=folder,
            remedy="Export into another folder, such as 'exports'.",
        )


def _refuse_existing(paths: list[Path], settings: ExportSettings, own: frozenset[str]) -> None:
    existing = [path for path in paths if path.exists() and str(path) not in own]
    if existing and not settings.overwrite:
        raise SSLSegError(
            "There is a file of this name already",
            file=existing[0],
            remedy="Choose another folder, or allow overwriting.",
        )


def _warn_of_private_codes(cohort: Cohort, events: EventSink) -> None:
    names = [label.name for label in cohort.labels if not codes_of(label).coded]
    if names:
        events.write(
            "warning",
            message=f"No terminology says what is meant by {', '.join(names)}: other programs see the names only.",
        )


def _conclude(summary: ExportSummary, settings: ExportSettings, events: EventSink) -> None:
    if not summary.done and not summary.cancelled:
        if summary.failed:
            raise SSLSegError(
                f"None of the {len(summary.failed)} case(s) could be exported. {summary.failed[0][1]}"
            )
        missing = "accepted yet" if settings.source == "accepted" else "accepted or predicted yet"
        raise SSLSegError(
            f"Nothing of these cases is {missing}",
            remedy="Accept organs in the review, or export the best there is of a model's predictions.",
        )
    if summary.empty:
        count = len(summary.empty)
        what = "accepted" if settings.source == "accepted" else "accepted or predicted"
        events.write("warning", message=f"{count} case(s) have nothing {what} yet and were left out.")
    if summary.failed:
        names = ", ".join(name for name, _ in summary.failed)
        events.write("warning", message=f"{len(summary.failed)} case(s) could not be exported: {names}.")
    if summary.cancelled:
        events.write("cancelled", step=len(summary.done))

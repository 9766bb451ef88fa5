"""Segmentations, volumes and models leave the cohort: what can go, where to, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.exports import VOLUMES, case_file, table_files
from sslseg.contract.jobs import JobSettings
from sslseg.contract.settings import ExportFormat, ExportSettings, ExportSource, ModelExportSettings
from SSLSegmentationLib.logic.CohortLogic import CaseRow

FOLDER_NAME = "export"


class OpenCohort(Protocol):
    """What is needed of CohortLogic."""

    @property
    def cohort(self) -> Cohort | None: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def model(self) -> str | None: ...
    def rows(self) -> list[CaseRow]: ...


class Jobs(Protocol):
    """What is needed of JobLogic."""

    monitors: list[Any]

    def start(self, settings: JobSettings) -> Any: ...
    def cancel(self, monitor: Any) -> None: ...


@dataclass(frozen=True)
class ExportChoice:
    """What a person wants to have exported.

    Attributes:
        format: of the files.
        source: accepted takes only what a person drew or accepted; best takes the prediction elsewhere.
        caseIds: the cases; those that cannot be exported are left out.
        folder: for the files.
    """

    format: ExportFormat
    source: ExportSource
    caseIds: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class ExportPlan:
    """What an export would do.

    Attributes:
        caseIds: the cases it would write.
        notes: sentences on what would be left out, and why.
    """

    caseIds: tuple[str, ...]
    notes: tuple[str, ...] = ()


class ExportLogic:
    """Plans and starts exports; another process writes the files.

    ```
    export = ExportLogic(cohortLogic, jobLogic)
    existing = export.existing(choice)
    if not existing or confirm(existingInWords(existing)):
        export.start(choice, overwrite=bool(existing))
    export.monitor.sentence; export.results()
    ```
    """

    def __init__(self, cohortLogic: OpenCohort, jobLogic: Jobs) -> None:
        self._cohort = cohortLogic
        self._jobs = jobLogic

    @property
    def monitor(self) -> Any | None:
        """The last export of the open cohort, running or not, of segmentations or of a model."""
        kinds = (ExportSettings, ModelExportSettings)
        exports = [m for m in self._jobs.monitors if isinstance(m.job.settings, kinds)]
        return exports[-1] if exports else None

    @property
    def defaultFolder(self) -> Path | None:
        """Where an export goes unless a person chooses another folder."""
        return None if self._cohort.folder is None else self._cohort.folder / FOLDER_NAME

    def exportable(self, source: ExportSource) -> list[str]:
        """Ids of the cases that have something to export, in the order of the cohort."""
        cohort = self._cohort.cohort
        if cohort is None:
            return []
        predicted = {row.id for row in self._cohort.rows() if row.predicted} if source == "best" else set()
        return [case.id for case in cohort.cases if case.id in predicted or _isAccepted(case)]

    def plan(self, choice: ExportChoice) -> ExportPlan:
        """What an export would write, and what it would leave out."""
        cohort = self._cohort.cohort
        if cohort is None:
            return ExportPlan((), (_("No cohort is open."),))
        if choice.source == "best" and self._cohort.model is None:
            return ExportPlan((), (_("There is no model yet whose predictions could be exported."),))
        possible = set(self.exportable(choice.source))
        chosen = [caseId for caseId in choice.caseIds if caseId in possible]
        notes = []
        empty = len(choice.caseIds) - len(chosen)
        if empty:
            notes.append(_nothingYet(empty, len(choice.caseIds), choice.source))
        if choice.format == "dicom-seg" and chosen:
            fromDicom = [caseId for caseId in chosen if cohort.image_path(cohort.case(caseId)).is_dir()]
            if len(fromDicom) < len(chosen):
                notes.append(_notFromDicom(len(chosen) - len(fromDicom), len(chosen)))
            chosen = fromDicom
        return ExportPlan(tuple(chosen), tuple(notes))

    def existing(self, choice: ExportChoice) -> list[Path]:
        """The files in the folder that an export would replace."""
        caseIds = self.plan(choice).caseIds
        files = [case_file(choice.folder, caseId, choice.format) for caseId in caseIds]
        files += table_files(choice.folder, choice.format) if caseIds else []
        return [path for path in files if path.exists()]

    def start(self, choice: ExportChoice, *, overwrite: bool = False) -> Any:
        """Export; the job's monitor.

        Args:
            choice: what to export.
            overwrite: replace files that are there; without it the job refuses to.

        Raises:
            SSLSegError: there is nothing to export, or the job cannot be started.
        """
        plan = self.plan(choice)
        if not plan.caseIds:
            raise SSLSegError(
                " ".join(plan.notes).rstrip(".") or _("No case is chosen"), remedy=_("Choose other cases.")
            )
        settings = ExportSettings(
            format=choice.format,
            output=str(choice.folder),
            model=self._cohort.model,
            cases=list(plan.caseIds),
            source=choice.source,
            overwrite=overwrite,
        )
        return self._jobs.start(settings)

    def startModel(self, folder: Path) -> Any:
        """Export the current model as a MONAI bundle into a new folder below `folder`; the job's monitor.

        Raises:
            SSLSegError: there is no model, or the job cannot be started.
        """
        model = self._cohort.model
        if model is None:
            raise SSLSegError(_("There is no model yet"), remedy=_("Train one in the Train section first."))
        names = [f"{model}-bundle", *(f"{model}-bundle-{number}" for number in range(2, 1000))]
        free = next(folder / name for name in names if not (folder / name).exists())
        return self._jobs.start(ModelExportSettings(model, str(free)))

    def cancel(self) -> None:
        """Stop the export that is running; the files that are written stay."""
        if self.monitor is not None and self.monitor.isActive:
            self._jobs.cancel(self.monitor)

    def results(self) -> list[Path]:
        """The files that the last export has written so far."""
        if self.monitor is None:
            return []
        return [Path(str(artifact.get("path"))) for artifact in self.monitor.story.artifacts]

    def volumesFile(self) -> Path | None:
        """The table of volumes that the last export wrote, if it is still there."""
        return next((path for path in self.results() if path.name == VOLUMES and path.exists()), None)


def existingInWords(paths: Iterable[Path], shown: int = 6) -> str:
    """A question whether files may be replaced, with their names."""
    paths = list(paths)
    names = [path.name for path in paths[:shown]]
    if len(paths) > shown:
        names.append(_("and {count} more").format(count=len(paths) - shown))
    return _("These files are in the folder {folder} already:\n\n{names}\n\nReplace them?").format(
        folder=paths[0].parent, names="\n".join(names)
    )


def _isAccepted(case: Case) -> bool:
    """Whether an organ of the case was drawn or accepted as a whole; one drawn on some slices only is not exported."""
    return case.label is not None and any(organ not in case.slices for organ in case.annotated)


def _nothingYet(count: int, total: int, source: ExportSource) -> str:
    if source == "accepted":
        text = _("{count} of {total} cases are left out: nothing of them has been annotated or accepted yet.")
    else:
        text = _("{count} of {total} cases are left out: they are neither annotated nor predicted yet.")
    return text.format(count=count, total=total)


def _notFromDicom(count: int, total: int) -> str:
    if count == total:
        return _(
            "DICOM SEG is not possible: a DICOM segmentation refers to the series it was drawn on, and these cases "
            "came from other files. Choose another format, or import the DICOM series themselves."
        )
    return _(
        "{count} of {total} cases are left out: they did not come from DICOM, so there is no series that a DICOM "
        "segmentation could refer to. Export them in another format."
    ).format(count=count, total=total)

"""init and import: files become cases, by whoever can read them."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from slicer.i18n import tr as _

from sslseg.contract.cohort import FILE_NAME, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.exit_codes import MENDABLE, STOPPED
from sslseg.contract.imports import Refusal, read_refusals
from sslseg.contract.jobs import Job, JobState
from sslseg.contract.labels import parse_labels
from sslseg.contract.settings import ImportSettings
from SSLSegmentationLib.batch.Arguments import Arguments
from SSLSegmentationLib.batch.BackendCommand import BackendCommand
from SSLSegmentationLib.batch.DicomSeriesIndex import seriesIn
from SSLSegmentationLib.batch.Interruption import Interruption
from SSLSegmentationLib.batch.JobRun import JobRun
from SSLSegmentationLib.batch.OpenedFile import besideVolume
from SSLSegmentationLib.batch.OrgansFile import isSegmentation, writeOrgans
from SSLSegmentationLib.batch.SceneCases import Added, addToCohort
from SSLSegmentationLib.batch.Sources import Source, sortSources
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.CohortLogic import CohortLogic

FLAGS = frozenset({"--copy", "--keep-names"})
"""Options of init and import that take no value."""
OF_FOLDERS = frozenset({"--images", "--labels", "--organs", "--modality", "--absent", *FLAGS})
"""Options of init that make a cohort from a folder."""


class ImportRun:
    """Carries out `init` and `import`.

    The backend reads what it reads, in a job; Slicer opens the rest, and folders with several DICOM series are sorted
    by Slicer's DICOM database.

    Args:
        backend: runs commands.
        jobs: runs jobs.
        cohorts: the cohort is opened in it.
        interruption: tells of Ctrl-C.
        terminal: is told what came in and what did not.
    """

    def __init__(
        self,
        backend: BackendCommand,
        jobs: JobRun,
        cohorts: CohortLogic,
        interruption: Interruption,
        terminal: Terminal,
    ) -> None:
        self._backend = backend
        self._jobs = jobs
        self._cohorts = cohorts
        self._interruption = interruption
        self._terminal = terminal

    def init(self, arguments: Arguments) -> int:
        """Make a cohort; the exit code.

        Raises:
            SSLSegError: what was typed does not make a cohort, or it cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="sslseg-") as place:
            organs = arguments.option("--organs")
            if organs is not None and isSegmentation(Path(organs)):
                table = Path(place) / "organs.json"
                writeOrgans(Path(organs), table)
                arguments = Arguments(arguments.changed(organs=[str(table)]))
            return self._init(arguments)

    def import_(self, arguments: Arguments) -> int:
        """Add volumes to a cohort; the exit code.

        Raises:
            SSLSegError: what was typed does not fit, or there is no cohort.
        """
        job = Job.open(self._backend.prepared(arguments.words))
        settings = job.settings
        assert isinstance(settings, ImportSettings)
        self._cohorts.openCohort(job.cohort_folder)
        sources = sortSources(map(Path, settings.paths), outside=job.cohort_folder)
        added = self._addFromScenes(sources.forSlicer)
        if not sources.forBackend or self._interruption.isAsked:
            shutil.rmtree(job.folder, ignore_errors=True)  # it has not begun, and has nothing to do
            return self._tell(added, 0)
        job.replace_settings(replace(settings, paths=[str(path) for path in sources.forBackend]))
        code = self._runImport(job, added, {besideVolume(source.path) for source in sources.forSlicer})
        return self._tell(added, code)

    def _init(self, arguments: Arguments) -> int:
        images = arguments.option("--images")
        organs = arguments.option("--organs")
        folders = arguments.positional(FLAGS)
        plain = images is None or organs is None or len(folders) != 1 or arguments.options() - OF_FOLDERS
        sources = None if plain or images is None else sortSources([Path(images)], outside=Path(folders[0]))
        if sources is None or not sources.forSlicer:
            return self._backend.show(arguments.words)
        folder, code = Path(folders[0]), 0
        if sources.forBackend:
            code = self._backend.show(arguments.words)
            if not (folder / FILE_NAME).exists():
                return code
        else:
            self._create(folder, arguments)
        self._cohorts.openCohort(folder)
        added = self._addFromScenes(sources.forSlicer)
        code = self._tell(added, code)
        if not sources.forBackend and not added.cases:
            self._cohorts.closeCohort()
            _removeEmpty(folder)
        return code

    def _create(self, folder: Path, arguments: Arguments) -> None:
        """An empty cohort for scenes alone, of which the backend knows nothing."""
        modality = arguments.option("--modality")
        if modality not in ("CT", "MR"):
            raise SSLSegError(
                _("Slicer's files do not say whether they are CT or MR"),
                remedy=_("Add --modality CT or --modality MR."),
            )
        labels = parse_labels(arguments.option("--organs") or "")
        Cohort.create(folder, name=folder.resolve().name, modality=modality, labels=labels)
        if arguments.option("--labels") is not None:
            self._terminal.say(
                _("--labels is for files that the backend reads; of a scene, its segmentations are taken.")
            )

    def _addFromScenes(self, sources: Sequence[Source]) -> Added:
        return addToCohort(sources, self._cohorts, self._interruption, self._terminal)

    def _runImport(self, job: Job, added: Added, used: set[Path]) -> int:
        """Run an import and take over what it did; its exit code.

        Args:
            job: of the import.
            added: takes what became of the files.
            used: segmentations that were taken over with a volume that Slicer has opened.
        """
        state = self._jobs.run(job)
        code = self._jobs.exitCode(job, state)
        added.cases += _imported(job)
        refused = read_refusals(job.folder)
        refusals = [one for one in refused if Path(one.file) not in used]
        if state in (JobState.FINISHED, JobState.FAILED):
            refusals = self._sorted(refusals, job, added)
        added.refusals += refusals
        if refused:
            # They are told one by one; that the job has failed for them alone says nothing more.
            return 0 if code == MENDABLE else code
        self._jobs.tellEnd(job)
        return code

    def _sorted(self, refusals: list[Refusal], job: Job, added: Added) -> list[Refusal]:
        """Import the series of folders that hold several; what is still refused."""
        assert isinstance(job.settings, ImportSettings) and self._cohorts.cohort is not None
        series, left = [], []
        for refusal in refusals:
            folder = Path(refusal.file)
            found = (
                seriesIn(folder, self._cohorts.cohort.modality) if refusal.file and folder.is_dir() else []
            )
            if len(found) > 1 and not self._interruption.isAsked:
                series += found
            else:
                left.append(refusal)
        if not series:
            return left
        again = Job.create(job.cohort_folder, replace(job.settings, paths=[], labels=None, series=series))
        self._jobs.run(again)
        added.cases += _imported(again)
        return left + read_refusals(again.folder)

    def _tell(self, added: Added, code: int) -> int:
        """Print what came in and what did not; the exit code."""
        for note in added.notes:
            self._terminal.say(note)
        for refusal in added.refusals:
            self._terminal.say(_("not imported: {reason}").format(reason=refusal.reason))
        self._terminal.say(
            _("{count} imported into {folder}").format(count=len(added.cases), folder=self._cohorts.folder)
        )
        if self._interruption.isAsked:
            self._terminal.complain(_("Stopped before all was imported."))
            return STOPPED
        if added.refusals:
            self._terminal.complain(_("Not imported: {count}.").format(count=len(added.refusals)))
            return code or MENDABLE
        return code


def _removeEmpty(folder: Path) -> None:
    """Take a cohort away that was made for nothing: the same command shall work once its files are mended."""
    for name in (FILE_NAME, ".cohort.lock"):
        (folder / name).unlink(missing_ok=True)
    for empty in (folder / "cache", folder):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _imported(job: Job) -> list[str]:
    """Ids of the cases that a job has added."""
    events = read_events(job.events_path)
    return [case for event in events if event.event == "artifact" for case in event.fields.get("cases", ())]

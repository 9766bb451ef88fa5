"""The Setup section: whether the backend can run, how to get what it lacks, and the room its cache takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.BackendReport import BackendReport
from SSLSegmentationLib.logic.CacheFolder import CacheFolder, sizeWords
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.SetupLogic import SetupLogic, SetupState


class SetupPanel:
    """Shows a `SetupLogic` and hands it what a person clicks.

    Args:
        setupLogic: the Python that runs the backend.
        cohortLogic: whose open cohort the cache belongs to.
        confirm: asks a person; True if they agree.
        showError: tells a person what went wrong.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
    """

    def __init__(
        self,
        setupLogic: SetupLogic,
        cohortLogic: CohortLogic,
        *,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        parent: Any = None,
    ) -> None:
        self._setup = setupLogic
        self._cohorts = cohortLogic
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._cache: CacheFolder | None = None
        self._cacheFolder = None
        self._isRemoving = False

        self.widget = slicer.util.loadUI(str(uiPath("SetupPanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.ui.installButton.connect("clicked(bool)", self.onInstall)
        self.ui.testButton.connect("clicked(bool)", self.onTest)
        self.ui.usePythonButton.connect("clicked(bool)", self.onUsePython)
        self.ui.ownPythonButton.connect("clicked(bool)", self.onOwnPython)
        self.ui.removeCacheButton.connect("clicked(bool)", self.onRemoveCache)
        self.ui.pythonPathEdit.filters = ctk.ctkPathLineEdit.Files
        self.ui.pythonPathEdit.currentPath = str(setupLogic.existingPython or "")
        self._setup.changed.connect(self.refresh)
        self._cohorts.changed.connect(self._followCohort)
        self._followCohort()
        self.refresh()

    def enter(self) -> None:
        """Look again: packages may have been installed, and the cache may have grown."""
        if not self._setup.isReady and self._setup.state is not SetupState.CHECKING:
            self._setup.check()
        self._countCache()

    def exit(self) -> None:
        """Nothing has to end: what runs is cheap."""

    def cleanup(self) -> None:
        """Listen no more."""
        self._setup.changed.disconnect(self.refresh)
        self._cohorts.changed.disconnect(self._followCohort)
        self._cache = None

    def poll(self) -> None:
        """Go on with counting or removing the cache, for a moment. To be called every half second."""
        if self._cache is None or not self._cache.isBusy:
            return
        self._try(self._cache.poll)
        if self._isRemoving and not self._cache.isBusy:
            self._isRemoving = False
            self._countCache()
        self._refreshCache()

    def refresh(self) -> None:
        """Show the state as it is."""
        setup = self._setup
        self.ui.stateLabel.text = setup.sentence
        incomplete = setup.state is SetupState.INCOMPLETE
        obstacle = setup.installObstacle() if incomplete else ""
        self.ui.obstacleLabel.text = obstacle
        self.ui.obstacleLabel.visible = bool(obstacle)
        self.ui.installButton.visible = incomplete
        self.ui.installButton.enabled = incomplete and not obstacle
        self.ui.installButton.toolTip = obstacle or _(
            "Download what is missing and install it into Slicer's Python. You are asked before."
        )
        self.ui.testButton.enabled = setup.isReady and not setup.isTesting
        self.ui.testButton.text = _("Testing …") if setup.isTesting else _("Test backend")
        self.ui.reportLabel.text = "" if setup.report is None else _reportText(setup.report)
        self.ui.reportLabel.visible = setup.report is not None
        self.ui.ownPythonButton.enabled = setup.existingPython is not None
        self._refreshPackages()
        self._refreshCache()

    def onInstall(self) -> None:
        """Install what is missing, once a person has agreed."""
        if not self._confirm(self._setup.installSummary()):
            return
        self.ui.installButton.enabled = False
        self.ui.stateLabel.text = _("Installing. This takes some minutes …")
        slicer.app.processEvents()
        self._try(self._setup.install)
        self.refresh()

    def onTest(self) -> None:
        """Start the test of the backend."""
        self._setup.testBackend()

    def onUsePython(self) -> None:
        """Take the Python whose path was given."""
        path = self.ui.pythonPathEdit.currentPath.strip()
        if not path:
            self._showError(_("Choose the program python of an environment first."))
            return
        self._try(lambda: self._setup.usePython(path))
        self.ui.pythonPathEdit.currentPath = str(self._setup.existingPython or path)

    def onOwnPython(self) -> None:
        """Go back to Slicer's Python."""
        self._try(lambda: self._setup.usePython(None))

    def onRemoveCache(self) -> None:
        """Remove the cache of the open cohort, once a person has agreed."""
        if self._cache is None:
            return
        question = _(
            "Remove {size} of cached data of this cohort?\n\nNothing of yours is lost: the next training or "
            "prediction prepares the volumes again, which takes some minutes."
        ).format(size=sizeWords(self._cache.size))
        if not self._confirm(question):
            return
        self._isRemoving = self._try(self._cache.startRemoving)
        self._refreshCache()

    def _try(self, action: Callable[[], None]) -> bool:
        """Do it, or say why it could not be done."""
        try:
            action()
        except SSLSegError as error:
            self._showError(str(error))
            return False
        return True

    def _followCohort(self) -> None:
        if self._cohorts.folder != self._cacheFolder:
            self._countCache()

    def _countCache(self) -> None:
        if self._isRemoving:
            return
        self._cacheFolder = self._cohorts.folder
        self._cache = None if self._cohorts.cohort is None else CacheFolder(self._cohorts.cohort)
        if self._cache is not None:
            self._cache.startCounting()
        self._refreshCache()

    def _refreshCache(self) -> None:
        cache = self._cache
        if cache is None:
            text = _("Cached data: no cohort is open.")
        elif self._isRemoving:
            text = _("Removing the cached data …")
        elif cache.isBusy:
            text = _("Cached data of this cohort: {size} so far …").format(size=sizeWords(cache.size))
        elif cache.size:
            text = _("Cached data of this cohort: {size}.").format(size=sizeWords(cache.size))
        else:
            text = _("Cached data of this cohort: none.")
        self.ui.cacheLabel.text = text
        canRemove = cache is not None and not cache.isBusy and cache.size > 0
        self.ui.removeCacheButton.enabled = canRemove
        self.ui.removeCacheButton.toolTip = (
            _("Remove the cached data. It is made again when it is needed.")
            if canRemove
            else _("There is no cached data to remove.")
        )

    def _refreshPackages(self) -> None:
        findings = () if self._setup.findings is None else self._setup.findings.findings
        findings = sorted(findings, key=lambda finding: finding.isGood)  # what is missing comes first
        table = self.ui.packagesTable
        table.rowCount = len(findings)
        for row, finding in enumerate(findings):
            for column, text in enumerate((finding.name, finding.sentence)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(f"{finding.name}: {finding.sentence}")
                table.setItem(row, column, item)
        table.resizeColumnToContents(0)
        table.resizeRowsToContents()
        self.ui.packagesGroup.visible = bool(findings)


def _reportText(report: BackendReport) -> str:
    return "\n".join((report.sentence, *report.warnings))

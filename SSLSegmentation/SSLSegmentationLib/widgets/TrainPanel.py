"""The Train section: choose how to learn, train, watch it, stop it, go on."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from sslseg.contract.choices import Choices, read_choices
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import JobState
from sslseg.contract.models import ModelOrigin, read_origin
from sslseg.contract.settings import PRESETS, TrainSettings
from SSLSegmentationLib.logic.AfterSaving import AfterSaving
from SSLSegmentationLib.logic.CaseLogic import CaseLogic
from SSLSegmentationLib.logic.CohortLogic import CohortLogic
from SSLSegmentationLib.logic.CurveLogic import Color, CurveLogic
from SSLSegmentationLib.logic.JobLogic import AFTER_TRAINING, JobLogic
from SSLSegmentationLib.logic.JobMonitor import JobMonitor
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.SetupLogic import SetupLogic
from SSLSegmentationLib.logic.Signal import Signal
from SSLSegmentationLib.logic.TrainingOutlook import TrainingOutlook, freeName, nameProblem, presetSentence
from SSLSegmentationLib.widgets.AdvancedTraining import AdvancedTraining
from SSLSegmentationLib.widgets.TrainingCurves import TrainingCurves

FIRST_METHOD = "mean_teacher"
MOST_MODELS = 8
"""How many models, the newest first, are asked how fast they were trained."""
MOST_WARNINGS = 3


class TrainState(enum.Enum):
    """What the main button does.

    ```
    BLOCKED --> READY --> WORKING --> STOPPING --> READY (and what was stopped can be resumed)
                  ^---------'
    ```
    """

    BLOCKED = "blocked"
    READY = "ready"
    WORKING = "working"
    STOPPING = "stopping"


class TrainPanel:
    """The Train section.

    Args:
        cohortLogic: the cohort to learn from.
        jobLogic: runs the trainings.
        setupLogic: whether the backend is there.
        caseLogic: the open case, which is saved before a training starts; None where there is none to save.
        showError: tells a person what went wrong.
        confirm: asks a person whether an unfinished training shall be left behind.
        choices: the methods, networks and presets; None takes those of the backend that came with the module.
        curveLogic: draws the curves.
        parent: the widget this one lies in.

    Attributes:
        widget: the panel.
        setupWanted: emitted when a person wants to see the Setup section.
    """

    def __init__(
        self,
        cohortLogic: CohortLogic,
        jobLogic: JobLogic,
        setupLogic: SetupLogic,
        *,
        caseLogic: CaseLogic | None = None,
        confirm: Callable[[str], bool] | None = None,
        showError: Callable[[str], Any] | None = None,
        choices: Choices | None = None,
        curveLogic: CurveLogic | None = None,
        parent: Any = None,
    ) -> None:
        self._cohorts = cohortLogic
        self._jobs = jobLogic
        self._setup = setupLogic
        self._confirm = confirm or slicer.util.confirmOkCancelDisplay
        self._showError = showError or slicer.util.errorDisplay
        self._afterSaving = None if caseLogic is None else AfterSaving(caseLogic)
        self._choices = choices or read_choices()
        self._origins: dict[tuple[Path, str], ModelOrigin | None] = {}
        self._proposedName = ""
        self._outlook = TrainingOutlook("")
        self._followed: JobMonitor | None = None
        self.setupWanted = Signal()

        self.widget = slicer.util.loadUI(str(uiPath("TrainPanel")))
        if parent is not None:
            self.widget.setParent(parent)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._fillChoices()
        self.advanced = AdvancedTraining(self.ui, self._choices)
        self.curves = TrainingCurves(self.ui, curveLogic or CurveLogic())
        self._connect()
        self.onMethod()
        self.refresh()

    def _fillChoices(self) -> None:
        ui = self.ui
        for method in self._choices.methods:
            ui.methodCombo.addItem(method.title, method.name)
        ui.methodCombo.currentIndex = max(0, ui.methodCombo.findData(FIRST_METHOD))
        titles = {"quick": _("Quick"), "standard": _("Standard"), "thorough": _("Thorough")}
        for preset in PRESETS:
            ui.presetCombo.addItem(titles[preset], preset)
        ui.startCombo.addItem(_("nothing: learn anew"), "")

    def _connect(self) -> None:
        ui = self.ui
        ui.methodCombo.connect("currentIndexChanged(int)", self.onMethod)
        ui.presetCombo.connect("currentIndexChanged(int)", self._refreshPreset)
        ui.nameEdit.connect("textChanged(QString)", self._refreshState)
        ui.startCombo.connect("currentIndexChanged(int)", self.onStart)
        ui.thenCheck.connect("toggled(bool)", self.onThen)
        ui.trainButton.connect("clicked(bool)", self.onTrain)
        ui.resumeButton.connect("clicked(bool)", self.onResume)
        ui.wayOutButton.connect("clicked(bool)", self.onWayOut)
        self.advanced.changed.connect(self._refreshPreset)
        self._cohorts.changed.connect(self.refresh)
        self._jobs.changed.connect(self._refreshJobs)
        self._setup.changed.connect(self._refreshState)

    def enter(self) -> None:
        """The module is shown."""
        self.refresh()

    def exit(self) -> None:
        """Another module is shown: Slicer's views are given back."""
        self.curves.leave()

    def cleanup(self) -> None:
        """Listen no more, and take the curves out of the scene; trainings run on."""
        self._cohorts.changed.disconnect(self.refresh)
        self._jobs.changed.disconnect(self._refreshJobs)
        self._setup.changed.disconnect(self._refreshState)
        if self._afterSaving is not None:
            self._afterSaving.close()
        self.curves.cleanup()

    @property
    def training(self) -> JobMonitor | None:
        """The training that the panel is about: the newest."""
        trainings = self._jobs.trainings
        return trainings[-1] if trainings else None

    @property
    def work(self) -> JobMonitor | None:
        """What the panel shows: the newest training, or what follows it."""
        training = self.training
        if training is None or training.isActive:
            return training
        following = [
            monitor
            for monitor in self._jobs.monitors
            if monitor.job.number > training.job.number
            and monitor.job.description.command in AFTER_TRAINING
            and monitor.job.settings.model == training.job.settings.model
        ]
        return next((monitor for monitor in following if monitor.isActive), [training, *following][-1])

    @property
    def state(self) -> TrainState:
        """What the main button does now."""
        work = self.work
        if work is not None and work.isActive:
            return TrainState.STOPPING if work.isCancelling else TrainState.WORKING
        return TrainState.BLOCKED if self._obstacle() else TrainState.READY

    def settings(self) -> TrainSettings:
        """The settings as they stand in the panel.

        Raises:
            SSLSegError: one of them does not fit.
        """
        try:
            return TrainSettings(
                method=self.ui.methodCombo.currentData,
                model=self.ui.nameEdit.text.strip(),
                preset=self.ui.presetCombo.currentData,
                start_from=self.ui.startCombo.currentData or None,
                **self.advanced.fields(),
            )
        except ValueError as error:
            raise SSLSegError(str(error), remedy=_("Change the setting and try again.")) from error

    def onMethod(self) -> None:
        """Another method was chosen."""
        method = self._choices.method(self.ui.methodCombo.currentData)
        self.ui.methodLabel.text = method.summary
        self.advanced.showMethod(method.name)
        self._refreshName()
        self._refreshOutlook()
        self._refreshPreset()
        self._refreshState()

    def onStart(self) -> None:
        """Another model to start from was chosen: go on with its method, which its networks fit."""
        model = self.ui.startCombo.currentData or None
        self.advanced.setStart(model)
        origin = None if model is None else self._origin(model)
        index = -1 if origin is None else self.ui.methodCombo.findData(origin.method)
        if index >= 0:
            self.ui.methodCombo.currentIndex = index
        self._refreshName()
        self._refreshPreset()

    def onThen(self) -> None:
        """What follows was changed; that holds for the training that runs, too."""
        training = self.training
        if training is not None and training.isActive:
            self._try(lambda: self._jobs.setThen(training, self._then()))

    def onTrain(self) -> None:
        """Train, or stop what runs."""
        work = self.work
        if work is not None and work.isActive:
            self._try(lambda: self._jobs.cancel(work))
        elif work is None or self._leaveBehind(work):
            if self._afterSaving is None:
                self._start()
            else:
                self._afterSaving.do(self._start)

    def _start(self) -> None:
        self._try(lambda: self._jobs.start(self.settings(), then=self._then()))
        self.refresh()

    def onResume(self) -> None:
        """Go on with what was stopped, interrupted, or failed."""
        work = self.work
        if work is not None:
            self._try(lambda: self._jobs.resume(work.job))
            self._refreshJobs()

    def onWayOut(self) -> None:
        """Do what the obstacle asks for."""
        if not self._setup.isReady:
            self.setupWanted.emit()
        elif self._outlook.instead:
            self.ui.methodCombo.currentIndex = self.ui.methodCombo.findData(self._outlook.instead)

    def refresh(self) -> None:
        """Show the cohort, its models and its jobs as they are."""
        self._refreshModels()
        self._refreshName()
        self._refreshOutlook()
        self._refreshPreset()
        self._refreshJobs()

    def _refreshModels(self) -> None:
        combo = self.ui.startCombo
        models = [] if self._cohorts.cohort is None else self._cohorts.models
        if [combo.itemData(index) for index in range(1, combo.count)] == models:
            return
        chosen = combo.currentData
        combo.blockSignals(True)
        while combo.count > 1:
            combo.removeItem(combo.count - 1)
        for model in models:
            combo.addItem(model, model)
        combo.currentIndex = max(0, combo.findData(chosen)) if chosen else 0
        combo.blockSignals(False)
        if combo.currentData != chosen:
            self.onStart()

    def _refreshName(self) -> None:
        """Propose a name, unless a person has given one."""
        if self.ui.nameEdit.text != self._proposedName:
            return
        start = self.ui.startCombo.currentData
        self._proposedName = freeName(start or self.ui.methodCombo.currentData, self._takenNames())
        self.ui.nameEdit.text = self._proposedName

    def _refreshOutlook(self) -> None:
        method = self._choices.method(self.ui.methodCombo.currentData)
        self._outlook = TrainingOutlook.of(self._cohorts.cohort, method, self._choices)
        self.ui.summaryLabel.text = self._outlook.summary
        self.ui.hintsLabel.text = "\n".join(self._outlook.hints)

    def _refreshPreset(self) -> None:
        cohort = self._cohorts.cohort
        models = [] if cohort is None else self._cohorts.models[:MOST_MODELS]
        earlier = [(model, origin) for model in models if (origin := self._origin(model)) is not None]
        try:
            settings = self.settings()
        except SSLSegError:  # the name is not right yet: that bears not on the time
            settings = TrainSettings(
                self.ui.methodCombo.currentData, "unnamed", preset=self.ui.presetCombo.currentData
            )
        self.ui.presetLabel.text = presetSentence(settings, self._choices, earlier)

    def _refreshJobs(self) -> None:
        work, training = self.work, self.training
        self._refreshThen(training)
        self._refreshProgress(work)
        self.curves.show(training, self._organColors())
        self._refreshState()

    def _refreshThen(self, training: JobMonitor | None) -> None:
        """The mark is that of the training that runs, which another Slicer may have started."""
        running = training if training is not None and training.isActive else None
        if running is not None and running is not self._followed:
            self.ui.thenCheck.blockSignals(True)
            self.ui.thenCheck.checked = bool(self._jobs.then(running))
            self.ui.thenCheck.blockSignals(False)
        self._followed = running

    def _refreshProgress(self, work: JobMonitor | None) -> None:
        ui = self.ui
        ui.progressWidget.visible = work is not None
        if work is None:
            return
        ui.progressBar.visible = work.isActive
        # Without a known end, the bar runs to and fro.
        fraction = work.fraction
        ui.progressBar.maximum = 0 if fraction is None else 1000
        ui.progressBar.value = round(1000 * (fraction or 0))
        ui.statusLabel.text = work.sentence
        warnings = work.warnings
        shown = warnings[-MOST_WARNINGS:]
        if len(warnings) > len(shown):
            shown = [*shown, _("And {count} more.").format(count=len(warnings) - len(shown))]
        ui.warningsLabel.text = "\n".join(shown)
        ui.warningsLabel.toolTip = "\n".join(warnings)
        ui.warningsLabel.visible = bool(warnings)

    def _refreshState(self) -> None:
        """The buttons, and what stands in the way."""
        ui, work, state = self.ui, self.work, self.state
        isIdle = state in (TrainState.READY, TrainState.BLOCKED)
        canResume = isIdle and work is not None and self._canResume(work)
        obstacle = self._obstacle() if isIdle else ""
        ui.choicesWidget.visible = isIdle
        ui.thenCheck.visible = isIdle or work is self.training
        ui.hintsLabel.visible = isIdle and bool(self._outlook.hints)
        ui.obstacleLabel.text = obstacle
        ui.obstacleLabel.visible = bool(obstacle)
        wayOut = self._wayOut() if obstacle else ""
        ui.wayOutButton.visible = bool(wayOut)
        ui.wayOutButton.text = wayOut
        ui.resumeButton.visible = canResume
        ui.resumeButton.enabled = canResume and self._setup.isReady
        ui.resumeButton.toolTip = _("Go on from what is saved, with the settings it was started with.")
        ui.trainButton.enabled = state in (TrainState.READY, TrainState.WORKING)
        if isIdle:
            ui.trainButton.text = _("Train anew") if canResume else _("Train")
            ui.trainButton.toolTip = obstacle or _(
                "Train a model in another process. You can go on annotating, and even close Slicer meanwhile."
            )
        else:
            isStopping = state is TrainState.STOPPING
            ui.trainButton.text = _("Stopping …") if isStopping else _("Cancel")
            ui.trainButton.toolTip = _("Stop. What has been done so far is kept, and can be gone on with.")

    def _canResume(self, work: JobMonitor) -> bool:
        """Whether it was left before it was done, and nothing else has taken its place since."""
        made = work is self.training and work.job.settings.model in self._cohorts.models
        return work.canResume and not work.isStopping and not made

    def _leaveBehind(self, work: JobMonitor) -> bool:
        """Whether to train anew though there is something to go on with."""
        if not self._canResume(work) or work.state is JobState.FAILED:
            return True
        question = _(
            "{sentence}\n\nTrain anew and leave it behind? From then on it can only be resumed in a terminal, with "
            "'sslseg run {folder}'."
        )
        return self._confirm(question.format(sentence=work.sentence, folder=work.job.folder))

    def _obstacle(self) -> str:
        """Why no training can be started; empty if one can."""
        if self._cohorts.cohort is None:
            return self._outlook.refusal
        if not self._setup.isReady:
            return _("The backend is not ready: see the Setup section.")
        return self._outlook.refusal or nameProblem(self.ui.nameEdit.text.strip(), self._takenNames())

    def _wayOut(self) -> str:
        """What the button beside a refused training offers; empty if nothing can be done with a click."""
        if self._cohorts.cohort is None:
            return ""
        if not self._setup.isReady:
            return _("Open Setup")
        instead = self._outlook.instead
        return _("Use '{method}'").format(method=self._choices.method(instead).title) if instead else ""

    def _takenNames(self) -> set[str]:
        """Names of the models, and of those that are being made or could be gone on with."""
        if self._cohorts.cohort is None:
            return set()
        unfinished = (m for m in self._jobs.trainings if m.state is not JobState.FINISHED)
        return {*self._cohorts.models, *(monitor.job.settings.model for monitor in unfinished)}

    def _then(self) -> tuple[str, ...]:
        return AFTER_TRAINING if self.ui.thenCheck.checked else ()

    def _origin(self, model: str) -> ModelOrigin | None:
        cohort = self._cohorts.cohort
        if cohort is None:
            return None
        key = (cohort.folder, model)
        if key not in self._origins:
            self._origins[key] = read_origin(cohort, model)
        return self._origins[key]

    def _organColors(self) -> dict[str, Color]:
        cohort = self._cohorts.cohort
        if cohort is None:
            return {}
        return {
            label.name: (label.color[0] / 255, label.color[1] / 255, label.color[2] / 255)
            for label in cohort.labels
        }

    def _try(self, action: Callable[[], Any]) -> None:
        """Do it, or say why it could not be done."""
        try:
            action()
        except SSLSegError as error:
            self._showError(str(error))

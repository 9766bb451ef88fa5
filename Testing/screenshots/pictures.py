"""What is pictured: the module in each state of the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6 import QtGui
from SSLSegmentationLib.logic.OrganMarks import Mark
from SSLSegmentationLib.logic.WorkProgress import Section
from SSLSegmentationLib.widgets.NewCohortDialog import NewCohortDialog
from standin import rendering

from screenshots.cohorts import training_cohort, untrained_cohort
from screenshots.framing import fill_views, show_organs
from screenshots.window import HEIGHT, PANEL_WIDTH, VIEWS_WIDTH, four_up, side_by_side, view_size
from screenshots.workplace import Workplace, workplace
from sslseg.contract.cohort import AnnotatedSlices, Cohort
from sslseg.contract.quality import Verdict, read_quality, read_ranking

TWO_ROUNDS = 1200
"""Milliseconds in which the module has looked twice at what happens elsewhere."""
DIALOG_SIZE = (560, 520)


@dataclass(frozen=True)
class Cohorts:
    """Where the cohort lies.

    Attributes:
        finished: with a model, predictions and a ranking.
        work: a folder for copies of it.
    """

    finished: Path
    work: Path

    @property
    def copied(self) -> Path:
        """Where a copy of it goes."""
        return self.work / self.finished.name

    def untrained(self) -> Path:
        """A copy of it as it was before anything was trained."""
        return untrained_cohort(self.finished, self.copied)


def setup(cohorts: Cohorts) -> QtGui.QImage:
    """The backend is ready and was tested; once on a light and once on a dark background."""
    with workplace() as place:
        place.show_only(Section.SETUP)
        ui = place.ui(Section.SETUP)
        ui.testButton.click()
        ui.pythonGroup.collapsed = False
        place.until(lambda: place.module.setupLogic.report is not None, "the test of the backend")
        return side_by_side(place.picture(), place.picture(dark=True))


def new_cohort(cohorts: Cohorts) -> QtGui.QImage:
    """The dialog that makes a cohort, with the organs of a preset."""
    with workplace() as place:
        dialog = NewCohortDialog(place.module.cohortLogic)
        dialog.ui.presetBox.setCurrentIndex(dialog.ui.presetBox.findText("Head and neck CT"))
        dialog.ui.nameEdit.text = "Head and neck"
        dialog.ui.placeEdit.currentPath = "/data/cohorts"
        return rendering.grabWidget(dialog.widget, width=DIALOG_SIZE[0], height=DIALOG_SIZE[1])


def cohort(cohorts: Cohorts) -> QtGui.QImage:
    """The table of the cases, one of which is open."""
    with workplace() as place:
        place.open_cohort(cohorts.untrained())
        place.show_only(Section.COHORT)
        place.open_case(_annotated(cohorts.finished), Section.COHORT)
        place.show_only(Section.COHORT)
        place.until(lambda: _has_pictures(place), "the pictures in the table")
        return _window(place, Section.COHORT)


def annotate(cohorts: Cohorts) -> QtGui.QImage:
    """A case in the Segment Editor: some organs complete, one on some slices only, one to be drawn."""
    with workplace() as place:
        place.open_cohort(cohorts.untrained())
        place.open_case(_annotated(cohorts.finished), Section.COHORT)
        place.show_only(Section.ANNOTATE)
        cases, ui = place.module.caseLogic, place.ui(Section.ANNOTATE)
        *_others, partial, todo = (label.name for label in cases.labels)
        drawn = sorted(cases.drawnSlices(partial, "k"))
        chosen = drawn[len(drawn) // 4 :: 4]
        cases.setMark(partial, Mark.SLICES, AnnotatedSlices("k", chosen))
        cases.setMark(todo, Mark.NOT_DONE)
        ui.slicesGroup.collapsed = False
        ui.organTable.setCurrentCell(len(cases.labels) - 2, 0)
        place.settle()
        return _window(place, Section.ANNOTATE)


def train(cohorts: Cohorts) -> QtGui.QImage:
    """A training that runs, with its curves, while another case is looked at."""
    with training_cohort(cohorts.finished, cohorts.copied) as folder, workplace() as place:
        place.open_cohort(folder)
        place.open_case(_annotated(cohorts.finished, 1), Section.COHORT)
        place.show_only(Section.TRAIN)
        place.ui(Section.TRAIN).thenCheck.click()
        return _window(place, Section.TRAIN)


def review(cohorts: Cohorts) -> QtGui.QImage:
    """The queue and the card of a case, over the prediction with its uncertainty and its surfaces."""
    with workplace() as place:
        place.open_cohort(cohorts.finished)
        place.show_only(Section.REVIEW)
        place.ui(Section.REVIEW).uncertaintyCheckBox.checked = True
        place.open_case(_worth_a_look(cohorts.finished), Section.REVIEW)
        place.show_only(Section.REVIEW)
        place.until(lambda: place.module.caseLogic.uncertaintyNode is not None, "the uncertainty map")
        return _window(place, Section.REVIEW)


def export(cohorts: Cohorts) -> QtGui.QImage:
    """Segmentations that were exported."""
    with workplace() as place:
        place.open_cohort(cohorts.finished)
        place.open_case(_annotated(cohorts.finished, 2), Section.COHORT)
        place.show_only(Section.EXPORT)
        place.ui(Section.EXPORT).exportButton.click()
        export = place.module.panels[Section.EXPORT].export
        place.until(lambda: export.monitor is not None and not export.monitor.isActive, "the export")
        place.ui(Section.EXPORT).folderEdit.currentPath = "/data/cohorts/Head and neck/export"
        return _window(place, Section.EXPORT)


PICTURES: dict[str, Callable[[Cohorts], QtGui.QImage]] = {
    "setup": setup,
    "new-cohort": new_cohort,
    "cohort": cohort,
    "annotate": annotate,
    "train": train,
    "review": review,
    "export": export,
}


def _window(place: Workplace, section: Section) -> QtGui.QImage:
    """Panel and views, as Slicer's window shows them: a panel that is too tall is scrolled to the section."""
    cases, views = place.module.caseLogic, (VIEWS_WIDTH, HEIGHT)
    show_organs(cases.volumeNode, cases.segmentationNode)
    fill_views(cases.volumeNode, view_size(views))
    place.settle(TWO_ROUNDS)
    panel = place.picture()
    if panel.height() <= HEIGHT:
        panel = place.picture(height=HEIGHT)
    else:
        panel = panel.copy(0, min(place.top_of(section), panel.height() - HEIGHT), PANEL_WIDTH, HEIGHT)
    return side_by_side(panel, four_up(views))


def _annotated(folder: Path, number: int = 0) -> str:
    """One of the annotated cases."""
    return [case.id for case in Cohort.read(folder).cases if case.is_annotated][number]


def _worth_a_look(folder: Path) -> str:
    """The first case of the ranking in which something is to be looked at."""
    cohort = Cohort.read(folder)
    model = cohort.models()[-1]
    ranking = read_ranking(cohort, model)
    assert ranking is not None
    for ranked in ranking.cases:
        quality = read_quality(cohort, model, ranked.case)
        if quality is not None and quality.verdict is not Verdict.FINE:
            return ranked.case
    return ranking.cases[0].case


def _has_pictures(place: Workplace) -> bool:
    panel = place.module.panels[Section.COHORT]
    shown: list[Any] = panel.table.idsOnScreen()
    cohort = place.module.cohortLogic.cohort
    return bool(shown) and all(cohort.thumbnail_path(case).exists() for case in shown)

"""The module in a scene, with a cohort open, driven as a person drives it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer
import standin
from PySide6 import QtGui
from SSLSegmentationLib.logic.WorkProgress import Section
from SSLSegmentationLib.widgets.ModuleWidget import ModuleWidget
from standin import rendering

from screenshots.window import HEIGHT, PANEL_WIDTH

PATIENCE = 900.0
"""Seconds after which something that should have happened has not."""


class Workplace:
    """The panel over real logic and real processes; questions are answered with yes.

    Attributes:
        module: the panel.
    """

    def __init__(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.errors: list[str] = []
        self.module = ModuleWidget(
            _parameter_node, confirm=lambda question: True, showError=self.errors.append
        )
        # What is on screen is filled in; this is shown where nobody sees it.
        self.module.widget.resize(PANEL_WIDTH, HEIGHT)
        self.module.widget.show()
        self.module.enter()
        self.until(lambda: self.module.setupLogic.findings is not None, "the look at the Python")

    def close(self) -> None:
        """Let go of everything, and tell of what went wrong on the way."""
        self.module.exit()
        self.module.widget.hide()
        self.module.cleanup()
        slicer.mrmlScene.Clear(0)
        problems = self.errors + standin.slotErrors()
        if problems:
            raise RuntimeError("\n".join(problems))

    def ui(self, section: Section) -> Any:
        """The widgets of a section."""
        return self.module.panels[section].ui

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Let Slicer run until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not happen; said: {self.errors}")
            standin.processEvents(20)

    def settle(self, milliseconds: int = 100) -> None:
        """Let everything that is under way come to its end, and wait as long for news from elsewhere."""
        standin.processEvents(milliseconds)
        self.until(lambda: self.module.caseLogic.isIdle, "reading and saving")
        self.until(
            lambda: not self.module.panels[Section.REVIEW].display.builder.isBusy,
            "the surfaces of the organs",
        )

    def open_cohort(self, folder: Path) -> None:
        """As the button Open does; the organs of the cases are seen in 3D from then on."""
        self.module.panels[Section.COHORT].open(folder)
        self.ui(Section.REVIEW).surfacesCheckBox.checked = True
        self.settle()

    def open_case(self, case_id: str, section: Section) -> None:
        """As a double-click in the table of the section Cohort or Review does."""
        panel = self.module.panels[section]
        (panel.openCase if section is Section.COHORT else panel.onOpen)(case_id)
        self.until(lambda: self.module.caseLogic.caseId == case_id, f"the opening of {case_id}")
        self.settle()

    def show_only(self, *sections: Section) -> None:
        """Open some sections and fold all others."""
        for section in Section:
            self.module.section(section).collapsed = section not in sections
        self.settle()

    def picture(self, *, height: int | None = None, dark: bool = False) -> QtGui.QImage:
        """The panel as it is."""
        return rendering.grabWidget(self.module.widget, width=PANEL_WIDTH, height=height, dark=dark)

    def top_of(self, section: Section) -> int:
        """Where a section begins in the panel, pixels."""
        return int(self.module.section(section).y)


@contextmanager
def workplace() -> Iterator[Workplace]:
    """A module in an empty scene, that is closed afterwards."""
    place = Workplace()
    try:
        yield place
    finally:
        place.close()


def _parameter_node() -> Any:
    node = slicer.mrmlScene.GetSingletonNode("SSLSegmentation", "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag("SSLSegmentation")
        node = slicer.mrmlScene.AddNode(node)
    return node

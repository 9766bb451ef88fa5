"""Choosing volumes of the scene, each with the segmentation that is its annotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from sslseg.contract.labels import Label
from SSLSegmentationLib.logic.CaseAdding import SceneCase
from SSLSegmentationLib.logic.Paths import uiPath
from SSLSegmentationLib.logic.SceneImport import (
    matchSegments,
    sceneSegmentations,
    sceneVolumes,
    segmentationOf,
)

VOLUME, SEGMENTATION = range(2)
VOLUME_WIDTH = 240


class SceneVolumesDialog:
    """Asks which volumes of the scene become cases.

    ```
    cases = SceneVolumesDialog(cohort.labels, parent=panel).ask()
    ```

    Args:
        labels: the organs of the cohort.
        parent: the widget above which the dialog is shown.

    Attributes:
        widget: the dialog.
    """

    def __init__(self, labels: Sequence[Label], parent: Any = None) -> None:
        self._labels = list(labels)
        self._volumes = sceneVolumes()
        self._segmentations = sceneSegmentations()
        self.widget = slicer.util.loadUI(str(uiPath("SceneVolumesDialog")))
        if parent is not None:
            self.widget.setParent(parent, self.widget.windowFlags())
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.ui.volumeTable.setHorizontalHeaderLabels([_("Volume"), _("Annotation")])
        self.ui.volumeTable.setColumnWidth(VOLUME, VOLUME_WIDTH)
        self.boxes: list[Any] = []
        self._okButton = self.ui.buttonBox.button(qt.QDialogButtonBox.Ok)
        self._fill()
        self.ui.volumeTable.connect("itemChanged(QTableWidgetItem*)", self._refresh)
        self.ui.buttonBox.connect("accepted()", self.widget.accept)
        self.ui.buttonBox.connect("rejected()", self.widget.reject)
        self._refresh()

    def ask(self) -> list[SceneCase]:
        """Show the dialog, once; what was chosen, or nothing."""
        try:
            return self.chosen() if self.widget.exec_() else []
        finally:
            self.widget.deleteLater()

    def chosen(self) -> list[SceneCase]:
        """The ticked volumes with their segmentations."""
        cases = []
        for row, node in enumerate(self._volumes):
            if self.ui.volumeTable.item(row, VOLUME).checkState() == qt.Qt.Checked:
                cases.append(SceneCase(node.GetName(), node, self._segmentationAt(row)))
        return cases

    def _fill(self) -> None:
        table = self.ui.volumeTable
        table.setRowCount(len(self._volumes))
        for row, node in enumerate(self._volumes):
            item = qt.QTableWidgetItem(node.GetName())
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if len(self._volumes) == 1 else qt.Qt.Unchecked)
            table.setItem(row, VOLUME, item)
            table.setCellWidget(row, SEGMENTATION, self._makeBox(node))

    def _makeBox(self, volumeNode: Any) -> Any:
        box = qt.QComboBox()
        box.setToolTip(_("The segmentation that becomes the annotation of the case."))
        box.addItem(_("none"))
        box.addItems([node.GetName() for node in self._segmentations])
        drawn = segmentationOf(volumeNode)
        box.setCurrentIndex(0 if drawn is None else 1 + self._segmentations.index(drawn))
        box.connect("currentIndexChanged(int)", self._refresh)
        self.boxes.append(box)
        return box

    def _segmentationAt(self, row: int) -> Any | None:
        index = self.boxes[row].currentIndex
        return None if index <= 0 else self._segmentations[index - 1]

    def _refresh(self, *_changed: Any) -> None:
        cases = self.chosen()
        self._okButton.enabled = bool(cases)
        self.ui.noteLabel.text = self._note(cases)

    def _note(self, cases: list[SceneCase]) -> str:
        if not self._volumes:
            return _("The scene holds no volume. Load one, and come back.")
        if not cases:
            return _("Tick the volumes to add.")
        left: list[str] = []
        for case in cases:
            if case.segmentationNode is not None:
                found, others = matchSegments(case.segmentationNode, self._labels)
                if not found:
                    return _("No segment of '{name}' is called like an organ of the cohort.").format(
                        name=case.segmentationNode.GetName()
                    )
                left += [name for name in others if name not in left]
        return (
            _("No organ of the cohort, and left out: {names}.").format(names=", ".join(left)) if left else ""
        )

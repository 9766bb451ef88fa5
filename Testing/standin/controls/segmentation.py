"""Doubles of the Segment Editor and of the table of segments."""

from __future__ import annotations

from typing import Any

import slicer_core
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

EFFECTS = ("Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds", "Fill between slices",
           "Margin", "Hollow", "Smoothing", "Scissors", "Islands", "Logical operators", "Mask volume")  # fmt: skip
STATUS = ("Not started", "In progress", "Completed", "Flagged")


class _SegmentTable(QtWidgets.QTableWidget):
    """The segments of a segmentation node: visible or not, colour, name, status."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(0, 4, parent)
        self._node: Any = None
        self._tags: list[tuple[Any, int]] = []
        self.setHorizontalHeaderLabels(["", "", "Name", "Status"])
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        for column, mode in enumerate(
            ("ResizeToContents", "ResizeToContents", "Stretch", "ResizeToContents")
        ):
            header.setSectionResizeMode(column, getattr(QtWidgets.QHeaderView.ResizeMode, mode))
        self.setSizeAdjustPolicy(QtWidgets.QAbstractScrollArea.SizeAdjustPolicy.AdjustToContents)
        self.setMinimumHeight(90)
        self.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)

    def node(self) -> Any:
        return self._node

    def setNode(self, node: Any) -> None:
        if node is self._node:
            return
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags = []
        self._node = node
        if node is not None:
            kind = slicer_core.vtkSegmentation
            for event in (
                kind.SegmentAdded,
                kind.SegmentRemoved,
                kind.SegmentModified,
                kind.SegmentsOrderModified,
            ):
                segmentation = node.GetSegmentation()
                self._tags.append((segmentation, segmentation.AddObserver(event, lambda *_: self.refill())))
        self.refill()

    def refill(self) -> None:
        selected = self.selectedIDs()
        self.blockSignals(True)
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        self.setRowCount(segmentation.GetNumberOfSegments() if segmentation is not None else 0)
        for row in range(self.rowCount()):
            self._fillRow(row, segmentation.GetNthSegmentID(row), segmentation.GetNthSegment(row))
        self.selectIDs(selected)
        self.blockSignals(False)

    def _fillRow(self, row: int, segmentId: str, segment: Any) -> None:
        display = self._node.GetDisplayNode()
        shown = display is None or display.GetSegmentVisibility(segmentId)
        color = QtGui.QPixmap(16, 16)
        color.fill(QtGui.QColor.fromRgbF(*segment.GetColor()))
        swatch = QtWidgets.QTableWidgetItem(QtGui.QIcon(color), "")
        name = QtWidgets.QTableWidgetItem(segment.GetName())
        name.setData(QtCore.Qt.ItemDataRole.UserRole, segmentId)
        status = slicer_core.vtkSlicerSegmentationsModuleLogic.GetSegmentStatus(segment)
        text = STATUS[status] if 0 <= status < len(STATUS) else ""
        items = (
            QtWidgets.QTableWidgetItem("◉" if shown else "○"),
            swatch,
            name,
            QtWidgets.QTableWidgetItem(text),
        )
        for column, item in enumerate(items):
            self.setItem(row, column, item)

    def idOf(self, row: int) -> str:
        item = self.item(row, 2)
        return item.data(QtCore.Qt.ItemDataRole.UserRole) if item is not None else ""

    def selectedIDs(self) -> list[str]:
        rows = sorted({index.row() for index in self.selectedIndexes()})
        return [self.idOf(row) for row in rows]

    def selectIDs(self, ids: list[str]) -> None:
        self.clearSelection()
        for row in range(self.rowCount()):
            if self.idOf(row) in ids:
                self.selectRow(row)


class qMRMLSegmentsTableView(QtWidgets.QWidget):
    """A table of the segments of one segmentation."""

    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    currentSegmentChanged = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._table = _SegmentTable(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def segmentationNode(self) -> Any:
        return self._table.node()

    def setSegmentationNode(self, node: Any) -> None:
        self._table.setNode(node)

    def segmentCount(self) -> int:
        return self._table.rowCount()

    def selectedSegmentIDs(self) -> list[str]:
        return self._table.selectedIDs()

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        self._table.selectIDs(list(ids))

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def setSelectionMode(self, mode: int) -> None:
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode))

    def setHeaderVisible(self, shown: bool) -> None:
        self._table.horizontalHeader().setVisible(shown)

    def setReadOnly(self, readOnly: bool) -> None:
        """The double is never edited."""

    def setStatusColumnVisible(self, shown: bool) -> None:
        self._table.setColumnHidden(3, not shown)

    def setVisibilityColumnVisible(self, shown: bool) -> None:
        self._table.setColumnHidden(0, not shown)

    def setColorColumnVisible(self, shown: bool) -> None:
        self._table.setColumnHidden(1, not shown)

    def setOpacityColumnVisible(self, shown: bool) -> None:
        """The double has no such column."""


class qMRMLSegmentEditorWidget(QtWidgets.QWidget):
    """The Segment Editor: the segments, and a button for each effect. Nothing is painted; tests write arrays."""

    currentSegmentIDChanged = Signal(str)
    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._editorNode: Any = None
        self._tags: list[tuple[Any, int]] = []
        self._shortcuts = False
        self._flags: dict[str, bool] = {}
        self._selectors = QtWidgets.QWidget()
        form = QtWidgets.QFormLayout(self._selectors)
        form.setContentsMargins(0, 0, 0, 0)
        self._segmentationLabel, self._volumeLabel = QtWidgets.QLineEdit(), QtWidgets.QLineEdit()
        for title, edit in (
            ("Segmentation:", self._segmentationLabel),
            ("Source volume:", self._volumeLabel),
        ):
            edit.setReadOnly(True)
            form.addRow(title, edit)
        self._buttons = QtWidgets.QWidget()
        row = QtWidgets.QHBoxLayout(self._buttons)
        row.setContentsMargins(0, 0, 0, 0)
        for text in ("+ Add", "- Remove", "Show 3D"):
            row.addWidget(QtWidgets.QPushButton(text))
        self._table = _SegmentTable()
        self._table.setObjectName("SegmentsTableView")
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.SingleSelection)
        self._table.itemSelectionChanged.connect(self._onSelection)
        self._effects = QtWidgets.QGroupBox("Effects")
        grid = QtWidgets.QGridLayout(self._effects)
        grid.setSpacing(2)
        for number, name in enumerate(EFFECTS):
            button = QtWidgets.QToolButton()
            button.setText(name.split()[0])
            button.setToolTip(name)
            button.setCheckable(True)
            button.setAutoExclusive(True)
            button.clicked.connect(lambda _checked=False, effect=name: self.setActiveEffectByName(effect))
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            grid.addWidget(button, number // 4, number % 4)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self._selectors, self._buttons, self._table, self._effects):
            layout.addWidget(part)

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        if scene is None:
            self.setMRMLSegmentEditorNode(None)

    def mrmlSegmentEditorNode(self) -> Any:
        return self._editorNode

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        for caller, tag in self._tags:
            caller.RemoveObserver(tag)
        self._tags = []
        self._editorNode = node
        if node is not None:
            self._tags = [
                (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.updateWidgetFromMRML()))
            ]
        self.updateWidgetFromMRML()

    def updateWidgetFromMRML(self) -> None:
        segmentation, volume = self.segmentationNode(), self.sourceVolumeNode()
        self._segmentationLabel.setText(segmentation.GetName() if segmentation is not None else "")
        self._volumeLabel.setText(volume.GetName() if volume is not None else "")
        changed = segmentation is not self._table.node()
        self._table.setNode(segmentation)
        if changed:
            self.segmentationNodeChanged.emit(segmentation)
        current = self.currentSegmentID()
        if [current] != self._table.selectedIDs():
            self._table.blockSignals(True)
            self._table.selectIDs([current])
            self._table.blockSignals(False)

    def segmentationNode(self) -> Any:
        return self._editorNode.GetSegmentationNode() if self._editorNode is not None else None

    def setSegmentationNode(self, node: Any) -> None:
        if self._editorNode is None:
            return
        self._editorNode.SetAndObserveSegmentationNode(node)
        first = ""
        if node is not None and node.GetSegmentation().GetNumberOfSegments() > 0:
            first = node.GetSegmentation().GetNthSegmentID(0)
        self.setCurrentSegmentID(first)
        self.updateWidgetFromMRML()

    def sourceVolumeNode(self) -> Any:
        return self._editorNode.GetSourceVolumeNode() if self._editorNode is not None else None

    def setSourceVolumeNode(self, node: Any) -> None:
        if self._editorNode is None:
            return
        self._editorNode.SetAndObserveSourceVolumeNode(node)
        self.updateWidgetFromMRML()
        self.sourceVolumeNodeChanged.emit(node)

    def currentSegmentID(self) -> str:
        return (self._editorNode.GetSelectedSegmentID() or "") if self._editorNode is not None else ""

    def setCurrentSegmentID(self, segmentId: str) -> None:
        if self._editorNode is None or segmentId == self.currentSegmentID():
            return
        self._editorNode.SetSelectedSegmentID(segmentId or None)
        self.currentSegmentIDChanged.emit(segmentId)

    def _onSelection(self) -> None:
        selected = self._table.selectedIDs()
        if selected:
            self.setCurrentSegmentID(selected[0])

    def setActiveEffectByName(self, name: str) -> None:
        if self._editorNode is not None:
            self._editorNode.SetActiveEffectName(name or "")

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    def keyboardShortcutsInstalled(self) -> bool:
        """Only the double has this: tests ask it."""
        return self._shortcuts

    def setupViewObservations(self) -> None:
        self._flags["observed"] = True

    def removeViewObservations(self) -> None:
        self._flags["observed"] = False

    def setUndoEnabled(self, enabled: bool) -> None:
        self._flags["undo"] = enabled

    def setMaximumNumberOfUndoStates(self, states: int) -> None:
        """The double keeps no history."""

    def setSegmentationNodeSelectorVisible(self, shown: bool) -> None:
        self._rowVisible(self._segmentationLabel, shown)

    def setSourceVolumeNodeSelectorVisible(self, shown: bool) -> None:
        self._rowVisible(self._volumeLabel, shown)

    def _rowVisible(self, edit: QtWidgets.QWidget, shown: bool) -> None:
        edit.setVisible(shown)
        self._selectors.layout().labelForField(edit).setVisible(shown)

    def setSwitchToSegmentationsButtonVisible(self, shown: bool) -> None:
        """The double has no such button."""

    def setAddRemoveSegmentButtonsVisible(self, shown: bool) -> None:
        self._buttons.setVisible(shown)

    def setEffectButtonStyle(self, style: int) -> None:
        """The double shows names only."""

    def setReadOnly(self, readOnly: bool) -> None:
        self._flags["readOnly"] = readOnly
        self._effects.setEnabled(not readOnly)
        self._buttons.setEnabled(not readOnly)

    readOnly = Property(bool, lambda self: self._flags.get("readOnly", False), setReadOnly)

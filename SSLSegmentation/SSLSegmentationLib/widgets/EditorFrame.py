"""Slicer's own Segment Editor, bound to the open case: organs come from the cohort, and stay as they are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from SSLSegmentationLib.logic.Signal import Signal

EDITOR_TAG = "SSLSegmentation"
UNDO_STATES = 10
HIDDEN_PARTS = (
    "SegmentsTableResizableFrame",
    "SegmentsTableView",
    "AddSegmentButton",
    "RemoveSegmentButton",
    "SwitchToSegmentationsButton",
    "SpecifyGeometryButton",
)
"""Parts with which one could add, remove or rename organs or change their grid; the panel has a table of its own."""


class EditorFrame:
    """The Segment Editor inside the panel.

    Args:
        frame: the widget it is put into.
        onSegment: is called with the id of the segment that was selected in the editor.

    Attributes:
        editor: the qMRMLSegmentEditorWidget.
        effectChanged: another effect is active; with its name, which is empty for none.
    """

    def __init__(self, frame: Any, onSegment: Callable[[str], Any]) -> None:
        self._onSegment = onSegment
        self._isActive = False
        self._case: tuple[Any, Any] | None = None
        self._effect = ""
        self._observation: tuple[Any, int] | None = None
        self.effectChanged = Signal()
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setSegmentationNodeSelectorVisible(False)
        self.editor.setSourceVolumeNodeSelectorVisible(False)
        self.editor.setSwitchToSegmentationsButtonVisible(False)
        self.editor.setAddRemoveSegmentButtonsVisible(False)
        self.editor.setUndoEnabled(True)
        self.editor.setMaximumNumberOfUndoStates(UNDO_STATES)
        for name in HIDDEN_PARTS:
            for part in slicer.util.findChildren(self.editor, name=name):
                part.setVisible(False)
        frame.layout().addWidget(self.editor)
        self.editor.connect("currentSegmentIDChanged(QString)", self._onCurrentSegmentChanged)

    def bind(self, volumeNode: Any, segmentationNode: Any, segmentId: str) -> None:
        """Edit this segmentation over this image."""
        self._prepare()
        self.editor.setSegmentationNode(segmentationNode)
        self.editor.setSourceVolumeNode(volumeNode)
        self.editor.setCurrentSegmentID(segmentId)
        self._case = (volumeNode, segmentationNode)
        self._follow()

    def release(self) -> None:
        """Edit nothing: the case is about to be closed."""
        self._case = None
        self._follow()
        if self.editor.mrmlSegmentEditorNode() is not None:
            self.editor.setActiveEffectByName("")
            self.editor.setSegmentationNode(None)
            self.editor.setSourceVolumeNode(None)

    def setActive(self, active: bool) -> None:
        """Listen to the mouse in the views and to the keys, or leave them to others."""
        self._isActive = active
        self._follow()

    def select(self, segmentId: str) -> None:
        """Draw this organ."""
        if self.editor.mrmlSegmentEditorNode() is not None:
            self.editor.setCurrentSegmentID(segmentId)

    def close(self) -> None:
        """The panel goes."""
        self.release()
        self._observe(None)
        self.editor.setMRMLSegmentEditorNode(None)
        self.editor.setMRMLScene(None)

    def _prepare(self) -> None:
        """The editor's own parameter node: a scene that was closed or loaded may have taken it away."""
        node = slicer.mrmlScene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag(EDITOR_TAG)
            # One organ a voxel: what is drawn takes the voxel from the organ that had it.
            node.SetOverwriteMode(node.OverwriteAllSegments)
            node = slicer.mrmlScene.AddNode(node)
        # The node goes first: the editor keeps in it what it selects by itself when it gets the scene.
        if self.editor.mrmlSegmentEditorNode() is not node:
            self.editor.setMRMLSegmentEditorNode(node)
            self._observe(node)
        if self.editor.mrmlScene() is None:
            self.editor.setMRMLScene(slicer.mrmlScene)

    def _follow(self) -> None:
        if self._isActive and self._case is not None:
            self.editor.setupViewObservations()
            self.editor.installKeyboardShortcuts()
        else:
            if self.editor.mrmlSegmentEditorNode() is not None:
                self.editor.setActiveEffectByName("")
            self.editor.uninstallKeyboardShortcuts()
            self.editor.removeViewObservations()

    def _observe(self, node: Any) -> None:
        if self._observation is not None:
            before, tag = self._observation
            before.RemoveObserver(tag)
        self._observation = None
        if node is not None:
            self._observation = (node, node.AddObserver("ModifiedEvent", self._onNodeModified))

    def _onNodeModified(self, node: Any, event: Any) -> None:
        effect = node.GetActiveEffectName() or ""
        if effect != self._effect:
            self._effect = effect
            self.effectChanged.emit(effect)

    def _onCurrentSegmentChanged(self, segmentId: str) -> None:
        if segmentId and self._case is not None:
            self._onSegment(segmentId)

"""`slicer.util`: the functions that modules use, by the same names and with the same behaviour."""

from __future__ import annotations

from .arrays import (
    addVolumeFromArray,
    array,
    arrayFromModelPoints,
    arrayFromSegmentBinaryLabelmap,
    arrayFromSegmentInternalBinaryLabelmap,
    arrayFromTableColumn,
    arrayFromVolume,
    arrayFromVolumeModified,
    arrayFromVTKMatrix,
    updateSegmentBinaryLabelmapFromArray,
    updateTableFromArray,
    updateVolumeFromArray,
    vtkMatrixFromArray,
)
from .dialogs import (
    MessageDialog,
    clearMessages,
    confirmOkCancelDisplay,
    confirmRetryCloseDisplay,
    confirmYesNoDisplay,
    delayDisplay,
    errorDisplay,
    infoDisplay,
    messageBox,
    messages,
    showStatusMessage,
    tryWithErrorDisplay,
    warningDisplay,
)
from .ending import EXIT_FAILURE, EXIT_SUCCESS, exit, quit
from .files import (
    exportNode,
    loadColorTable,
    loadLabelVolume,
    loadNodeFromFile,
    loadScene,
    loadSegmentation,
    loadVolume,
    saveNode,
    saveScene,
    tempDirectory,
)
from .nodes import (
    NodeModify,
    RenderBlocker,
    VTKObservationMixin,
    getFirstNodeByClassByName,
    getFirstNodeByName,
    getNode,
    getNodes,
    getNodesByClass,
    resetSliceViews,
    resetThreeDViews,
    setSliceViewerLayers,
)
from .panels import (
    MRMLNodeNotFoundException,
    childWidgetVariables,
    findChild,
    findChildren,
    getModule,
    getModuleGui,
    getModuleLogic,
    getModuleWidget,
    loadUI,
    mainWindow,
    modulePath,
    reloadScriptedModule,
    selectedModule,
    selectModule,
    settingsValue,
    toBool,
    toFloat,
    toInt,
)
from .processes import launchConsoleProcess, logProcessOutput, startupEnvironment

__all__ = [name for name in dir() if not name.startswith("_") and name != "annotations"]

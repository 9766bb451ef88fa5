"""Doubles of ctk widgets that a person sets values with."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


def _row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a browse button. `filters`: what may be chosen, as in `QDir`.

    It is never narrower than `minimumContentsLength` characters, nor, while that is 0, than its whole path.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100

    def __init__(self, *arguments: object) -> None:
        parent = next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._values: dict[str, object] = {"filters": 0x007, "nameFilters": [], "settingKey": "", "label": "",
                                          "minimumContentsLength": 0}  # fmt: skip
        self._path = ""
        self._edit = QtWidgets.QLineEdit()
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("…")
        _row(self, self._edit, self._browse)
        self._edit.textChanged.connect(self.setCurrentPath)

    def _currentPath(self) -> str:
        return self._path

    def setCurrentPath(self, path: str) -> None:
        if path == self._path:
            return
        self._path = path
        self._edit.setText(path)
        self.updateGeometry()
        self.currentPathChanged.emit(path)

    def minimumSizeHint(self) -> QtCore.QSize:
        metrics, length = self.fontMetrics(), int(str(self._values["minimumContentsLength"]))
        shown = metrics.horizontalAdvance("X") * length or metrics.horizontalAdvance(self._path)
        frame = 30  # of the line edit, and its arrow for earlier paths
        return QtCore.QSize(
            shown + frame + self._browse.sizeHint().width(), self._edit.minimumSizeHint().height()
        )

    def sizeHint(self) -> QtCore.QSize:
        return super().sizeHint().expandedTo(self.minimumSizeHint())

    def setMinimumContentsLength(self, length: int) -> None:
        self._values["minimumContentsLength"] = length
        self.updateGeometry()

    def addCurrentPathToHistory(self) -> None:
        """The double keeps no history."""

    def browse(self) -> None:
        """The double opens no dialog."""

    def _get(self, name: str) -> object:
        return self._values[name]

    def setFilters(self, filters: int) -> None:
        self._values["filters"] = filters

    def setNameFilters(self, filters: list[str]) -> None:
        self._values["nameFilters"] = filters

    def setSettingKey(self, key: str) -> None:
        self._values["settingKey"] = key

    def setLabel(self, label: str) -> None:
        self._values["label"] = label

    def setShowHistoryButton(self, shown: bool) -> None:
        self._values["showHistoryButton"] = shown

    currentPath = Property(str, _currentPath, setCurrentPath)
    filters = Property(int, lambda self: self._get("filters"), setFilters)
    nameFilters = Property("QStringList", lambda self: self._get("nameFilters"), setNameFilters)
    settingKey = Property(str, lambda self: self._get("settingKey"), setSettingKey)
    label = Property(str, lambda self: self._get("label"), setLabel)
    minimumContentsLength = Property(
        int, lambda self: self._get("minimumContentsLength"), setMinimumContentsLength
    )
    showHistoryButton = Property(
        bool, lambda self: self._values.get("showHistoryButton", True), setShowHistoryButton
    )


class ctkDirectoryButton(QtWidgets.QPushButton):
    """A button that shows a folder and lets the user choose another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def _directory(self) -> str:
        return self.text()

    def setDirectory(self, folder: str) -> None:
        if folder != self.text():
            self.setText(folder)
            self.directoryChanged.emit(folder)

    directory = Property(str, _directory, setDirectory)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text of its own while nothing is chosen."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._default = ""

    def _defaultText(self) -> str:
        return self._default

    def setDefaultText(self, text: str) -> None:
        self._default = text
        self.setPlaceholderText(text)

    defaultText = Property(str, _defaultText, setDefaultText)


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose entries have check marks."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().rowsInserted.connect(self._makeCheckable)
        self.model().dataChanged.connect(lambda *_: self.checkedIndexesChanged.emit())

    def _makeCheckable(self, _parent: QtCore.QModelIndex, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(item.flags() | QtCore.Qt.ItemFlag.ItemIsUserCheckable)
            if item.data(QtCore.Qt.ItemDataRole.CheckStateRole) is None:
                item.setCheckState(QtCore.Qt.CheckState.Unchecked)

    def checkableModel(self) -> QtCore.QAbstractItemModel:
        return self.model()

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        checked = QtCore.Qt.CheckState.Checked
        rows = range(self.count())
        return [self.model().index(row, 0) for row in rows if self.model().item(row).checkState() == checked]

    def setCheckState(self, index: QtCore.QModelIndex, state: QtCore.Qt.CheckState) -> None:
        self.model().itemFromIndex(index).setCheckState(state)

    def checkState(self, index: QtCore.QModelIndex) -> QtCore.Qt.CheckState:
        return self.model().itemFromIndex(index).checkState()


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    """A spin box for real numbers."""


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that move together."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._tracking = True
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._spin = QtWidgets.QDoubleSpinBox()
        _row(self, self._slider, self._spin)
        self._spin.valueChanged.connect(self._onSpin)
        self._slider.valueChanged.connect(self._onSlider)
        self.setRange(0.0, 99.0)

    def _onSpin(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(round((value - self._spin.minimum()) / self._spin.singleStep()))
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _onSlider(self, position: int) -> None:
        self._spin.setValue(self._spin.minimum() + position * self._spin.singleStep())

    def _get(self, name: str) -> object:
        return getattr(self._spin, name)()

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        self._spin.setRange(low, high)
        self._slider.setRange(0, max(0, round((high - low) / self._spin.singleStep())))

    def setMinimum(self, low: float) -> None:
        self.setRange(low, self._spin.maximum())

    def setMaximum(self, high: float) -> None:
        self.setRange(self._spin.minimum(), high)

    def setSingleStep(self, step: float) -> None:
        self._spin.setSingleStep(step)
        self.setRange(self._spin.minimum(), self._spin.maximum())

    def setDecimals(self, decimals: int) -> None:
        self._spin.setDecimals(decimals)

    def setSuffix(self, suffix: str) -> None:
        self._spin.setSuffix(suffix)

    def setPrefix(self, prefix: str) -> None:
        self._spin.setPrefix(prefix)

    def setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    value = Property(float, lambda self: self._get("value"), setValue)
    minimum = Property(float, lambda self: self._get("minimum"), setMinimum)
    maximum = Property(float, lambda self: self._get("maximum"), setMaximum)
    singleStep = Property(float, lambda self: self._get("singleStep"), setSingleStep)
    decimals = Property(int, lambda self: self._get("decimals"), setDecimals)
    suffix = Property(str, lambda self: self._get("suffix"), setSuffix)
    prefix = Property(str, lambda self: self._get("prefix"), setPrefix)
    tracking = Property(bool, lambda self: self._tracking, setTracking)


class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button with a colour swatch."""

    colorChanged = Signal(QtGui.QColor)

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._color = QtGui.QColor(0, 0, 0)
        self._named = True
        self._showColor()

    def _showColor(self) -> None:
        swatch = QtGui.QPixmap(self.iconSize())
        swatch.fill(self._color)
        self.setIcon(QtGui.QIcon(swatch))
        if self._named:
            self.setText(self._color.name())

    def setColor(self, color: QtGui.QColor) -> None:
        if color == self._color:
            return
        self._color = QtGui.QColor(color)
        self._showColor()
        self.colorChanged.emit(self._color)

    def setDisplayColorName(self, shown: bool) -> None:
        self._named = shown
        self.setText(self._color.name() if shown else "")

    color = Property(QtGui.QColor, lambda self: self._color, setColor)
    displayColorName = Property(bool, lambda self: self._named, setDisplayColorName)


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit to search with."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon = False
        self.setPlaceholderText("Search...")
        self.setClearButtonEnabled(True)

    def setShowSearchIcon(self, shown: bool) -> None:
        self._icon = shown

    showSearchIcon = Property(bool, lambda self: self._icon, setShowSearchIcon)

"""Doubles of ctk widgets that hold or show other things."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that folds away what is laid out below it."""

    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)
    toggled = Signal(bool)

    def __init__(self, *arguments: object) -> None:
        text = next((a for a in arguments if isinstance(a, str)), "")
        parent = next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(parent)
        self._collapsed = False
        self._hiddenByUs: set[QtWidgets.QWidget] = set()
        self._header = QtWidgets.QToolButton(self)
        self._header.setObjectName("qt_collapsible_header")
        self._header.setText(text)
        self._header.setToolButtonStyle(QtCore.Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setArrowType(QtCore.Qt.ArrowType.DownArrow)
        self._header.setFocusPolicy(QtCore.Qt.FocusPolicy.TabFocus)
        self._header.clicked.connect(self._onClicked)
        self.setContentsMargins(0, self._header.sizeHint().height(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)

    def _onClicked(self) -> None:
        self.setCollapsed(not self._collapsed)
        self.clicked.emit(not self._collapsed)

    def isCollapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        arrow = QtCore.Qt.ArrowType
        self._header.setArrowType(arrow.RightArrow if collapsed else arrow.DownArrow)
        self._fold()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def _fold(self) -> None:
        for child in self.children():
            if not isinstance(child, QtWidgets.QWidget) or child is self._header or child.isWindow():
                continue
            if self._collapsed and not child.isHidden():
                self._hiddenByUs.add(child)
                child.hide()
            elif not self._collapsed and child in self._hiddenByUs:
                child.show()
        if not self._collapsed:
            self._hiddenByUs.clear()
        self.setMaximumHeight(self._header.sizeHint().height() + 4 if self._collapsed else 16777215)
        self.updateGeometry()

    def text(self) -> str:
        return self._header.text()

    def setText(self, text: str) -> None:
        self._header.setText(text)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added() and self._collapsed:
            QtCore.QTimer.singleShot(0, self, self._fold)
        super().childEvent(event)

    def minimumSizeHint(self) -> QtCore.QSize:
        return super().minimumSizeHint().expandedTo(self._header.sizeHint())

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        self._header.setGeometry(0, 0, self.width(), self._header.sizeHint().height())
        super().resizeEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        if not self._collapsed:
            painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.Mid))
            top = self._header.sizeHint().height() // 2
            painter.drawRect(0, top, self.width() - 1, self.height() - top - 1)

    collapsed = Property(bool, isCollapsed, setCollapsed)
    text = Property(str, text, setText)  # type: ignore[assignment]


class _ArrowStyle(QtWidgets.QProxyStyle):
    """Draws an arrow where a group box would have its check mark, as ctk does."""

    def drawPrimitive(  # type: ignore[override]
        self,
        element: QtWidgets.QStyle.PrimitiveElement,
        option: QtWidgets.QStyleOption,
        painter: QtGui.QPainter,
        widget: QtWidgets.QWidget | None = None,
    ) -> None:
        primitive = QtWidgets.QStyle.PrimitiveElement
        if element == primitive.PE_IndicatorCheckBox and isinstance(widget, ctkCollapsibleGroupBox):
            element = (
                primitive.PE_IndicatorArrowRight if widget.isCollapsed() else primitive.PE_IndicatorArrowDown
            )
        super().drawPrimitive(element, option, painter, widget)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds away what is laid out in it."""

    def __init__(self, *arguments: object) -> None:
        title = next((a for a in arguments if isinstance(a, str)), "")
        parent = next((a for a in arguments if isinstance(a, QtWidgets.QWidget)), None)
        super().__init__(title, parent)
        self._hiddenByUs: set[QtWidgets.QWidget] = set()
        self._style = _ArrowStyle()
        self.setStyle(self._style)
        self.setCheckable(True)
        self.toggled.connect(self._fold)

    def isCollapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _fold(self) -> None:
        for child in self.children():
            if not isinstance(child, QtWidgets.QWidget) or child.isWindow():
                continue
            if self.isCollapsed() and not child.isHidden():
                self._hiddenByUs.add(child)
                child.hide()
            elif not self.isCollapsed() and child in self._hiddenByUs:
                child.show()
        if not self.isCollapsed():
            self._hiddenByUs.clear()
        self.setMaximumHeight(self.fontMetrics().height() + 8 if self.isCollapsed() else 16777215)
        self.updateGeometry()

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.added() and self.isCollapsed():
            QtCore.QTimer.singleShot(0, self, self._fold)
        super().childEvent(event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        option = QtWidgets.QStyleOptionGroupBox()
        self.initStyleOption(option)
        if self.isCollapsed():  # no frame around nothing
            option.subControls &= ~QtWidgets.QStyle.SubControl.SC_GroupBoxFrame
        painter = QtWidgets.QStylePainter(self)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_GroupBox, option)

    collapsed = Property(bool, isCollapsed, setCollapsed)


class ctkExpandableWidget(QtWidgets.QFrame):
    """A frame whose lower edge can be dragged; here its height is fixed by its contents."""


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as tall as its text."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._collapsible = ""
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.textChanged.connect(self.updateGeometry)

    def setCollapsibleText(self, text: str) -> None:
        self._collapsible = text
        self.setHtml(text)

    def collapsibleText(self) -> str:
        return self._collapsible

    def sizeHint(self) -> QtCore.QSize:
        document = self.document().clone()
        document.setTextWidth(self.viewport().width())
        return QtCore.QSize(200, int(document.size().height()) + 2 * self.frameWidth())

    def minimumSizeHint(self) -> QtCore.QSize:
        return self.sizeHint()


class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu beside it."""

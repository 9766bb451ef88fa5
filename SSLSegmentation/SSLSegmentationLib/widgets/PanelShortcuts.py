"""Keys for what is done over and over."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

import qt
import slicer

TEXT_FIELDS = ("QLineEdit", "QTextEdit", "QPlainTextEdit", "QAbstractSpinBox")


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        sequence: as Qt writes it, such as "Shift+A".
        action: does it.
    """

    sequence: str
    action: Callable[[], Any]


class PanelShortcuts:
    """Turns keys into actions while it is enabled, wherever in the window the focus is, but not while somebody types.

    Args:
        panel: the widget that the keys belong to, for a Slicer without a main window.
        keys: what each key does.
    """

    def __init__(self, panel: Any, keys: Iterable[Key]) -> None:
        self._keys = list(keys)
        self._shortcuts: list[Any] = []
        self._receivers: list[Callable[[], Any]] = []
        for key in self._keys:
            shortcut = qt.QShortcut(slicer.util.mainWindow() or panel)
            shortcut.setKey(qt.QKeySequence(key.sequence))
            shortcut.enabled = False
            receiver = self._receiver(key)
            shortcut.connect("activated()", receiver)
            self._shortcuts.append(shortcut)
            self._receivers.append(receiver)

    @property
    def enabled(self) -> bool:
        return any(shortcut.enabled for shortcut in self._shortcuts)

    def setEnabled(self, enabled: bool, *, without: Container[str] = ()) -> None:
        """Listen to the keys, or leave them to others.

        Args:
            enabled: whether to listen.
            without: keys that are left to others all the same.
        """
        for key, shortcut in zip(self._keys, self._shortcuts, strict=True):
            shortcut.enabled = enabled and key.sequence not in without

    def press(self, sequence: str) -> bool:
        """Do what a key does; False while it is left to others."""
        for key, shortcut, receiver in zip(self._keys, self._shortcuts, self._receivers, strict=True):
            if key.sequence == sequence and shortcut.enabled:
                receiver()
                return True
        return False

    def close(self) -> None:
        """Give the keys back for good."""
        for shortcut in self._shortcuts:
            shortcut.enabled = False
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._keys, self._shortcuts, self._receivers = [], [], []

    @staticmethod
    def _receiver(key: Key) -> Callable[[], Any]:
        def onActivated() -> None:
            focus = qt.QApplication.focusWidget()
            if focus is not None and any(focus.inherits(name) for name in TEXT_FIELDS):
                return
            if key.sequence == "Space" and focus is not None and focus.inherits("QAbstractButton"):
                focus.click()  # what the space bar does to a button one has moved to
                return
            key.action()

        return onActivated

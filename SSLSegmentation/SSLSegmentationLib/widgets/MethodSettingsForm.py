"""A form of the settings of a training method, made from their description."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.choices import MethodDescription, SettingDescription

LARGEST = 1_000_000
"""Of a number that has no bound of its own."""


@dataclass(frozen=True)
class _Field:
    """One setting: its widget, and how to read and write that."""

    setting: SettingDescription
    widget: Any
    read: Callable[[], Any]
    write: Callable[[Any], None]

    @property
    def isDefault(self) -> bool:
        value, default = self.read(), self.setting.default
        if self.setting.kind == "number":
            return math.isclose(value, default, abs_tol=0.5 * 10**-self.widget.decimals)
        return value == default


class MethodSettingsForm:
    """Shows the settings of one method at a time, each with a widget of its kind.

    Args:
        widget: an empty widget, which the form fills.
    """

    def __init__(self, widget: Any) -> None:
        self.widget = widget
        self._layout = qt.QVBoxLayout(widget)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._pages: dict[str, Any] = {}
        self._fields: dict[str, list[_Field]] = {}
        self._shown = ""

    def showMethod(self, method: MethodDescription) -> None:
        """Show the settings of `method`; what was set for another one is kept."""
        if method.name not in self._pages:
            self._makePage(method)
        self._shown = method.name
        for name, page in self._pages.items():
            page.visible = name == method.name
        self.widget.visible = bool(method.settings)

    def values(self) -> dict[str, Any]:
        """The settings of the shown method that are not at their default."""
        fields = self._fields.get(self._shown, [])
        return {field.setting.name: field.read() for field in fields if not field.isDefault}

    def reset(self) -> None:
        """Put the settings of every method back to their defaults."""
        for fields in self._fields.values():
            for field in fields:
                field.write(field.setting.default)

    def _makePage(self, method: MethodDescription) -> None:
        page = qt.QWidget()
        layout = qt.QFormLayout(page)
        layout.setContentsMargins(0, 0, 0, 0)
        fields = []
        for setting in method.settings:
            field = _makeField(setting)
            field.widget.objectName = setting.name
            field.widget.toolTip = _("{help}. Default: {default}, by the {source}.").format(
                help=setting.help[:1].upper() + setting.help[1:],
                default=setting.default,
                source=setting.source,
            )
            field.write(setting.default)
            words = setting.name.replace("_", " ")
            layout.addRow(f"{words[:1].upper()}{words[1:]}:", field.widget)
            fields.append(field)
        self._layout.addWidget(page)
        self._pages[method.name], self._fields[method.name] = page, fields


def _makeField(setting: SettingDescription) -> _Field:
    makers = {
        "number": _makeNumber,
        "whole number": _makeWholeNumber,
        "switch": _makeSwitch,
        "choice": _makeChoice,
    }
    return makers.get(setting.kind, _makeText)(setting)


def _makeNumber(setting: SettingDescription) -> _Field:
    box = qt.QDoubleSpinBox()
    # Enough digits for the default, and a step that changes it noticeably.
    size = abs(setting.default) or 1.0
    box.decimals = max(3, 2 - math.floor(math.log10(size)))
    box.minimum = -LARGEST if setting.minimum is None else setting.minimum
    box.maximum = LARGEST if setting.maximum is None else setting.maximum
    box.singleStep = 10.0 ** math.floor(math.log10(size / 2))

    def write(value: float) -> None:
        box.value = value

    return _Field(setting, box, lambda: box.value, write)


def _makeWholeNumber(setting: SettingDescription) -> _Field:
    box = qt.QSpinBox()
    box.minimum = -LARGEST if setting.minimum is None else math.ceil(setting.minimum)
    box.maximum = LARGEST if setting.maximum is None else math.floor(setting.maximum)

    def write(value: int) -> None:
        box.value = value

    return _Field(setting, box, lambda: box.value, write)


def _makeSwitch(setting: SettingDescription) -> _Field:
    box = qt.QCheckBox()

    def write(value: bool) -> None:
        box.checked = value

    return _Field(setting, box, lambda: box.checked, write)


def _makeChoice(setting: SettingDescription) -> _Field:
    box = qt.QComboBox()
    for choice in setting.choices:
        box.addItem(str(choice))

    def write(value: Any) -> None:
        box.currentIndex = setting.choices.index(value)

    return _Field(setting, box, lambda: setting.choices[box.currentIndex], write)


def _makeText(setting: SettingDescription) -> _Field:
    box = qt.QLineEdit()

    def write(value: Any) -> None:
        box.text = str(value)

    return _Field(setting, box, lambda: box.text, write)

"""Attributes of Qt objects as PythonQt shows them. The expectations were recorded on a real PythonQt."""

from __future__ import annotations

import re

import pytest
import qt


@pytest.fixture
def button() -> qt.QPushButton:
    return qt.QPushButton("Go")


def test_a_property_is_an_attribute_and_cannot_be_called(button):
    assert button.text == "Go"
    with pytest.raises(TypeError, match="'str' object is not callable"):
        button.text()


def test_a_property_can_be_assigned_and_set_by_its_setter(button):
    button.text, button.enabled = "X", False
    assert (button.text, button.enabled, button.isEnabled()) == ("X", False, False)
    button.setText("Y")
    assert button.text == "Y"


def test_the_name_of_an_object_has_two_names(button):
    button.objectName = "goButton"
    assert (button.name, button.objectName) == ("goButton", "goButton")
    button.name = "other"
    assert button.objectName == "other"


def test_an_unknown_attribute_cannot_be_set(button):
    text = "'fooBar' does not exist on QPushButton and creating new attributes on C++ objects is not allowed"
    with pytest.raises(AttributeError, match=re.escape(text)):
        button.fooBar = 3


def test_an_unknown_attribute_cannot_be_read(button):
    with pytest.raises(AttributeError, match="QPushButton has no attribute named 'nope'"):
        _ = button.nope


def test_a_method_and_a_signal_cannot_be_assigned(button):
    with pytest.raises(AttributeError, match="Slot 'click' can not be overwritten on QPushButton object"):
        button.click = 3
    with pytest.raises(AttributeError, match="Signal 'clicked' can not be overwritten on QPushButton object"):
        button.clicked = 3


def test_a_read_only_property_cannot_be_assigned(button):
    with pytest.raises(AttributeError, match="Property 'width' of QPushButton object is not writable"):
        button.width = 3


def test_a_property_refuses_a_value_of_another_kind():
    spin = qt.QSpinBox()
    with pytest.raises(
        AttributeError, match="Property 'value' of type 'int' does not accept an object of type"
    ):
        spin.value = "many"


def test_a_dynamic_property_is_an_attribute_once_it_was_set(button):
    button.setProperty("SlicerParameterName", "threshold")
    assert (button.SlicerParameterName, button.property("SlicerParameterName")) == ("threshold", "threshold")
    button.SlicerParameterName = "other"
    assert button.property("SlicerParameterName") == "other"
    assert button.property("never") is None


def test_a_child_is_an_attribute_by_its_object_name():
    parent = qt.QWidget()
    child = qt.QLabel("here", parent)
    child.objectName = "hint"
    assert parent.hint == child


def test_a_destroyed_object_is_false_and_says_so_when_it_is_used(button):
    button.delete()
    assert not button
    with pytest.raises(
        ValueError, match="Trying to read property 'text' from a destroyed QPushButton object"
    ):
        _ = button.text


def test_hidden_widgets_are_not_visible():
    widget = qt.QWidget()
    assert (widget.visible, widget.isVisible()) == (False, False)


def test_combo_boxes_answer_with_properties_and_methods():
    combo = qt.QComboBox()
    combo.addItem("one", "data1")
    combo.addItems(["two", "three"])
    assert (combo.count, combo.currentIndex, combo.currentText, combo.currentData) == (3, 0, "one", "data1")
    assert (combo.itemData(0), combo.itemText(1), combo.findText("two")) == ("data1", "two", 1)
    combo.currentIndex = 1
    assert (combo.setCurrentText("three"), combo.currentText) == (None, "three")


def test_of_a_table_some_things_are_properties_and_others_methods():
    table = qt.QTableWidget(2, 3)
    table.setHorizontalHeaderLabels(["a", "b", "c"])
    item = qt.QTableWidgetItem("x")
    table.setItem(0, 0, item)
    assert (table.rowCount, table.columnCount) == (2, 3)
    assert table.item(0, 0).text() == "x"
    assert repr(type(table.item(0, 0).text)) == "<class 'builtin_qt_slot'>"
    assert table.item(1, 1) is None
    layout = qt.QFormLayout()
    layout.addRow("label", qt.QLineEdit())
    assert (layout.rowCount(), layout.count()) == (1, 2)


def test_lists_come_back_from_items_as_tuples():
    item = qt.QTableWidgetItem("x")
    assert item.setData(qt.Qt.UserRole, {"k": [1, 2]}) is None
    assert item.data(qt.Qt.UserRole) == {"k": (1, 2)}
    assert item.data(qt.Qt.UserRole + 1) is None


def test_enumerators_are_integers():
    assert qt.Qt.AlignLeft == 1
    assert qt.Qt.AlignLeft | qt.Qt.AlignTop == 33
    assert repr(type(qt.Qt.UserRole)) == "<class 'PythonQt.QtCore.ItemDataRole'>"
    assert (repr(qt.QMessageBox.Ok), int(qt.QMessageBox.Ok)) == ("1024", 1024)
    assert qt.QSizePolicy.Expanding == 7


def test_integers_are_taken_where_an_enumerator_is_due():
    label = qt.QLabel("x")
    label.setAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    assert label.alignment == 130
    label.alignment = 33
    assert label.alignment == 33
    assert label.setSizePolicy(qt.QSizePolicy.Expanding, 5) is None
    table = qt.QTableWidget(1, 1)
    table.setSelectionBehavior(1)
    assert table.selectionBehavior == qt.QAbstractItemView.SelectRows
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    assert len(buttons.buttons()) == 2


def test_a_call_that_fits_no_overload_says_so(button):
    with pytest.raises(ValueError, match="Could not find matching overload for given arguments"):
        button.setIconSize("large")


def test_settings_keep_the_types_of_values(tmp_path):
    settings = qt.QSettings(str(tmp_path / "settings.ini"), qt.QSettings.IniFormat)
    settings.setValue("a/b", 3)
    assert (settings.value("a/b"), settings.value("zz", "dflt"), settings.contains("a/b")) == (
        3,
        "dflt",
        True,
    )
    settings.setValue("list", ["x", "y"])
    assert settings.value("list") == ("x", "y")


def test_bytes_have_no_length():
    array = qt.QByteArray(b"abc")
    assert (array.data(), array.size(), str(array)) == (b"abc", 3, "b'abc'")
    with pytest.raises(TypeError, match="has no len"):
        len(array)

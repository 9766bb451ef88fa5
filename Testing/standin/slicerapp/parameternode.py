"""`slicer.parameterNodeWrapper`: a class whose typed attributes live in a `vtkMRMLScriptedModuleNode`.

Fields may be bool, int, float, str, `pathlib.Path`, an enumeration or an MRML node class, with a default after `=` or
as `Annotated[type, Default(value)]`, and with the validators below. Lists, dictionaries and parameter packs are not
doubled.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import typing
from collections.abc import Callable
from typing import Any

import slicer_core
import vtk

from . import guiconnectors

__all__ = [
    "Choice",
    "Default",
    "Maximum",
    "Minimum",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

PROPERTY = "SlicerParameterName"
"""The dynamic property of a widget that names its parameter."""


@dataclasses.dataclass
class Default:
    value: Any


@dataclasses.dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclasses.dataclass
class Minimum:
    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


@dataclasses.dataclass
class Maximum:
    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice:
    def __init__(self, choices: Any) -> None:
        self.choices = list(choices)

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value {value!r} is not one of {self.choices}")


def _isNodeType(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer_core.vtkMRMLNode)


class _Field:
    """One attribute: its name, type, default and validators, and how it is kept in a node."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.kind = annotation
        self.annotations: tuple[Any, ...] = ()
        if typing.get_origin(annotation) is typing.Annotated:
            self.kind, *rest = typing.get_args(annotation)
            self.annotations = tuple(rest)
        if not (
            self.kind in (bool, int, float, str, pathlib.Path) or self._isEnum() or _isNodeType(self.kind)
        ):
            raise TypeError(f"Unable to create serializer for member {name} of type {self.kind}")
        annotated = next((a.value for a in self.annotations if isinstance(a, Default)), None)
        self.default = default if default is not None else annotated
        if self.default is None and not _isNodeType(self.kind):
            self.default = next(iter(self.kind)) if self._isEnum() else self.kind()

    def _isEnum(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if _isNodeType(self.kind):
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if self._isEnum() else self.kind(text)

    def write(self, node: Any, value: Any) -> None:
        self._validate(value)
        if _isNodeType(self.kind):
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self._isEnum() else str(value))

    def _validate(self, value: Any) -> None:
        if value is None:
            if _isNodeType(self.kind):
                return
            raise ValueError("Value must not be None")
        accepted = (int, float) if self.kind is float else self.kind
        if not isinstance(value, accepted):
            raise TypeError(f"Value must be of type {self.kind}, is type {type(value)}")
        for annotation in self.annotations:
            if hasattr(annotation, "validate"):
                annotation.validate(value)


class _Cached:
    """The value of a field as long as the node does not change.

    As in Slicer it observes the node for ever, so every wrapper that is made costs each later change some time.
    """

    def __init__(self, field: _Field, node: Any) -> None:
        self._field = field
        self._node = node
        self._onModified()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onModified)

    def read(self) -> Any:
        return self._value

    def _onModified(self, *_: Any) -> None:
        # When Python ends, the node changes once more after this object was emptied.
        if vars(self):
            self._value = self._field.read(self._node)


def _property(field: _Field) -> property:
    def read(self: Any) -> Any:
        cached = self._cached.get(field.name)
        return cached.read() if cached else field.read(self.parameterNode)

    def write(self: Any, value: Any) -> None:
        modifying = self.StartModify()
        try:
            field.write(self.parameterNode, value)
            if field.name in self._cached:
                self._cached[field.name]._onModified()
        finally:
            self.EndModify(modifying)

    return property(read, write)


class _Wrapper:
    """What the decorator adds to a class."""

    allParameters: dict[str, _Field]

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, dict[str, guiconnectors.Connector]] = {}
        self._observers: dict[int, int] = {}
        self._updating = False
        for field in self.allParameters.values():
            if not parameterNode.HasParameter(field.name):
                field.write(parameterNode, field.default)
        self._cached = {
            name: _Cached(field, parameterNode)
            for name, field in self.allParameters.items()
            if not _isNodeType(field.kind)
        }

    def default(self, name: str) -> Default:
        return Default(self._field(name).default)

    def dataType(self, name: str) -> Any:
        return self._field(name).kind

    def _field(self, name: str) -> _Field:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        self._field(name)
        return getattr(self, name)

    def setValue(self, name: str, value: Any) -> None:
        self._field(name)
        setattr(self, name, value)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> None:
        self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable[..., Any], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        """Bind every widget with the property `SlicerParameterName`; `gui` is a widget or its child variables."""
        import qt

        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if isWidget else list(vars(gui).values())
        return self.connectParametersToGui(
            {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        )

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        tag = len(self._guis) and max(self._guis) + 1
        connectors = {
            name: guiconnectors.connector(widget, self._field(name).kind, self._field(name).annotations)
            for name, widget in mapping.items()
        }
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.start(lambda name=name, connector=connector: self._fromGui(name, connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toGui())
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        for connector in self._guis.pop(guiTag, {}).values():
            connector.stop()
        if guiTag in self._observers:
            self.RemoveObserver(self._observers.pop(guiTag))

    def _fromGui(self, name: str, connector: guiconnectors.Connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _toGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updating = False


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator, with or without parentheses."""
    if classtype is None:
        return parameterNodeWrapper
    fields = {
        name: _Field(name, annotation, getattr(classtype, name, None))
        for name, annotation in typing.get_type_hints(classtype, include_extras=True).items()
    }
    for name, value in vars(_Wrapper).items():
        if name in ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"):
            continue
        if name != "__init__" and name in vars(classtype):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, value)
    for name, field in fields.items():
        setattr(classtype, name, _property(field))
    classtype.allParameters = fields  # type: ignore[attr-defined]
    classtype._is_parameter_node_wrapper = True  # type: ignore[attr-defined]
    return classtype


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    return getattr(classOrObject, "_is_parameter_node_wrapper", False)

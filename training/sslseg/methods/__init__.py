"""Training methods by name. Importing this package alone loads neither torch nor Lightning.

A new method is one file with a subclass of `sslseg.methods.base.Method`, and one line in `_CLASSES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sslseg.contract.errors import SSLSegError

if TYPE_CHECKING:
    from sslseg.methods.base import Method, NetworkFactory, RunSettings

_CLASSES = {
    "supervised": "sslseg.methods.supervised.Supervised",
    "mean_teacher": "sslseg.methods.mean_teacher.MeanTeacher",
    "cps": "sslseg.methods.cps.CPS",
    "cgs": "sslseg.methods.cgs.CGS",
    "dual": "sslseg.methods.dual.Dual",
    "micd": "sslseg.methods.micd.MICD",
    "fdpl": "sslseg.methods.fdpl.FDPL",
}


class _Registry(Mapping[str, "type[Method]"]):
    """Imports a method's file, and torch with it, when the method is asked for."""

    def __getitem__(self, name: str) -> type[Method]:
        module, _, class_name = _CLASSES[name].rpartition(".")
        found: type[Method] = getattr(import_module(module), class_name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


METHODS: Mapping[str, type[Method]] = _Registry()
"""Name of each method to its class."""


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        SSLSegError: there is none of that name.
    """
    if name not in _CLASSES:
        raise SSLSegError(f"There is no method '{name}'", remedy=f"Choose one of: {', '.join(_CLASSES)}.")
    return METHODS[name]


def build_method(
    name: str,
    make_network: NetworkFactory,
    *,
    classes: int,
    run: RunSettings,
    settings: Mapping[str, Any] | None = None,
) -> Method:
    """A method with freshly drawn networks, a function of `run.seed`.

    Args:
        name: one of `METHODS`.
        make_network: makes a network with `classes` outputs; keywords change its options.
        classes: C, background included.
        run: what every method shares.
        settings: settings of the method by name; the others keep their defaults.

    Raises:
        SSLSegError: the method or a setting is unknown, or a value is out of bounds.
    """
    import torch

    from sslseg.methods.settings import parse_settings

    method = method_class(name)
    built = method(make_network, classes, run, parse_settings(method.Settings, settings or {}))
    return built.to(memory_format=torch.channels_last_3d)

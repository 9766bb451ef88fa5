"""The volumes that an export wrote, as a table of the scene: a row for each case, a column for each organ."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import vtk
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.SceneNodes import addNode, ownedNodes, removeNode

ROLE = "volumes"
NAME = "Volumes per organ (ml)"
COLUMNS = {"case", "organ", "volume_ml"}


def showVolumes(path: Path) -> Any:
    """Put the volumes of an export into the scene, in place of those of the one before; returns the table node.

    Raises:
        SSLSegError: the file cannot be read, or holds no volumes.
    """
    volumes, organs = _read(path)
    found = ownedNodes(ROLE)
    node = found[0] if found else addNode("vtkMRMLTableNode", NAME, ROLE)
    table = vtk.vtkTable()
    table.AddColumn(_column(vtk.vtkStringArray(), _("Case"), volumes))
    for organ in organs:
        # An organ that was not exported has no volume, which is not the volume 0.
        table.AddColumn(
            _column(vtk.vtkDoubleArray(), organ, (row.get(organ, math.nan) for row in volumes.values()))
        )
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(False)
    node.SetLocked(True)
    return node


def hideVolumes() -> None:
    """Take the table out of the scene."""
    for node in ownedNodes(ROLE):
        removeNode(node)


def _read(path: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Millilitres by case and organ, and the organs in the order of the file."""
    volumes: dict[str, dict[str, float]] = {}
    organs: dict[str, None] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not set(reader.fieldnames or ()) >= COLUMNS:
                raise SSLSegError(_("The file is no table of volumes"), file=path, remedy=_("Export again."))
            for row in reader:
                volumes.setdefault(row["case"], {})[row["organ"]] = float(row["volume_ml"])
                organs[row["organ"]] = None
    except (OSError, ValueError, csv.Error) as error:
        raise SSLSegError(
            _("The table of volumes cannot be read ({reason})").format(reason=error),
            file=path,
            remedy=_("Export again."),
        ) from error
    return volumes, list(organs)


def _column(array: Any, name: str, values: Iterable[Any]) -> Any:
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    return array

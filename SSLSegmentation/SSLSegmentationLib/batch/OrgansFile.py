"""The organs of a new cohort from a segmentation: names, colours and terminology."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import write_json
from sslseg.contract.formats import SEGMENTATION_SUFFIX
from sslseg.contract.labels import Label, LabelTable, normalised_name
from sslseg.contract.strict import to_json
from SSLSegmentationLib.batch.OpenedFile import segmentationsOf
from SSLSegmentationLib.batch.Sources import SCENES


def isSegmentation(path: Path) -> bool:
    """Whether organs can be taken from a file by this."""
    return path.name.lower().endswith((SEGMENTATION_SUFFIX, *SCENES)) and path.is_file()


def writeOrgans(path: Path, target: Path) -> None:
    """Write the segments of a segmentation as a file that `--organs` takes; their values count from 1 on.

    Args:
        path: a `.seg.nrrd` file, or a scene with segmentations.
        target: ends in .json.

    Raises:
        SSLSegError: Slicer cannot open the file, it holds no segment, or a segment is no organ.
    """
    with segmentationsOf(path) as nodes:
        labels: dict[str, Label] = {}
        for node in nodes:
            segmentation = node.GetSegmentation()
            for index in range(segmentation.GetNumberOfSegments()):
                segment = segmentation.GetNthSegment(index)
                name = normalised_name(segment.GetName())
                if name not in labels:
                    labels[name] = _label(segment, len(labels) + 1, path)
    table = LabelTable(labels.values(), file=path)
    write_json(target, to_json(list(table)))


def _label(segment: Any, value: int, path: Path) -> Label:
    red, green, blue = (round(channel * 255) for channel in segment.GetColor())
    entry = vtk.reference("")
    segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), entry)
    try:
        return Label(segment.GetName(), value, (red, green, blue), str(entry) or None)
    except ValueError as error:
        raise SSLSegError(
            _("The segments do not make organs: {reason}").format(reason=error), file=path
        ) from error

"""Choosing what an organ is called in medical terminology.

Slicer's own selector of terms gives and takes them as a C++ structure that Python cannot read, so none is opened here.
"""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.OrganPresets import ownTerminology


def pickTerminology(current: str | None, name: str, parent: Any = None) -> str | None:
    """Let a person choose; the serialised entry, or None if they did not.

    Args:
        current: the serialised entry to begin with.
        name: of the organ.
        parent: the widget above which the dialog is shown.

    Raises:
        SSLSegError: what was typed in is no code.
    """
    fields = (current or "").split("~")
    kind = fields[2].split("^") if len(fields) > 2 else ["", "", ""]
    begin = " ".join(part for part in kind[1:3] if part)
    text = qt.QInputDialog.getText(
        parent,
        _("Term of {organ}").format(organ=name),
        _("Code of SNOMED CT and its meaning, such as '10200004 Liver':"),
        qt.QLineEdit.Normal,
        begin,
    )
    if not text or text == begin:
        return None
    code, _separator, meaning = str(text).strip().partition(" ")
    if not meaning.strip():
        raise SSLSegError(
            _("The meaning of the code is missing"), remedy=_("Write it after the code: 10200004 Liver.")
        )
    return ownTerminology(code, meaning)

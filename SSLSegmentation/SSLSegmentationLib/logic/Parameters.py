"""What of the module's state a saved scene takes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

from sslseg.contract.cohort import FILE_NAME
from sslseg.contract.errors import SSLSegError
from SSLSegmentationLib.logic.CohortLogic import CohortLogic


@parameterNodeWrapper
class Parameters:
    """The parameter node of the module.

    Attributes:
        cohortFolder: folder of the cohort that was open; empty if none was.
        model: the model that was chosen; empty if none was.
    """

    cohortFolder: str = ""
    model: str = ""


def recordCohort(parameters: Parameters, cohortLogic: CohortLogic) -> None:
    """Note which cohort and model are open."""
    folder = "" if cohortLogic.folder is None else str(cohortLogic.folder)
    model = cohortLogic.model or ""
    if parameters.cohortFolder != folder:
        parameters.cohortFolder = folder
    if parameters.model != model:
        parameters.model = model


def restoreCohort(parameters: Parameters, cohortLogic: CohortLogic, folder: Path | None = None) -> None:
    """Open the cohort that a scene was saved with, and its model.

    Args:
        parameters: of the scene.
        cohortLogic: opens it.
        folder: where the cohort is now, when it is not where the scene says.

    Raises:
        SSLSegError: the cohort is not there or cannot be read; whatever was open stays open.
    """
    # Opening a cohort is noted in the parameters at once, so they have to be read before.
    wanted, model = parameters.cohortFolder, parameters.model
    if not wanted:
        return
    place = folder or Path(wanted)
    if folder is None and not (place / FILE_NAME).is_file():
        raise SSLSegError(
            _("This scene belongs to a cohort that is not where it was, or not on this computer"),
            file=wanted,
            remedy=_("Find its folder, or go on without it."),
        )
    if cohortLogic.folder != place.absolute():
        cohortLogic.openCohort(place)
    if model in cohortLogic.models:
        cohortLogic.setModel(model)


def parametersOf(node: Any) -> Parameters:
    """The parameters that a parameter node holds."""
    return Parameters(node)

"""Label maps that come from elsewhere become the annotations of cases of a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import SimpleITK as sitk

from sslseg.contract.cohort import Cohort, ReviewState
from sslseg.contract.errors import SSLSegError
from sslseg.contract.settings import Absent
from sslseg.data.importing import read_case_label
from sslseg.data.segmentation_file import Segmentation, write_layers
from sslseg.data.volume_checks import label_values
from sslseg.data.volumes import SEGMENTATION_SUFFIX, read_volume, write_label_map


def annotate(
    cohort_folder: Path, labels: Mapping[str, Path], *, absent: Absent = "unknown"
) -> list[tuple[str, str]]:
    """Give cases the label maps of files; what they had before is replaced.

    Args:
        cohort_folder: the cohort.
        labels: the file of each case: a label map on its grid with the cohort's values, or a `.seg.nrrd`.
        absent: what a declared organ is that does not occur in a label map.

    Returns:
        Each case that was left as it was, and the reason.

    Raises:
        SSLSegError: a case is unknown, or the cohort cannot be written.
    """
    cohort = Cohort.read(cohort_folder, check_files=False)
    good: dict[str, tuple[sitk.Image, Segmentation | None, list[str]]] = {}
    refused = []
    for name, path in labels.items():
        case = cohort.case(name)
        try:
            image = read_volume(cohort.image_path(case), series_uid=case.series)
            label, layers = read_case_label(path, image, cohort.labels)
        except SSLSegError as error:
            refused.append((name, str(error)))
            continue
        present = label_values(label)
        organs = [organ.name for organ in cohort.labels if absent == "background" or organ.value in present]
        if organs:
            good[name] = label, layers, organs
        else:
            refused.append((name, str(SSLSegError("The label map holds no organ", file=path))))
    with Cohort.edit(cohort_folder) as edited:
        for name, (label, layers, organs) in good.items():
            case = edited.case(name)
            case.label = f"labels/{name}.nii.gz"
            case.layers = None
            write_label_map(label, edited.folder / case.label)
            if layers is not None:
                case.layers = f"labels/{name}.layers{SEGMENTATION_SUFFIX}"
                write_layers(layers, edited.folder / case.layers)
            case.annotated, case.slices = organs, {}
            case.review, case.organ_review = ReviewState.COMPLETED, {}
    return refused

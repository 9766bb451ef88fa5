"""A small untrained model in a cohort, for the tests of what is done with a model and its predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from sslseg.bundle.metadata import ModelRecord
from sslseg.bundle.model_folder import save_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.labels import Label
from sslseg.data.fingerprint import Fingerprint, OrganSize
from sslseg.data.plan import IntensityMapping, Plan
from sslseg.data.volumes import read_volume, write_label_map
from sslseg.networks import build_network
from sslseg.networks.base import SegmentationNetwork

STRIDES = ((2, 2, 2), (2, 2, 2))


def a_plan(labels: tuple[Label, ...], modality: str = "CT", **changes: Any) -> Plan:
    """A plan for windows of 16 voxels of 4 mm."""
    organs = tuple(OrganSize(label.name, 3, 100.0) for label in labels)
    numbers = ((4.0, 4.0, 4.0), (4.0, 4.0, 4.0), (96.0, 96.0, 96.0), (-150.0, 50.0, 200.0))
    fingerprint = Fingerprint(modality, labels, 9, 3, *numbers, organs)  # type: ignore[arg-type]
    fields: dict[str, Any] = {
        "version": 1,
        "modality": modality,
        "labels": labels,
        "spacing": (4.0, 4.0, 4.0),
        "intensity": IntensityMapping("fixed", -300.0, 300.0),
        "patch_size": (16, 16, 16),
        "strides": STRIDES,
        "mirror_axes": (),
        "fingerprint": fingerprint,
    }
    return Plan(**fields | changes)


def a_record(**changes: Any) -> ModelRecord:
    fields: dict[str, Any] = {"method": "supervised", "steps": 1, "seed": 0, "labelled": 1, "unlabelled": 0}
    return ModelRecord(**fields | changes)


def a_network(classes: int, name: str = "vnet", *, seed: int = 0) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network(name, out_channels=classes, strides=STRIDES, filters=4)


def add_model(cohort: Cohort, name: str, labels: tuple[Label, ...], **record: Any) -> None:
    """Put a model that knows `labels` into the cohort."""
    network = a_network(len(labels) + 1)
    save_model(cohort.model_folder(name), networks=[network], plan=a_plan(labels), record=a_record(**record))


def write_prediction(cohort: Cohort, model: str, case_id: str, voxels: np.ndarray) -> None:
    """Write a label map (z, y, x) as the prediction of a case."""
    labels = sitk.GetImageFromArray(voxels.astype(np.uint8))
    labels.CopyInformation(read_volume(cohort.image_path(cohort.case(case_id))))
    write_label_map(labels, cohort.prediction_path(model, case_id))

"""What MONAI's commands read of an exported model: `configs/inference.json` and `configs/metadata.json`."""

from __future__ import annotations

from typing import Any

from sslseg.bundle.metadata import ModelRecord, bundle_metadata
from sslseg.contract.postprocess import OrganRule
from sslseg.contract.strict import to_json
from sslseg.data.plan import Plan
from sslseg.networks.base import NetworkSpec

COMPONENTS = "scripts.components"
PACKAGES = {
    "SimpleITK": "2.4",
    "scipy": "1.13",
    "connected-components-3d": "3.18",
    "nibabel": "5.3",
    "pytorch-ignite": "0.5",
}
"""What the bundle needs beside MONAI, PyTorch and NumPy, at least in these versions."""


def inference_config(plan: Plan, specs: list[NetworkSpec]) -> dict[str, Any]:
    """The workflow that predicts every NIfTI volume in `dataset_dir`, for `python -m monai.bundle run`."""
    model = "$@bundle_root + '/sslseg.json'"
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": f"{COMPONENTS}.MeanOfNetworks", "networks": to_json(specs)},
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": f"{COMPONENTS}.ToWorkingGridd", "keys": "image", "model": model},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {
            "_target_": f"{COMPONENTS}.WindowInferer",
            "roi_size": list(plan.patch_size),
            "classes": plan.classes,
            "overlap": 0.5,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{COMPONENTS}.ToScanGridd",
                    "keys": "pred",
                    "image_key": "image",
                    "model": model,
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "seg",
                    "output_dtype": "$numpy.uint8",
                    "resample": False,
                    "separate_folder": False,
                },
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": False,
        },
        "run": ["$@evaluator.run()"],
    }


def exported_metadata(
    name: str, specs: list[NetworkSpec], plan: Plan, record: ModelRecord, rules: tuple[OrganRule, ...]
) -> dict[str, Any]:
    """The metadata of the model, with the packages that the bundle needs and the label map that it writes."""
    metadata = bundle_metadata(name, [spec.name for spec in specs], plan, record)
    metadata["required_packages_version"] = PACKAGES
    data_format = metadata["network_data_format"]
    data_format["outputs"]["pred"] |= {"value_range": [0, 1]}
    data_format["post_processed_outputs"] = {
        "pred": {
            "type": "image",
            "format": "segmentation",
            "num_channels": 1,
            "spatial_shape": ["*", "*", "*"],
            "dtype": "uint8",
            "value_range": [0, max(label.value for label in plan.labels)],
            "is_patch_data": False,
            "channel_def": {"0": "background", **{str(label.value): label.name for label in plan.labels}},
        }
    }
    if rules:
        metadata["description"] += f" Afterwards: {'; '.join(rule.in_words() for rule in rules)}."
    return metadata

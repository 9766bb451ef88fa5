"""What MONAI's bundle specification demands of `metadata.json`, as a JSON schema for `verify_metadata`.

MONAI downloads its schema unless the file is there already. This one says what the specification says: the mandatory
keys and their types, and those of a tensor's description.
"""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_TENSOR = {
    "type": "object",
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
    "properties": {
        "type": _TEXT,
        "format": _TEXT,
        "modality": _TEXT,
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": _TEXT,
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": _TEXT},
    },
}
_TENSORS = {"type": "object", "minProperties": 1, "additionalProperties": _TENSOR}
_TEXTS = (
    "schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
    "copyright",
)  # fmt: skip
_OPTIONAL_TEXTS = (
    "intended_use",
    "data_type",
    "image_classes",
    "label_classes",
    "pred_classes",
    "data_source",
)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [*_TEXTS, "required_packages_version", "network_data_format"],
    "properties": {
        **dict.fromkeys((*_TEXTS, *_OPTIONAL_TEXTS), _TEXT),
        "changelog": {"type": "object", "additionalProperties": _TEXT},
        "required_packages_version": {"type": "object", "additionalProperties": _TEXT},
        "eval_metrics": {"type": "object", "additionalProperties": {"type": "number"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {"inputs": _TENSORS, "outputs": _TENSORS, "post_processed_outputs": _TENSORS},
        },
    },
}

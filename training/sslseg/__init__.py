"""Semi-supervised multi-organ segmentation of CT and MR volumes: the backend of SSLSegmentation.

The functions of `sslseg.api` are here too: `sslseg.train_model(...)`. They are loaded when first used,
because Slicer imports `sslseg.contract` and must not load anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslseg.api import (
        annotate_cases,
        create_cohort,
        evaluate_label_maps,
        export_segmentations,
        import_volumes,
        predict_cases,
        predict_files,
        rank_cases,
        train_model,
    )

__version__ = "0.1.0"

__all__ = [
    "annotate_cases",
    "create_cohort",
    "evaluate_label_maps",
    "export_segmentations",
    "import_volumes",
    "predict_cases",
    "predict_files",
    "rank_cases",
    "train_model",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sslseg import api

        return getattr(api, name)
    raise AttributeError(f"module 'sslseg' has no attribute '{name}'")

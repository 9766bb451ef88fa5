"""Prediction of one scan: prepare, slide, restore; and what to do when a device's memory runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import SimpleITK as sitk
import torch

from sslseg.contract.errors import SSLSegError
from sslseg.contract.postprocess import OrganRule
from sslseg.contract.settings import Precision
from sslseg.data.plan import Plan
from sslseg.data.preprocess import Prepared, prepare_image
from sslseg.data.sides import left_right_pairs
from sslseg.inference.evidence import Evidence, EvidenceCollector
from sslseg.inference.features import FeatureMean
from sslseg.inference.postprocess import postprocess
from sslseg.inference.restore import restore
from sslseg.inference.sliding_window import Ensemble, Progress, default_batch, sliding_window
from sslseg.networks.base import SegmentationNetwork
from sslseg.networks.devices import use_bfloat16

Warn = Callable[[str], None]


class Model(Protocol):
    """What a prediction needs of a model, such as `sslseg.bundle` loads."""

    @property
    def networks(self) -> Sequence[SegmentationNetwork]: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def rules(self) -> Sequence[OrganRule]: ...


@dataclass(frozen=True)
class VolumePrediction:
    """Two images on exactly the grid of the scan.

    Attributes:
        label_map: uint8, declared values; 0 outside the body.
        uncertainty: uint8, entropy of the mean softmax in % of the largest possible; 0 outside the body.
        evidence: what the networks gave away about its quality, where that was asked for.
    """

    label_map: sitk.Image
    uncertainty: sitk.Image
    evidence: Evidence | None = None


class VolumePredictor:
    """Predicts scan after scan with one model.

    Where the device runs out of memory, fewer windows go through the networks at a time; where one is too
    much, the CPU takes over. What was found to fit is kept for the scans that follow.

    Args:
        model: networks and plan.
        overlap: share by which neighbouring windows overlap, 0 to 0.9.
        device: where to start.
        precision: arithmetic of the convolutions.
        clean: whether to do to the label map what the model's rules say.
        mirror: whether to look at every window mirrored as well; takes twice as long.
        evidence: whether to collect what tells about the quality of a prediction.
        warn: takes a sentence when memory runs out; None logs it.
    """

    def __init__(
        self,
        model: Model,
        *,
        overlap: float = 0.5,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
        clean: bool = True,
        mirror: bool = False,
        evidence: bool = False,
        warn: Warn | None = None,
    ) -> None:
        self.plan = model.plan
        self.rules = tuple(model.rules) if clean else ()
        self._networks = model.networks
        self._overlap = overlap
        self._precision = precision
        self._mirrored = _mirrored_classes(model.plan) if mirror else None
        self._evidence = evidence
        self._warn = warn or logging.getLogger(__name__).warning
        self._use(torch.device(device))

    def prepare(self, image: sitk.Image) -> Prepared:
        """The scan as the networks see it; independent of the device, so another thread may do it."""
        return prepare_image(image, self.plan)

    def __call__(self, prepared: Prepared, progress: Progress | None = None) -> VolumePrediction:
        """Label and uncertainty of a prepared scan.

        Args:
            prepared: from `prepare`.
            progress: called with the windows done and their total; what it raises ends the prediction.

        Raises:
            SSLSegError: even a single window is too much for the memory of the computer.
        """
        while True:
            try:
                return self._predict(prepared, progress)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside the handler: the exception keeps the tensors alive that filled the memory.
            self._retreat()

    def _predict(self, prepared: Prepared, progress: Progress | None) -> VolumePrediction:
        collector = EvidenceCollector(self.plan.classes, self.device) if self._evidence else None
        if self._features is not None:
            self._features.clear()
        slabs = sliding_window(
            self._ensemble,
            prepared.array,
            self.plan.patch_size,
            overlap=self._overlap,
            batch=self._batch,
            progress=progress,
        )
        restored = restore(slabs, prepared.grid, self.plan.values, collector)
        voxel_ml = math.prod(prepared.grid.original.spacing) / 1000
        postprocess(restored.labels, self.rules, voxel_ml)
        images = [sitk.GetImageFromArray(array) for array in (restored.labels, restored.uncertainty)]
        for image in images:
            prepared.grid.original.set_on(image)
        evidence = None
        if collector is not None and self._features is not None:
            evidence = Evidence(collector.organs(), self._features.vector())
        return VolumePrediction(images[0], images[1], evidence)

    def _use(self, device: torch.device) -> None:
        self.device = device
        self._batch = default_batch(self.plan.patch_size, device)
        self._features = FeatureMean(len(self._networks)) if self._evidence else None
        self._ensemble = Ensemble(
            self._networks,
            device,
            bfloat16=use_bfloat16(device, self._precision),
            mirrored=self._mirrored,
            compare=self._evidence,
            features=self._features,
        )

    def _retreat(self) -> None:
        """Need less memory than before."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self._batch > 1:
            self._batch //= 2
            self._warn(
                f"The memory of {self.device} ran out; going on with {self._batch} window(s) at a time."
            )
        elif self.device.type != "cpu":
            self._warn(
                f"The memory of {self.device} is too small for one window; going on with the CPU, slower."
            )
            self._use(torch.device("cpu"))
        else:
            _refuse()


def predict_volume(
    model: Model,
    image: sitk.Image,
    *,
    overlap: float = 0.5,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
    progress: Progress | None = None,
) -> VolumePrediction:
    """Predict one scan; see `VolumePredictor`, which is cheaper for several."""
    predictor = VolumePredictor(model, overlap=overlap, device=device, precision=precision)
    return predictor(predictor.prepare(image), progress)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; PyTorch reports a full main memory as RuntimeError."""
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )


def _mirrored_classes(plan: Plan) -> list[int]:
    """What each class becomes when left and right change places."""
    classes = list(range(plan.classes))
    for left, right in left_right_pairs([label.name for label in plan.labels]):
        classes[left + 1], classes[right + 1] = right + 1, left + 1
    return classes


def _refuse() -> NoReturn:
    raise SSLSegError(
        "The computer has too little memory for this volume",
        remedy="Close other programs, or predict on a computer with more memory.",
    )

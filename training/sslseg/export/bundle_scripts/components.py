"""The steps of a prediction as components of MONAI: networks, the way to their grid, windows, the way back.

MONAI's own transforms cannot express the grid exactly: it is laid centre on centre over the body of each patient, and
probabilities are interpolated back to the scan before they are compared. So these components call the functions that
`sslseg predict` calls.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor, nn

from sslseg.contract.postprocess import OrganRule
from sslseg.data.geometry import Geometry, orthonormal
from sslseg.data.plan import FULL_SCALE, Plan
from sslseg.data.preprocess import prepare_image
from sslseg.data.working_grid import WorkingGrid
from sslseg.inference.postprocess import postprocess
from sslseg.inference.restore import restore
from sslseg.inference.sliding_window import Slab, sliding_window
from sslseg.networks import build_network

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Between MONAI's coordinates (RAS) and those of DICOM and ITK (LPS)."""


class MeanOfNetworks(nn.Module):
    """The mean softmax of some networks.

    Args:
        networks: name and options of each, as `sslseg.json` has them.
    """

    def __init__(self, networks: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            build_network(network["name"], **network["options"]) for network in networks
        )

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities `(B, C, D, H, W)` float32 of `x (B, 1, D, H, W)` in [0, 1]."""
        probabilities = [network(x).softmax(dim=1, dtype=torch.float32) for network in self.networks]
        return torch.stack(probabilities).mean(dim=0) if len(probabilities) > 1 else probabilities[0]


class ToWorkingGridd(MapTransform):
    """Crop to the body, turn to the patient's axes, resample to the model's spacing, map to [0, 1].

    Adds `<key>_grid`, which `ToScanGridd` needs: size, spacing, origin, direction (LPS) and body box of the scan.

    Args:
        keys: of the images, each (1, X, Y, Z) with its affine.
        model: path of `sslseg.json`.
    """

    def __init__(self, keys: str | Sequence[str], model: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.plan, _ = _read(model)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            scan = result[key]
            prepared = prepare_image(_itk_image(scan), self.plan)
            image = torch.from_numpy(prepared.array[None].astype(np.float32) / FULL_SCALE)
            result[key] = MetaTensor(image, meta={"filename_or_obj": scan.meta.get("filename_or_obj", "")})
            result[f"{key}_grid"] = _numbers(prepared.grid)
        return result


class WindowInferer(Inferer):
    """Evenly spaced windows, blended with Gaussian weights; windows of nothing but air are background.

    Args:
        roi_size: size of a window in voxels (z, y, x).
        classes: C, the background included.
        overlap: share by which neighbouring windows overlap at least.
        sw_batch_size: windows of a forward pass; None chooses by their size.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        classes: int,
        overlap: float = 0.5,
        sw_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        self.roi_size, self.overlap, self.batch = tuple(roi_size), overlap, sw_batch_size
        self.classes = classes

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Probabilities `(1, C, D, H, W)` of a volume `inputs (1, 1, D, H, W)`."""
        if inputs.shape[:2] != (1, 1):
            raise ValueError(f"one image of one channel at a time, not {tuple(inputs.shape)}")
        volume = torch.as_tensor(inputs)[0, 0].cpu().numpy()
        ensemble = _OnDevice(network, inputs.device, self.classes)
        slabs = sliding_window(
            ensemble,  # type: ignore[arg-type]
            volume,
            self.roi_size,
            overlap=self.overlap,
            batch=self.batch,
        )
        return torch.cat([slab.probabilities.clone() for slab in slabs]).transpose(0, 1)[None]


class ToScanGridd(MapTransform):
    """From probabilities on the model's grid to a label map on the grid of the scan, cleaned up by the model's rules.

    Args:
        keys: of the probabilities, each (C, D, H, W).
        image_key: of the image they belong to.
        model: path of `sslseg.json`.
        clean: whether to apply the rules.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        image_key: str,
        model: str,
        clean: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.plan, rules = _read(model)
        self.rules = rules if clean else ()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        grid = _grid(result[f"{self.image_key}_grid"], self.plan)
        meta = {"filename_or_obj": result[self.image_key].meta.get("filename_or_obj", "")}
        for key in self.key_iterator(result):
            probabilities = torch.as_tensor(result[key]).transpose(0, 1)
            labels = restore([Slab(0, probabilities)], grid, self.plan.values).labels
            postprocess(labels, self.rules, float(np.prod(grid.original.spacing)) / 1000)
            voxels = torch.from_numpy(np.ascontiguousarray(labels.transpose(2, 1, 0))[None])
            result[key] = MetaTensor(voxels, affine=torch.from_numpy(_LPS @ grid.original.matrix), meta=meta)
        return result


class _OnDevice:
    """A network and what the windows need to know of it."""

    compares = False

    def __init__(self, network: Any, device: torch.device, classes: int) -> None:
        self.device, self.classes, self._network = device, classes, network

    def __call__(self, windows: Tensor) -> Tensor:
        with torch.no_grad():
            probabilities = self._network(windows)
        assert isinstance(probabilities, Tensor)
        return probabilities.float()


def _read(model: str) -> tuple[Plan, tuple[OrganRule, ...]]:
    content = json.loads(Path(model).read_text(encoding="utf-8"))
    return Plan.from_json(content["plan"]), tuple(OrganRule(**rule) for rule in content.get("rules", ()))


def _itk_image(scan: MetaTensor) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(scan.numpy()[0].transpose(2, 1, 0)))
    geometry = Geometry.from_matrix(image.GetSize(), _LPS @ scan.affine.numpy())
    direction = orthonormal(geometry.direction)
    if direction is None:
        raise ValueError("the axes of the image are not at right angles")
    Geometry(geometry.size, geometry.spacing, geometry.origin, direction).set_on(image)
    return image


def _numbers(grid: WorkingGrid) -> Tensor:
    original = grid.original
    box = [edge for side in grid.box for edge in side]
    numbers = [*original.size, *original.spacing, *original.origin, *original.direction, *box]
    return torch.tensor(numbers, dtype=torch.float64)


def _grid(numbers: Tensor, plan: Plan) -> WorkingGrid:
    values = torch.as_tensor(numbers).flatten().tolist()
    x, y, z = (int(value) for value in values[:3])
    spacing, origin = values[3:6], values[6:9]
    box = [int(value) for value in values[18:24]]
    geometry = Geometry(
        (x, y, z),
        (spacing[0], spacing[1], spacing[2]),
        (origin[0], origin[1], origin[2]),
        tuple(values[9:18]),
    )
    sides = ((box[0], box[1]), (box[2], box[3]), (box[4], box[5]))
    return WorkingGrid(geometry, sides, plan.spacing)

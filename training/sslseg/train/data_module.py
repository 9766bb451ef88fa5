"""Feeds a run: patches of the step that comes next, augmented on the training device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sslseg.data.augment import Augmenter
from sslseg.data.sampling import PatchDataset, PatchSampler


class StepStream:
    """The raw patches of the steps `first .. steps - 1`, to be gone through once.

    It has no length on purpose: Lightning would compare what is left with the steps of the whole run.
    """

    def __init__(self, sampler: PatchSampler, first: int, steps: int, device: torch.device) -> None:
        # On a CPU the training itself uses all cores; drawing patches takes a millisecond or two.
        workers = min(4, os.cpu_count() or 1) if device.type == "cuda" else 0
        self._loader = DataLoader(
            PatchDataset(sampler, first, steps - first),
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self._loader)


class PatchDataModule(lightning.LightningDataModule):
    """One epoch is the whole run, and a resumed run starts at its own step.

    Args:
        sampler: draws the raw patches of a step.
        augmenter: makes the training batch of them, on the device it was made for.
        steps: optimiser steps of the run.
    """

    def __init__(self, sampler: PatchSampler, augmenter: Augmenter, steps: int) -> None:
        super().__init__()
        self.sampler = sampler
        self.augmenter = augmenter
        self.steps = steps

    def train_dataloader(self) -> StepStream:
        return StepStream(self.sampler, self._step(), self.steps, self.augmenter.device)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> dict[str, Tensor]:
        return self.augmenter(batch, self._step())

    def _step(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_step

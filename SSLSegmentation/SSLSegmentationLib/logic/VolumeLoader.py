"""Volumes from files into memory: parsed in another process, read in slices, so that the GUI never waits."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from sslseg.contract.errors import SSLSegError
from sslseg.contract.staging import IGNORED, VOXELS, StagedVolume, StageRequest, read_entry
from sslseg.contract.strict import to_json
from SSLSegmentationLib.logic.BackgroundCommand import BackgroundCommand, Outcome
from SSLSegmentationLib.logic.Paths import backendFolder
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher

PIECE_BYTES = 1 << 19
"""So much is read at a time: a few milliseconds even from a slow disk."""
STAGING_SECONDS = 600.0


@dataclass
class LoadedVolume:
    """A volume in memory.

    Attributes:
        staged: its grid and what is known of it.
        voxels: (D, H, W) of the staged box.
        ignored: for a label map with voxels that nobody annotated, (D, bytes) one bit a voxel of the whole grid.
    """

    staged: StagedVolume
    voxels: np.ndarray
    ignored: np.ndarray | None = None


class VolumeLoader:
    """Loads volumes through the cache of a cohort.

    Not by a memory map: the cache may lie on a network drive, and a page that cannot be read ends the application.

    Args:
        launcher: starts the process that reads the files.
        python: the interpreter for it; it needs numpy, SimpleITK and pydicom. None takes Slicer's own.
    """

    def __init__(self, launcher: Launcher | None = None, python: str | Path | None = None) -> None:
        self._launcher = launcher or ProcessLauncher()
        self._python = python

    def load(self, cache: Path, requests: list[StageRequest]) -> Generator[bool, None, list[LoadedVolume]]:
        """The volumes of the requests, as work for `SlicedWork`.

        Raises:
            SSLSegError: a file cannot be read, or the cache cannot be written.
        """
        missing = [request for request in requests if read_entry(request.folder(cache)) is None]
        if missing:
            yield from self._stage(cache, missing)
        volumes = []
        for request in requests:
            folder = request.folder(cache)
            staged = read_entry(folder)
            if staged is None:
                raise SSLSegError(
                    _("The file changed while it was being read"),
                    file=request.image,
                    remedy=_("Open the case again."),
                )
            voxels = yield from _read(folder / VOXELS, staged.shape, np.dtype(staged.pixel_type))
            ignored = None
            if staged.ignored:
                width, height, depth = staged.size
                shape = (depth, -(-width * height // 8))
                ignored = yield from _read(folder / IGNORED, shape, np.dtype(np.uint8))
            volumes.append(LoadedVolume(staged, voxels, ignored))
        return volumes

    def _stage(self, cache: Path, requests: list[StageRequest]) -> Generator[bool, None, None]:
        python = self._python or shutil.which("PythonSlicer") or sys.executable
        texts = [json.dumps(to_json(request)) for request in requests]
        environment = dict(os.environ)
        paths = [str(backendFolder()), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        outcomes: list[Outcome] = []
        command = BackgroundCommand(
            self._launcher,
            [str(python), "-m", "sslseg.data.staging", str(cache), *texts],
            environment,
            STAGING_SECONDS,
            outcomes.append,
        )
        try:
            while not outcomes:
                command.poll()
                yield True
        finally:
            command.cancel()
        if outcomes[0].exitCode != 0:
            raise _failure(outcomes[0], requests[0])


def _read(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Generator[bool, None, np.ndarray]:
    array = np.empty(shape, dtype)
    left = memoryview(array).cast("B") if array.size else memoryview(b"")
    try:
        with path.open("rb", buffering=0) as file:
            while left:
                count = file.readinto(left[:PIECE_BYTES])
                if not count:
                    raise OSError(_("it is shorter than it should be"))
                left = left[count:]
                yield False
    except OSError as error:
        raise SSLSegError(
            _("The cache cannot be read ({reason})").format(reason=error.strerror or error),
            file=path,
            remedy=_("Remove the cached data, and open the case again."),
        ) from error
    return array


def _failure(outcome: Outcome, request: StageRequest) -> SSLSegError:
    answer = outcome.answer() or {}
    if isinstance(answer.get("error"), str):
        return SSLSegError(answer["error"])
    if outcome.exitCode is None:
        return SSLSegError(
            _("Reading the volume took too long"),
            file=request.image,
            remedy=_("Is its disk connected? Copy the images to this computer."),
        )
    lines = outcome.output.strip().splitlines()
    return SSLSegError(
        _("The volume could not be read ({reason})").format(reason=lines[-1] if lines else outcome.exitCode),
        file=request.image,
    )

"""Volumes from files into memory: parsed in another process, read in slices, so that the GUI never waits."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _
from vtk.util.numpy_support import create_vtk_array, get_vtk_array_type, vtk_to_numpy

from sslseg.contract.errors import SSLSegError
from sslseg.contract.staging import IGNORED, VOXELS, StagedVolume, StageRequest, read_entry
from sslseg.contract.strict import to_json
from SSLSegmentationLib.logic.BackgroundCommand import BackgroundCommand, Outcome
from SSLSegmentationLib.logic.Paths import withBackend
from SSLSegmentationLib.logic.ProcessLauncher import Launcher, ProcessLauncher
from SSLSegmentationLib.logic.PythonFindings import ownPython

PIECE_BYTES = 1 << 19
"""So much is read at a time: a few milliseconds even from a slow disk."""
STAGING_SECONDS = 600.0


@dataclass
class LoadedVolume:
    """A volume in memory.

    Attributes:
        staged: its grid and what is known of it.
        scalars: array of VTK that owns the memory.
        voxels: (D, H, W) of the staged box, a view of it.
        ignored: for a label map with voxels that nobody annotated, (D, bytes) one bit a voxel of the whole grid.
    """

    staged: StagedVolume
    scalars: Any
    voxels: np.ndarray
    ignored: np.ndarray | None = None


class VolumeLoader:
    """Loads volumes through the cache of a cohort.

    Not by a memory map: the cache may lie on a network drive, and a page that cannot be read ends the application.

    Args:
        launcher: starts the process that reads the files, with Slicer's own Python: it works before any setup.
    """

    def __init__(self, launcher: Launcher | None = None) -> None:
        self._launcher = launcher or ProcessLauncher()
        self._ahead: dict[Path, LoadedVolume] = {}

    def load(self, cache: Path, requests: list[StageRequest]) -> Generator[bool, None, list[LoadedVolume]]:
        """The volumes of the requests, as work for `SlicedWork`.

        Raises:
            SSLSegError: a file cannot be read, or the cache cannot be written.
        """
        folders = [request.folder(cache) for request in requests]
        if not all(folder in self._ahead for folder in folders):
            missing = [r for r, folder in zip(requests, folders, strict=True) if read_entry(folder) is None]
            if missing:
                yield from self._stage(cache, missing)
        volumes = []
        for request in requests:
            folder = request.folder(cache)
            # Whoever gets a volume may change it: it is handed out once.
            volume = self._ahead.pop(folder, None)
            if volume is None:
                volume = yield from _readEntry(folder, request)
            volumes.append(volume)
        return volumes

    def loadAhead(self, cache: Path, requests: list[StageRequest]) -> Generator[bool, None, None]:
        """Read volumes that will be asked for next, and keep them instead of those that were read ahead before.

        Raises:
            SSLSegError: as `load`.
        """
        volumes = yield from self.load(cache, requests)
        self._ahead = {
            request.folder(cache): volume for request, volume in zip(requests, volumes, strict=True)
        }

    def forgetAhead(self) -> None:
        """Give the memory of what was read ahead free."""
        self._ahead = {}

    def _stage(self, cache: Path, requests: list[StageRequest]) -> Generator[bool, None, None]:
        texts = [json.dumps(to_json(request)) for request in requests]
        outcomes: list[Outcome] = []
        command = BackgroundCommand(
            self._launcher,
            [str(ownPython()), "-m", "sslseg.data.staging", str(cache), *texts],
            withBackend(os.environ),
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


def _readEntry(folder: Path, request: StageRequest) -> Generator[bool, None, LoadedVolume]:
    staged = read_entry(folder)
    if staged is None:
        raise SSLSegError(
            _("The file changed while it was being read"),
            file=request.image,
            remedy=_("Open the case again."),
        )
    scalars = create_vtk_array(get_vtk_array_type(np.dtype(staged.pixel_type)))
    scalars.SetNumberOfValues(math.prod(staged.shape))
    voxels = vtk_to_numpy(scalars).reshape(staged.shape)
    yield from _read(folder / VOXELS, voxels)
    ignored = None
    if staged.ignored:
        width, height, depth = staged.size
        ignored = np.empty((depth, -(-width * height // 8)), np.uint8)
        yield from _read(folder / IGNORED, ignored)
    return LoadedVolume(staged, scalars, voxels, ignored)


def _read(path: Path, array: np.ndarray) -> Generator[bool, None, None]:
    """Fill an array from a file."""
    left = memoryview(array).cast("B")
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

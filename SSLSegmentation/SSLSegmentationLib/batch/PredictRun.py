"""predict for volumes outside any cohort: Slicer translates what the backend does not read."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from sslseg.contract.cohort import free_name
from sslseg.contract.errors import SSLSegError
from sslseg.contract.exit_codes import code_of_failed_studies, failed_studies_of
from SSLSegmentationLib.batch.Arguments import Arguments
from SSLSegmentationLib.batch.BackendCommand import BackendCommand
from SSLSegmentationLib.batch.Interruption import Interruption
from SSLSegmentationLib.batch.OpenedFile import OpenedVolume, opened
from SSLSegmentationLib.batch.Sources import Source, sortSources, stemOf
from SSLSegmentationLib.batch.Terminal import Terminal
from SSLSegmentationLib.logic.NrrdWriter import writeNrrd
from SSLSegmentationLib.logic.SceneImport import voxelsOf


class PredictRun:
    """Carries out `predict --input … --output …`.

    Volumes of scenes, and of formats that only Slicer opens, are laid down as files in a temporary folder and predicted
    from there; the result of the volume CT in `study.mrb` is `study/CT`, that of `head.mgz` is `head.mgz`.

    Args:
        backend: runs commands.
        interruption: tells of Ctrl-C.
        terminal: is told what could not be opened.
    """

    def __init__(self, backend: BackendCommand, interruption: Interruption, terminal: Terminal) -> None:
        self._backend = backend
        self._interruption = interruption
        self._terminal = terminal

    def run(self, arguments: Arguments) -> int:
        """Segment volumes; the exit code.

        Raises:
            SSLSegError: the folder of the results is missing among the arguments.
            Interrupted: Ctrl-C has ended it.
        """
        output = arguments.option("--output")
        outside = None if output is None else Path(output)
        sources = sortSources(map(Path, arguments.values("--input")), outside)
        if output is None or not sources.forSlicer:
            return self._backend.show(arguments.words)
        with tempfile.TemporaryDirectory(prefix="sslseg-", dir=slicer.app.temporaryPath) as place:
            folder = Path(place)
            refused = self._translate(sources.forSlicer, folder)
            inputs = [*map(str, sources.forBackend), *([place] if any(folder.iterdir()) else [])]
            code = self._backend.show(arguments.changed(input=inputs)) if inputs else 0
        if refused:
            self._terminal.complain(_("Not opened: {count}.").format(count=refused))
            failed = failed_studies_of(code)
            return code if failed is None else code_of_failed_studies(failed + refused)
        return code

    def _translate(self, sources: Sequence[Source], folder: Path) -> int:
        """Lay down the volumes of files as files that the backend reads; how many of them that did not work for."""
        refused = 0
        for source in sources:
            self._interruption.check()
            self._terminal.progress(_("Opening {file} …").format(file=source.place))
            taken: set[str] = set()
            try:
                with opened(source) as volumes:
                    for volume in volumes:
                        target = folder / _place(source, volume.name, taken)
                        refused += not self._write(volume, target, source.path)
            except SSLSegError as error:
                refused += 1
                self._terminal.say(_("not segmented: {reason}").format(reason=error))
        self._terminal.endProgress()
        return refused

    def _write(self, volume: OpenedVolume, target: Path, file: Path) -> bool:
        """Write a volume; whether that is possible."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            voxels, grid = voxelsOf(volume.node)
            for _step in writeNrrd(target, voxels, grid):
                self._interruption.check()
        except SSLSegError as error:
            self._terminal.say(_("not segmented: {reason}").format(reason=f"{file}: {error}"))
            return False
        return True


def _place(source: Source, name: str, taken: set[str]) -> Path:
    """Where a volume of a file is laid down; `taken` are the names of its volumes so far."""
    if not source.isScene:
        return source.place.with_name(f"{source.place.name}.nrrd")
    free = free_name(_fileName(name), taken)
    taken.add(free)
    return source.place.parent / stemOf(source.path) / f"{free}.nrrd"


def _fileName(name: str) -> str:
    """The name of a volume, as far as every system takes it for the name of a file."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._-") or "volume"

"""What a prediction of a folder has done already: one line per study, so that a run goes on after any end.

A study is done when its voxels, the model and the settings are those of its line, and its result is still there.
Voxels are compared by content; a study whose files have kept names, sizes and times is not read again for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import append_line
from sslseg.contract.strict import from_json, to_json
from sslseg.data.volume_files import volume_files

FOLDER = ".sslseg"
FILE_NAME = f"{FOLDER}/done.jsonl"


@dataclass(frozen=True)
class LedgerEntry:
    """One study that was predicted.

    Attributes:
        name: path of the study below the input folder.
        result: path of its label map below the output folder.
        result_bytes: size of that file.
        stamp: of names, sizes and times of the study's files.
        content: SHA-256 of what is in them.
        model: SHA-256 of the model and of what else decides on the result.
        seconds: that the networks took.
        volumes_ml: volume of each organ.
    """

    name: str
    result: str
    result_bytes: int
    stamp: str
    content: str
    model: str
    seconds: float
    volumes_ml: dict[str, float]


class Ledger:
    """The list of what is done, in a hidden folder of the output folder.

    ```
    ledger = Ledger(output, model_digest(model_folder, overlap=0.5))
    ledger.entry_of(name, image)        # None: to be predicted
    ledger.announce(result)             # what may be replaced should the run end before the next line
    ledger.add(entry)                   # one line, appended in one write
    ```
    """

    def __init__(self, output: Path, model: str) -> None:
        self.output = output
        self.model = model
        self.path = output / FILE_NAME
        entries, self._announced = _read(self.path)
        self._entries = {entry.name: entry for entry in entries}

    @property
    def entries(self) -> dict[str, LedgerEntry]:
        """The last line of each study, by its name."""
        return dict(self._entries)

    def owns(self, result: str) -> bool:
        """Whether a result was written by an earlier run, so that it may be replaced."""
        return result in self._announced

    def announce(self, result: str) -> None:
        """Note that a result is about to be written."""
        if result not in self._announced:
            self._append({"announced": result})
            self._announced.add(result)

    def entry_of(self, name: str, image: Path) -> LedgerEntry | None:
        """The line of a study that need not be predicted again.

        Raises:
            SSLSegError: a file of the study cannot be read.
        """
        entry = self._entries.get(name)
        if entry is None or entry.model != self.model or not self._has_result(entry):
            return None
        if entry.stamp != stamp_of(image) and entry.content != content_of(image):
            return None
        return entry

    def add(self, entry: LedgerEntry) -> None:
        """Append a line.

        Raises:
            SSLSegError: the disk is full or the folder cannot be written to.
        """
        self._append(to_json(entry))
        self._entries[entry.name] = entry

    def _append(self, content: Any) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, json.dumps(content, ensure_ascii=False))
        except OSError as error:
            raise SSLSegError(
                f"The file cannot be written ({error.strerror})",
                file=self.path,
                remedy="Check that the folder is writable and the disk has free space.",
            ) from error

    def _has_result(self, entry: LedgerEntry) -> bool:
        try:
            return (self.output / entry.result).stat().st_size == entry.result_bytes
        except OSError:
            return False


def stamp_of(image: Path) -> str:
    """Names, sizes and times of the files of a volume, as one short text; no file is opened.

    Raises:
        SSLSegError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in volume_files(image):
        try:
            state = path.stat()
        except OSError as error:
            raise SSLSegError(f"The file cannot be read ({error.strerror})", file=path) from error
        digest.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def content_of(image: Path) -> str:
    """SHA-256 of what is in the files of a volume, in the order of their names.

    Raises:
        SSLSegError: a file cannot be read.
    """
    return _digest(volume_files(image))


def model_digest(folder: Path, **settings: Any) -> str:
    """What decides on a result beside the study: the model's files, and settings as plain JSON data.

    Raises:
        SSLSegError: a file cannot be read.
    """
    files = [folder / "sslseg.json", folder / "models" / "model.pt"]
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(f"{_digest(files)} {text}".encode()).hexdigest()


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise SSLSegError(f"The file cannot be read ({error.strerror})", file=path) from error
    return digest.hexdigest()


def _read(path: Path) -> tuple[list[LedgerEntry], set[str]]:
    """The whole lines, and the results that were announced.

    What does not fit is left out, since its study is then simply predicted again.
    """
    entries: list[LedgerEntry] = []
    announced: set[str] = set()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return entries, announced
    except OSError as error:
        raise SSLSegError(f"The file cannot be read ({error.strerror})", file=path) from error
    for line in lines:
        with contextlib.suppress(ValueError, SSLSegError):
            content = json.loads(line)
            if isinstance(content, dict) and set(content) == {"announced"}:
                announced.add(str(content["announced"]))
            else:
                entries.append(from_json(LedgerEntry, content))
    return entries, announced

"""The cache of a cohort: each entry is named by what it was made from and may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sslseg.contract.cohort import Case, Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json, write_json
from sslseg.contract.strict import to_json
from sslseg.data.volume_files import volume_files

T = TypeVar("T")
R = TypeVar("R")

_BUILDING = ".building-"
_ABANDONED_SECONDS = 3600.0
_UNUSED_SECONDS = 30 * 24 * 3600.0


class ContentKeys:
    """Names of cache entries: SHA-256 of the files of a case, its annotation state, and what was made of it.

    A file is read once; its hash is remembered by path, size and time of change in `hashes.json`.

    ```
    with ContentKeys(cohort) as keys:
        key = keys.of(case, "volume", plan.spacing)
    ```
    """

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._path = cohort.cache_folder / "hashes.json"
        self._hashes = _read_hashes(self._path)
        self._changed = False

    def __enter__(self) -> ContentKeys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._changed:
            with contextlib.suppress(SSLSegError):
                write_json(self._path, dict(sorted(self._hashes.items())))

    def of(self, case: Case, *parts: Any) -> str:
        """Key of `case` with its annotation state, the values of the labels, and `parts` (plain JSON data).

        Raises:
            SSLSegError: a file of the case cannot be read.
        """
        label = self._cohort.label_path(case) if case.annotated else None
        state = [
            self._content(self._cohort.image_path(case)),
            case.series,
            None if label is None else self._content(label),
            None if label is None else [sorted(case.annotated), sorted(to_json(case.slices).items())],
            [[entry.name, entry.value] for entry in self._cohort.labels],
            to_json(list(parts)),
        ]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def annotation(self, case: Case) -> str:
        """What a person said about an annotated case: its label map, the organs that count, and their slices.

        Raises:
            SSLSegError: the label map cannot be read.
        """
        label = self._cohort.label_path(case)
        assert label is not None
        state = [self._content(label), sorted(case.annotated), sorted(to_json(case.slices).items())]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def _content(self, path: Path) -> str:
        files = volume_files(path)
        if files == [path]:
            return self._of_file(path)
        return hashlib.sha256("".join(map(self._of_file, files)).encode()).hexdigest()

    def _of_file(self, path: Path) -> str:
        try:
            state = path.stat()
            stamp = f"{state.st_size}:{state.st_mtime_ns}"
            known = self._hashes.get(str(path))
            if known is not None and known[0] == stamp:
                return known[1]
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise SSLSegError(
                f"The file cannot be read ({error.strerror})",
                file=path,
                remedy="Put it back, or remove its case with 'sslseg remove'.",
            ) from error
        self._hashes[str(path)] = [stamp, digest]
        self._changed = True
        return digest


@contextlib.contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` when the block ends without an error.

    Several processes may build the same entry: what the first one made stays.

    Raises:
        SSLSegError: the cache cannot be written to or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=path.parent))
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    try:
        yield temporary
        if not path.exists():
            temporary.rename(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove entries that a crash left unfinished and those that nobody has opened for 30 days."""
    now = time.time()
    for entry in folder.iterdir() if folder.is_dir() else ():
        limit = _ABANDONED_SECONDS if entry.name.startswith(_BUILDING) else _UNUSED_SECONDS
        with contextlib.suppress(OSError):
            if now - entry.stat().st_mtime > limit:
                shutil.rmtree(entry)


def in_parallel(
    function: Callable[[T], R], items: Sequence[T], progress: Callable[[int, int], None] | None = None
) -> list[R]:
    """`function` of every item, in order, on as many threads as there are cores, but four to bound memory.

    The first error ends it; items that have not begun are then dropped.
    """
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                if progress is not None:
                    progress(done, len(items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _read_hashes(path: Path) -> dict[str, list[str]]:
    """The remembered hashes; none where the file is missing or damaged, for it is safe to lose."""
    try:
        data = read_json(path)
    except SSLSegError:
        return {}
    if not isinstance(data, dict):
        return {}
    return {k: v for k, v in data.items() if isinstance(v, list) and len(v) == 2}


def _unwritable(path: Path, error: OSError) -> SSLSegError:
    return SSLSegError(
        f"The cache cannot be written ({error.strerror or error})",
        file=path,
        remedy="Check that the folder is writable and the disk has free space.",
    )

"""The cache of a cohort: how large it is, and away with it, a little at a time so that the window never stalls."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.jobs import Job, JobState

SLICE_SECONDS = 0.02
_DOOMED = ".removing-"


class CacheFolder:
    """Counts and removes the cache of one cohort.

    ```
    cache = CacheFolder(cohort)
    cache.startCounting()
    while cache.isBusy:
        cache.poll()
    print(cache.size)
    ```

    Attributes:
        size: bytes found so far, or left so far.
        isBusy: whether there is more to count or to remove.
    """

    def __init__(self, cohort: Cohort, sliceSeconds: float = SLICE_SECONDS) -> None:
        self._cohort = cohort
        self._sliceSeconds = sliceSeconds
        self._work: Iterator[None] | None = None
        self.size = 0

    @property
    def isBusy(self) -> bool:
        return self._work is not None

    def startCounting(self) -> None:
        """Count from the beginning; `poll` does the work."""
        self.size = 0
        self._work = self._count()

    def startRemoving(self) -> None:
        """Take the cache away; `poll` does the work.

        Raises:
            SSLSegError: a job is using it, or the folder cannot be changed.
        """
        running = [job for job in Job.all(self._cohort.folder) if job.state() is JobState.RUNNING]
        if running:
            raise SSLSegError(
                f"The job {running[0].folder.name} is using the cache",
                remedy="Wait until it has ended, or cancel it, and remove the cache then.",
            )
        folder = self._cohort.cache_folder
        try:
            if folder.exists():
                # Out of the way in one step: whatever starts meanwhile makes a cache of its own.
                folder.rename(folder.with_name(f"{_DOOMED}{time.time_ns()}"))
        except OSError as error:
            raise SSLSegError(
                f"The cache cannot be removed ({error.strerror})",
                file=folder,
                remedy="Check that the folder is writable.",
            ) from error
        self._work = self._remove()

    def poll(self) -> None:
        """Work for a moment.

        Raises:
            SSLSegError: a file cannot be removed.
        """
        deadline = time.monotonic() + self._sliceSeconds
        while self._work is not None and time.monotonic() < deadline:
            try:
                next(self._work)
            except StopIteration:
                self._work = None
            except OSError as error:
                self._work = None
                raise SSLSegError(
                    f"A file of the cache cannot be removed ({error.strerror})",
                    file=error.filename,
                    remedy="Close programs that use it, and try again.",
                ) from error

    def _folders(self) -> list[Path]:
        """The cache, and what an interrupted removal left behind."""
        doomed = sorted(self._cohort.folder.glob(f"{_DOOMED}*"))
        return [folder for folder in (self._cohort.cache_folder, *doomed) if folder.is_dir()]

    def _count(self) -> Iterator[None]:
        for folder in self._folders():
            for file in _files(folder):
                try:
                    self.size += file.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                yield

    def _remove(self) -> Iterator[None]:
        for folder in self._folders():
            if folder == self._cohort.cache_folder:
                continue
            for path, folders, files in os.walk(folder, topdown=False):
                for name in files:
                    Path(path, name).unlink(missing_ok=True)
                    yield
                for name in folders:
                    inner = Path(path, name)
                    inner.unlink() if inner.is_symlink() else inner.rmdir()
                    yield
            folder.rmdir()
        self.size = 0


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder, one at a time; what vanishes meanwhile is left out."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry


def sizeWords(size: float) -> str:
    """Bytes as people say them: 512 bytes, 3.4 MB, 12 GB."""
    if size < 1000:
        return f"{size:.0f} bytes"
    units = ("kB", "MB", "GB", "TB")
    power = min(len(units), int(math.log10(size)) // 3)
    size /= 1000**power
    return f"{size:.1f} {units[power - 1]}" if size < 10 else f"{size:.0f} {units[power - 1]}"

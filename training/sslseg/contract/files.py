"""Atomic writing and locking: a reader never sees half a file and two writers lose nothing."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from sslseg.contract.errors import SSLSegError

T = TypeVar("T")

PATIENCE = 1.0 if sys.platform == "win32" else 0.0
"""Seconds: on Windows no file can be replaced, nor read, in the moment in which another program has it open."""

# Read once: asking for the mask means setting it, which another thread could see.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    The temporary file keeps every suffix of `path`, because image writers choose the format by it.

    Raises:
        SSLSegError: the folder cannot be written to or the disk is full; `path` is then as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=f"-{path.name}", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        # A crash of the machine right after the rename must not leave an empty file behind.
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        _patiently(lambda: temporary.replace(path))
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append one whole line in one write, so that readers and other writers see whole lines.

    Raises:
        OSError: the folder cannot be written to or the disk is full.
    """
    content = line + "\n"
    binary = getattr(os, "O_BINARY", 0)  # Windows would end the line otherwise than everybody else
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o666)
    try:
        # A killed writer may have left half a line: start on a fresh one.
        if os.lseek(handle, 0, os.SEEK_END) > 0:
            os.lseek(handle, -1, os.SEEK_END)
            if os.read(handle, 1) != b"\n":
                content = "\n" + content
        os.write(handle, content.encode())
    finally:
        os.close(handle)


def read_json(path: str | Path, *, remedy: str = "") -> Any:
    """Read JSON.

    Raises:
        SSLSegError: the file is missing, unreadable or no JSON.
    """
    path = Path(path)
    try:
        return json.loads(_patiently(lambda: path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SSLSegError("The file does not exist", file=path, remedy=remedy) from error
    except OSError as error:
        raise SSLSegError(f"The file cannot be read ({error.strerror})", file=path, remedy=remedy) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise SSLSegError(
            f"The file is not valid JSON{line}", file=path, remedy=remedy or "Restore it from a backup."
        ) from error


@contextlib.contextmanager
def locked(path: str | Path, *, timeout: float = 30.0) -> Iterator[None]:
    """Hold the exclusive lock file `path` while the block runs.

    The operating system releases the lock when its holder dies, so a crash never locks a cohort for good.

    Args:
        path: the lock file; it is created and stays.
        timeout: seconds to wait for another process.

    Raises:
        SSLSegError: another process holds the lock for longer than `timeout`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise _unwritable(path, error) from error
    with file:
        deadline = time.monotonic() + timeout
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                raise SSLSegError(
                    f"Another program has been writing here for more than {timeout:.0f} seconds",
                    file=path,
                    remedy="Wait until it has finished, or close it, and try again.",
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            _unlock(file.fileno())


def is_locked(path: str | Path) -> bool:
    """Whether somebody holds the lock file `path` now; it may lie where one may only read."""
    path = Path(path)
    file: IO[bytes]
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    except OSError:
        try:
            file = path.open("rb")
        except OSError:
            return False
    with file:
        free = _try_lock(file.fileno())
        if free:
            _unlock(file.fileno())
        return not free


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _patiently(action: Callable[[], T]) -> T:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


def _unwritable(path: Path, error: OSError) -> SSLSegError:
    return SSLSegError(
        f"The file cannot be written ({error.strerror or error})",
        file=path,
        remedy="Check that the folder is writable and the disk has free space.",
    )

"""One file that carries a job, or its result, to another computer: a zip archive with a manifest.

`manifest.json` names every file with its size and SHA-256; nothing else may be in the archive. Reading trusts
neither: a name that leads out of the archive, a link, a file too many or one that was changed is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from sslseg import __version__
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import atomic_path
from sslseg.contract.strict import from_json, to_json

SCHEMA = "sslseg.archive"
VERSION = 1
MANIFEST = "manifest.json"

Kind = Literal["job", "result"]

_CHUNK = 1 << 20
_COPY_AGAIN = "Copy the archive again, or pack it anew."
# Everything that is packed at length is compressed already.
_MOST_MANIFEST_BYTES = 64 << 20


@dataclass(frozen=True)
class FileEntry:
    """One file of an archive."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive holds.

    Attributes:
        schema: "sslseg.archive".
        version: of this format.
        kind: a job to be run, or the result of one.
        job: name of the job's folder.
        program: version of the program that packed it.
        files: by path in the archive, with slashes.
        inputs: in a result, the SHA-256 of what the job was given, by path.
    """

    schema: str
    version: int
    kind: Kind
    job: str
    program: str
    files: dict[str, FileEntry]
    inputs: dict[str, str] = field(default_factory=dict)


def write_archive(
    path: Path,
    kind: Kind,
    job: str,
    files: Mapping[str, Path | bytes],
    inputs: Mapping[str, str] | None = None,
) -> Manifest:
    """Write an archive, atomically; a file there already is replaced.

    Args:
        path: the archive.
        kind: a job or a result.
        job: name of the job's folder.
        files: what goes in, by path in the archive: a file, or the content itself.
        inputs: for a result, what the job was given.

    Raises:
        SSLSegError: a file cannot be read, or the archive cannot be written.
    """
    entries = {}
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, content in files.items():
            entries[name] = _store(archive, name, content)
        manifest = Manifest(SCHEMA, VERSION, kind, job, __version__, entries, dict(inputs or {}))
        archive.writestr(MANIFEST, json.dumps(to_json(manifest), indent=1))
    return manifest


def _store(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> FileEntry:
    if isinstance(content, bytes):
        archive.writestr(name, content)
        return FileEntry(len(content), hashlib.sha256(content).hexdigest())
    digest, size = hashlib.sha256(), 0
    try:
        source = content.open("rb")
    except OSError as error:
        raise SSLSegError(f"The file cannot be read ({error.strerror})", file=content) from error
    with source, archive.open(name, "w", force_zip64=True) as target:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            target.write(chunk)
    return FileEntry(size, digest.hexdigest())


class Archive:
    """An archive that was opened and whose list of files was checked; contents are checked as they come out."""

    def __init__(self, path: Path, zipped: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._zip = zipped

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | Path, kind: Kind) -> Iterator[Archive]:
        """Open an archive of the given kind.

        Raises:
            SSLSegError: it is no archive of this program, of another kind or version, or not to be trusted.
        """
        path = Path(path)
        try:
            zipped = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise SSLSegError("The file does not exist", file=path, remedy="Check the path.") from error
        except (OSError, zipfile.BadZipFile) as error:
            raise SSLSegError("The file is no archive, or damaged", file=path, remedy=_COPY_AGAIN) from error
        with zipped:
            manifest = _read_manifest(path, zipped)
            if manifest.kind != kind:
                raise SSLSegError(
                    f"The archive holds a {manifest.kind}, not a {kind}",
                    file=path,
                    remedy="A job is run with 'sslseg run'; its result is merged with 'sslseg job merge'.",
                )
            _check_names(path, zipped, manifest)
            yield cls(path, zipped, manifest)

    def extract(self, name: str, target: Path) -> None:
        """Write one file to `target`, atomically, once its content is proven to be what was packed.

        Raises:
            SSLSegError: the content is not what the manifest says, or the disk is full.
        """
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            for chunk in self._chunks(name):
                file.write(chunk)

    def read(self, name: str) -> bytes:
        """The content of one file, checked like `extract` does."""
        return b"".join(self._chunks(name))

    def _chunks(self, name: str) -> Iterator[bytes]:
        entry, digest = self.manifest.files[name], hashlib.sha256()
        try:
            with self._zip.open(name) as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    yield chunk
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise SSLSegError(
                f"'{name}' in the archive is damaged", file=self.path, remedy=_COPY_AGAIN
            ) from error
        if digest.hexdigest() != entry.sha256:
            raise SSLSegError(
                f"'{name}' in the archive was changed after it was packed", file=self.path, remedy=_COPY_AGAIN
            )


def _read_manifest(path: Path, zipped: zipfile.ZipFile) -> Manifest:
    try:
        info = zipped.getinfo(MANIFEST)
        if info.file_size > _MOST_MANIFEST_BYTES:
            raise ValueError("the manifest is too large")
        data = json.loads(zipped.read(info))
    except (KeyError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SSLSegError(
            "The archive was not packed by this program",
            file=path,
            remedy="Pack a job with 'sslseg job pack'.",
        ) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise SSLSegError("The archive was not packed by this program", file=path)
    if data.get("version") != VERSION:
        raise SSLSegError(
            f"The archive has version {data.get('version')!r}, and this program reads version {VERSION}",
            file=path,
            remedy="Use the same version of the program on both computers.",
        )
    return from_json(Manifest, data, file=path)


def _check_names(path: Path, zipped: zipfile.ZipFile, manifest: Manifest) -> None:
    """Every file is declared, there once, of the declared size, an ordinary file, and inside the archive."""
    found = [info for info in zipped.infolist() if info.filename != MANIFEST]
    names = [info.filename for info in found]
    if len(set(names)) != len(names) or set(names) != set(manifest.files):
        raise SSLSegError(
            "The archive does not hold just the files that it declares", file=path, remedy=_COPY_AGAIN
        )
    if not is_safe_name(manifest.job) or "/" in manifest.job:
        raise SSLSegError(f"'{manifest.job}' is no name of a job", file=path, remedy=_COPY_AGAIN)
    for info in found:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if not is_safe_name(info.filename) or kind not in (0, stat.S_IFREG):
            raise SSLSegError(
                f"'{info.filename}' in the archive leads out of it",
                file=path,
                remedy="Do not use this archive.",
            )
        if info.file_size != manifest.files[info.filename].size:
            raise SSLSegError(
                f"'{info.filename}' in the archive was changed after it was packed",
                file=path,
                remedy=_COPY_AGAIN,
            )


def is_safe_name(name: str) -> bool:
    """Whether a path in an archive stays inside the folder it is unpacked to, on every system."""
    parts = PurePosixPath(name).parts
    plain = not any(character in name for character in '\\:\0*?"<>|')
    return (
        bool(parts) and plain and not name.startswith("/") and ".." not in parts and name == "/".join(parts)
    )

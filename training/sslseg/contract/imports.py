"""What an import could not take: `refused.json` in the folder of its job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sslseg.contract.files import read_json, write_json
from sslseg.contract.strict import from_json, to_json

FILE_NAME = "refused.json"


@dataclass(frozen=True)
class Refusal:
    """A file that was not imported.

    Attributes:
        file: its path.
        reason: a sentence that says why and what to do.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class _Document:
    refused: list[Refusal]


def write_refusals(job_folder: Path, refusals: list[Refusal]) -> None:
    """Write what was refused, atomically."""
    write_json(job_folder / FILE_NAME, to_json(_Document(refusals)))


def read_refusals(job_folder: Path) -> list[Refusal]:
    """What was refused; nothing where the import has not come that far.

    Raises:
        SSLSegError: the file is damaged.
    """
    path = job_folder / FILE_NAME
    if not path.exists():
        return []
    return from_json(_Document, read_json(path), file=path).refused

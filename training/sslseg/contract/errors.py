"""Errors that a user can act on."""

from __future__ import annotations

from pathlib import Path


class SSLSegError(Exception):
    """Something a user can mend: one sentence that says what is wrong, in which file, and what to do.

    The command line prints the sentence and exits with code 2; a job writes it into its `failed` event.
    """

    def __init__(self, what: str, *, file: str | Path | None = None, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        self.file = None if file is None else Path(file)
        self.remedy = remedy
        where = f"{self.file}: " if self.file is not None else ""
        super().__init__(f"{where}{what.rstrip('.')}.{' ' + remedy if remedy else ''}")

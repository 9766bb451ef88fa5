"""What the exit code of a command says: 0 done, 1 a fault of the program, 2 something to mend, 130 stopped."""

from __future__ import annotations

FAULT, MENDABLE, STOPPED = 1, 2, 130

_STUDIES = 10
_MOST_COUNTED = 100


def code_of_failed_studies(count: int) -> int:
    """The exit code of a folder's prediction: 0, or 10 and the number of studies that failed, at most 110."""
    return _STUDIES + min(count, _MOST_COUNTED) if count else 0


def failed_studies_of(code: int) -> int | None:
    """How many studies an exit code says have failed, 100 for that many or more; None where it says something else."""
    if code == 0:
        return 0
    return code - _STUDIES if _STUDIES < code <= _STUDIES + _MOST_COUNTED else None

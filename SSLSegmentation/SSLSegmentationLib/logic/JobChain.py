"""What follows a job: after a training, segment all cases with the new model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import is_locked, locked, read_json, write_json
from sslseg.contract.jobs import KINDS, Job
from sslseg.contract.strict import from_json, to_json

VERSION = 1
FILE_NAME = "then.json"
LAUNCH_SECONDS = 60.0
"""How long another Slicer may take to get a job going that it has said it launches."""
LOCK_SECONDS = 1.0
"""Longest wait for another Slicer, which holds the lock for milliseconds."""


@dataclass(frozen=True)
class Chain:
    """then.json of a job folder.

    Attributes:
        then: kinds of the jobs that follow, one after the other.
        next: name of the folder of the first of them, once it was made.
        launched: when that one was launched, in seconds since the epoch.
        version: of this format.
    """

    then: list[str]
    next: str | None = None
    launched: float = 0.0
    version: int = VERSION


class JobChain:
    """The follow-up of one job. It lies beside the job, so it outlives Slicer, and only one Slicer carries it out.

    Args:
        job: what it follows.
        now: seconds since the epoch.
    """

    def __init__(self, job: Job, *, now: Callable[[], float] = time.time) -> None:
        self.job = job
        self._now = now

    @property
    def then(self) -> tuple[str, ...]:
        """Kinds of the jobs that will follow; none once they have been made."""
        chain = self._read()
        return () if chain is None or chain.next is not None else tuple(chain.then)

    def ask(self, then: Sequence[str]) -> None:
        """Let `then` follow, instead of what was asked for before; too late once the follow-up was made.

        Raises:
            SSLSegError: the folder of the job cannot be written to.
        """
        with locked(self._lockPath, timeout=LOCK_SECONDS):
            chain = self._read()
            if chain is None and not then:
                return
            if chain is None or chain.next is None:
                write_json(self._path, to_json(Chain(list(then))))

    def isOpen(self) -> bool:
        """Whether there may be something to do once the job has finished; one look at the disk."""
        return self._path.exists()

    def advance(self, launch: Callable[[Job], None]) -> bool:
        """Carry the follow-up out, unless another Slicer does: make the job, and `launch` it.

        Returns:
            Whether nothing is left to do here.

        Raises:
            SSLSegError: the job cannot be made or launched.
        """
        if not self.isOpen():
            return True  # gone, perhaps with the whole cohort: a lock would make its folder anew
        if is_locked(self._lockPath):
            return False
        with locked(self._lockPath, timeout=LOCK_SECONDS):
            chain = self._read()
            following = None if chain is None else self._following(chain)
            if chain is None or following is None or following.is_running or following.events_path.exists():
                return True
            if self._now() - chain.launched < LAUNCH_SECONDS:
                return False
            # Said before it is done: the other way round, two Slicers could both do it.
            write_json(self._path, to_json(replace(chain, next=following.folder.name, launched=self._now())))
        launch(following)
        return True

    def _following(self, chain: Chain) -> Job | None:
        """The job that follows, made now if need be; None when it cannot follow any more."""
        if chain.next is not None:
            folder = self.job.folder.with_name(chain.next)
            return Job.open(folder) if (folder / "job.json").exists() else None
        if not chain.then:
            return None
        kind, *rest = chain.then
        model = getattr(self.job.settings, "model", None)
        if kind not in KINDS or not model or not self._hasModel(model):
            return None
        options = {"model": model}
        if "device" in {field.name for field in fields(KINDS[kind])}:
            options["device"] = getattr(self.job.settings, "device", "auto")
        following = Job.create(self.job.cohort_folder, KINDS[kind](**options))
        if rest:
            JobChain(following).ask(rest)
        return following

    def _hasModel(self, model: str) -> bool:
        return (self.job.cohort_folder / "models" / model / "sslseg.json").exists()

    def _read(self) -> Chain | None:
        if not self._path.exists():
            return None
        try:
            chain = from_json(Chain, read_json(self._path), file=self._path)
        except SSLSegError:
            return None  # of a newer version, or damaged: nothing is done on its word
        return chain if chain.version == VERSION else None

    @property
    def _path(self) -> Path:
        return self.job.folder / FILE_NAME

    @property
    def _lockPath(self) -> Path:
        return self.job.folder / ".then.lock"

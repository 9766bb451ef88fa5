"""Jobs that are steps of something larger: each must finish before the next begins."""

from __future__ import annotations

from collections.abc import Callable

from sslseg.contract.errors import SSLSegError
from sslseg.contract.events import read_events
from sslseg.contract.jobs import Job, JobState

RunJob = Callable[[Job], JobState]


def finish_job(job: Job, run: RunJob) -> None:
    """Run a job to its end.

    Raises:
        SSLSegError: it failed or was stopped.
    """
    state = run(job)
    if state is JobState.FAILED:
        failed = next(event for event in reversed(read_events(job.events_path)) if event.event == "failed")
        raise SSLSegError(str(failed.fields["message"]), file=job.folder)
    if state is not JobState.FINISHED:
        raise SSLSegError(
            "The work was stopped", file=job.folder, remedy="The same command goes on from here."
        )

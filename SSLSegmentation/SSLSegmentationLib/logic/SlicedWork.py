"""Long work in slices of a few milliseconds, driven by a timer, because the GUI must not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

SLICE_SECONDS = 0.012

Steps = Generator[bool, None, Any]
"""Work that yields after every little step: True while it waits for something outside, such as a process."""


class SlicedWork:
    """Runs a generator bit by bit.

    ```
    work = SlicedWork(steps(), done=self.show, failed=self.complain)
    work.poll()    # from a timer, again and again
    work.finish()  # or, where nothing is allowed to go on afterwards, to its end
    ```

    Args:
        steps: the work; what it returns is its result.
        done: is called with the result.
        failed: is called with what it raised; None lets it reach whoever polls.
    """

    def __init__(
        self,
        steps: Steps,
        done: Callable[[Any], None] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._steps: Steps | None = steps
        self._done = done
        self._failed = failed

    @property
    def isRunning(self) -> bool:
        return self._steps is not None

    def poll(self, seconds: float = SLICE_SECONDS) -> bool:
        """Go on for about `seconds`; True when there is nothing left to do."""
        deadline = time.perf_counter() + seconds
        while self._steps is not None:
            waiting = self._step()
            if waiting or time.perf_counter() >= deadline:
                break
        return self._steps is None

    def finish(self) -> None:
        """Go on to the end, however long that takes."""
        while not self.poll(1.0):
            time.sleep(0.01)

    def cancel(self) -> None:
        """Drop the rest; what is half done is cleared away."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()

    def _step(self) -> bool:
        assert self._steps is not None
        try:
            return next(self._steps)
        except StopIteration as end:
            self._steps = None
            if self._done is not None:
                self._done(end.value)
        except Exception as error:
            self._steps = None
            if self._failed is None:
                raise
            self._failed(error)
        return True

"""One command in another process, from its start to its answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from SSLSegmentationLib.logic.ProcessLauncher import Launcher


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        exitCode: None when it took too long and was ended.
        output: all it printed.
    """

    exitCode: int | None
    output: str

    def answer(self) -> dict[str, Any] | None:
        """The last JSON object it printed on a line of its own or at the end of its output; None if there is none."""
        for candidate in (*reversed(self.output.splitlines()), self.output[self.output.find("{") :]):
            try:
                value = json.loads(candidate)
            except ValueError:
                continue
            if isinstance(value, dict):
                return value
        return None


class BackgroundCommand:
    """Starts a command and hands over its outcome once it has ended, or was ended because it took too long.

    ```
    command = BackgroundCommand(launcher, [python, "-V"], environment, seconds=30, ended=self.show)
    command.poll()  # from the timer of the module, again and again
    ```

    Args:
        launcher: starts the process.
        command: the program and its arguments.
        environment: all of its environment variables.
        seconds: how long it may take.
        ended: is called with the outcome, once.
        clock: seconds that only ever grow.

    Raises:
        SSLSegError: the program cannot be started.
    """

    def __init__(
        self,
        launcher: Launcher,
        command: list[str],
        environment: dict[str, str],
        seconds: float,
        ended: Callable[[Outcome], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ended = ended
        self._clock = clock
        self._deadline = clock() + seconds
        self._process = launcher.launch(command, environment, None)
        self.isRunning = True

    def poll(self) -> None:
        """Look whether it has ended. Never waits."""
        if not self.isRunning:
            return
        exitCode = self._process.poll()
        if exitCode is None and self._clock() < self._deadline:
            return
        self.isRunning = False
        if exitCode is None:
            self._process.kill()
        self._ended(Outcome(exitCode, self._process.output()))

    def cancel(self) -> None:
        """End it, and say nothing."""
        if self.isRunning:
            self.isRunning = False
            self._process.kill()

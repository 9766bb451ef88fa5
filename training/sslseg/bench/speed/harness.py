"""Two or more programs on one job, by turns: A B A B, each in a process of its own.

A busy moment of the computer so hits both sides, and the ratio of a round is worth more than the times in it.
Each side counts its own memory.

```
sides = [Side("ours", run_ours, (folder,)), Side("peer", run_peer, (folder,))]
measured = compare(sides, "cpu", Effort(rounds=5, seconds=60))
speedup(measured["ours"], measured["peer"])
```
"""

from __future__ import annotations

import functools
import gc
import importlib
import multiprocessing
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from sslseg.contract.errors import SSLSegError

R = TypeVar("R")
Facts = dict[str, Any]
"""What a side found out beside its time, such as a Dice; has to be JSON."""


@dataclass(frozen=True)
class Side:
    """One program.

    Attributes:
        name: in the table.
        run: a function of a module, called in the side's process as `run(turns, *arguments)`; it sets up, and
            then works whenever `turns` says so.
        arguments: for it; they are sent to the process.
        repeats: how often a turn does the work; the time of a turn is divided by it.
        imports: modules whose memory is not counted.
    """

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    repeats: int = 1
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` after the warm-up, but no new one after `seconds`, from the second on."""

    rounds: int = 5
    seconds: float = 60.0
    warm_up: int = 1


@dataclass(frozen=True)
class Measured:
    """Of one side.

    Attributes:
        seconds: once through the work, by round.
        memory: peak in bytes beyond what the imports take; on CUDA that of the device.
        facts: of the last turn.
    """

    seconds: list[float]
    memory: int
    facts: Facts = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some ratios."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


def speedup(ours: Measured, peer: Measured) -> Spread:
    """How many times the peer takes our time, round by round."""
    return Spread.of([b / a for a, b in zip(ours.seconds, peer.seconds, strict=True)])


class Turns:
    """What a side sees of the harness.

    A side that owns its loop writes `turns.each(work)`; one whose loop is another's, such as a trainer's,
    calls `begin` and `end` itself.
    """

    def __init__(self, connection: Connection, device: str, repeats: int) -> None:
        self.device = device
        self.repeats = repeats
        self._connection = connection
        self._clock = _Clock(device)
        self._memory = _Memory(device)

    def begin(self) -> bool:
        """Wait for the turn and start the clock; False when there will be no more."""
        if not self._connection.recv():
            return False
        gc.collect()
        self._clock.start()
        return True

    def end(self, tell: Callable[[], Facts] = dict) -> None:
        """Stop the clock and send the time; what `tell` does to find its facts is not counted."""
        seconds, memory = self._clock.stop() / self.repeats, self._memory.peak()
        self._connection.send((seconds, memory, tell()))

    def each(self, work: Callable[[], R], tell: Callable[[R], Facts] = lambda _: {}) -> None:
        """Do the work in every turn; `tell` makes facts of its last result."""
        while self.begin():
            for _ in range(self.repeats):
                result = work()
            self.end(functools.partial(tell, result))


def compare(sides: Sequence[Side], device: str, effort: Effort) -> dict[str, Measured]:
    """Run all sides by turns.

    Raises:
        SSLSegError: a side failed; the message holds its last words.
    """
    began = time.perf_counter()
    # A fresh interpreter: a forked one would share the memory that is to be counted.
    context = multiprocessing.get_context("spawn")
    lines: dict[str, Connection] = {}
    processes = []
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    memory = dict.fromkeys(seconds, 0)
    facts: dict[str, Facts] = {name: {} for name in seconds}
    try:
        for side in sides:
            lines[side.name], end = context.Pipe()
            process = context.Process(target=_serve, args=(end, side, device), daemon=True)
            process.start()
            end.close()
            processes.append(process)
        for name, line in lines.items():
            _answer(name, line)
        for turn in range(effort.warm_up + effort.rounds):
            if len(seconds[sides[0].name]) >= 2 and time.perf_counter() - began > effort.seconds:
                break
            for name, line in lines.items():
                line.send(True)
                spent, memory[name], facts[name] = _answer(name, line)
                if turn >= effort.warm_up:
                    seconds[name].append(spent)
        for line in lines.values():
            line.send(False)
        for process in processes:
            process.join(10)
    finally:
        for process in processes:
            process.terminate()
    return {name: Measured(times, memory[name], facts[name]) for name, times in seconds.items()}


def _serve(connection: Connection, side: Side, device: str) -> None:
    """The life of a side's process."""
    warnings.filterwarnings("ignore")
    try:
        for name in side.imports:
            importlib.import_module(name)
        turns = Turns(connection, device, side.repeats)
        connection.send(None)
        side.run(turns, *side.arguments)
    except BaseException:
        connection.send(traceback.format_exc())
        raise


def _answer(name: str, line: Connection) -> Any:
    try:
        answer = line.recv()
    except EOFError as error:
        raise SSLSegError(
            f"The side '{name}' of the benchmark was ended from outside, perhaps for want of memory"
        ) from error
    if isinstance(answer, str):
        raise SSLSegError(f"The side '{name}' of the benchmark failed: {answer.strip()}")
    return answer


class _Clock:
    """Seconds between two calls: of the device's own clock on CUDA, else of the computer's."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")

    def start(self) -> None:
        if self._cuda:
            import torch

            torch.cuda.synchronize()
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self._events[0].record()
        self._began = time.perf_counter()

    def stop(self) -> float:
        if self._cuda:
            import torch

            self._events[1].record()
            torch.cuda.synchronize()
            return self._events[0].elapsed_time(self._events[1]) / 1000
        return time.perf_counter() - self._began


class _Memory:
    """Peak memory from now on: what the device has given out on CUDA, else what the process has grown by."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        gc.collect()
        # Linux forgets the peak of the imports when asked to; elsewhere only what exceeds it is counted.
        clear = Path("/proc/self/clear_refs")
        if clear.exists():
            clear.write_text("5", encoding="ascii")
        self._before = 0 if self._cuda else _peak_of_process()

    def peak(self) -> int:
        if self._cuda:
            import torch

            return torch.cuda.max_memory_allocated()
        return max(0, _peak_of_process() - self._before)


def _peak_of_process() -> int:
    """Bytes; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # `getrusage` would count the parent's peak too, from before this process became another program.
        return int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

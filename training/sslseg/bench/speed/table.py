"""What was measured, as a Markdown table and as JSON."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslseg.bench.speed.harness import Measured, Spread, speedup
from sslseg.bundle.metadata import installed_versions
from sslseg.contract.files import write_json, write_text
from sslseg.contract.strict import to_json

MIB = 2**20


@dataclass(frozen=True)
class Target:
    """What is aimed at: `value` at least, or at most."""

    value: float
    at_least: bool = True

    def met(self, measured: float) -> bool:
        return measured >= self.value if self.at_least else measured <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        group: its section.
        work: what was done.
        peer: against whom; empty where the project is measured alone.
        ratio: peer's time over ours, by round; None where there is none.
        value: what stands in place of the ratio where there is no peer, such as a slope.
        ours: seconds once through the work.
        theirs: the same of the peer.
        memory: peak bytes.
        peer_memory: of the peer.
        target: for the ratio, or for `value`.
        memory_target: for our memory over the peer's.
        note: what else should be known.
        facts: further numbers, for the JSON only.
    """

    group: str
    work: str
    peer: str = ""
    ratio: Spread | None = None
    value: float | None = None
    ours: float | None = None
    theirs: float | None = None
    memory: int | None = None
    peer_memory: int | None = None
    target: Target | None = None
    memory_target: Target | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def against(cls, group: str, work: str, peer: str, ours: Measured, theirs: Measured, **more: Any) -> Row:
        """The line of a comparison."""
        return cls(
            group,
            work,
            peer,
            ratio=speedup(ours, theirs),
            ours=ours.median,
            theirs=theirs.median,
            memory=ours.memory,
            peer_memory=theirs.memory,
            **more,
        )

    @property
    def memory_ratio(self) -> float | None:
        """Our peak over the peer's."""
        if self.memory is None or not self.peer_memory:
            return None
        return self.memory / self.peer_memory

    @property
    def missed(self) -> list[str]:
        """The targets that were not reached."""
        pairs = [
            (self.target, self.ratio.median if self.ratio else self.value, ""),
            (self.memory_target, self.memory_ratio, " of the memory"),
        ]
        return [
            f"{target}{what}"
            for target, measured, what in pairs
            if target is not None and measured is not None and not target.met(measured)
        ]


def write_results(output: Path, rows: Sequence[Row], device: str, command: str) -> None:
    """Write `speed.md` and `speed.json`."""
    machine = describe_machine(device)
    write_text(output / "speed.md", markdown(rows, machine, command))
    write_json(
        output / "speed.json",
        {"machine": machine, "command": command, "rows": [to_json(dataclasses.asdict(row)) for row in rows]},
    )


def markdown(rows: Sequence[Row], machine: dict[str, Any], command: str) -> str:
    """The table with a section for each group, and what it was measured on."""
    lines = [
        "# Speed",
        "",
        f"`{command}` on {machine['processor']}, {machine['cores']} core(s), {machine['device']}, "
        f"torch {machine['versions'].get('torch', '?')}, {machine['system']}.",
        "",
        "Both sides ran by turns in one process tree on the same input. *times* is the peer's time over "
        "ours, round by round: median [lowest - highest]. Memory is the peak beyond what the imported "
        "libraries take.",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        lines += [
            "",
            f"## {group}",
            "",
            "| work | against | times | ours | theirs | memory, ours : theirs | target | note |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows if row.group == group]
    missed = [f"* {row.work}, {row.peer or 'alone'}: {', '.join(row.missed)}" for row in rows if row.missed]
    lines += ["", "## Targets missed", "", *(missed or ["None."])]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[str]:
    ratio = ""
    if row.ratio is not None:
        ratio = f"**{number(row.ratio.median)}** [{number(row.ratio.low)} - {number(row.ratio.high)}]"
    elif row.value is not None:
        ratio = f"**{number(row.value)}**"
    memory = mebibytes(row.memory)
    if row.memory_ratio is not None:
        memory = f"{number(row.memory_ratio)} ({memory} : {mebibytes(row.peer_memory)} MiB)"
    elif memory:
        memory += " MiB"
    targets = [str(row.target)] if row.target else []
    targets += [f"{row.memory_target} memory"] if row.memory_target else []
    if row.target or row.memory_target:
        targets.append("missed" if row.missed else "met")
    return [
        row.work,
        row.peer,
        ratio,
        measured_time(row.ours),
        measured_time(row.theirs),
        memory,
        ", ".join(targets),
        row.note,
    ]


def in_a_line(row: Row) -> str:
    """The row for a terminal."""
    work, peer, times, ours, theirs, memory, target, note = _cells(row)
    parts = [
        times.replace("*", ""),
        f"({ours} : {theirs})" if theirs else ours,
        memory and f"memory {memory}",
    ]
    parts += [target and f"target {target}", note]
    return f"{work}{' against ' + peer if peer else ''}: " + ", ".join(part for part in parts if part)


def describe_machine(device: str) -> dict[str, Any]:
    """The computer, for whoever reads the table."""
    import torch

    from sslseg.networks.devices import describe_device, use_bfloat16

    place = torch.device(device)
    arithmetic = "bfloat16" if use_bfloat16(place, "auto") else "float32"
    return {
        "processor": _processor(),
        "cores": torch.get_num_threads(),
        "device": f"{describe_device(place)}, convolutions in {arithmetic}",
        "system": f"{platform.system()} {platform.release()}",
        "versions": installed_versions(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def number(value: float) -> str:
    """Three digits, without an exponent."""
    if not math.isfinite(value):
        return "?"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured_time(seconds: float | None) -> str:
    """Three digits, in seconds or a smaller unit; nothing where it was not measured."""
    if seconds is None:
        return ""
    for limit, factor, unit in ((1.0, 1, "s"), (1e-3, 1e3, "ms"), (0.0, 1e6, "µs")):
        if seconds >= limit:
            return f"{number(seconds * factor)} {unit}"
    return ""


def mebibytes(count: int | None) -> str:
    return "" if count is None else number(count / MIB)

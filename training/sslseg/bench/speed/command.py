"""`sslseg bench speed`: every row of the table, written anew after each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sslseg.bench.speed.harness import Effort
from sslseg.bench.speed.plot import save_speed_plot
from sslseg.bench.speed.table import Row, in_a_line, write_results
from sslseg.contract.errors import SSLSegError


class Measure(Protocol):
    """Measures a group of rows: on a device, with an effort a comparison, and tells what it is at."""

    def __call__(
        self, device: str, effort: Effort, *, quick: bool, say: Callable[[str], None]
    ) -> list[Row]: ...


_GROUPS = {
    "training": ("training.measure_training", 25.0),
    "prediction": ("prediction.measure_prediction", 50.0),
    "file": ("whole_file.measure_whole_file", 40.0),
    "patches": ("patches.measure_patches", 15.0),
    "evaluation": ("evaluation.measure_evaluation", 20.0),
    "growth": ("growth.measure_growth", 12.0),
}
"""Name of a group: what measures it, and the seconds after which a comparison starts no new round."""

ROUNDS = 5


def bench_speed(
    output: Path,
    *,
    device: str,
    groups: Sequence[str] | None = None,
    quick: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Measure and write `speed.md`, `speed.json` and `speed.png` into `output`.

    Args:
        output: folder for the results.
        device: a device that is there, such as cpu or cuda:0.
        groups: which groups of rows; None takes all.
        quick: tiny inputs and two rounds, to see that everything works; the figures mean nothing.
        say: takes a line for each thing that is begun.

    Returns:
        The Markdown table.

    Raises:
        SSLSegError: there is no such group, or a side of a comparison failed.
    """
    chosen = list(_GROUPS) if groups is None else list(groups)
    unknown = [name for name in chosen if name not in _GROUPS]
    if unknown:
        raise SSLSegError(
            f"There are no rows called '{unknown[0]}'", remedy=f"Choose among {', '.join(_GROUPS)}."
        )
    rows: list[Row] = []
    command = f"sslseg bench speed --device {device}" + (f" --rows {','.join(groups)}" if groups else "")
    for name in chosen:
        place, seconds = _GROUPS[name]
        effort = Effort(2, 0.0) if quick else Effort(ROUNDS, seconds)
        found = _function(place)(device, effort, quick=quick, say=say)
        for row in found:
            say(in_a_line(row))
        rows += found
        write_results(output, rows, device, command + (" --quick" if quick else ""))
        if any(row.ratio is not None for row in rows):
            save_speed_plot(rows, output / "speed.png")
    return output / "speed.md"


def _function(place: str) -> Measure:
    from importlib import import_module

    module, _, name = place.partition(".")
    function: Measure = getattr(import_module(f"sslseg.bench.speed.{module}"), name)
    return function

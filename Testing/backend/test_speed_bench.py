"""The harness of the speed benchmark, and its table."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from sslseg.bench.speed.growth import slope
from sslseg.bench.speed.harness import Effort, Measured, Side, Turns, compare, speedup
from sslseg.bench.speed.table import Row, Target, markdown, write_results
from sslseg.contract.errors import SSLSegError
from sslseg.contract.files import read_json


def sleep(turns: Turns, seconds: float, mebibytes: int) -> None:
    def work() -> int:
        held = np.ones(mebibytes * 2**20, np.uint8)
        time.sleep(seconds)
        return int(held[-1])

    turns.each(work, lambda result: {"result": result})


def fail(turns: Turns) -> None:
    turns.begin()
    raise RuntimeError("no luck")


def test_sides_take_turns_and_count_their_own_time_and_memory() -> None:
    sides = [Side("ours", sleep, (0.02, 8), 3), Side("peer", sleep, (0.1, 64))]
    measured = compare(sides, "cpu", Effort(rounds=3))
    ours, peer = measured["ours"], measured["peer"]
    assert len(ours.seconds) == len(peer.seconds) == 3
    assert min(ours.seconds) >= 0.02 and min(peer.seconds) >= 0.1
    assert ours.facts == {"result": 1}
    assert 40 * 2**20 < peer.memory - ours.memory < 72 * 2**20


def test_stops_after_two_rounds_when_time_is_up() -> None:
    measured = compare([Side("ours", sleep, (0.01, 1))], "cpu", Effort(rounds=50, seconds=0.0))
    assert len(measured["ours"].seconds) == 2


def test_a_side_that_fails_says_why() -> None:
    with pytest.raises(SSLSegError, match="no luck"):
        compare([Side("ours", fail)], "cpu", Effort(rounds=1))


def test_the_ratio_is_taken_round_by_round() -> None:
    ratio = speedup(Measured([1.0, 2.0, 4.0], 0), Measured([3.0, 4.0, 20.0], 0))
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 2.0, 5.0)


def test_the_table_tells_which_targets_were_missed(tmp_path: Path) -> None:
    ours, peer = Measured([1.0, 1.0], 50 * 2**20), Measured([2.0, 3.0], 100 * 2**20)
    fast = Row.against("Group", "work", "peer", ours, peer, target=Target(2.0))
    slow = Row.against(
        "Group", "other", "peer", ours, peer, target=Target(4.0), memory_target=Target(0.4, at_least=False)
    )
    absent = Row("Group", "on a GPU", note="not measured: there is no CUDA device here")
    assert fast.missed == []
    assert slow.missed == ["≥ 4", "≤ 0.4 of the memory"]
    assert absent.missed == []

    write_results(tmp_path, [fast, slow, absent], "cpu", "sslseg bench speed")
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| work | peer | **2.5** [2 - 3] | 1 s | 2.5 s | 0.5 (50 : 100 MiB) | ≥ 2, met |" in text
    assert "* other, peer: ≥ 4, ≤ 0.4 of the memory" in text
    assert read_json(tmp_path / "speed.json")["rows"][0]["ratio"] == {"median": 2.5, "low": 2.0, "high": 3.0}


def test_a_table_without_a_miss_says_so() -> None:
    machine = {"processor": "p", "cores": 1, "device": "cpu", "system": "s", "versions": {}}
    assert markdown([Row("Group", "work", value=1.0)], machine, "c").endswith("## Targets missed\n\nNone.\n")


def test_a_slope_of_one_is_proportional_growth() -> None:
    assert slope([2, 15, 30], [0.2, 1.5, 3.0]) == pytest.approx(1.0)
    assert slope([1, 8], [5.0, 5.0]) == pytest.approx(0.0)

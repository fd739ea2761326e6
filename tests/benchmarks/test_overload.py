"""Overload and latency curves: no figure holds a block whose load generator was late, and each says how late it was."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest

from benchmarks import serve_page
from benchmarks.blocks import Bench
from benchmarks.load import Load
from benchmarks.overload import Point, latency_curve, overload
from benchmarks.peers.process import Peer
from benchmarks.result import Result
from tests.benchmarks.helpers import result, script

OURS = Peer("atelier", "unix:/ours", "/x")
PRIORITIZED = Peer("atelier, engine at nice -15", "unix:/prioritized", "/x")


def answers(good: dict[str, Iterator[float]], behind: dict[str, Iterator[float]], load: Load) -> Result:
    """100 a second in a closed loop, the next of `good` and `behind` in an open one."""
    if load.rate is None:
        return result(good_per_s=100.0 if load.address == OURS.address else 110.0)
    name = load.address
    counts = {"200": 1, "503": 2, "error": 1}
    p99 = next(behind[name])
    return result(good_per_s=next(good[name]), counts=counts, refused_p99_ms=p99 + 5, behind_p99_ms=p99)


def test_a_late_block_is_in_no_figure_of_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    good, behind = {OURS.address: iter([80.0, 10.0, 90.0])}, {OURS.address: iter([1.0, 40.0, 3.0])}
    loads = script(monkeypatch, lambda load: answers(good, behind, load))
    found = overload(Bench(quick=True), OURS, None)
    assert found == {
        "overload_goodput": 0.85,
        "overload_503_p99_ms": 7.0,
        "overload_errors": 3,
        "overload_unsent": 0,
        "overload_behind_p99_ms": 3.0,
        "overload_late_blocks": 1,
    }
    assert [load.rate for load in loads] == [None, 300.0] * 3


def test_where_every_block_is_late_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    good, behind = {OURS.address: iter([80.0] * 3)}, {OURS.address: iter([10.1] * 3)}
    script(monkeypatch, lambda load: answers(good, behind, load))
    bench = Bench(quick=True)
    found = overload(bench, OURS, None)
    assert (found["overload_goodput"], found["overload_503_p99_ms"], found["overload_late_blocks"]) == (None, None, 3)
    assert len(bench.punctuality()["late_blocks"]) == 3


def test_the_default_priority_is_the_headline_and_the_other_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {OURS.address: iter([80.0] * 3), PRIORITIZED.address: iter([99.0] * 3)}
    behind = {OURS.address: iter([1.0] * 3), PRIORITIZED.address: iter([20.0, 2.0, 2.0])}
    loads = script(monkeypatch, lambda load: answers(good, behind, load))
    found = overload(Bench(quick=True), OURS, PRIORITIZED)
    assert (found["overload_goodput"], found["overload_late_blocks"]) == (0.8, 0)
    assert (found["overload_goodput_nice_-15"], found["overload_late_blocks_nice_-15"]) == (0.9, 1)
    assert found["throughput_nice_-15_over_default"] == 1.1
    assert [load.address for load in loads] == [*[OURS.address] * 2, *[PRIORITIZED.address] * 2] * 3


def test_a_late_point_of_a_curve_is_not_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = iter([1.0, 50.0, 2.0])

    def answer(load: Load) -> Result:
        if load.rate is None:
            return result(good_per_s=100.0)
        return result(counts={"200": 3, "503": 1}, p50_ms=7.0, p99_ms=9.0, behind_p99_ms=next(behind))

    script(monkeypatch, answer)
    bench = Bench(quick=True)
    bench.throughput(OURS)
    points = latency_curve(bench, OURS, quick=True)
    assert points[0] == Point(30.0, 7.0, 9.0, 0.75, 1.0)
    assert all(math.isnan(value) for value in (points[1].p50_ms, points[1].p99_ms, points[1].served))
    assert dataclasses.asdict(points[1])["behind_p99_ms"] == 50.0
    rows = serve_page.point_rows({"atelier": points})
    assert rows[1] == ("atelier", 30.0, 7.0, 9.0, "75.00%", 1.0)
    assert rows[2] == ("atelier", 60.0, "not valid", "not valid", "not valid", 50.0)

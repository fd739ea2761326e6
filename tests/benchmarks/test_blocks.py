"""Blocks alternate, medians are kept with their spread, who answers nothing is named, and a late generator is told."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from benchmarks.blocks import Bench
from benchmarks.peers.process import Peer, PeerError
from tests.benchmarks.helpers import result, script

PEER = Peer("other", "http://127.0.0.1:1", "/x")


def test_a_ratio_is_the_median_over_neighbouring_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    ours, theirs = iter([10.0, 30.0, 20.0]), iter([10.0, 10.0, 10.0])

    def speed(name: str) -> float:
        said.append(name)
        return next(ours if name == "ours" else theirs)

    bench = Bench(quick=True)
    assert bench.ratio("r", lambda: speed("ours"), lambda: speed("theirs")) == 2.0
    assert said == ["ours", "theirs"] * 3
    assert bench.spreads == {"r": [1.0, 3.0, 2.0]}
    assert "r: 2.000 (1.000 to 3.000, 3 times)" in capsys.readouterr().out


def test_blocks_share_no_seed_and_give_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = iter([100.0, 300.0, 200.0, 5.0])
    loads = script(monkeypatch, lambda _: result(good_per_s=next(speeds)))
    bench = Bench(quick=True)
    for clients in (32, 32, 32, 4):
        bench.throughput(PEER, clients)
    assert bench.throughputs() == {"other": 200.0}  # four clients are another question
    assert len({load.first_seed for load in loads}) == 4
    assert min(b.first_seed - a.first_seed for a, b in itertools.pairwise(loads)) >= 1_000_000
    assert json.loads(loads[0].body.replace("SEED", "7")) == {"seed": 7}


def test_who_answers_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, lambda _: result(counts={"503": 7}))
    with pytest.raises(PeerError, match=r"other answered nothing within 3 s: \{'503': 7\}") as caught:
        Bench(quick=True).throughput(PEER)
    assert caught.value.peer == "other"


def test_a_late_generator_is_told_at_once_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    behind = iter([(1.0, 30.0), (40.0, 55.5), (math.nan, math.nan)])

    def answer(_: object) -> object:
        p99, worst = next(behind)
        return result(behind_p99_ms=p99, behind_max_ms=worst)

    script(monkeypatch, answer)  # type: ignore[arg-type]
    bench = Bench(quick=True)
    bench.load(PEER, 8, rate=100.0)
    assert not capsys.readouterr().out  # on time at p99, whatever its worst moment was
    bench.load(PEER, 8, rate=200.0)
    said = capsys.readouterr().out
    assert said.startswith(
        "NOT VALID: other at 200 requests a second: the load generator was 40 ms behind at p99 (55.5"
    )
    assert "wanted 10 ms" in said
    bench.load(PEER, 8)  # a closed loop has no times to be behind of
    found = bench.punctuality()
    assert found.pop("late_blocks") == [said.removeprefix("NOT VALID: ").strip()]
    assert found == {"behind_p99_ms": 40.0, "behind_max_ms": 55.5, "open_blocks": 2}
    assert Bench(quick=True).punctuality()["behind_p99_ms"] is None

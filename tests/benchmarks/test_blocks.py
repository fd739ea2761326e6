"""Blocks alternate, medians are kept with their spread, and who answers nothing is named."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import pytest

from benchmarks import blocks
from benchmarks.blocks import Bench
from benchmarks.load import Load, Result
from benchmarks.peers.process import Peer, PeerError
from benchmarks.summary import latency

PEER = Peer("other", "http://127.0.0.1:1", "/x")


def result(good_per_s: float) -> Result:
    values: dict[str, Any] = dict.fromkeys((field.name for field in dataclasses.fields(Result)), 0.0)
    values |= {"seconds": 3.0, "counts": {"503": 7}, "good_per_s": good_per_s, "overall": latency([])}
    return Result(**{**values, "by_status": {}, "series": []})


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
    loads: list[Load] = []
    answers = iter([100.0, 300.0, 200.0, 5.0])

    def send(load: Load) -> Result:
        loads.append(load)
        return result(next(answers))

    monkeypatch.setattr(blocks, "send", send)
    bench = Bench(quick=True)
    for clients in (32, 32, 32, 4):
        bench.throughput(PEER, clients)
    assert bench.throughputs() == {"other": 200.0}  # four clients are another question
    assert len({load.first_seed for load in loads}) == 4
    assert min(b.first_seed - a.first_seed for a, b in itertools.pairwise(loads)) >= 1_000_000
    assert json.loads(loads[0].body.replace("SEED", "7")) == {"seed": 7}


def test_who_answers_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "send", lambda load: result(0.0))
    with pytest.raises(PeerError, match=r"other answered nothing within 3 s: \{'503': 7\}") as caught:
        Bench(quick=True).throughput(PEER)
    assert caught.value.peer == "other"

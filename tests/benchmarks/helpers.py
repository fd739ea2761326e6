"""Results and a scripted load generator for tests of benchmarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from benchmarks import blocks
from benchmarks.load import Load
from benchmarks.result import Result
from benchmarks.summary import latency


def result(**changes: Any) -> Result:
    """A result of zeros with `changes`."""
    values: dict[str, Any] = dict.fromkeys((field.name for field in dataclasses.fields(Result)), 0.0)
    values |= {"seconds": 3.0, "counts": {"200": 1}, "overall": latency([]), "by_status": {}, "series": []}
    return Result(**{**values, **changes})


def script(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Load], Result]) -> Sequence[Load]:
    """Blocks are answered by `answer`; returns the list of the loads that are sent."""
    loads: list[Load] = []

    def send(load: Load) -> Result:
        loads.append(load)
        return answer(load)

    monkeypatch.setattr(blocks, "send", send)
    return loads

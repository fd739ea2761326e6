"""Thousands of requests of every shape straight into the schedulers: each ends once, and nothing is left behind."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from typing import Any

import pytest

from handlers.engine.batch_scheduler import BatchScheduler
from handlers.engine.choice import open_model
from handlers.engine.main import scheduler_of
from handlers.frames import Beat, Data, End, Frame, Refused, Started, Unpacker
from handlers.identity import Identity
from tests.conftest import Tiny
from tests.support.random_parameters import request

SHORT, LONG = 500, pytest.param(10_000, marks=pytest.mark.long)
TEXT = {"max_tokens": 3, "seed": 1}
SEEDED = {"tiny": {"seed": 1}, "tiny_text": TEXT, "tiny_summary": TEXT, "tiny_dialogue": TEXT}  # beside the example


class Engine:
    """A scheduler over a real generator, and everything it sent."""

    def __init__(self, tiny: Tiny) -> None:
        self.bundle = tiny.bundle
        self.model = open_model(self.bundle)
        self._unpacker = Unpacker()
        self.frames: dict[int, list[Frame]] = {}
        self.scheduler = scheduler_of(
            self.bundle, Identity(self.bundle.digest, "h" * 64), self.model, self._put, lambda: None
        )

    def _put(self, data: bytes) -> None:
        for frame in self._unpacker.feed(data):
            self.frames.setdefault(frame.number, []).append(frame)

    def submit(self, number: int, params: Any, deadline: float | None = None) -> None:
        """As JSON, as the proxy does."""
        self.scheduler.submit(number, json.loads(json.dumps(params)), deadline)

    def run_out(self) -> None:
        while self.scheduler.busy:
            self.scheduler.tick()

    def answer(self, number: int, params: Any) -> bytes:
        self.submit(number, params)
        self.run_out()
        return b"".join(frame.message.body for frame in self.frames[number] if isinstance(frame.message, Data))


@pytest.mark.parametrize("count", [SHORT, LONG])
@pytest.mark.parametrize("kind", SEEDED)
def test_every_request_ends_once(kind: str, count: int, request_: Any) -> None:
    tiny: Tiny = request_(kind)
    engine, drawn = Engine(tiny), random.Random(f"{kind} {count}")
    example = {**tiny.bundle.manifest.example, **SEEDED[kind]}
    before = engine.answer(10**6, example)
    cancelled: set[int] = set()
    for number in range(1, count + 1):
        deadline = drawn.choice([None, None, None, time.monotonic() + 60, time.monotonic() + 0.02, 0.0])
        engine.submit(number, request(drawn, tiny.bundle.manifest.params, example), deadline)
        if drawn.random() < 0.1:
            gone = drawn.randrange(max(1, number - 5), number + 1)
            cancelled.add(gone)
            engine.scheduler.cancel(gone)
        for _ in range(drawn.randrange(4)):
            if engine.scheduler.busy:
                engine.scheduler.tick()
    engine.run_out()
    seen: Counter[str] = Counter()
    for number in range(1, count + 1):
        messages = [frame.message for frame in engine.frames.get(number, [])]
        ends = [message for message in messages if isinstance(message, End | Refused)]
        assert len(ends) == 1 or (not ends and number in cancelled), messages
        assert not ends or messages[-1] is ends[0]
        assert sum(isinstance(message, Started) for message in messages) <= 1
        seen[str(ends[0].status) if ends and isinstance(ends[0], Refused) else "ended" if ends else "cancelled"] += 1
    assert {type(frame.message) for frame in engine.frames.get(0, [])} <= {Beat}
    assert set(seen) - {"cancelled"} == {"ended", "400", "504"}, seen  # and no 500
    assert seen["ended"] > count // 10, seen
    assert engine.scheduler._replies._open == {}
    if not isinstance(engine.scheduler, BatchScheduler):
        assert engine.model.generator.free == engine.model.generator.capacity
    assert engine.answer(10**6 + 1, example) == before


@pytest.fixture
def request_(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue

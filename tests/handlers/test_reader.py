"""Sources are read in a thread beside the steps: nobody waits for them but those they belong to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from handlers.engine import step_scheduler
from handlers.engine.reader import TOGETHER
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import End, Refused, Started
from handlers.refusals import deadline_passed
from tests.support.counting import Count, Counter, FakeSlot
from tests.support.helpers import Ear, run_out
from tests.support.server import eventually

LONG = 10.0


class Reading(Counter):
    """A counter whose requests have sources; reading waits until it is let."""

    def __init__(self, capacity: int = 8) -> None:
        super().__init__(capacity)
        self.let = threading.Event()
        self.reads: list[list[str]] = []
        self.threads: set[int] = set()
        self.given: list[Sequence[Any] | None] = []

    def read(self, batch: Sequence[Count]) -> list[str]:
        self.reads.append([params.name for params in batch])
        self.threads.add(threading.get_ident())
        assert self.let.wait(LONG), "nobody let it read"
        if any(params.name == "unreadable" for params in batch):
            raise RuntimeError("the source broke")
        return [f"source of {params.name}" for params in batch]

    def start(self, batch: Sequence[Count], read: Sequence[Any] | None = None) -> list[FakeSlot]:
        self.given.append(read)
        if read is None:
            self.read(batch)
        return super().start(batch)


@pytest.fixture
def reading() -> Iterator[Reading]:
    generator = Reading()
    yield generator
    generator.let.set()  # a thread that waits would hold up the end of the run


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def scheduler(ear: Ear, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> StepScheduler:
    monkeypatch.setattr(step_scheduler, "FLUSH_SECONDS", 0.0)
    return StepScheduler(reading, ear.replies)


def until(scheduler: StepScheduler, done: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not done():
        assert time.monotonic() < end, "it never came to that"
        scheduler.tick()


def test_what_was_read_is_what_is_started_with(scheduler: StepScheduler, ear: Ear, reading: Reading) -> None:
    reading.let.set()
    scheduler.submit(1, {"name": "a"}, None)
    run_out(scheduler)
    assert reading.given == [["source of a"]]
    assert (ear.data(1), ear.ends(1)) == (b"aaa", End())
    assert threading.get_ident() not in reading.threads


def test_texts_go_on_while_another_source_is_read(scheduler: StepScheduler, ear: Ear, reading: Reading) -> None:
    reading.let.set()
    scheduler.submit(1, {"name": "a", "steps": 50}, None)
    until(scheduler, lambda: len(reading.steps) > 0)
    reading.let.clear()
    scheduler.submit(2, {"name": "b"}, None)
    until(scheduler, lambda: ear.data(1) == b"a" * 50)
    assert ear.kinds(2) == [Started]
    reading.let.set()
    run_out(scheduler)
    assert ear.data(2) == b"bbb"


def test_what_waits_during_a_reading_is_the_next_one_a_few_at_a_time(
    scheduler: StepScheduler, reading: Reading
) -> None:
    for number in range(1, 8):
        scheduler.submit(number, {"name": "abcdefg"[number - 1]}, None)
        scheduler.tick()
    reading.let.set()
    run_out(scheduler)
    assert reading.reads == [["a"], list("bcdef")[:TOGETHER], list("fg")]


def test_rows_of_what_is_being_read_are_taken(scheduler: StepScheduler, ear: Ear, reading: Reading) -> None:
    scheduler.submit(1, {"name": "a", "rows": 6}, None)
    scheduler.tick()
    scheduler.submit(2, {"name": "b", "rows": 4}, None)
    reading.let.set()
    run_out(scheduler)  # the counter itself raises where there are more texts than slots
    assert [ear.ends(number) for number in (1, 2)] == [End(), End()]
    assert reading.free == 8


def test_a_source_that_cannot_be_read_fails_alone(scheduler: StepScheduler, ear: Ear, reading: Reading) -> None:
    for number, name in enumerate(["x", "a", "unreadable", "b"], 1):
        scheduler.submit(number, {"name": name}, None)
        scheduler.tick()  # the first alone, the others together
    reading.let.set()
    run_out(scheduler)
    assert ear.refusal(3).status == 500
    assert [ear.ends(number) for number in (1, 2, 4)] == [End()] * 3
    assert reading.free == 8
    assert reading.reads == [["x"], ["a", "unreadable", "b"], ["a"], ["unreadable"], ["b"]]
    assert threading.get_ident() not in reading.threads  # the steps of others never wait for that


def test_a_request_that_is_cancelled_in_reading_is_forgotten(
    scheduler: StepScheduler, ear: Ear, reading: Reading
) -> None:
    for number in (1, 2):
        scheduler.submit(number, {"name": "ab"[number - 1]}, None)
    scheduler.tick()
    scheduler.cancel(1)
    reading.let.set()
    run_out(scheduler)
    assert ear.kinds(1) == [Started]
    assert ear.ends(2) == End()
    assert reading.reads == [["a", "b"]]
    assert reading.given == [["source of b"]]


def test_a_deadline_passes_while_the_source_is_read(
    scheduler: StepScheduler, ear: Ear, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    scheduler.submit(1, {"name": "a"}, 1001.0)
    scheduler.tick()
    now = 1001.5
    scheduler.tick()
    assert ear.ends(1) == Refused(504, deadline_passed().message, None)
    reading.let.set()
    scheduler.submit(2, {"name": "b"}, None)
    run_out(scheduler)
    assert ear.ends(2) == End()
    assert reading.starts == [["b"]]


def test_a_reading_that_stands_still_is_told(scheduler: StepScheduler, reading: Reading) -> None:
    assert not scheduler.overdue(0.0)
    scheduler.submit(1, {"name": "a"}, None)
    scheduler.tick()
    assert not scheduler.overdue(LONG)
    time.sleep(0.02)
    assert scheduler.overdue(0.01)
    scheduler.cancel(1)  # nobody is left to take what is read, and that is no standstill
    assert not scheduler.busy
    assert scheduler.overdue(0.01)
    reading.let.set()
    eventually(lambda: not scheduler.overdue(0.0), LONG, "the reading to end")

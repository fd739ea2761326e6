"""Batches form out of what waits; nobody suffers for a neighbour that is late, too large or broken."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from handlers.engine.batch_scheduler import BatchScheduler
from handlers.frames import Data, End, Refused, Started
from handlers.generator import Media, Request
from handlers.refusals import Refusal, deadline_passed, not_computed
from tests.support.helpers import Ear, Uncertified, run_out


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    content_type: str = "text/plain"

    def public(self) -> dict[str, Any]:
        return {"name": self.name}


class Echo(Uncertified):
    """Answers with the name; names with a meaning misbehave."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.during: Callable[[], None] = lambda: None

    def parse(self, request: Request) -> Named:
        name: str = request.params["name"]
        if name == "bad":
            raise Refusal(400, "name is bad", "name")
        if name == "broken parser":
            raise RuntimeError("the parser broke")
        return Named(name)

    def generate(self, batch: Sequence[Named]) -> list[Media]:
        names = [item.name for item in batch]
        self.batches.append(names)
        self.during()
        if "crash" in names:
            raise RuntimeError("the engine broke")
        answers = [Media(b"x" * 2000 if name == "huge" else name.encode()) for name in names]
        return answers[:-1] if "short" in names else answers


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def scheduler(ear: Ear, echo: Echo) -> BatchScheduler:
    return BatchScheduler(echo, ear.replies, 4)


def submit(scheduler: BatchScheduler, *names: str, first: int = 1, deadline: float | None = None) -> None:
    for number, name in enumerate(names, first):
        scheduler.submit(number, {"name": name}, deadline)


def test_an_answer_is_started_headed_and_ended(scheduler: BatchScheduler, ear: Ear) -> None:
    busy = [scheduler.busy]
    submit(scheduler, "a")
    busy.append(scheduler.busy)
    assert run_out(scheduler) == 1
    assert busy == [False, True]
    assert ear.kinds(1) == [Started, Data, End]
    assert ear.of(1)[0].message == Started("text/plain", "receipt of a")
    assert (ear.data(1), ear.ends(1)) == (b"a", End())


def test_the_start_is_told_before_anything_is_computed(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    told: list[int] = []
    echo.during = lambda: told.append(ear.flushed)
    submit(scheduler, "a", "b")
    scheduler.tick()
    assert told == [2]


def test_what_queues_during_a_batch_is_the_next_batch(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    def arrive() -> None:
        echo.during = lambda: None
        submit(scheduler, "b", "c", "d", first=2)

    echo.during = arrive
    submit(scheduler, "a")
    run_out(scheduler)
    assert echo.batches == [["a"], ["b", "c", "d"]]
    assert ear.ended() == [1, 2, 3, 4]


def test_a_batch_is_at_most_the_batch_size(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    submit(scheduler, *"abcdefghi")
    assert run_out(scheduler) == 3
    assert echo.batches == [list("abcd"), list("efgh"), ["i"]]
    assert [ear.data(number) for number in range(1, 10)] == [name.encode() for name in "abcdefghi"]


def test_bad_requests_are_refused_at_once(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    submit(scheduler, "bad", "broken parser")
    assert not scheduler.busy
    assert ear.ends(1) == Refused(400, "name is bad", "name")
    assert ear.refusal(2).status == 500
    assert ear.refusal(2).message == "this item could not be computed; the server's log has the reason"
    assert echo.batches == []


def test_late_items_are_not_computed_and_their_neighbours_are(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    now = time.monotonic()
    for number, (name, deadline) in enumerate([("a", None), ("late", now - 1), ("b", now + 60)], 1):
        scheduler.submit(number, {"name": name}, deadline)
    scheduler.tick()
    assert echo.batches == [["a", "b"]]
    assert ear.kinds(2) == [Refused]
    assert ear.ends(2) == Refused(504, deadline_passed().message, None)
    assert (ear.ends(1), ear.ends(3)) == (End(), End())


def test_late_items_take_no_place_in_a_batch(scheduler: BatchScheduler, echo: Echo) -> None:
    submit(scheduler, "x", "y", "z", deadline=time.monotonic() - 1)
    submit(scheduler, *"abcd", first=4)
    scheduler.tick()
    assert echo.batches == [list("abcd")]


def test_a_batch_of_late_items_computes_nothing(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    submit(scheduler, "x", "y", deadline=time.monotonic() - 1)
    assert run_out(scheduler) == 1
    assert echo.batches == []
    assert ear.ended() == [1, 2]


def test_a_crashed_batch_is_tried_one_by_one_and_only_the_culprit_fails(
    scheduler: BatchScheduler, ear: Ear, echo: Echo
) -> None:
    submit(scheduler, "a", "crash", "b")
    scheduler.tick()
    assert echo.batches == [["a", "crash", "b"], ["a"], ["crash"], ["b"]]
    assert (ear.data(1), ear.data(3)) == (b"a", b"b")
    assert ear.kinds(2) == [Started, Refused]
    assert ear.ends(2) == Refused(500, not_computed().message, None)


def test_requests_without_a_receipt_are_refused_alone(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    submit(scheduler, "unsigned", "a")
    submit(scheduler, *["unsigned"] * 4, first=3)
    run_out(scheduler)
    assert echo.batches == [["a"]]
    assert [ear.refusal(number).status for number in (1, 3, 4, 5, 6)] == [500] * 5


def test_a_generator_that_miscounts_fails_alone(
    scheduler: BatchScheduler, ear: Ear, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    submit(scheduler, "a", "short", "b")
    scheduler.tick()
    assert "ValueError: the generator gave 2 answers to 3 items" in caplog.text
    assert "ValueError: the generator gave 0 answers to 1 items" in caplog.text
    assert (ear.data(1), ear.data(3)) == (b"a", b"b")
    assert ear.refusal(2).status == 500
    assert echo.batches[0] == ["a", "short", "b"]


def test_an_answer_that_is_too_large_is_refused_alone(scheduler: BatchScheduler, ear: Ear) -> None:
    submit(scheduler, "a", "huge", "b")
    scheduler.tick()
    assert ear.kinds(2) == [Started, Refused]
    message = "the answer has 2000 bytes, the limit is 1000: lower n, or use format jpeg"
    assert ear.ends(2) == Refused(413, message, None)
    assert (ear.ends(1), ear.ends(3)) == (End(), End())


def test_a_cancelled_item_is_not_computed(scheduler: BatchScheduler, ear: Ear, echo: Echo) -> None:
    submit(scheduler, "a", "b", "c")
    scheduler.cancel(2)
    scheduler.cancel(99)  # nobody: nothing happens
    scheduler.tick()
    assert echo.batches == [["a", "c"]]
    assert ear.of(2) == []


def test_the_last_waiting_item_can_be_cancelled(scheduler: BatchScheduler) -> None:
    submit(scheduler, "a")
    scheduler.cancel(1)
    assert not scheduler.busy

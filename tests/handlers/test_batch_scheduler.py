"""Batches form out of what waits; nobody suffers for a neighbour that is late, too large or broken."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from handlers.engine import replies
from handlers.engine.batch_scheduler import BatchScheduler
from handlers.frames import Beat, Data, End, Refused, Started
from handlers.generator import Media, Request
from handlers.refusals import Refusal, deadline_passed, not_computed
from tests.support.helpers import Ear, Uncertified, run_out


@dataclasses.dataclass(frozen=True)
class Named:
    name: str
    rows: int = 1
    content_type: str = "text/plain"

    def public(self) -> dict[str, Any]:
        return {"name": self.name}


class Echo(Uncertified):
    """Answers with the name; names with a meaning misbehave."""

    alive: Callable[[], None]

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.during: Callable[[], None] = lambda: None

    def parse(self, request: Request) -> Named:
        name: str = request.params["name"]
        if name == "bad":
            raise Refusal(400, "name is bad", "name")
        if name == "broken parser":
            raise RuntimeError("the parser broke")
        return Named(name, request.params.get("rows", 1))

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


def test_a_group_has_as_many_images_as_a_tile(ear: Ear, echo: Echo) -> None:
    """Sixteen wide requests are not one batch: those of each group are answered before the next is computed."""
    scheduler = BatchScheduler(echo, ear.replies, 16, tile=32)
    for number in range(1, 7):
        scheduler.submit(number, {"name": f"w{number}", "rows": 16}, None)
    scheduler.tick()
    assert ear.ended() == [1, 2]
    scheduler.cancel(3)
    run_out(scheduler)
    assert echo.batches == [["w1", "w2"], ["w4", "w5"], ["w6"]]
    assert ear.kinds(3) == []


def test_a_request_wider_than_a_tile_is_computed_alone(ear: Ear, echo: Echo) -> None:
    scheduler = BatchScheduler(echo, ear.replies, 16, tile=4)
    for number, rows in enumerate((9, 9, 1, 1), 1):
        scheduler.submit(number, {"name": "abcd"[number - 1], "rows": rows}, None)
    run_out(scheduler)
    assert echo.batches == [["a"], ["c", "d"], ["b"]]


def test_a_narrow_request_waits_for_two_groups_at_most(ear: Ear, echo: Echo) -> None:
    scheduler = BatchScheduler(echo, ear.replies, 16, tile=32)
    for number in range(1, 41):
        scheduler.submit(number, {"name": f"w{number}", "rows": 16}, None)
    scheduler.tick()
    scheduler.submit(41, {"name": "small"}, None)
    scheduler.tick()
    scheduler.submit(42, {"name": "small"}, None)
    scheduler.tick()
    scheduler.tick()
    assert ear.ends(41) == ear.ends(42) == End()
    assert len(ear.ended()) == 8  # four groups: six of the wide ones


def test_a_wide_request_is_not_kept_waiting_by_narrow_ones(ear: Ear, echo: Echo) -> None:
    """More narrow ones than can be computed: what came before the wide one goes first, and nothing else for long."""
    scheduler = BatchScheduler(echo, ear.replies, 4, tile=4)
    submit(scheduler, *"abcdefgh", first=1)
    scheduler.submit(9, {"name": "wide", "rows": 4}, None)
    for number in range(10, 100, 5):
        submit(scheduler, *"abcde", first=number)
        scheduler.tick()
    assert echo.batches.index(["wide"]) <= 4


def test_between_two_retries_there_is_a_sign_of_life_and_a_look_at_the_deadline(
    ear: Ear, echo: Echo, scheduler: BatchScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def take_long() -> None:
        clock[0] += 10

    echo.during = take_long
    submit(scheduler, "a", "crash")
    submit(scheduler, "b", first=3, deadline=1025.0)
    scheduler.tick()
    assert echo.batches == [["a", "crash", "b"], ["a"], ["crash"]]
    assert ear.ends(3) == Refused(504, deadline_passed().message, None)
    kinds = [type(frame.message) for frame in ear.frames if not isinstance(frame.message, Started)]
    assert kinds == [Beat, Data, End, Beat, Refused, Beat, Refused, Beat]
    assert ear.flushed == len(ear.frames)


def test_a_generator_at_long_work_gives_signs_of_life(
    ear: Ear, echo: Echo, scheduler: BatchScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def work() -> None:
        for _ in range(20):
            clock[0] += replies.PULSE_SECONDS / 4
            echo.alive()

    echo.during = work
    submit(scheduler, "a")
    scheduler.tick()
    assert [type(frame.message) for frame in ear.frames] == [Started, *[Beat] * 5, Data, End]


def test_a_deadline_that_is_no_number_fails_that_request_alone(ear: Ear, scheduler: BatchScheduler) -> None:
    soon: Any = "soon"
    for number, deadline in enumerate((None, soon, time.monotonic() + 60), 1):
        submit(scheduler, "a", first=number, deadline=deadline)
    run_out(scheduler)
    assert [ear.ends(1), ear.refusal(2).status, ear.ends(3)] == [End(), 500, End()]

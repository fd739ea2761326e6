"""Requests join and leave between steps; slots always come back; streams are sent early and then seldom."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from benchmarks.steps import WindowScheduler
from handlers.engine import step_scheduler, waiting
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Data, End, Refused, Started
from handlers.refusals import deadline_passed
from tests.support.counting import Counter, FakeSlot
from tests.support.helpers import Ear, run_out


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def scheduler(ear: Ear, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> StepScheduler:
    """One that sends after every step."""
    monkeypatch.setattr(step_scheduler, "FLUSH_SECONDS", 0.0)
    return StepScheduler(counter, ear.replies)


class Clock:
    """time.monotonic under control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_an_answer_is_started_streamed_and_ended(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "a"}, None)
    assert run_out(scheduler) == 3
    assert ear.kinds(1) == [Started, Data, Data, Data, End]
    assert ear.of(1)[0].message == Started("text/plain", "receipt of a")
    assert (ear.data(1), ear.ends(1)) == (b"aaa", End())
    assert counter.free == 2


def test_an_answer_that_is_no_stream_comes_in_one_piece(scheduler: StepScheduler, ear: Ear) -> None:
    scheduler.submit(1, {"name": "a", "stream": False}, None)
    run_out(scheduler)
    assert ear.kinds(1) == [Started, Data, End]
    assert ear.data(1) == b"aaa"


def test_the_start_is_told_before_the_first_step(scheduler: StepScheduler, ear: Ear) -> None:
    scheduler.submit(1, {"name": "a"}, None)
    scheduler.tick()
    assert ear.flushed == 1
    assert ear.frames[0].message.__class__ is Started


def test_a_free_slot_is_taken_while_long_ones_go_on(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    for number, (name, steps) in enumerate([("long", 6), ("short", 2), ("next", 2), ("last", 1)], 1):
        scheduler.submit(number, {"name": name, "steps": steps}, None)
    run_out(scheduler)
    assert counter.steps == [
        ["long", "short"],
        ["long", "short"],
        ["long", "next"],
        ["long", "next"],
        ["long", "last"],
        ["long"],
    ]
    assert ear.ended() == [2, 3, 4, 1]
    assert counter.free == 2


def test_narrow_requests_pass_a_wide_one_for_a_while(
    counter: Counter, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, scheduler = Clock(monkeypatch), StepScheduler(counter, ear.replies)
    for number, (name, steps, rows) in enumerate([("long", 9, 1), ("wide", 1, 2), ("a", 1, 1), ("b", 1, 1)], 1):
        scheduler.submit(number, {"name": name, "steps": steps, "rows": rows}, None)
    scheduler.tick()
    scheduler.tick()
    assert counter.steps == [["long", "a"], ["long", "b"]]  # there is no room for the wide one, and none is left idle
    clock.now += waiting.PASS_SECONDS
    scheduler.submit(5, {"name": "c", "steps": 1}, None)
    run_out(scheduler)
    assert counter.steps[2:] == [["long"]] * 7 + [["wide"], ["c"]]  # from now on everybody lets it go first
    assert counter.free == 2


def test_the_window_batcher_it_is_compared_with_waits_until_all_have_left(ear: Ear, counter: Counter) -> None:
    scheduler = WindowScheduler(counter, ear.replies)
    for number, (name, steps) in enumerate([("long", 3), ("short", 1), ("next", 1)], 1):
        scheduler.submit(number, {"name": name, "steps": steps}, None)
    run_out(scheduler)
    assert counter.steps == [["long", "short"], ["long"], ["long"], ["next"]]


def test_rows_of_texts_that_have_ended_are_free(scheduler: StepScheduler, counter: Counter) -> None:
    """A request of two texts, one of which ends early: the next one does not wait for the other."""
    scheduler.submit(1, {"name": "wide", "steps": 5, "rows": 2}, None)
    scheduler.tick()
    counter.free += 1  # as a generator does when a text of several ends
    scheduler.submit(2, {"name": "next", "steps": 1}, None)
    scheduler.tick()
    assert counter.steps[1] == ["wide", "next"]


def test_a_request_that_is_wider_than_all_rows_is_refused_at_once(scheduler: StepScheduler, ear: Ear) -> None:
    for number, rows in enumerate((3, 0, -1), 1):
        scheduler.submit(number, {"name": "a", "rows": rows}, None)
        assert ear.refusal(number).status == 500
    assert not scheduler.busy


def test_a_request_joins_between_two_steps(scheduler: StepScheduler, counter: Counter) -> None:
    scheduler.submit(1, {"name": "a", "steps": 4}, None)
    scheduler.tick()
    scheduler.submit(2, {"name": "b", "steps": 1}, None)
    run_out(scheduler)
    assert counter.steps == [["a"], ["a", "b"], ["a"], ["a"]]


def test_bad_requests_are_refused_at_once(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "bad"}, None)
    scheduler.submit(2, {"nonsense": 1}, None)
    assert not scheduler.busy
    assert ear.ends(1) == Refused(400, "name is bad", "name")
    assert ear.refusal(2).status == 500
    assert counter.starts == []


def test_a_request_that_cannot_start_fails_alone(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "a"}, None)
    scheduler.submit(2, {"name": "unstartable"}, None)
    run_out(scheduler)
    assert counter.starts == [["a", "unstartable"], ["a"], ["unstartable"]]
    assert ear.refusal(2).message == "this item could not be computed; the server's log has the reason"
    assert (ear.data(1), ear.ends(1)) == (b"aaa", End())
    assert counter.free == 2


def test_a_request_without_a_receipt_is_refused_alone(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "unsigned"}, None)
    scheduler.submit(2, {"name": "b"}, None)
    run_out(scheduler)
    assert ear.kinds(1) == [Refused]
    assert ear.refusal(1).status == 500
    assert (ear.data(2), ear.ends(2)) == (b"bbb", End())
    assert counter.starts == [["b"]]


def test_a_failed_step_is_tried_one_by_one_and_only_the_culprit_fails(
    scheduler: StepScheduler, ear: Ear, counter: Counter
) -> None:
    scheduler.submit(1, {"name": "crash", "steps": 5}, None)
    scheduler.submit(2, {"name": "b", "steps": 5}, None)
    run_out(scheduler)
    assert ear.refusal(1).status == 500
    assert ear.data(1) == b"cc"  # what was sent before stays sent
    assert (ear.data(2), ear.ends(2)) == (b"bbbbb", End())
    assert counter.steps[2:5] == [["crash", "b"], ["crash"], ["b"]]


def test_a_text_that_a_failed_step_had_moved_is_not_stepped_again(
    ear: Ear, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would skip a token of its seed."""

    class HalfWay(Counter):
        def step(self, slots: Sequence[FakeSlot]) -> None:
            if len(slots) > 1:
                super().step(slots[:1])
                raise RuntimeError("broken after the first")
            super().step(slots)

    generator = HalfWay()
    scheduler = StepScheduler(generator, ear.replies)
    for number, name in enumerate("ab", 1):
        scheduler.submit(number, {"name": name, "stream": False}, None)
    run_out(scheduler)
    assert generator.steps == [["a"], ["b"], ["b"], ["b"]]
    assert (ear.refusal(1).status, ear.data(2)) == (500, b"bbb")
    assert "a step that raised had moved a text, which cannot go on: request 1" in caplog.text
    assert generator.free == 2


def test_a_failed_step_gives_its_slot_to_the_next(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    for number in (1, 2):
        scheduler.submit(number, {"name": "crash", "steps": 9}, None)
    for number in (3, 4):
        scheduler.submit(number, {"name": "d", "steps": 1}, None)
    run_out(scheduler)
    assert ear.ended() == [1, 2, 3, 4]
    assert [ear.data(number) for number in (3, 4)] == [b"d", b"d"]
    assert counter.free == 2


def test_an_answer_that_cannot_be_encoded_fails_alone(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "mute"}, None)
    scheduler.submit(2, {"name": "b"}, None)
    run_out(scheduler)
    assert ear.refusal(1).status == 500
    assert ear.ends(2) == End()
    assert counter.free == 2


def test_a_piece_that_is_too_large_is_refused_alone(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "huge", "steps": 5}, None)
    scheduler.submit(2, {"name": "b", "steps": 5}, None)
    run_out(scheduler)
    message = "the answer has 2000 bytes, the limit is 1000: lower steps"
    assert ear.ends(1) == Refused(413, message, None)
    assert ear.data(1) == b"h"
    assert ear.ends(2) == End()
    assert counter.free == 2


def test_a_whole_answer_that_is_too_large_is_refused(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    scheduler.submit(1, {"name": "huge", "steps": 2, "stream": False}, None)
    run_out(scheduler)
    assert ear.kinds(1) == [Started, Refused]
    assert ear.refusal(1).status == 413
    assert counter.free == 2


def test_a_waiting_request_is_cancelled(scheduler: StepScheduler, ear: Ear, counter: Counter) -> None:
    for number in (1, 2, 3):
        scheduler.submit(number, {"name": "abc"[number - 1]}, None)
    scheduler.tick()
    scheduler.cancel(3)
    scheduler.cancel(99)  # nobody: nothing happens
    run_out(scheduler)
    assert ear.of(3) == []
    assert counter.starts == [["a", "b"]]


def test_a_cancelled_live_request_gives_its_slot_back_and_is_silent(
    scheduler: StepScheduler, ear: Ear, counter: Counter
) -> None:
    for number in (1, 2, 3):
        scheduler.submit(number, {"name": "abc"[number - 1], "steps": 5}, None)
    scheduler.tick()
    scheduler.cancel(1)
    assert counter.free == 1
    run_out(scheduler)
    assert ear.kinds(1) == [Started, Data]
    assert counter.steps[1] == ["b", "c"]
    assert counter.free == 2


def test_a_deadline_in_the_middle_of_a_stream_ends_it(
    scheduler: StepScheduler, ear: Ear, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    scheduler.submit(1, {"name": "a", "steps": 100}, 1001.0)
    scheduler.submit(2, {"name": "b", "steps": 4}, None)
    scheduler.tick()
    now = 1000.5
    scheduler.tick()
    now = 1001.5
    run_out(scheduler)
    assert ear.data(1) == b"aa"
    assert ear.ends(1) == Refused(504, deadline_passed().message, None)
    assert ear.ends(2) == End()
    assert counter.steps == [["a", "b"], ["a", "b"], ["b"], ["b"]]
    assert counter.free == 2


def test_a_late_waiting_request_never_starts(
    scheduler: StepScheduler, ear: Ear, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.submit(1, {"name": "a"}, time.monotonic() - 1)
    scheduler.submit(2, {"name": "b"}, None)
    run_out(scheduler)
    assert ear.kinds(1) == [Refused]
    assert ear.refusal(1).status == 504
    assert counter.starts == [["b"]]


def test_the_first_piece_is_sent_at_once_and_the_others_by_time(
    ear: Ear, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    monkeypatch.setattr(step_scheduler, "FLUSH_SECONDS", 0.25)
    scheduler = StepScheduler(counter, ear.replies)
    scheduler.submit(1, {"name": "a", "steps": 100}, None)
    pieces = []
    for _ in range(12):
        scheduler.tick()
        pieces.append(len(ear.data(1)))
        clock.now += 0.0625
    assert pieces == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9, 9, 9]


def test_the_end_is_sent_at_once(ear: Ear, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)  # it stands still
    scheduler = StepScheduler(counter, ear.replies)
    scheduler.submit(1, {"name": "a", "steps": 5}, None)
    run_out(scheduler)
    assert [len(frame.message.body) for frame in ear.of(1) if isinstance(frame.message, Data)] == [1, 4]
    assert ear.ends(1) == End()

"""The requests of a proxy: bounded, in order, ended by deadlines and cancellations, kept to the end when it drains."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest

from handlers.frames import Started
from handlers.proxy.pending import MAX_ENGINES, Pending, Queue, width
from handlers.proxy.wire import Call
from tests.conftest import Tiny
from tests.support.frontend import FrontEnd, front_end
from tests.support.helpers import LONG, SLOWLY, health, last_error, rewritten, stopped
from tests.support.sabotage import SLOW_SECONDS
from tests.support.server import eventually


def test_drained_it_takes_no_more_but_answers_what_it_has(tiny: Tiny) -> None:
    with front_end(tiny.bundle) as front:
        with stopped(front):
            had = front.send({"seed": 1})
            assert json.loads(front.word("drain").body)["in_flight"] == 1
            refused = front.ask({"seed": 2})
        assert refused.status == 503
        assert refused.message == "the server is stopping and takes no more requests; send it to another one"
        assert had.result(60).status == 200
        assert front.ask(b"{}", x_atelier="ping").status == 200


def test_a_waiting_request_is_cancelled_by_its_name(small: FrontEnd) -> None:
    with stopped(small):
        first = small.send({"seed": 1})
        named = small.send({"seed": 2}, x_atelier_id="mine")
        assert json.loads(small.ask(b"{}", x_atelier="cancel", x_atelier_id="mine").body) == {"status": "cancelled"}
        reply = named.result(60)
        assert (reply.status, reply.message) == (499, "cancelled by the caller")
        again = small.ask(b"{}", x_atelier="cancel", x_atelier_id="mine")
        assert again.status == 404
        next_one = small.send({"seed": 3})  # its place is free again
    assert {future.result(60).status for future in (first, next_one)} == {200}


def test_a_stream_is_cancelled_by_its_name(tiny_text: Tiny, faulty_home: Path) -> None:
    with front_end(tiny_text.bundle, faulty_home) as front:
        future = front.send(SLOWLY, x_atelier_id="mine")
        reply = front.newest()
        eventually(lambda: bool(reply.pieces), 60, "no first piece came")
        assert front.ask(b"{}", x_atelier="cancel", x_atelier_id="mine").status == 200
        assert future.result(60) is reply
        assert last_error(reply) == (499, "cancelled by the caller")
        assert front.ask({**LONG, "max_tokens": 8}).status == 200
        assert health(front)["in_flight"] == 0


def test_a_full_queue_says_how_full_and_when_to_come_again(small: FrontEnd) -> None:
    assert small.ask({"seed": 1}).status == 200
    with stopped(small):
        taken = [small.send({"seed": seed}) for seed in (1, 2)]
        refused = small.ask({"seed": 3})
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        wanted = "2 requests are waiting or being computed, which is all tiny takes; try again in 1 s"
        assert refused.message == wanted
        assert json.loads(refused.body)["type"] == "Unavailable"
        assert small.ask(b"{}", x_atelier="ping").status == 200
    assert {future.result(60).status for future in taken} == {200}
    assert small.ask({"seed": 3}).status == 200


def test_an_engine_gets_twice_what_it_computes_at_once(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_slots=1, max_queue=4)) as front:
        with stopped(front):
            futures = [front.send({"seed": seed}) for seed in range(5)]
            figures = health(front)
        assert (figures["in_flight"], figures["queued"]) == (2, 3)
        assert {future.result(60).status for future in futures} == {200}


def handed(queue: Queue) -> list[Pending]:
    """All that the engine is handed now."""
    return list(iter(queue.next, None))


def test_a_narrow_request_does_not_wait_for_all_wide_ones_before_it() -> None:
    """Nor does a wide one for the narrow ones behind it: the oldest and the narrowest go in turn."""
    queue = Queue("m", 1, 50)
    wide, narrow = b'{"n": 16, "seed": 1}', b'{"seed": 1}'
    added = [queue.add(Call(str(at), {}, {}), body, math.inf) for at, body in enumerate([*[wide] * 6, *[narrow] * 4])]
    order = []
    while found := queue.next():
        order.append(added.index(found))
        queue.remove(found, 200)
    assert order == [0, 6, 1, 7, 2, 8, 3, 9, 4, 5]


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        (b"{}", 1),
        (b'{"seed": 16}', 1),
        (b'{"n":8}', 8),
        (b'{"n" : 16.0, "beams": 2}', 16),
        (b'{"text": "' + b"x" * 9000 + b'", "beams": 4}', 4),
        (b'{"text": "' + b"x" * 9000 + b'\\"n\\": 99"}', 1),  # words of a caller's text
        (b'{"n": 0}', 0),
        (b'{"n": "8"}', 1),
        (b"{" + b'"n": 123456789,' * 4 + b"}", 123),
    ],
)
def test_the_width_of_a_request_is_read_off_its_ends(body: bytes, rows: int) -> None:
    assert width(body) == rows


def test_what_takes_three_engines_along_before_it_is_begun_is_handed_to_no_fourth() -> None:
    queue = Queue("m", 2, 8)
    call = Call("id", {}, {})
    guilty = queue.add(call, b"{}", math.inf)
    for _ in range(MAX_ENGINES - 1):
        assert handed(queue) == [guilty]
        assert queue.take_back() == []
        assert queue.figures()["queued"] == 1
    later = queue.add(call, b"{}", math.inf)
    assert handed(queue) == [guilty], "what two engines died with is handed over alone"
    assert queue.take_back() == [guilty], "the third engine died with it"
    assert handed(queue) == [later], "what came later has had no engine"


def test_what_was_suspected_and_is_begun_after_all_holds_nobody_up() -> None:
    queue = Queue("m", 2, 8)
    suspects = [queue.add(Call(str(number), {}, {}), b"{}", math.inf) for number in range(2)]
    for _ in range(MAX_ENGINES - 1):
        assert handed(queue) == suspects
        assert queue.take_back() == []
    assert handed(queue) == suspects[:1]
    queue.start(suspects[0], Started("text/plain", ""))
    later = queue.add(Call("later", {}, {}), b"{}", math.inf)
    assert handed(queue) == [], "the next suspect goes alone, too"
    queue.remove(suspects[0], 200)
    assert handed(queue) == suspects[1:]
    queue.remove(suspects[1], 400)
    assert handed(queue) == [later]


def test_what_an_engine_had_begun_goes_with_it_and_what_waited_keeps_its_order() -> None:
    queue = Queue("m", 1, 8)
    calls = [queue.add(Call(str(number), {}, {}), b"{}", math.inf) for number in range(4)]
    begun, handed_over = handed(queue)
    queue.start(begun, Started("text/plain", ""))
    assert queue.take_back() == [begun]
    queue.remove(begun, 503)
    assert handed(queue) == [handed_over, calls[2]]


def test_who_is_refused_in_one_moment_does_not_come_back_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue("m", 1, 100)
    for number in range(100):
        queue.add(Call(str(number), {}, {}), b"{}", math.inf)
    queue._mean_seconds = 0.5
    assert queue.wait_seconds() == 50
    drawn = {queue.retry_after_s() for _ in range(500)}
    assert len(drawn) > 5
    assert 50 <= min(drawn) <= max(drawn) <= 75


def test_a_timeout_is_the_callers_own(small: FrontEnd) -> None:
    with stopped(small):
        reply = small.ask({"seed": 1}, x_atelier_timeout="0.3")
    assert (reply.status, reply.message) == (504, "the deadline passed before the answer was whole")


def test_setting_the_clock_moves_no_deadline(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy and engine may have read another time of day: only X-Atelier-Deadline is one."""
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert image.ask({"seed": 1}).status == 200
    assert image.ask({"seed": 1}, x_atelier_deadline="999").status == 504


def test_a_deadline_ahead_is_served(image: FrontEnd) -> None:
    assert image.ask({"seed": 1}, x_atelier_deadline=str(time.time() + 600)).status == 200
    assert image.ask({"seed": 1}, x_atelier_deadline="inf").status == 200


def test_a_deadline_that_passes_while_it_waits(small: FrontEnd) -> None:
    with stopped(small):
        reply = small.ask({"seed": 1}, x_atelier_deadline=str(time.time() + 0.3))
        assert health(small)["in_flight"] == 0  # its caller has his answer
    assert (reply.status, reply.message) == (504, "the deadline passed before the answer was whole")
    assert json.loads(reply.body)["type"] == "DeadlineExceeded"


def test_nothing_takes_longer_than_the_limit(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_seconds=1)) as front, stopped(front):
        reply = front.ask({"seed": 1}, x_atelier_deadline=str(time.time() + 600))
        assert reply.status == 504


def test_a_deadline_in_mid_stream_is_told_in_the_stream(tiny_text: Tiny, faulty_home: Path) -> None:
    with front_end(tiny_text.bundle, faulty_home) as front:
        reply = front.ask(SLOWLY, x_atelier_deadline=str(time.time() + 2.5 * SLOW_SECONDS))
        assert len(reply.pieces) >= 2
        assert last_error(reply) == (504, "the deadline passed before the answer was whole")
        assert health(front)["in_flight"] == 0

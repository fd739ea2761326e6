"""Whatever raises in a proxy ends the request at hand, once, and nothing else: its neighbours never notice."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.frames import Beat, Cancel, Data, End, Frame, Refused, Started
from handlers.proxy import pending, requests, service
from handlers.proxy.service import MAX_FAILURES
from handlers.proxy.wire import encode
from handlers.refusals import Refusal
from tests.support.proxy import Proxy, in_loop, until

STARTED = Started("image/png", "receipt")
PASSED_ON = "the answer could not be passed on; the server's log has the reason"


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a bug")


@in_loop
async def test_what_raises_while_a_request_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    with monkeypatch.context() as bug:
        bug.setattr(requests, "check_json", broken)
        call = proxy.send()
    assert proxy.refusal(call) == (500, "the request could not be read; the server's log has the reason")
    assert proxy.submitted == []
    proxy.send()
    assert proxy.submitted == [1]


@in_loop
async def test_what_raises_while_a_request_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch, max_seconds=1)
    with monkeypatch.context() as bug:
        bug.setattr(service, "Submit", broken)
        culprit = proxy.send()
    assert proxy.refusal(culprit) == (500, "the request could not be handed on; the server's log has the reason")
    neighbour = proxy.send()
    assert proxy.submitted == [2]
    await until(lambda: proxy.ended(neighbour), "its deadline did not pass")
    assert proxy.refusal(culprit)[0] == 500, "one ending, also when its deadline has passed"


@in_loop
async def test_a_frame_that_cannot_be_passed_on_ends_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    first, culprit, last = proxy.send(), proxy.send(), proxy.send()
    proxy.say((1, STARTED), (2, STARTED), (3, STARTED))
    original = encode

    def picky(call: str, body: bytes, *more: Any, **named: Any) -> bytes:
        if body == b"evil":
            raise RuntimeError("a bug")
        return original(call, body, *more, **named)

    monkeypatch.setattr("handlers.proxy.pending.encode", picky)
    proxy.say((1, Data(b"one")), (2, Data(b"evil")), (2, Data(b"more")), (2, End()), (3, Data(b"three")), (1, End()))
    assert [body for _, body in proxy.of(first)] == [b"one", b""]
    assert proxy.refusal(culprit) == (500, PASSED_ON)
    assert [body for _, body in proxy.of(last)] == [b"three"]
    assert Frame(2, Cancel()) in proxy.engine.sent
    assert proxy.engine.killed == []
    assert proxy.document(proxy.send(x_atelier="health"))["in_flight"] == 1


@in_loop
async def test_a_stream_whose_middle_cannot_be_passed_on_ends_behind_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy = Proxy(monkeypatch)
    call = proxy.send()
    original = encode
    monkeypatch.setattr(
        "handlers.proxy.pending.encode",
        lambda call, body, *m, **n: broken() if body == b"b" else original(call, body, *m, **n),
    )
    proxy.say((1, Started("text/event-stream", "r")), (1, Data(b"data: a\n\n")), (1, Data(b"b")))
    pieces = [body for _, body in proxy.of(call)]
    assert pieces[0] == b"data: a\n\n"
    assert PASSED_ON.encode() in pieces[1]
    assert pieces[2:] == [b""]
    assert proxy.ended(call)


@pytest.mark.parametrize("message", [Data(b"x"), End(), Refused(400, "bad", None), STARTED])
@in_loop
async def test_an_engine_whose_frames_cannot_be_passed_on_is_replaced(
    monkeypatch: pytest.MonkeyPatch, message: Any
) -> None:
    proxy = Proxy(monkeypatch)
    calls = [proxy.send() for _ in range(MAX_FAILURES)]
    for name in ("piece", "last"):
        monkeypatch.setattr(pending.Pending, name, broken)

    def picky(status: int, *more: Any) -> Refusal:
        return Refusal(status, *more) if status != 400 else broken()

    monkeypatch.setattr(pending.Queue, "start", broken)
    monkeypatch.setattr("handlers.proxy.service.Refusal", picky)
    for number in range(1, MAX_FAILURES):
        proxy.say((number, message))
        assert proxy.engine.killed == []
    proxy.say((MAX_FAILURES, message))
    assert proxy.engine.killed == ["3 of the engine's frames in a row could not be passed on"]
    assert [proxy.refusal(call) for call in calls] == [(500, PASSED_ON)] * MAX_FAILURES


@in_loop
async def test_failures_that_are_not_in_a_row_replace_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    monkeypatch.setattr(pending.Queue, "start", broken)
    for number in range(1, 3 * MAX_FAILURES):
        call = proxy.send()
        proxy.say((number, STARTED), (0, Beat()))
        assert proxy.refusal(call) == (500, PASSED_ON)
        proxy.say((number, Refused(499, "cancelled", None)))
    assert proxy.engine.killed == []


@in_loop
async def test_an_answer_that_cannot_be_counted_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    for name in ("ANSWERS", "REJECTIONS", "IN_FLIGHT", "RESTARTS"):
        monkeypatch.setattr(f"handlers.metrics.{name}", None)
    for name in ("_good", "_first_byte", "_answer", "_in_flight", "_depth", "_queued"):
        monkeypatch.setattr(proxy.service._queue.counts, name, None)
    call = proxy.send()
    proxy.say((1, STARTED), (1, Data(b"image")), (1, End()))
    assert [body for _, body in proxy.of(call)] == [b"image", b""]
    assert proxy.refusal(proxy.send(b"["))[0] == 400
    lost = proxy.send()
    proxy.say((2, STARTED))
    proxy.engine.on_lost("it died")
    assert proxy.refusal(lost)[0] == 503


@in_loop
async def test_what_raises_in_a_control_word(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    monkeypatch.setattr(proxy.service._queue, "figures", broken)
    assert proxy.refusal(proxy.send(x_atelier="health"))[0] == 500
    assert proxy.document(proxy.send(x_atelier="ping")) == {"status": "ok"}

"""Every buffer of a proxy filled to its bound: bodies that wait, bytes for the engine, bytes for the front end."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from handlers.frames import MAX_PAYLOAD, Cancel, Data, End, Frame, Refused, Started, Submit, Unpacker, pack
from handlers.proxy import pending
from handlers.proxy.engine_link import MAX_UNSENT_BYTES, EngineLink
from handlers.proxy.pending import MAX_BODY_BYTES, Queue
from handlers.proxy.wire import STREAM, Call, encode
from handlers.proxy.worker import MAX_UNREAD_BYTES, FrontEndLink
from tests.support.frontend import JSON, decode
from tests.support.helpers import message
from tests.support.proxy import Proxy, in_loop, until

BODY = b'{"text": "' + b"x" * 60_000 + b'"}'


@in_loop
async def test_bodies_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MAX_BODY_BYTES", 3 * len(BODY))
    proxy = Proxy(monkeypatch, max_queue=100)
    proxy.engine.has_room = False
    taken = [proxy.send(BODY) for _ in range(3)]
    status, said = proxy.refusal(proxy.send(BODY))
    wanted = f"the bodies of what waits have {3 * len(BODY)} bytes, m keeps at most {3 * len(BODY)}; try again in 1 s"
    assert (status, said) == (503, wanted)
    assert not any(map(proxy.ended, taken))
    proxy.engine.has_room = True
    proxy.engine.on_room()
    assert proxy.submitted == [1, 2, 3]
    assert proxy.refusal(proxy.send(BODY))[0] == 503, "an engine that dies gives them back"
    proxy.say((1, Started("image/png", "")))
    assert not proxy.ended(proxy.send(BODY)), "one that is begun is handed to no other engine"


def test_the_bound_of_bodies_is_stated() -> None:
    queue = Queue("m", 1, 10**6)
    body = bytes(1 << 20)
    count = 0
    while queue.full(body) is None:
        queue.add(Call("id", {}, {"body": body}), body, 0.0)
        count += 1
    assert count == MAX_BODY_BYTES >> 20 == 32
    for held in queue.all():
        assert held.call.values == {}, "a body is kept once"
        queue.remove(held, 504)
    assert queue.full(body) is None


@in_loop
async def test_bytes_are_kept_while_a_request_waits_and_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch, max_queue=10)
    proxy.engine.has_room = False
    proxy.send(b'{"messages": [{"role": "user"}]}')
    (held,) = proxy.service._queue.all()
    assert held.body == b'{"messages": [{"role": "user"}]}'
    proxy.engine.has_room = True
    proxy.engine.on_room()
    (frame,) = proxy.engine.sent
    assert frame == Frame(1, Submit(held.body, held.deadline))


@in_loop
async def test_nothing_is_handed_to_an_engine_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    proxy.send()
    proxy.engine.has_room = False
    waiting = [proxy.send() for _ in range(3)]
    assert proxy.submitted == [1]
    proxy.engine.has_room = True
    proxy.engine.on_room()
    assert proxy.submitted == [1, 2, 3, 4]
    assert not any(map(proxy.ended, waiting))


@in_loop
async def test_what_is_expired_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    proxy.engine.has_room = False
    calls = [proxy.send(x_atelier_timeout="0.01") for _ in range(3)]
    await until(lambda: all(map(proxy.ended, calls)), "the deadline did not pass")
    proxy.engine.has_room = True
    proxy.engine.on_room()
    assert proxy.engine.sent == [], "neither the request nor its cancellation"
    late = proxy.service._queue.add(Call("late", dict(JSON), {}), b"{}", 0.0)  # whose timer has not run yet
    proxy.engine.on_room()
    assert proxy.engine.sent == []
    assert proxy.refusal("late") == (504, "the deadline passed before the answer was whole")
    assert proxy.service._queue.get(late.number) is None


@in_loop
async def test_a_place_is_taken_until_the_engine_says_that_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine in the middle of a batch reads nothing: short deadlines would have it handed ever more."""
    proxy = Proxy(monkeypatch, max_slots=1, max_queue=1)
    for _ in range(50):
        call = proxy.send(x_atelier_timeout="0.001")
        await until(lambda call=call: proxy.ended(call), "the deadline did not pass")  # type: ignore[misc]
        assert proxy.refusal(call) == (504, "the deadline passed before the answer was whole")
    assert proxy.submitted == [1, 2], "twice what it computes at once"
    assert proxy.engine.works(), "it still owes two words"
    assert proxy.document(proxy.send(x_atelier="health"))["in_flight"] == 0
    waiting = proxy.send()
    proxy.say((1, Refused(499, "cancelled", None)))
    assert len(proxy.submitted) == 3
    proxy.say((2, Started("image/png", "")), (2, End()), (2, Refused(499, "cancelled", None)))  # they crossed
    assert not proxy.ended(waiting)
    assert proxy.service._queue.places == 1


@in_loop
async def test_an_engine_that_dies_owes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch, max_slots=1, max_queue=1)
    call = proxy.send(x_atelier_timeout="0.001")
    await until(lambda: proxy.ended(call), "the deadline did not pass")
    proxy.engine.on_lost("it died")
    assert not proxy.engine.works()
    assert proxy.service._queue.places == 0


@in_loop
async def test_bytes_for_an_engine_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real socket pair whose other end reads nothing for a while."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    rooms: list[bool] = []
    link = EngineLink(lambda frames: None, lambda: rooms.append(link.has_room))
    await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    frame, sent = pack(1, Submit(BODY, 1.0)), 0
    assert link._transport is not None
    while link.has_room:
        link.send(frame)
        sent += 1
    unsent = link._transport.get_write_buffer_size()
    assert MAX_UNSENT_BYTES < unsent <= MAX_UNSENT_BYTES + len(frame)
    assert rooms == []
    unpacker, found = Unpacker(), list[Frame]()
    with theirs:
        while len(found) < sent:
            found += unpacker.feed(await asyncio.get_running_loop().sock_recv(theirs, 1 << 16))
        assert rooms == [True]
        assert found == [Frame(1, Submit(BODY, 1.0))] * sent
        theirs.sendall(b"\xff" * 13)
        await link.gone.wait()
    assert "this is no frame" in str(link.error)


@in_loop
async def test_a_frame_of_an_engine_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_PAYLOAD} are sent"):
        Unpacker().feed(bytes([13]) + bytes(8) + (MAX_PAYLOAD + 1).to_bytes(4))


class FrontEndSocket:
    """The front end's end of a worker's socket."""

    def __init__(self, proxy: Proxy) -> None:
        self.gone = asyncio.Event()
        self.link = FrontEndLink(proxy.service, self.gone)
        ours, self.socket = socket.socketpair()
        for end in (ours, self.socket):
            end.setblocking(False)
        self._ours = ours
        self.data = bytearray()

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=self._ours)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, size: int) -> int:
        found = await asyncio.get_running_loop().sock_recv(self.socket, size)
        self.data += found
        return len(found)


@in_loop
async def test_bytes_for_a_front_end_that_does_not_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the bound neither it nor the engine is read from; when it reads again, all that it sent is answered."""
    proxy = Proxy(monkeypatch)
    front = FrontEndSocket(proxy)
    await front.connect()
    transport: Any = front.link._transport
    piece = Data(b"x" * (1 << 20))
    await front.send(message([Call("stream", {**JSON}, {"body": b"{}"})]))
    await until(lambda: proxy.submitted == [1], "the request did not arrive")
    proxy.say((1, Started("image/png", "")))
    pieces = 0
    while proxy.engine.listening == []:
        proxy.say((1, piece))
        pieces += 1
    assert proxy.engine.listening == [False]
    assert MAX_UNREAD_BYTES < transport.get_write_buffer_size() <= MAX_UNREAD_BYTES + (2 << 20)
    pings = [Call(f"ping-{number}", {**JSON, "X-Atelier": "ping"}, {}) for number in range(300)]
    await front.send(message(pings))
    before = transport.get_write_buffer_size()
    for _ in range(20):
        await asyncio.sleep(0)
    assert transport.get_write_buffer_size() == before, "nothing is read, so nothing is answered"
    proxy.say((1, End()))
    while not front.data.endswith(encode("ping-299", b"", stream="false")):
        assert await front.read(1 << 20), "the connection was closed"
    assert proxy.engine.listening == [False, True]
    frames = list(decode(bytes(front.data)))
    assert sum(len(body) for call, *_, body in frames if call == "stream") == pieces << 20
    ends = [call for call, _, _, headers, _ in frames if headers.get(STREAM) == "false"]
    assert ends == ["stream", *(call.id for call in pings)]
    assert not front.gone.is_set()
    transport.abort()
    front.socket.close()


@in_loop
async def test_calls_that_came_in_one_piece_stop_where_the_bound_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece of 256 KiB holds a thousand small calls, whose answers may be large."""
    proxy = Proxy(monkeypatch)
    front = FrontEndSocket(proxy)
    await front.connect()
    transport: Any = front.link._transport
    proxy.service._control.described = b"x" * (1 << 20)
    monkeypatch.setattr(proxy.service._control, "_describe_bytes", float(1 << 30))
    monkeypatch.setattr("handlers.proxy.control.DESCRIBE_BYTES", 1 << 30)
    await front.send(message([Call(f"{n}", {**JSON, "X-Atelier": "describe"}, {}) for n in range(32)]))
    await until(lambda: proxy.engine.listening == [False], "the bound was never reached")
    assert transport.get_write_buffer_size() <= MAX_UNREAD_BYTES + (2 << 20)
    assert len(front.link._calls) > 10
    while not front.data.endswith(encode("31", b"", stream="false")):
        assert await front.read(1 << 20)
    assert sum(1 for frame in decode(bytes(front.data)) if frame[3].get(STREAM) == "false") == 32
    transport.abort()
    front.socket.close()


@in_loop
async def test_a_form_of_a_megabyte_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    front = FrontEndSocket(proxy)
    await front.connect()
    form = {**JSON, "content-type": "application/x-www-form-urlencoded"}
    fields = {f"{number:x}": b"" for number in range(50_000)}
    sent = asyncio.create_task(
        front.send(message([Call("form", form, fields), Call("ping", {**JSON, "X-Atelier": "ping"}, {})]))
    )
    held = 0
    while not front.data.endswith(encode("ping", b"", stream="false")):
        assert await front.read(1 << 16)
        held = max(held, front.link._reader.held)
    await sent
    assert held < 10_000
    statuses = {
        call: status for call, status, _, headers, _ in decode(bytes(front.data)) if headers.get(STREAM) != "false"
    }
    assert statuses == {"form": 415, "ping": 200}
    transport: Any = front.link._transport
    transport.abort()
    front.socket.close()


def test_a_cancellation_is_small() -> None:
    assert len(pack(2**60, Cancel())) == 13

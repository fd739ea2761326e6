"""What a connection may cost: time for a head, for a body and for reading an answer; the size of a head."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.errors import ApiError
from gateway.metrics import Metrics
from gateway.settings import Settings

MAX_HEAD = 64 << 10  # bytes of a request line with all headers; also of what comes with a body and is none of it
FRAMING = 8  # bytes that a byte of a body may have around it, in the smallest chunks: `1\r\n?\r\n`, and some more
LEAST_RATE = 1024  # bytes a second of a body or an answer, beyond the seconds that settings allow
LINGER_SECONDS = 5.0  # to read on what a caller still sends whose answer is out, so that it can read the answer
SWEEP_SECONDS = 0.25
REFUSALS = {
    "not_http": (400, "Bad Request", "this is no HTTP/1.1 that can be read"),
    "head_seconds": (408, "Request Timeout", "the request's head did not come in time"),
    "body_seconds": (408, "Request Timeout", "the request's body did not come in time"),
    "head_bytes": (431, "Request Header Fields Too Large", f"the request's head is over {MAX_HEAD} bytes"),
    "trailer_bytes": (431, "Request Header Fields Too Large", f"the request has over {MAX_HEAD} bytes around its body"),
    "connections": (503, "Service Unavailable", "the gateway has as many connections as it takes"),
}


class Bounds:
    """The bounds of all connections of a server, which `sweep` looks at a few times a second."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.connections: dict[Connection, None] = {}  # the oldest first

    async def sweep(self) -> None:
        """End what is over its bound, for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self.connections):
                connection.look(now)

    def expects(self) -> bool:
        """Whether a connection is there that has not asked anything yet."""
        return any(found.cycle is None for found in self.connections)

    def make_room(self) -> bool:
        """Whether one more connection may be had; the oldest that has not asked anything gives way to it."""
        if len(self.connections) < self.settings.connections:
            return True
        idle = next((found for found in self.connections if found.is_idle), None)
        if idle is not None:
            idle.end("connections")
        return idle is not None


class Connection(HttpToolsProtocol):
    """One connection of a caller. `bounds` is set by the subclass that `bounded` makes."""

    bounds: Bounds
    phase: Literal["head", "body"] | None
    since: float  # when the phase began
    came: int  # bytes of the head, or of the body
    framed: int  # bytes that came for a body, chunks' lengths and trailers included

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or turn it away."""
        self.phase, self.since, self.came, self.framed = "head", time.monotonic(), 0, 0
        self.answered = False
        self._stuck_since: float | None = None  # when its answer began to wait for its reader
        self._read = 0  # bytes of it that were read since
        self._unread = 0
        room = self.bounds.make_room()
        super().connection_made(transport)
        self.bounds.connections[self] = None
        self.bounds.metrics.connections.set(len(self.bounds.connections))
        if not room:
            self.end("connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.bounds.connections.pop(self, None)
        self.bounds.metrics.connections.set(len(self.bounds.connections))
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether it is not in the middle of a request that has a head."""
        return self.cycle is None or (self.cycle.response_complete and self.phase != "body")

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head."""
        if self.transport.is_closing():
            return
        if self.phase is None and self.cycle is not None and self.cycle.response_complete:
            self.phase, self.since, self.came = "head", time.monotonic(), 0
        if self.phase == "head":
            self.came += len(data)
        elif self.phase == "body":
            self.framed += len(data)
        super().data_received(data)
        if self.phase == "head" and self.came > MAX_HEAD:
            self.end("head_bytes")
        elif self.phase == "body" and self.framed > MAX_HEAD + (1 + FRAMING) * self.came:
            self.end("trailer_bytes")  # trailers are kept like headers, and nobody reads them

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        if self.phase is None:
            self.phase, self.since, self.came = "head", time.monotonic(), 0

    def on_headers_complete(self) -> None:
        """From here on its body is waited for."""
        self.phase, self.since, self.came, self.framed = "body", time.monotonic(), 0, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count it."""
        self.came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Nothing is waited for but the answer."""
        self.phase, self.since = None, time.monotonic()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out; what is left of the body is read on for a moment."""
        self.since = time.monotonic()
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Its reader has taken what was kept for it, but for the last of it."""
        self._read += max(0, self._unread - self.transport.get_write_buffer_size())
        self._unread = self.transport.get_write_buffer_size()
        super().resume_writing()

    def pause_writing(self) -> None:
        """Its reader is slower than its answer."""
        self._unread = self.transport.get_write_buffer_size()
        super().pause_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is refused in the shape of every other error."""
        self.end("not_http")

    def look(self, now: float) -> None:
        """End it if it is over a bound."""
        settings, waited = self.bounds.settings, now - self.since
        if self.phase == "head" and waited > settings.header_seconds:
            self.end("head_seconds")
        elif self.phase == "body" and self.cycle.response_complete:
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self.phase == "body" and not self.flow.read_paused:  # else it is the route that does not read
            allowed = settings.body_seconds + self.came / LEAST_RATE
            if waited > allowed:
                self.end("body_seconds")
        elif self.phase is None and self.is_idle and waited > settings.idle_seconds:
            # uvicorn's own timer for it is gone where a body ended after its answer.
            self.transport.close()
        self._look_at_reader(now)

    def _look_at_reader(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread == 0 or self._stuck_since is None:
            self._stuck_since, self._read = (now if unread else None), 0
        self._read += max(0, self._unread - unread)
        self._unread = unread
        if self._stuck_since is not None:
            allowed = self.bounds.settings.send_seconds + self._read / LEAST_RATE
            if now - self._stuck_since > allowed:
                self.bounds.metrics.ended.labels("send_seconds").inc()
                self.transport.abort()

    def end(self, bound: str) -> None:
        """Answer that a bound is reached, where nothing was answered yet, and close."""
        if self.transport.is_closing():
            return
        self.bounds.metrics.ended.labels(bound).inc()
        begun = self.came > 0 or self.phase == "body" or bound == "connections"
        cycle = self.cycle
        last = cycle is not None and cycle.response_complete and self.phase != "body"  # the answer that is out
        if begun and (last or cycle is None or not cycle.response_started):
            self.transport.write(refusal(bound))
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self.transport.close()


def refusal(bound: str) -> bytes:
    """The whole answer to a request that never came to a route."""
    status, phrase, message = REFUSALS[bound]
    retry = 1.0 if status == 503 else None
    error = ApiError(status, message, code=bound, retry_after=retry)
    body = json.dumps(error.document()).encode()
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    extra = "retry-after: 1\r\n" if retry else ""
    return f"{head}{extra}connection: close\r\n\r\n".encode() + body


def bounded(bounds: Bounds) -> type[Connection]:
    """The class of connections that these bounds hold for."""
    made: Any = type("BoundedConnection", (Connection,), {"bounds": bounds})
    found: type[Connection] = made
    return found

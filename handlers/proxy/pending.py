"""The requests that a proxy holds: waiting, handed to the engine, or begun by it; bounded and counted."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

from handlers import metrics
from handlers.frames import Started
from handlers.proxy.framing import refused
from handlers.proxy.wire import Call, encode
from handlers.refusals import STATUSES, Refusal

GAUGE_SECONDS = 0.1
MAX_ENGINES = 3  # a request is handed to
_SMOOTHING = 0.1  # of the mean time that a request takes


@dataclasses.dataclass(eq=False)
class Pending:
    """One request from its arrival to its last frame."""

    number: int
    call: Call
    params: Any
    deadline: float  # seconds since the epoch
    arrived: float  # on the clock of time.monotonic
    in_engine: bool = False
    handed_over: int = 0  # how many engines have had it
    started: float | None = None
    first_byte: float | None = None
    content_type: str = "application/octet-stream"  # of the answer, once it is started
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    collected: list[bytes] = dataclasses.field(default_factory=list)  # of a call over gRPC, which takes one frame
    timer: asyncio.TimerHandle | None = None

    def start(self, message: Started) -> None:
        """Take note that the engine has begun it."""
        self.started = time.monotonic()
        self.content_type, self.headers = message.content_type, {"X-Atelier-Receipt": message.receipt}

    def piece(self, data: bytes) -> bytes:
        """The frame of a piece of the answer; the first one carries the headers."""
        if not self.call.is_http:
            self.collected.append(data)
            return b""
        if self.first_byte is not None:
            return encode(self.call.id, data, stream="true")
        self.first_byte = time.monotonic()
        return encode(self.call.id, data, 200, "", self.content_type, self.headers, "true")

    def last(self) -> bytes:
        """The frame that ends a whole answer."""
        if not self.call.is_http:
            body = b"".join(self.collected)
            return encode(self.call.id, body, 200, "", self.content_type, self.headers, "false")
        if self.first_byte is None:  # an empty answer still has headers
            return self.piece(b"") + encode(self.call.id, b"", stream="false")
        return encode(self.call.id, b"", stream="false")

    def refused(self, refusal: Refusal) -> bytes:
        """The frames that end a request without a whole answer."""
        return refused(self.call, refusal, None if self.first_byte is None else self.content_type)


class Queue:
    """All pending requests of one model, in order of arrival."""

    def __init__(self, name: str, slots: int, queue: int) -> None:
        self._name, self._slots, self._limit = name, slots, slots + queue
        self._pending: dict[int, Pending] = {}
        self._waiting: OrderedDict[int, Pending] = OrderedDict()
        self._numbers = 0
        self._mean_seconds = 0.0
        self._published = 0.0
        self._in_flight = metrics.IN_FLIGHT.labels(name)
        self._depth = metrics.QUEUE_DEPTH.labels(name)
        self._queued = metrics.QUEUED_SECONDS.labels(name)
        self._good = metrics.ANSWERS.labels(name, "200")
        self._first_byte = metrics.FIRST_BYTE_SECONDS.labels(name)
        self._answer = metrics.ANSWER_SECONDS.labels(name)

    @property
    def size(self) -> int:
        """Requests that have no whole answer yet."""
        return len(self._pending)

    @property
    def in_engine(self) -> int:
        """Requests that the engine holds."""
        return len(self._pending) - len(self._waiting)

    def add(self, call: Call, params: Any, deadline: float) -> Pending | None:
        """A new request at the end of the queue, or None if there is no room."""
        if len(self._pending) >= self._limit:
            return None
        self._numbers += 1
        pending = Pending(self._numbers, call, params, deadline, time.monotonic())
        self._pending[pending.number] = self._waiting[pending.number] = pending
        self._gauge()
        return pending

    def next(self) -> Iterator[Pending]:
        """Requests to hand over now. The engine gets twice what it computes at once, so that it never waits for one."""
        while self._waiting and self.in_engine < 2 * self._slots:
            _, pending = self._waiting.popitem(last=False)
            pending.in_engine = True
            pending.handed_over += 1
            yield pending
        self._gauge()

    def get(self, number: int) -> Pending | None:
        """The request of that number, if it has no whole answer yet."""
        return self._pending.get(number)

    def named(self, identifier: str) -> Pending | None:
        """The request whose caller named it so (X-Atelier-Id)."""
        found = (p for p in self._pending.values() if p.call.headers.get("x-atelier-id") == identifier)
        return next(found, None)

    def take_back(self) -> list[Pending]:
        """After the engine's death: returns what it had begun; what it had not begun waits again, in order, first.

        What took `MAX_ENGINES` along before it was begun counts as begun: it may be what kills them.
        """
        held = [p for p in self._pending.values() if p.in_engine]
        begun = [p for p in held if p.started is not None or p.handed_over >= MAX_ENGINES]
        again = [p for p in held if p not in begun]
        for pending in reversed(again):
            pending.in_engine = False
            self._waiting[pending.number] = pending
            self._waiting.move_to_end(pending.number, last=False)
        for pending in begun:
            pending.in_engine = False  # there is nobody to send a cancellation to
        return begun

    def remove(self, pending: Pending, status: int) -> None:
        """Remove a request that has got its last frame, and count its status."""
        self._pending.pop(pending.number, None)
        self._waiting.pop(pending.number, None)
        if pending.timer is not None:
            pending.timer.cancel()
        now = time.monotonic()
        if pending.started is not None and status == 200:
            took = now - pending.started
            self._mean_seconds += (took - self._mean_seconds) * (_SMOOTHING if self._mean_seconds else 1.0)
            first = pending.first_byte if pending.first_byte is not None else now
            self._first_byte.observe(first - pending.arrived)
            self._answer.observe(now - pending.arrived)
        self.count(status)
        self._gauge()

    def count(self, status: int, reason: str | None = None) -> None:
        """Count an answer by its status, and a refusal by its reason, too: that of the status unless one is given."""
        if status == 200:
            self._good.inc()
        else:
            metrics.ANSWERS.labels(self._name, str(status)).inc()
            metrics.REJECTIONS.labels(self._name, reason or STATUSES[status].reason).inc()

    def all(self) -> list[Pending]:
        """Every request that has no whole answer yet."""
        return list(self._pending.values())

    def wait_seconds(self) -> float:
        """Seconds until all that waits now will have been begun, by the mean time of an answer."""
        return len(self._waiting) * self._mean_seconds / self._slots

    def figures(self) -> dict[str, float]:
        """The figures of the health answer."""
        return {
            "in_flight": self.in_engine,
            "queued": len(self._waiting),
            "queued_seconds": round(self.wait_seconds(), 3),
        }

    def _gauge(self) -> None:
        """Publish the present state, at most so often, and always when nothing is left."""
        now = time.monotonic()
        if self._pending and now - self._published < GAUGE_SECONDS:
            return
        self._published = now
        self._in_flight.set(self.in_engine)
        self._depth.set(len(self._waiting))
        self._queued.set(self.wait_seconds())

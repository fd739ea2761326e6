"""The requests that a proxy holds: waiting, handed to the engine, or begun by it; bounded and counted."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
import re
import time
from collections import OrderedDict
from collections.abc import Mapping

from handlers.frames import Started
from handlers.proxy.counts import Counts
from handlers.proxy.framing import refused
from handlers.proxy.wire import Call, encode
from handlers.refusals import Refusal

MAX_ENGINES = 3  # a request is handed to
MAX_BODY_BYTES = 32 * 1024 * 1024  # of all bodies together whose requests have not begun
WIDTH_BYTES = 2048  # at either end of a body, in which `n` and `beams` are looked for
_WIDTH = re.compile(rb'"(?:n|beams)"\s*:\s*(\d{1,3})')
_SMOOTHING = 0.1  # of the mean time that a request takes
_JITTER = 1.5  # callers who are refused together come again at up to so many times the same wait


@dataclasses.dataclass(eq=False)
class Pending:
    """One request from its arrival to its last frame."""

    number: int
    call: Call  # without its values: `body` is what is left of them
    body: bytes  # JSON in UTF-8, until the engine has begun it
    deadline: float  # this and the times below are on the clock of time.monotonic
    arrived: float
    rows: int = 1  # as `width` sees it
    in_engine: bool = False
    handed_over: int = 0  # how many engines have had it
    started: float | None = None
    first_byte: float | None = None
    content_type: str = "application/octet-stream"  # of the answer, once it is started
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    @property
    def suspect(self) -> bool:
        """Whether all engines but one that may have it have died with it before they had begun it."""
        return self.started is None and self.handed_over >= MAX_ENGINES - 1

    def piece(self, data: bytes) -> bytes:
        """The frame of a piece of the answer; the first one carries the headers."""
        if self.first_byte is not None:
            return encode(self.call.id, data, stream="true")
        frame = encode(self.call.id, data, 200, "", self.content_type, self.headers, "true")
        self.first_byte = time.monotonic()
        return frame

    def last(self) -> bytes:
        """The frame that ends a whole answer; an empty one still has headers."""
        head = self.piece(b"") if self.first_byte is None else b""
        return head + encode(self.call.id, b"", stream="false")

    def refused(self, refusal: Refusal) -> bytes:
        """The frames that end a request without a whole answer."""
        return refused(self.call, refusal, None if self.first_byte is None else self.content_type)


class Queue:
    """All pending requests of one model, in order of arrival."""

    def __init__(self, name: str, slots: int, queue: int) -> None:
        self._name, self._slots, self._limit = name, slots, slots + queue
        self._pending: dict[int, Pending] = {}
        self._named: dict[tuple[str, str], Pending] = {}  # by caller and his name for it
        self._leaving: set[int] = set()  # numbers that the engine was told to forget, until it says that it has
        self._alone: Pending | None = None  # a suspect in the engine: nothing is handed over beside it
        self._body_bytes = 0
        self._waiting: OrderedDict[int, Pending] = OrderedDict()
        self._numbers = 0
        self._narrow_next = False
        self._mean_seconds = 0.0
        self.counts = Counts(name)

    @property
    def size(self) -> int:
        """Requests that have no whole answer yet."""
        return len(self._pending)

    @property
    def in_engine(self) -> int:
        """Requests that the engine holds and whose callers wait."""
        return len(self._pending) - len(self._waiting)

    @property
    def places(self) -> int:
        """Requests that the engine holds: with those of which it must still hear that no caller waits.

        An engine in the middle of a batch hears nothing: a place that came free at once would be filled over and over.
        """
        return self.in_engine + len(self._leaving)

    def full(self, body: bytes) -> str | None:
        """Why there is no room for a request with that body, or None."""
        if len(self._pending) >= self._limit:
            return f"{len(self._pending)} requests are waiting or being computed, which is all {self._name} takes"
        if self._body_bytes + len(body) > MAX_BODY_BYTES:
            return (
                f"the bodies of what waits have {self._body_bytes} bytes, {self._name} keeps at most {MAX_BODY_BYTES}"
            )
        return None

    def add(self, call: Call, body: bytes, deadline: float) -> Pending:
        """A new request at the end of the queue; `full` tells whether there is room."""
        self._numbers += 1
        bare = Call(call.id, call.headers, {})
        pending = Pending(self._numbers, bare, body, deadline, time.monotonic(), width(body))
        self._pending[pending.number] = self._waiting[pending.number] = pending
        if (key := _key(call)) is not None:
            self._named[key] = pending
        self._body_bytes += len(body)
        self._gauge()
        return pending

    def next(self) -> Pending | None:
        """A request to hand over now, if the engine has a place: it gets twice what it computes at once.

        So it never waits for one. The oldest and the narrowest go in turn, as in engine/waiting.py. What two engines
        have died with goes alone, so that a third takes no others along.
        """
        if not self._waiting or self.places >= 2 * self._slots:
            return None
        first = next(iter(self._waiting.values()))
        if self._narrow_next and not first.suspect:
            first = min((p for p in self._waiting.values() if not p.suspect), key=lambda p: p.rows)
        if self.places and (first.suspect or (self._alone is not None and self._alone.suspect)):
            return None
        self._narrow_next = not self._narrow_next
        self._alone = first if first.suspect else None
        del self._waiting[first.number]
        first.in_engine = True
        first.handed_over += 1
        self._gauge()
        return first

    def start(self, pending: Pending, message: Started) -> None:
        """Take note that the engine has begun a request: no other will get it, so its body is not kept."""
        pending.started = time.monotonic()
        pending.content_type, pending.headers = message.content_type, {"X-Atelier-Receipt": message.receipt}
        self._forget_body(pending)

    def get(self, number: int) -> Pending | None:
        """The request of that number, if it has no whole answer yet."""
        return self._pending.get(number)

    def named(self, call: Call) -> Pending | None:
        """The request that the caller of `call` named as this one does (X-Atelier-Id, X-Atelier-Caller)."""
        key = _key(call)
        return None if key is None else self._named.get(key)

    def left(self, number: int) -> None:
        """Take note that the engine is done with a request, also with one whose caller does not wait any more."""
        self._leaving.discard(number)

    def take_back(self) -> list[Pending]:
        """After the engine's death: returns what it had begun; what it had not begun waits again, in order, first.

        What took `MAX_ENGINES` along before it was begun counts as begun: it may be what kills them.
        """
        self._leaving.clear()
        self._alone = None
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

    def remove(self, pending: Pending, status: int, leaving: bool = False) -> None:
        """Remove a request that has got its last frame, and count its status.

        `leaving`: the engine has it, and has yet to hear that nobody wants it.
        """
        self._pending.pop(pending.number, None)
        self._waiting.pop(pending.number, None)
        if leaving:
            self._leaving.add(pending.number)
        if (key := _key(pending.call)) is not None and self._named.get(key) is pending:
            del self._named[key]
        self._forget_body(pending)
        if pending.timer is not None:
            pending.timer.cancel()
        now = time.monotonic()
        if pending.started is not None and status == 200:
            took = now - pending.started
            self._mean_seconds += (took - self._mean_seconds) * (_SMOOTHING if self._mean_seconds else 1.0)
            first = pending.first_byte if pending.first_byte is not None else now
            self.counts.seconds(first - pending.arrived, now - pending.arrived)
        self.counts.status(status)
        self._gauge()

    def _forget_body(self, pending: Pending) -> None:
        self._body_bytes -= len(pending.body)
        pending.body = b""

    def all(self) -> list[Pending]:
        """Every request that has no whole answer yet."""
        return list(self._pending.values())

    def wait_seconds(self) -> float:
        """Seconds until all that waits now will have been begun, by the mean time of an answer."""
        return len(self._waiting) * self._mean_seconds / self._slots

    def retry_after_s(self) -> int:
        """Whole seconds after which to come again, drawn: who is refused in one moment does not come back in one."""
        return max(1, math.ceil(self.wait_seconds() * random.uniform(1, _JITTER)))

    def figures(self) -> dict[str, float]:
        """The figures of the health answer."""
        return {
            "in_flight": self.in_engine,
            "queued": len(self._waiting),
            "queued_seconds": round(self.wait_seconds(), 3),
        }

    def _gauge(self) -> None:
        self.counts.gauge(self.in_engine, len(self._waiting), self.wait_seconds())


def width(body: bytes) -> int:
    """How many images or texts a body asks for: a hint for the order alone, read off its ends without making values.

    Inside a JSON string a quote has a backslash before it, so what a caller's text says is never taken for a field.
    """
    ends = (body,) if len(body) <= 2 * WIDTH_BYTES else (body[:WIDTH_BYTES], body[-WIDTH_BYTES:])
    return max((int(found) for end in ends for found in _WIDTH.findall(end)), default=1)


def _key(call: Call) -> tuple[str, str] | None:
    """What a request is called: by whom, and how."""
    return None if not call.name else (call.headers.get("x-atelier-caller", ""), call.name)

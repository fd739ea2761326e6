"""TorchServe's worker as a thin proxy in front of one engine process.

Nothing risky happens here: no numpy, no runtime, no generator. Requests are checked, counted, bounded and handed to the
engine; its pieces go back as frames of a stream. An engine that dies takes only what it had begun; what waits is kept
for the next one. Whatever raises costs the request at hand a 500, and nobody else anything.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Any

from handlers.bundle import BundleHead
from handlers.frames import Cancel, Data, End, Failed, Frame, Message, Ready, Refused, Started, Submit, pack
from handlers.identity import HOME
from handlers.logs import about
from handlers.proxy.control import Control
from handlers.proxy.doors import Doors
from handlers.proxy.engine_process import EngineProcess
from handlers.proxy.framing import refused
from handlers.proxy.pending import Pending, Queue
from handlers.proxy.requests import read_request
from handlers.proxy.wire import Call
from handlers.refusals import Refusal, deadline_passed

MAX_FAILURES = 3  # frames in a row that could not be passed on, until their engine is replaced
MAX_ID_CHARACTERS = 128
log = logging.getLogger(__name__)


class Service:
    """Serves one bundle to many requests at once; `take` gets calls, `write` is where frames go.

    `home` is the handlers/ whose engine is started.
    """

    def __init__(self, bundle: BundleHead, write: Any = None, home: Path = HOME, doors: Doors | None = None) -> None:
        self._bundle, self.write = bundle, write
        self._doors = doors if doors is not None else Doors()
        self._name = bundle.manifest.name
        limits = bundle.manifest.limits
        self._max_seconds = float(limits.max_seconds)
        self._queue = Queue(self._name, limits.max_slots, limits.max_queue)
        self.engine = EngineProcess(
            bundle.directory,
            float(limits.max_compute_seconds),
            self._on_frames,
            self._on_lost,
            self._feed,
            lambda: self._queue.places > 0,
            home,
        )
        self._control = Control(self.engine, self._queue, self._drop, self._write, self._refuse, self._doors)
        self._failures = 0  # in a row

    def take(self, call: Call) -> None:
        """Answer a call, now or later; never raises."""
        try:
            pending = self._taken(call)
        except Refusal as refusal:
            self._refuse(call, refusal)
        except Exception:  # an exception that left here would fail every request in flight
            log.exception("a request could not be taken", extra=about(call.name))
            self._refuse(call, Refusal(500, "the request could not be read; the server's log has the reason"))
        else:
            if pending is not None:
                self._feed()

    def _taken(self, call: Call) -> Pending | None:
        """The request that a call brings, in the queue; None if it was answered. Nothing raises after it is in."""
        if call.asks_to_describe:
            self.write(self._control.describe(call))
            return None
        if call.is_http:
            self._doors.check(call)
        if (word := call.headers.get("x-atelier")) is not None:
            if frames := self._control.answer(call, word):
                self.write(frames)
            return None
        if self._control.draining:
            raise Refusal(503, "the server is stopping and takes no more requests; send it to another one")
        if self.engine.state == "failed":
            raise Refusal(503, f"the engine does not open: {self.engine.reason}")
        asked = read_request(self._bundle, call.values, call.headers)
        seconds = min(asked.seconds, self._max_seconds)
        if seconds <= 0:
            raise Refusal(504, "the deadline had passed when the request came; nothing was computed")
        self._check_name(call)
        if (full := self._queue.full(asked.body)) is not None:
            wait = self._queue.retry_after_s()
            raise Refusal(503, f"{full}; try again in {wait} s", retry_after_s=wait)
        timer = asyncio.get_running_loop().call_later
        pending = self._queue.add(call, asked.body, time.monotonic() + seconds)
        pending.timer = timer(seconds, self._expire, pending)
        return pending

    def _check_name(self, call: Call) -> None:
        """Raise `Refusal` for a name (X-Atelier-Id) that is too long, or that another request of this caller has."""
        if len(call.name) > MAX_ID_CHARACTERS:
            raise Refusal(400, f"X-Atelier-Id has more than {MAX_ID_CHARACTERS} characters", "X-Atelier-Id")
        if self._queue.named(call) is not None:
            raise Refusal(409, "a request of that X-Atelier-Id is not answered yet; give each its own", "X-Atelier-Id")

    def _write(self, frames: bytes) -> None:
        self.write(frames)  # set anew when the front end connects

    def _feed(self) -> None:
        """Hand waiting requests to the engine, as many as it should have; never raises."""
        while self.engine.has_room and (pending := self._queue.next()) is not None:
            try:
                if pending.deadline <= time.monotonic():  # its timer is about to say so: nobody wants it computed
                    self._end(pending, deadline_passed(), leaving=False)
                else:
                    self.engine.send(pack(pending.number, Submit(pending.body, pending.deadline, pending.call.name)))
            except Exception:
                log.exception("a request could not be handed to the engine", extra=about(pending.call.name))
                self._end(pending, Refusal(500, "the request could not be handed on; the server's log has the reason"))

    def _on_frames(self, frames: list[Frame]) -> None:
        out = b"".join([self._guarded(number, message) for number, message in frames])
        if out:
            self.write(out)
        self._feed()

    def _guarded(self, number: int, message: Message) -> bytes:
        """The bytes for the front end that follow from a message; one that raises ends its own request."""
        try:
            frames = self._passed_on(number, message)
            self._failures = 0
            return frames
        except Exception:
            pending = self._queue.get(number)
            names = about(pending.call.name if pending is not None else "")
            log.exception("a frame of the engine could not be passed on", extra=names)
            self._failures += 1
            if self._failures == MAX_FAILURES:
                self.engine.kill(f"{MAX_FAILURES} of the engine's frames in a row could not be passed on")
            if pending is not None:
                lost = Refusal(500, "the answer could not be passed on; the server's log has the reason")
                return self._ended(pending, lost, leaving=True)  # behind what the frames before it gave
            return b""

    def _passed_on(self, number: int, message: Message) -> bytes:
        """The bytes for the front end that follow from a message of the engine; empty if there are none."""
        match message:
            case Ready(describe, reason):
                self._control.described = json.dumps(describe).encode()
                self.engine.reason = reason
            case Failed(reason):  # nobody waits for an engine that does not open
                for waiting in self._queue.all():
                    self._drop(waiting, Refusal(503, f"the engine does not open: {reason}"))
            case End() | Refused():
                self._queue.left(number)
        pending = self._queue.get(number)
        if pending is None:  # cancelled or answered already
            return b""
        match message:
            case Started():
                self._queue.start(pending, message)
            case Data(body):
                return pending.piece(body)
            case End():
                last = pending.last()
                self._queue.remove(pending, 200)
                return last
            case Refused(status, text, field):
                last = pending.refused(Refusal(status, text, field))
                self._queue.remove(pending, status)
                return last
        return b""

    def _on_lost(self, why: str) -> None:
        """The engine died: what it had begun fails, what it had not begun goes back to the head of the queue."""
        self._failures = 0
        lost = self._queue.take_back()
        if lost:
            names = about(*(pending.call.name for pending in lost))
            log.error("%d requests are lost with their engine", len(lost), extra=names)
        for pending in lost:
            message = f"the engine was restarted while it computed this ({why}); nothing is kept, send it again"
            self._drop(pending, Refusal(503, message))
        self._queue.counts.restart()

    def _expire(self, pending: Pending) -> None:
        self._drop(pending, deadline_passed())

    def _drop(self, pending: Pending, refusal: Refusal) -> None:
        """End a request by refusing it, and have the engine stop computing it."""
        if self._queue.get(pending.number) is pending:
            self._end(pending, refusal, leaving=pending.in_engine)
            self._feed()

    def _end(self, pending: Pending, refusal: Refusal, leaving: bool = False) -> None:
        self.write(self._ended(pending, refusal, leaving))

    def _ended(self, pending: Pending, refusal: Refusal, leaving: bool) -> bytes:
        """Refuse a request and forget it; `leaving`: the engine has it, and is told to forget it, too."""
        last = pending.refused(refusal)
        self._queue.remove(pending, refusal.status, leaving)
        if leaving:
            self.engine.send(pack(pending.number, Cancel()))
        return last

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        self._queue.counts.status(refusal.status)
        self.write(refused(call, refusal))

"""TorchServe's worker as a thin proxy in front of one engine process.

Nothing risky happens here: no numpy, no runtime, no generator. Requests are checked, counted, bounded and handed to the
engine; its pieces go back as frames of a stream. An engine that dies takes only what it had begun; what waits is kept
for the next one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

from handlers import metrics
from handlers.bundle import BundleHead
from handlers.frames import Cancel, Data, End, Failed, Frame, Message, Ready, Refused, Started, Submit, pack
from handlers.identity import HOME
from handlers.proxy.control import Control
from handlers.proxy.engine_process import EngineProcess
from handlers.proxy.framing import refused
from handlers.proxy.pending import Pending, Queue
from handlers.proxy.requests import read_request
from handlers.proxy.wire import Call
from handlers.refusals import Refusal, deadline_passed

log = logging.getLogger(__name__)


class Service:
    """Serves one bundle to many requests at once; `take` gets calls, `write` is where frames go.

    `home` is the handlers/ whose engine is started.
    """

    def __init__(self, bundle: BundleHead, write: Any = None, home: Path = HOME) -> None:
        self._bundle, self.write = bundle, write
        self._name = bundle.manifest.name
        limits = bundle.manifest.limits
        self._max_seconds = float(limits.max_seconds)
        self._queue = Queue(self._name, limits.max_slots, limits.max_queue)
        self.engine = EngineProcess(
            bundle.directory,
            float(limits.max_compute_seconds),
            self._on_frames,
            self._on_lost,
            lambda: self._queue.in_engine > 0,
            home,
        )
        self._control = Control(self.engine, self._queue, self._drop, self._write)

    def take(self, call: Call) -> None:
        """Answer a call, now or later; never raises."""
        try:
            word = call.headers.get("x-atelier")
            if word is not None or call.headers.get("describe") == "True":
                if frames := self._control.answer(call, word or "describe"):
                    self.write(frames)
                return
            if self._control.draining:
                raise Refusal(503, "the server is stopping and takes no more requests; send it to another one")
            if self.engine.state == "failed":
                raise Refusal(503, f"the engine does not open: {self.engine.reason}")
            request = read_request(self._bundle, call.values, call.headers)
            now = time.time()
            deadline = min(request.deadline if request.deadline is not None else math.inf, now + self._max_seconds)
            if deadline <= now:
                raise Refusal(504, "the deadline had passed when the request came; nothing was computed")
            pending = self._queue.add(call, request.params, deadline)
            if pending is None:
                raise self._busy()
            pending.timer = asyncio.get_running_loop().call_later(deadline - now, self._expire, pending)
            self._feed()
        except Refusal as refusal:
            self._refuse(call, refusal)
        except Exception:  # an exception that left here would fail every request in flight
            log.exception("a request could not be taken")
            self._refuse(call, Refusal(500, "the request could not be read; the server's log has the reason"))

    def _write(self, frames: bytes) -> None:
        self.write(frames)  # set anew when the front end connects

    def _feed(self) -> None:
        """Hand waiting requests to the engine, as many as it should have."""
        if self.engine.state != "ready":
            return
        for pending in self._queue.next():
            self.engine.send(pack(pending.number, Submit(pending.params, pending.deadline)))

    def _on_frames(self, frames: list[Frame]) -> None:
        out = b"".join([self._passed_on(number, message) for number, message in frames])
        if out:
            self.write(out)
        self._feed()

    def _passed_on(self, number: int, message: Message) -> bytes:
        """The bytes for the front end that follow from a message of the engine; empty if there are none."""
        match message:
            case Ready(describe, reason):
                self._control.described = json.dumps(describe).encode()
                self.engine.reason = reason
            case Failed(reason):  # nobody waits for an engine that does not open
                for waiting in self._queue.all():
                    self._drop(waiting, Refusal(503, f"the engine does not open: {reason}"))
        pending = self._queue.get(number)
        if pending is None:  # cancelled or answered already
            return b""
        match message:
            case Started():
                pending.start(message)
            case Data(body):
                return pending.piece(body)
            case End():
                self._queue.remove(pending, 200)
                return pending.last()
            case Refused(status, text, field):
                self._queue.remove(pending, status)
                return pending.refused(Refusal(status, text, field))
        return b""

    def _on_lost(self, why: str) -> None:
        """The engine died: what it had begun fails, what it had not begun goes back to the head of the queue."""
        metrics.RESTARTS.labels(self._name).inc()
        for pending in self._queue.take_back():
            message = f"the engine was restarted while it computed this ({why}); nothing is kept, send it again"
            self._drop(pending, Refusal(503, message))

    def _expire(self, pending: Pending) -> None:
        self._drop(pending, deadline_passed())

    def _drop(self, pending: Pending, refusal: Refusal) -> None:
        """End a request by refusing it, and have the engine stop computing it."""
        if self._queue.get(pending.number) is not pending:
            return
        if pending.in_engine:
            self.engine.send(pack(pending.number, Cancel()))
        self.write(pending.refused(refusal))
        self._queue.remove(pending, refusal.status)
        self._feed()

    def _busy(self) -> Refusal:
        seconds = max(1, math.ceil(self._queue.wait_seconds()))
        message = f"{self._queue.size} requests are waiting or being computed, which is all {self._name} takes"
        return Refusal(503, f"{message}; try again in {seconds} s", retry_after_s=seconds)

    def _refuse(self, call: Call, refusal: Refusal) -> None:
        self._queue.count(refusal.status)
        self.write(refused(call, refusal))

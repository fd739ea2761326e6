"""Control words: requests with the header X-Atelier, which the proxy answers by itself, without the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from handlers.proxy.engine_process import EngineProcess
from handlers.proxy.framing import refused, whole_answer
from handlers.proxy.pending import Pending, Queue
from handlers.proxy.wire import Call
from handlers.refusals import Refusal

HOLD_SECONDS = 15.0
PUBLIC = "ping, describe, health, cancel"  # the others are the launcher's


class Control:
    """Answers the control words of one model; `drop` ends a request with a refusal, `write` is where frames go."""

    def __init__(
        self,
        engine: EngineProcess,
        queue: Queue,
        drop: Callable[[Pending, Refusal], None],
        write: Callable[[bytes], None],
    ) -> None:
        self._engine, self._queue, self._drop, self._write = engine, queue, drop, write
        self._held: list[Call] = []
        self._words: dict[str, Callable[[Call], bytes]] = {
            "ping": lambda call: whole_answer(call, b'{"status":"ok"}'),
            "describe": self._describe,
            "health": self._health,
            "cancel": self._cancel,
            "drain": self._drain,
            "hold": self._hold,
            "release": lambda call: whole_answer(call, json.dumps({"released": self._release()}).encode()),
            "refuse": self._refuse,
        }
        self.described = b""  # the describe document, once the engine is open
        self.draining = False

    def answer(self, call: Call, word: str) -> bytes:
        """The frames that answer a control word; none for one that is answered later. Raises `Refusal`."""
        if word not in self._words:
            raise Refusal(400, f"unknown value of the header X-Atelier; known: {PUBLIC}", "X-Atelier")
        return self._words[word](call)

    def _describe(self, call: Call) -> bytes:
        if not self.described:
            return refused(call, Refusal(503, f"the engine is not open yet: {self._engine.reason}"))
        return whole_answer(call, self.described)

    def _health(self, call: Call) -> bytes:
        engine = self._engine
        figures = {"engine": engine.state, "reason": engine.reason, "restarts": engine.restarts}
        body = json.dumps({**figures, **self._queue.figures()}).encode()
        return whole_answer(call, body, 200 if engine.state == "ready" else 503)

    def _cancel(self, call: Call) -> bytes:
        """End a request for a caller who knows that nobody reads its answer any more: TorchServe never tells."""
        identifier = call.headers.get("x-atelier-id", "")
        pending = self._queue.named(identifier) if identifier else None
        if pending is None:
            raise Refusal(404, "no request of that X-Atelier-Id is waiting or being computed", "X-Atelier-Id")
        self._drop(pending, Refusal(499, "cancelled by the caller"))
        return whole_answer(call, b'{"status":"cancelled"}')

    def _drain(self, call: Call) -> bytes:
        """Take no more requests; tells how many are left."""
        self.draining = True
        return whole_answer(call, json.dumps(self._queue.figures()).encode())

    def _hold(self, call: Call) -> bytes:
        """Keep a call until all are released: the launcher makes the front end's table of requests wide with this.

        The front end enters requests into a hash table from one thread and removes them from another, without a lock;
        now and then an entry is lost, which ends the worker for good. Entries in different bins do not meet, and a
        table never shrinks.
        """
        if not self._held:
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release)
        self._held.append(call)
        return b""

    def _release(self) -> int:
        held, self._held = self._held, []
        for call in held:
            self._write(whole_answer(call, b"{}"))
        return len(held)

    def _refuse(self, call: Call) -> bytes:
        """Refuse the call as a full queue would, for the launcher's warm-up."""
        self._queue.count(503, "warm_up")
        return refused(call, Refusal(503, "refused, as the warm-up asks"))

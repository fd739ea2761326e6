"""Control words: requests with the header X-Atelier, which the proxy answers by itself, without the engine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from handlers.proxy.doors import Doors
from handlers.proxy.engine_process import EngineProcess
from handlers.proxy.framing import refused, whole_answer
from handlers.proxy.pending import Pending, Queue
from handlers.proxy.wire import Call
from handlers.refusals import Refusal

HOLD_SECONDS = 15.0
MAX_HELD = 8192  # calls, without their bodies
PUBLIC = "ping, describe, health, cancel"
LAUNCHERS = ("open", "drain", "hold", "release", "refuse")  # they carry the run's nonce
BEFORE_OPEN = ("hold", "release", "refuse")
# A word of the launcher's without its nonce is refused a little late. Who sends one means no good, and the front end
# loses a request, and with it the worker, where an answer overtakes what else comes on its connection at once.
LATE_SECONDS = 0.1
MAX_LATE = 4096
# Describe documents that are written in a burst, and per second after it: they need neither the engine nor a place in
# the queue, and the front end keeps what its clients do not read.
DESCRIBE_BYTES = 4 * 1024 * 1024
DESCRIBE_BYTES_PER_SECOND = 512 * 1024


class Control:
    """Answers the control words of one model; `drop` ends a request with a refusal, `write` is where frames go."""

    def __init__(
        self,
        engine: EngineProcess,
        queue: Queue,
        drop: Callable[[Pending, Refusal], None],
        write: Callable[[bytes], None],
        refuse: Callable[[Call, Refusal], None],
        doors: Doors,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._queue, self._drop, self._write = engine, queue, drop, write
        self._refuse_call, self._doors, self._clock = refuse, doors, clock
        self._late = 0  # calls that are refused soon
        self._held: list[Call] = []
        self._timer: asyncio.TimerHandle | None = None
        self._words: dict[str, Callable[[Call], bytes]] = {
            "ping": lambda call: whole_answer(call, b'{"status":"ok"}'),
            "describe": self.describe,
            "health": self._health,
            "cancel": self._cancel,
            "open": self._open,
            "drain": self._drain,
            "hold": self._hold,
            "release": lambda call: whole_answer(call, json.dumps({"released": self._release()}).encode()),
            "refuse": self._refuse,
        }
        self._opened = False
        self._describe_bytes, self._described_at = float(DESCRIBE_BYTES), clock()
        self.described = b""  # the describe document, once the engine is open
        self.draining = False

    def answer(self, call: Call, word: str) -> bytes:
        """The frames that answer a control word; none for one that is answered later. Raises `Refusal`."""
        if word not in self._words:
            raise Refusal(400, f"unknown value of the header X-Atelier; known: {PUBLIC}", "X-Atelier")
        if word in LAUNCHERS and not self._doors.is_launcher(call):
            return self._later(call, Refusal(403, f"{word} is the launcher's word; callers have {PUBLIC}", "X-Atelier"))
        if word in BEFORE_OPEN and self._opened:
            raise Refusal(403, f"{word} is for the warm-up, and the server is open", "X-Atelier")
        return self._words[word](call)

    def _later(self, call: Call, refusal: Refusal) -> bytes:
        if self._late >= MAX_LATE:
            raise refusal
        self._late += 1
        asyncio.get_running_loop().call_later(LATE_SECONDS, self._refuse_late, Call(call.id, {"host": ""}, {}), refusal)
        return b""

    def _refuse_late(self, call: Call, refusal: Refusal) -> None:
        self._late -= 1
        self._refuse_call(call, refusal)

    def describe(self, call: Call) -> bytes:
        """The frames of the describe document. Raises `Refusal`."""
        if not self.described:
            raise Refusal(503, f"the engine is not open yet: {self._engine.reason}")
        now = self._clock()
        gained = (now - self._described_at) * DESCRIBE_BYTES_PER_SECOND
        self._describe_bytes, self._described_at = min(DESCRIBE_BYTES, self._describe_bytes + gained), now
        if self._describe_bytes < len(self.described):
            raise Refusal(503, "more describe documents are asked for than are written in a second; keep one")
        self._describe_bytes -= len(self.described)
        return whole_answer(call, self.described)

    def _health(self, call: Call) -> bytes:
        engine = self._engine
        figures = {"engine": engine.state, "reason": engine.reason, "restarts": engine.restarts}
        body = json.dumps({**figures, "draining": self.draining, **self._queue.figures()}).encode()
        return whole_answer(call, body, 503 if self.draining or engine.state != "ready" else 200)

    def _cancel(self, call: Call) -> bytes:
        """End a request for a caller who knows that nobody reads its answer any more: TorchServe never tells."""
        pending = self._queue.named(call)
        if pending is None:
            raise Refusal(404, "no request of that X-Atelier-Id is waiting or being computed", "X-Atelier-Id")
        self._drop(pending, Refusal(499, "cancelled by the caller"))
        return whole_answer(call, b'{"status":"cancelled"}')

    def _open(self, call: Call) -> bytes:
        """The warm-up is over: its words are refused from now on."""
        self._opened = True
        return whole_answer(call, b'{"status":"open"}')

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
        if len(self._held) >= MAX_HELD:
            raise Refusal(503, f"{MAX_HELD} calls are held, which is all; release them")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release)
        self._held.append(Call(call.id, {"host": ""}, {}))
        return b""

    def _release(self) -> int:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        held, self._held = self._held, []
        for call in held:
            self._write(whole_answer(call, b"{}"))
        return len(held)

    def _refuse(self, call: Call) -> bytes:
        """Refuse the call as a full queue would, for the launcher's warm-up."""
        self._queue.counts.status(503, "warm_up")
        return refused(call, Refusal(503, "refused, as the warm-up asks"))

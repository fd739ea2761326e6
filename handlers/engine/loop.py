"""The engine's loop: frames in, a tick, frames out. Nothing that a request brings ends it.

What raises is logged and costs the requests that were in hand; the same three times in a row ends the engine, and its
proxy starts another.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Callable

from handlers.engine.batch_scheduler import BatchScheduler
from handlers.engine.replies import BrokenEngineError
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Beat, Cancel, Frame, Refused, Submit, Unpacker, pack
from handlers.runtimes.runtime import first_line

BEAT_SECONDS = 0.5
MAX_FAILURES = 3  # of one kind in a row
OUTBOX_BYTES = 1 << 20  # that are kept for one write
log = logging.getLogger(__name__)
Scheduler = BatchScheduler | StepScheduler


class ProxyGoneError(Exception):
    """Nobody reads what the engine sends."""


class Outbox:
    """Frames on their way to the proxy, many in one write; at most `OUTBOX_BYTES` and one frame are kept."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames: list[bytes] = []
        self._size = 0

    def put(self, frame: bytes) -> None:
        """Keep a frame for the next flush. Raises `ProxyGoneError` where it is sent at once."""
        self._frames.append(frame)
        self._size += len(frame)
        if self._size > OUTBOX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the kept frames. Raises `ProxyGoneError` when nobody reads them."""
        if self._frames:
            data, self._frames, self._size = b"".join(self._frames), [], 0
            try:
                self._connection.sendall(data)
            except OSError as error:
                raise ProxyGoneError(str(error)) from None


class Guard:
    """Runs what may raise and mends what is left. `MAX_FAILURES` of one kind without a success between are too many."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()

    def run(self, what: str, work: Callable[[], None], mend: Callable[[], None]) -> None:
        """`work`, and `mend` if it raises. Raises `BrokenEngineError` with the reason, or `ProxyGoneError`."""
        try:
            work()
        except (ProxyGoneError, BrokenEngineError):
            raise
        except Exception as error:
            log.exception("%s failed; the requests in hand fail, the engine goes on", what)
            self._failures[what] += 1
            mend()
            if self._failures[what] >= MAX_FAILURES:
                reason = f"{type(error).__name__}: {first_line(error)}"
                raise BrokenEngineError(f"{what} failed {MAX_FAILURES} times in a row, at last: {reason}") from error
        else:
            self._failures[what] = 0


def serve(connection: socket.socket, outbox: Outbox, scheduler: Scheduler) -> None:
    """Serve until the proxy has gone. Raises `BrokenEngineError` for an engine that should be replaced."""
    guard = Guard()
    odd: list[int] = []  # requests whose frames could not be read
    unpacker = Unpacker(lambda number, _: odd.append(number))
    beat = 0.0

    def tell_alive() -> None:
        if not scheduler.overdue(BEAT_SECONDS):
            outbox.put(pack(0, Beat()))

    try:
        while True:
            if select.select([connection], [], [], 0.0 if scheduler.busy else BEAT_SECONDS)[0]:
                data = connection.recv(1 << 20)
                if not data:
                    return
                for frame in unpacker.feed(data):
                    obey(guard, scheduler, outbox, frame)
                while odd:
                    scheduler.unreadable(odd.pop())
            if scheduler.busy:
                guard.run("a tick", scheduler.tick, scheduler.abandon)
            if (now := time.monotonic()) - beat >= BEAT_SECONDS:
                beat = now
                guard.run("a sign of life", tell_alive, lambda: None)
            outbox.flush()
    except BrokenEngineError:
        outbox.flush()  # what the last mending refused
        raise
    except (ProxyGoneError, ConnectionResetError):
        return


def obey(guard: Guard, scheduler: Scheduler, outbox: Outbox, frame: Frame) -> None:
    """Do what a frame of the proxy asks; a request that cannot be taken fails alone."""

    def work() -> None:
        if isinstance(frame.message, Submit):
            try:
                params = json.loads(frame.message.body)
            except (ValueError, RecursionError):  # the proxy read it, with another depth of calls around it
                scheduler.unreadable(frame.number)
            else:
                scheduler.submit(frame.number, params, frame.message.deadline, frame.message.name)
        elif isinstance(frame.message, Cancel):
            scheduler.cancel(frame.number)

    guard.run("a frame of the proxy", work, lambda: scheduler.spoiled(frame.number))
    if isinstance(frame.message, Cancel):
        # The proxy keeps the request's place until it hears this; whoever has ended already is ended once more.
        outbox.put(pack(frame.number, Refused(499, "cancelled", None)))

"""Answers and refusals as frames, for both schedulers; and the retry that finds which request made a batch fail."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

from handlers import metrics
from handlers.frames import Data, End, Message, Refused, Started, pack
from handlers.generator import Request
from handlers.refusals import Refusal, deadline_passed, not_computed

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class Job:
    """One request in the engine, from its submission to its last frame."""

    number: int
    params: Any
    deadline: float | None  # on the clock of time.monotonic
    slot: Any = None  # of a StepGenerator
    flushed: float = 0.0  # when its stream was last sent, on the clock of time.monotonic; 0: never

    def late(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now > self.deadline


class Replies:
    """Frames of the engine's answers: every method that ends a request sends exactly one ending frame for it."""

    def __init__(
        self,
        name: str,
        emit: Callable[[bytes], None],
        flush: Callable[[], None],
        receipt: Callable[[Any], str],
        max_response_bytes: int,
        engine_seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name, self.engine_seconds = name, engine_seconds
        self._emit, self._flush, self._receipt = emit, flush, receipt
        self._max_response_bytes = max_response_bytes

    def take(self, parse: Callable[[Request], Any], number: int, params: Any, deadline: float | None) -> Job | None:
        """The request as a job, or None after refusing it."""
        try:
            return Job(number, parse(Request(params, deadline=deadline)), deadline)
        except Refusal as error:
            self.refuse(number, error)
        except Exception:
            log.exception("parsing a request failed")
            self.fail(number)
        return None

    def begin(self, jobs: list[Job]) -> list[Job]:
        """Send `Started` for each job: if the engine dies from now on, these are lost with it. Returns them.

        Those whose receipt cannot be made are refused and left out.
        """
        begun = []
        for job in jobs:
            try:
                started = Started(job.params.content_type, self._receipt(job.params))
            except Exception:
                log.exception("a request has no receipt")
                self.fail(job.number)
                continue
            self._send(job.number, started)
            begun.append(job)
        self._flush()
        return begun

    def send(self, job: Job, data: bytes, hint: str = "ask for less") -> bool:
        """Send a piece of an answer, or refuse the request and return False if it is too large for the front end."""
        if len(data) > self._max_response_bytes:
            message = f"the answer has {len(data)} bytes, the limit is {self._max_response_bytes}: {hint}"
            self.refuse(job.number, Refusal(413, message))
            return False
        self._send(job.number, Data(data))
        return True

    def end(self, job: Job) -> None:
        """End a request whose answer is whole."""
        self._send(job.number, End())

    def refuse(self, number: int, refusal: Refusal) -> None:
        """End a request without an answer, or without the rest of it."""
        self._send(number, Refused(refusal.status, refusal.message, refusal.field))

    def expire(self, job: Job) -> None:
        """End a request whose deadline has passed."""
        self.refuse(job.number, deadline_passed())

    def fail(self, number: int) -> None:
        """End a request that could not be computed; the log has the reason."""
        self.refuse(number, not_computed())

    def singly(self, jobs: list[Job], run: Callable[[list[Job]], Any]) -> list[tuple[list[Job], Any]]:
        """`run` on all jobs, or, if that raises, on each alone; those that raise alone are refused and left out."""
        try:
            return [(list(jobs), run(jobs))]
        except Exception:
            if len(jobs) > 1:
                log.exception("%d requests failed together; they are tried one by one", len(jobs))
        results = []
        for job in jobs:
            try:
                results.append(([job], run([job])))
            except Refusal as error:
                self.refuse(job.number, error)
            except Exception:
                log.exception("a request failed: %s", job.params.public())
                self.fail(job.number)
        return results

    def timed(self, size: int, run: Callable[[], Any]) -> Any:
        """`run`, with its time divided into the engine's and the rest."""
        began, before = time.perf_counter(), self.engine_seconds()
        result = run()
        in_engine = self.engine_seconds() - before
        metrics.BATCH_SIZE.labels(self.name).observe(size)
        metrics.ENGINE_SECONDS.labels(self.name).observe(in_engine)
        metrics.ENCODE_SECONDS.labels(self.name).observe(time.perf_counter() - began - in_engine)
        return result

    def _send(self, number: int, message: Message) -> None:
        self._emit(pack(number, message))

"""What both schedulers do at the edge of the engine process: take requests in, send answers out, find the culprit of a failure."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

from handlers import metrics
from handlers.frames import Kind, pack
from handlers.generator import BadRequest, Request

DEADLINE = "the deadline passed before the answer was whole"
log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class Job:
    """One request from submission to its end."""

    number: int
    params: Any
    deadline: float | None  # seconds since the epoch
    slot: Any = None  # of a StepGenerator
    flushed: float = 0.0  # when its stream was last sent, on the clock of time.monotonic; 0: never

    def late(self, now: float) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.deadline is not None and now > self.deadline


class Desk:
    """Speaks for the engine: every method that ends a request sends exactly one ending frame for it."""

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
        except BadRequest as error:
            self.refuse(number, error)
        except Exception:
            log.exception("parsing a request failed")
            self.fail(number)
        return None

    def begin(self, jobs: list[Job], content_type: Callable[[Job], str] | None = None) -> None:
        """Tell that these are being computed now: a crash takes them along."""
        for job in jobs:
            head = {} if content_type is None else {"content_type": content_type(job)}
            self._emit(pack(Kind.STARTED, job.number, {**head, "receipt": self._receipt(job.params)}))
        self._flush()

    def send(self, job: Job, data: bytes, hint: str = "ask for less", head: dict[str, str] | None = None) -> bool:
        """Send a piece of an answer; refuses the request and returns False if the piece is too large for the front end."""
        if len(data) > self._max_response_bytes:
            message = f"the answer has {len(data)} bytes, the limit is {self._max_response_bytes}: {hint}"
            self.refuse(job.number, BadRequest(None, message, 413))
            return False
        if head is not None:
            self._emit(pack(Kind.HEAD, job.number, head))
        self._emit(pack(Kind.DATA, job.number, data))
        return True

    def end(self, job: Job, finished: str = "stop") -> None:
        """The answer is whole."""
        self._emit(pack(Kind.END, job.number, {"finished": finished}))

    def refuse(self, number: int, error: BadRequest) -> None:
        """End a request without an answer, or without the rest of it."""
        document = {"status": error.status, "field": error.field, "message": error.message}
        self._emit(pack(Kind.REFUSED, number, document))

    def expire(self, job: Job) -> None:
        """End a request whose deadline has passed."""
        self.refuse(job.number, BadRequest(None, DEADLINE, 504))

    def fail(self, number: int) -> None:
        """End a request that could not be computed; the log has the reason."""
        message = "this item could not be computed; the server's log has the reason"
        self.refuse(number, BadRequest(None, message, 500))

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
            except BadRequest as error:
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

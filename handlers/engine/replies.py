"""Answers and refusals as frames, for both schedulers; and the retry that finds which request made a batch fail."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from handlers import metrics
from handlers.frames import Beat, Data, End, Message, Refused, Started, pack
from handlers.generator import BatchGenerator, Request, StepGenerator
from handlers.logs import about
from handlers.refusals import Refusal, deadline_passed, not_computed

PULSE_SECONDS = 0.5
MAX_BARREN = 3  # computations in a row of which nothing came, until the generator has to prove itself
log = logging.getLogger(__name__)


class BrokenEngineError(Exception):
    """The engine failed so often that another should take its place."""


@dataclasses.dataclass(eq=False)
class Job:
    """One request in the engine, from its submission to its last frame."""

    number: int
    params: Any
    deadline: float | None  # on the clock of time.monotonic
    rows: int = 1  # its share of what is computed at once: images, texts
    name: str = ""  # what its caller calls it, for the log
    slot: Any = None  # of a StepGenerator
    flushed: float = 0.0  # when something of it was last sent, on the clock of time.monotonic; 0: never
    taken: float = dataclasses.field(default_factory=time.monotonic)  # when it came
    stepped: float = 0.0  # seconds in steps that it took part in

    def late(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now > self.deadline

    def __str__(self) -> str:
        """Its parameters for the log, where nothing may raise."""
        try:
            return f"request {self.number}, {self.params.public()}"
        except Exception as error:
            return f"request {self.number}, whose parameters cannot be told ({type(error).__name__})"


class Replies:
    """Frames of the engine's answers. A request that was taken gets exactly one ending frame, whatever is called.

    One that has ended or was forgotten gets no more frames.
    """

    def __init__(
        self,
        name: str,
        emit: Callable[[bytes], None],
        flush: Callable[[], None],
        receipt: Callable[[Any], str],
        max_response_bytes: int,
        engine_seconds: Callable[[], float] = lambda: 0.0,
        whole: Callable[[Any], Any] = lambda params: params,
    ) -> None:
        self.name, self.engine_seconds = name, engine_seconds
        self._whole = whole  # a request that came by reference, read
        self._emit, self._flush, self._receipt = emit, flush, receipt
        self._max_response_bytes = max_response_bytes
        self._barren = 0
        self._told = time.monotonic()  # when it was last said to be alive
        self._open: dict[int, bool] = {}  # requests that have not ended -> whether they have begun

    def take(
        self,
        parse: Callable[[Request], Any],
        number: int,
        params: Any,
        deadline: float | None,
        most_rows: int | None = None,
        name: str = "",
    ) -> Job | None:
        """The request as a job, or None after refusing it: also one that wants more rows than there can be."""
        self._open[number] = False
        try:
            parsed = parse(Request(self._whole(params), deadline=deadline))
            rows = int(getattr(parsed, "rows", 1))
            if rows < 1 or (most_rows is not None and rows > most_rows):
                raise ValueError(f"a request of {rows} rows, wanted from 1 to {most_rows or 'any number'}")
            return Job(number, parsed, None if deadline is None else float(deadline), rows, name)
        except Refusal as error:
            self.refuse(number, error)
        except Exception:
            log.exception("parsing a request failed", extra=about(name))
            self.fail(number)
        return None

    def begin(self, jobs: list[Job]) -> list[Job]:
        """Send `Started` for each job: if the engine dies from now on, these are lost with it. Returns them.

        Those whose receipt cannot be made are refused and left out.
        """
        begun = []
        for job in jobs:
            try:
                started = pack(job.number, Started(job.params.content_type, self._receipt(job.params)))
            except Refusal as error:
                self.refuse(job.number, error)
                continue
            except Exception:
                log.exception("a request has no receipt", extra=about(job.name))
                self.fail(job.number)
                continue
            self._open[job.number] = True
            self._emit(started)
            begun.append(job)
        self._flush()
        return begun

    def send(self, job: Job, data: bytes, hint: str = "ask for less") -> bool:
        """Send a piece of an answer, or refuse the request and return False if it is too large for the front end."""
        if len(data) > self._max_response_bytes:
            message = f"the answer has {len(data)} bytes, the limit is {self._max_response_bytes}: {hint}"
            self.refuse(job.number, Refusal(413, message))
            return False
        if job.number in self._open:
            self._emit(pack(job.number, Data(data)))
        return True

    def end(self, job: Job) -> None:
        """End a request whose answer is whole."""
        self._end(job.number, End())

    def refuse(self, number: int, refusal: Refusal) -> None:
        """End a request without an answer, or without the rest of it."""
        self._end(number, Refused(refusal.status, refusal.message, refusal.field))

    def expire(self, job: Job) -> None:
        """End a request whose deadline has passed."""
        self.refuse(job.number, deadline_passed())

    def fail(self, number: int) -> None:
        """End a request that could not be computed; the log has the reason."""
        self.refuse(number, not_computed())

    def refuse_unread(self, number: int) -> None:
        """End a request of which the engine could not even read the frame."""
        self._open.setdefault(number, False)
        self.refuse(number, Refusal(400, "the body cannot be read; nest it less deeply"))

    def forget(self, number: int) -> None:
        """Send nothing more for a request: its caller has gone."""
        self._open.pop(number, None)

    def fail_begun(self) -> int:
        """End every request that has begun, because nobody knows which of them is at fault; returns how many."""
        begun = [number for number, started in self._open.items() if started]
        for number in begun:
            self.fail(number)
        return len(begun)

    def alive(self) -> None:
        """Send what has been replied so far, and a sign of life: for between two long pieces of work."""
        self._told = time.monotonic()
        self._emit(pack(0, Beat()))
        self._flush()

    def pulse(self) -> None:
        """`alive`, but not more often than every `PULSE_SECONDS`: for between short pieces, too."""
        if time.monotonic() - self._told >= PULSE_SECONDS:
            self.alive()

    def singly(self, jobs: list[Job], run: Callable[[list[Job]], Any]) -> Iterator[tuple[list[Job], Any]]:
        """`run` on all jobs, or, if that raises, on each alone; those that raise alone are refused and left out.

        Results come as they are there, with a sign of life between two retries.
        """
        retried = list(jobs)
        if len(jobs) > 1:
            try:
                found = run(jobs)
            except Exception:
                names = about(*(job.name for job in jobs))
                log.exception("%d requests failed together; they are tried one by one", len(jobs), extra=names)
                self.alive()
            else:
                self._barren = 0
                yield retried, found
                return
        made = failed = 0
        for job in retried:
            try:
                found = run([job])
            except Refusal as error:
                self.refuse(job.number, error)
            except Exception:
                log.exception("a request failed: %s", job, extra=about(job.name))
                self.fail(job.number)
                failed += 1
            else:
                made += 1
                yield [job], found
            if len(retried) > 1:
                self.alive()
        self._barren = 0 if made else self._barren + (failed > 0)

    def prove(self, generator: BatchGenerator | StepGenerator) -> None:
        """Have the generator make what no caller asked for, after `MAX_BARREN` computations of which nothing came.

        If it can, the requests were at fault; if not, it never will again, and this raises `BrokenEngineError`.
        """
        if self._barren < MAX_BARREN:
            return
        try:
            generator.preview([0])
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise BrokenEngineError(f"{self._barren} computations failed in a row, and a preview: {reason}") from error
        self._barren = 0

    def timed(self, size: int, run: Callable[[], Any]) -> Any:
        """`run`, with its time divided into the engine's and the rest."""
        began, before = time.perf_counter(), self.engine_seconds()
        result = run()
        in_engine = self.engine_seconds() - before
        try:
            metrics.BATCH_SIZE.labels(self.name).observe(size)
            metrics.ENGINE_SECONDS.labels(self.name).observe(in_engine)
            metrics.ENCODE_SECONDS.labels(self.name).observe(time.perf_counter() - began - in_engine)
        except Exception:  # what was computed is whole all the same
            log.exception("the time of a batch cannot be counted")
        return result

    def count(self, items: int) -> None:
        """Count what was made. A generator that miscounts is logged: its answers are whole all the same."""
        try:
            metrics.ITEMS.labels(self.name).inc(items)
        except Exception:
            log.exception("%r items cannot be counted", items)

    def _end(self, number: int, message: Message) -> None:
        if number in self._open:
            frame = pack(number, message)
            del self._open[number]
            self._emit(frame)

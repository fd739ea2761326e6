"""Iteration-level batching: requests join and leave a StepGenerator between two steps.

Yu et al. 2022, "Orca", section 3.1.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from handlers import metrics
from handlers.engine.reader import TOGETHER, Reader
from handlers.engine.replies import Job, Replies
from handlers.generator import ReadingGenerator, StepGenerator

PATIENCE_SECONDS = 0.005  # for sources that are being read while there is nothing to step
FLUSH_SECONDS = 0.02  # a stream is sent this often: often enough to read along, seldom enough to cost nothing
log = logging.getLogger(__name__)


class StepScheduler:
    """Admits waiting requests into free slots, steps all live ones together, sends what is due."""

    def __init__(self, generator: StepGenerator, replies: Replies) -> None:
        self._generator, self._replies = generator, replies
        self._waiting: deque[Job] = deque()
        self._live: list[Job] = []
        self._reader = Reader(replies.name, generator.read) if isinstance(generator, ReadingGenerator) else None

    @property
    def busy(self) -> bool:
        """Whether there are requests: whether a tick would compute anything."""
        return bool(self._waiting or self._live or self._reading)

    def overdue(self, seconds: float) -> bool:
        """Whether one batch of sources is read for longer than `seconds`; the steps beside it do not show that."""
        return self._reader is not None and self._reader.overdue(seconds)

    @property
    def _reading(self) -> Sequence[Job]:
        """Jobs whose sources are being read."""
        return () if self._reader is None else self._reader.jobs

    def submit(self, number: int, params: Any, deadline: float | None) -> None:
        """Take a request, or refuse it at once."""
        job = self._replies.take(self._generator.parse, number, params, deadline)
        if job is not None:
            self._waiting.append(job)

    def cancel(self, number: int) -> None:
        """Forget a request, wherever it is; nothing more is sent for it."""
        for job in [job for job in self._live if job.number == number]:
            self._leave(job)
        self._waiting = deque(job for job in self._waiting if job.number != number)
        if self._reader is not None:
            self._reader.forget(number)

    def tick(self) -> None:
        """One iteration: deadlines, admission, a step, what is due to be sent."""
        now = time.monotonic()
        for job in [job for job in (*self._live, *self._reading, *self._waiting) if job.late(now)]:
            self.cancel(job.number)
            self._replies.expire(job)
        if self._reader is None:
            if self._waiting and self._admits():
                self._start(self._next(self._generator.capacity), None)
        else:
            self._join(self._reader)
        if self._live:
            self._step()
        for job in list(self._live):
            self._send(job, time.monotonic())

    def _admits(self) -> bool:
        """Whether requests may join now: whenever there is room. A window batcher would wait until all have left."""
        return bool(self._waiting[0].params.rows <= self._free())

    def _free(self) -> int:
        return self._generator.capacity - sum(int(job.params.rows) for job in (*self._live, *self._reading))

    def _next(self, most: int) -> list[Job]:
        """Take at most `most` waiting requests that there is room for, and tell that they have begun."""
        free, batch = self._free(), list[Job]()
        # In order: one that is wide is not passed by.
        while self._waiting and len(batch) < most and self._waiting[0].params.rows <= free:
            batch.append(self._waiting.popleft())
            free -= batch[-1].params.rows
        return self._replies.begin(batch)

    def _join(self, reader: Reader) -> None:
        """Start what has been read, and have the next read."""
        taken = reader.take(0.0 if self._live or reader.idle else PATIENCE_SECONDS)
        if taken is not None:
            self._start(*taken)
        if reader.idle and self._waiting and self._admits():
            reader.submit(self._next(TOGETHER))

    def _start(self, batch: list[Job], found: list[Any] | None) -> None:
        """Give requests their slots.

        Without what was read for them (it could not be, for all together) `start` reads, in the stepping thread.
        """
        read = {} if found is None else dict(zip(batch, found, strict=True))

        def start(jobs: list[Job]) -> list[Any]:
            params = [job.params for job in jobs]
            if read and isinstance(self._generator, ReadingGenerator):
                return self._generator.start(params, [read[job] for job in jobs])
            return self._generator.start(params)

        for jobs, slots in self._replies.singly(batch, start) if batch else []:
            for job, slot in zip(jobs, slots, strict=True):
                job.slot = slot
                self._live.append(job)

    def _step(self) -> None:
        before = {job: job.slot.items for job in self._live}
        stepped = self._replies.singly(
            self._live,
            lambda jobs: self._replies.timed(len(jobs), lambda: self._generator.step([job.slot for job in jobs])),
        )
        going_on = [job for jobs, _ in stepped for job in jobs]
        for job in before.keys() - set(going_on):
            self._leave(job)
        self._live = going_on
        metrics.ITEMS.labels(self._replies.name).inc(sum(job.slot.items - before[job] for job in going_on))

    def _send(self, job: Job, now: float) -> None:
        done = job.slot.finished is not None
        if not done and not (job.params.stream and now - job.flushed >= FLUSH_SECONDS):
            return
        try:
            data = self._generator.drain(job.slot)
        except Exception:
            log.exception("encoding an answer failed: %s", job.params.public())
            self._leave(job)
            self._replies.fail(job.number)
            return
        if data:
            job.flushed = now
            if not self._replies.send(job, data, "lower max_tokens"):
                self._leave(job)
                return
        if done:
            self._live.remove(job)
            self._replies.end(job)

    def _leave(self, job: Job) -> None:
        """Give a job's slot back, whatever state it is in."""
        try:
            self._generator.cancel(job.slot)
        except Exception:  # the others go on; the slot is lost
            log.exception("a slot could not be given back: %s", job.params.public())
        if job in self._live:
            self._live.remove(job)

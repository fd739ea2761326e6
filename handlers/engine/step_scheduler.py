"""Iteration-level batching: requests join and leave a StepGenerator between two steps.

Yu et al. 2022, "Orca", section 3.1.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from handlers.engine.reader import TOGETHER, Reader
from handlers.engine.replies import Job, Replies
from handlers.engine.sounds import count_first, count_whole
from handlers.engine.waiting import Waiting
from handlers.generator import ReadingGenerator, StepGenerator
from handlers.logs import about
from handlers.refusals import not_computed

PATIENCE_SECONDS = 0.005  # for sources that are being read while there is nothing to step
FLUSH_SECONDS = 0.02  # a stream is sent this often: often enough to read along, seldom enough to cost nothing
log = logging.getLogger(__name__)


class StepScheduler:
    """Admits waiting requests into free rows, steps all live ones together, sends what is due."""

    def __init__(self, generator: StepGenerator, replies: Replies) -> None:
        self._generator, self._replies = generator, replies
        self._waiting = Waiting()
        self._live: list[Job] = []
        self._reader = Reader(replies.name, generator.read) if isinstance(generator, ReadingGenerator) else None

    @property
    def busy(self) -> bool:
        """Whether there are requests: whether a tick would compute anything."""
        return bool(len(self._waiting) or self._live or self._reading)

    def overdue(self, seconds: float) -> bool:
        """Whether one batch of sources is read for longer than `seconds`; the steps beside it do not show that."""
        return self._reader is not None and self._reader.overdue(seconds)

    @property
    def _reading(self) -> Sequence[Job]:
        """Jobs whose sources are being read."""
        return () if self._reader is None else self._reader.jobs

    def submit(self, number: int, params: Any, deadline: float | None, name: str = "") -> None:
        """Take a request, or refuse it at once."""
        most = self._generator.capacity
        job = self._replies.take(self._generator.parse, number, params, deadline, most, name)
        if job is not None:
            self._waiting.add(job)

    def cancel(self, number: int) -> None:
        """Forget a request, wherever it is; nothing more is sent for it."""
        self._replies.forget(number)
        if self._waiting.drop(number) is not None:
            return
        for job in [job for job in self._live if job.number == number]:
            self._leave(job)
        if self._reader is not None:
            self._reader.forget(number)

    def spoiled(self, number: int) -> None:
        """Fail a request whose frame could not be obeyed."""
        self._replies.fail(number)
        self.cancel(number)

    def unreadable(self, number: int) -> None:
        """Refuse a request whose frame could not be read."""
        self._replies.refuse_unread(number)
        self.cancel(number)

    def abandon(self) -> None:
        """Fail what had begun when a tick raised, or else the oldest request: it or its like would raise again."""
        for job in (*self._live, *self._reading):
            self.spoiled(job.number)
        if not self._replies.fail_begun():
            for job in list(self._waiting)[:1]:
                self.spoiled(job.number)

    def tick(self) -> None:
        """One iteration: deadlines, admission, a step, what is due to be sent."""
        now = time.monotonic()
        for job in [job for job in (*self._live, *self._reading, *self._waiting) if job.late(now)]:
            self._replies.expire(job)
            self.cancel(job.number)
        if self._reader is None:
            self._start(self._next(self._generator.capacity), None)
        else:
            self._join(self._reader)
        if self._live:
            self._step()
        for job in list(self._live):
            self._send(job, time.monotonic())
        if not self._live and (self._reader is None or self._reader.idle):  # it wants free rows and the encoder
            self._replies.prove(self._generator)

    def _admits(self) -> bool:
        """Whether requests may join now: whenever there is room. A window batcher would wait until all have left."""
        return True

    def _free(self) -> int:
        """Rows that are free and that nobody who is being read will take."""
        return self._generator.free - sum(job.rows for job in self._reading)

    def _next(self, most: int) -> list[Job]:
        """Take at most `most` waiting requests that there is room for, and tell that they have begun."""
        if not len(self._waiting) or not self._admits():
            return []
        taken = self._waiting.take(self._free(), most)
        if not taken and not self._live and not self._reading:
            raise RuntimeError(f"{self._generator.free} of {self._generator.capacity} rows are free with no text live")
        return self._replies.begin(taken) if taken else []

    def _join(self, reader: Reader) -> None:
        """Start what has been read, and have the next read."""
        taken = reader.take(0.0 if self._live or reader.idle else PATIENCE_SECONDS)
        if taken is not None:
            self._start(*taken)
        if reader.idle and (batch := self._next(TOGETHER)):
            reader.submit(batch)

    def _start(self, batch: list[Job], found: dict[Job, Any] | None) -> None:
        """Give requests their slots. Of those with sources, the ones that could not be read fail."""
        if found is not None:
            for job in batch:
                if job not in found:
                    self._replies.fail(job.number)
            batch = [job for job in batch if job in found]

        def start(jobs: list[Job]) -> list[Any]:
            params = [job.params for job in jobs]
            if found is not None and isinstance(self._generator, ReadingGenerator):
                return self._generator.start(params, [found[job] for job in jobs])
            return self._generator.start(params)

        for jobs, slots in self._replies.singly(batch, start) if batch else ():
            for job, slot in zip(jobs, slots, strict=True):
                job.slot = slot
                self._live.append(job)

    def _step(self) -> None:
        before = {job: job.slot.items for job in self._live}

        def step(jobs: list[Job]) -> None:
            # After a step that raised none may be stepped a second time: its text would not be that of its seed.
            if len(jobs) == 1 and (jobs[0].slot.items != before[jobs[0]] or jobs[0].slot.finished is not None):
                name = about(jobs[0].name)
                log.error("a step that raised had moved a text, which cannot go on: %s", jobs[0], extra=name)
                raise not_computed()
            began = time.perf_counter()
            self._replies.timed(len(jobs), lambda: self._generator.step([job.slot for job in jobs]))
            for job in jobs:
                job.stepped += time.perf_counter() - began

        going_on = [job for jobs, _ in self._replies.singly(self._live, step) for job in jobs]
        for job in before.keys() - set(going_on):
            self._leave(job)
        self._live = going_on
        self._replies.count(sum(job.slot.items - before[job] for job in going_on))

    def _send(self, job: Job, now: float) -> None:
        done = job.slot.finished is not None
        if not done and not (job.params.stream and now - job.flushed >= FLUSH_SECONDS):
            return
        try:
            data = self._generator.drain(job.slot)
        except Exception:
            log.exception("encoding an answer failed: %s", job, extra=about(job.name))
            self._leave(job)
            self._replies.fail(job.number)
            return
        if data:
            if not job.flushed:
                count_first(self._replies.name, job, now)
            job.flushed = now
            if not self._replies.send(job, data, job.params.smaller):
                self._leave(job)
                return
        if done:
            count_whole(self._replies.name, job)
            self._live.remove(job)
            self._replies.end(job)

    def _leave(self, job: Job) -> None:
        """Give a job's slot back, whatever state it is in."""
        try:
            self._generator.cancel(job.slot)
        except Exception:  # the others go on; the slot is lost
            log.exception("a slot could not be given back: %s", job, extra=about(job.name))
        if job in self._live:
            self._live.remove(job)

"""Iteration-level batching: requests join and leave a StepGenerator between two steps (Yu et al. 2022, Orca, section 3.1)."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from handlers import metrics
from handlers.desk import Desk, Job
from handlers.generator import StepGenerator

FLUSH_SECONDS = 0.02  # a stream is sent this often: often enough to read along, seldom enough to cost nothing
log = logging.getLogger(__name__)


class StepScheduler:
    """Admits waiting requests into free slots, steps all live ones together, sends what is due."""

    def __init__(self, generator: StepGenerator, desk: Desk) -> None:
        self._generator, self._desk = generator, desk
        self._waiting: deque[Job] = deque()
        self._live: list[Job] = []

    @property
    def busy(self) -> bool:
        """Whether a tick would do something."""
        return bool(self._waiting or self._live)

    def submit(self, number: int, params: Any, deadline: float | None) -> None:
        """Take a request, or refuse it at once."""
        job = self._desk.take(self._generator.parse, number, params, deadline)
        if job is not None:
            self._waiting.append(job)

    def cancel(self, number: int) -> None:
        """Forget a request, wherever it is; nothing more is sent for it."""
        for job in [job for job in self._live if job.number == number]:
            self._leave(job)
        self._waiting = deque(job for job in self._waiting if job.number != number)

    def tick(self) -> None:
        """One iteration: deadlines, admission, a step, what is due to be sent."""
        now = time.time()
        for job in [job for job in (*self._live, *self._waiting) if job.late(now)]:
            self.cancel(job.number)
            self._desk.expire(job)
        if self._waiting and self._admits():
            self._admit()
        if self._live:
            self._step()
        for job in list(self._live):
            self._send(job, time.monotonic())

    def _admits(self) -> bool:
        """Whether requests may join now: whenever there is room. A window batcher would wait until all have left."""
        return bool(self._waiting[0].params.rows <= self._free())

    def _free(self) -> int:
        return self._generator.capacity - sum(int(job.params.rows) for job in self._live)

    def _admit(self) -> None:
        free, batch = self._free(), list[Job]()
        while self._waiting and self._waiting[0].params.rows <= free:  # in order: one that is wide is not passed by
            batch.append(self._waiting.popleft())
            free -= batch[-1].params.rows
        self._desk.begin(batch, lambda job: str(job.params.content_type))
        started = self._desk.singly(batch, lambda jobs: self._generator.start([job.params for job in jobs]))
        for jobs, slots in started:
            for job, slot in zip(jobs, slots, strict=True):
                job.slot = slot
                self._live.append(job)

    def _step(self) -> None:
        before = {job: job.slot.items for job in self._live}
        stepped = self._desk.singly(
            self._live,
            lambda jobs: self._desk.timed(len(jobs), lambda: self._generator.step([job.slot for job in jobs])),
        )
        going_on = [job for jobs, _ in stepped for job in jobs]
        for job in before.keys() - set(going_on):
            self._leave(job)
        self._live = going_on
        metrics.ITEMS.labels(self._desk.name).inc(sum(job.slot.items - before[job] for job in going_on))

    def _send(self, job: Job, now: float) -> None:
        done = job.slot.finished is not None
        if not done and not (job.params.stream and now - job.flushed >= FLUSH_SECONDS):
            return
        try:
            data = self._generator.drain(job.slot)
        except Exception:
            log.exception("encoding an answer failed: %s", job.params.public())
            self._leave(job)
            self._desk.fail(job.number)
            return
        if data:
            job.flushed = now
            if not self._desk.send(job, data, "lower max_tokens"):
                self._leave(job)
                return
        if done:
            self._live.remove(job)
            self._desk.end(job, job.slot.finished)

    def _leave(self, job: Job) -> None:
        """Give a job's slot back, whatever state it is in."""
        try:
            self._generator.cancel(job.slot)
        except Exception:  # the others go on; the slot is lost
            log.exception("a slot could not be given back: %s", job.params.public())
        if job in self._live:
            self._live.remove(job)

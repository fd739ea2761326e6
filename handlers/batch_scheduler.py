"""Batches of a BatchGenerator: what has queued while one batch was computed is the next. Nothing waits for company."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from handlers import metrics
from handlers.desk import Desk, Job
from handlers.generator import BatchGenerator, Media

log = logging.getLogger(__name__)


class BatchScheduler:
    """Computes waiting requests in order of arrival, at most `batch_size` together."""

    def __init__(self, generator: BatchGenerator, desk: Desk, batch_size: int) -> None:
        self._generator, self._desk, self._batch_size = generator, desk, batch_size
        self._waiting: deque[Job] = deque()

    @property
    def busy(self) -> bool:
        """Whether a tick would do something."""
        return bool(self._waiting)

    def overdue(self, seconds: float) -> bool:
        """Whether something stands still beside the ticks: nothing is computed there."""
        return False

    def submit(self, number: int, params: Any, deadline: float | None) -> None:
        """Take a request, or refuse it at once."""
        job = self._desk.take(self._generator.parse, number, params, deadline)
        if job is not None:
            self._waiting.append(job)

    def cancel(self, number: int) -> None:
        """Forget a request that is waiting; one that is being computed runs to its end."""
        self._waiting = deque(job for job in self._waiting if job.number != number)

    def tick(self) -> None:
        """Compute one batch and send its answers; what is past its deadline is not computed."""
        now = time.time()
        batch: list[Job] = []
        while self._waiting and len(batch) < self._batch_size:
            job = self._waiting.popleft()
            if job.late(now):
                self._desk.expire(job)
            else:
                batch.append(job)
        if not batch:
            return
        self._desk.begin(batch)
        for jobs, media in self._desk.singly(batch, self._generate):
            for job, item in zip(jobs, media, strict=True):
                if self._desk.send(job, item.body, "lower n, or use format jpeg", {"content_type": item.content_type}):
                    metrics.ITEMS.labels(self._desk.name).inc(item.items)
                    self._desk.end(job)

    def _generate(self, jobs: list[Job]) -> list[Media]:
        params = [job.params for job in jobs]
        media: list[Media] = self._desk.timed(len(jobs), lambda: self._generator.generate(params))
        if len(media) != len(jobs):
            raise ValueError(f"the generator gave {len(media)} answers to {len(jobs)} items")
        return media

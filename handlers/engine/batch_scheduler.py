"""Batches of a BatchGenerator: those that came while one batch was computed are the next. None waits for more."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from handlers import metrics
from handlers.engine.replies import Job, Replies
from handlers.generator import BatchGenerator, Media

log = logging.getLogger(__name__)


class BatchScheduler:
    """Computes waiting requests in order of arrival, at most `batch_size` together."""

    def __init__(self, generator: BatchGenerator, replies: Replies, batch_size: int) -> None:
        self._generator, self._replies, self._batch_size = generator, replies, batch_size
        self._waiting: deque[Job] = deque()

    @property
    def busy(self) -> bool:
        """Whether requests are waiting: whether a tick would compute anything."""
        return bool(self._waiting)

    def overdue(self, seconds: float) -> bool:
        """False: nothing is computed beside the ticks that could stand still."""
        return False

    def submit(self, number: int, params: Any, deadline: float | None) -> None:
        """Take a request, or refuse it at once."""
        job = self._replies.take(self._generator.parse, number, params, deadline)
        if job is not None:
            self._waiting.append(job)

    def cancel(self, number: int) -> None:
        """Forget a request that is waiting; one that is being computed runs to its end."""
        self._waiting = deque(job for job in self._waiting if job.number != number)

    def tick(self) -> None:
        """Compute one batch and send its answers; what is past its deadline is not computed."""
        now = time.monotonic()
        batch: list[Job] = []
        while self._waiting and len(batch) < self._batch_size:
            job = self._waiting.popleft()
            if job.late(now):
                self._replies.expire(job)
            else:
                batch.append(job)
        batch = self._replies.begin(batch)
        for jobs, media in self._replies.singly(batch, self._generate) if batch else []:
            for job, item in zip(jobs, media, strict=True):
                if self._replies.send(job, item.body, "lower n, or use format jpeg"):
                    metrics.ITEMS.labels(self._replies.name).inc(item.items)
                    self._replies.end(job)

    def _generate(self, jobs: list[Job]) -> list[Media]:
        params = [job.params for job in jobs]
        media: list[Media] = self._replies.timed(len(jobs), lambda: self._generator.generate(params))
        if len(media) != len(jobs):
            raise ValueError(f"the generator gave {len(media)} answers to {len(jobs)} items")
        return media

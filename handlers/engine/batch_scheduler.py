"""Batches of a BatchGenerator: those that came while one batch was computed are the next. None waits for more."""

from __future__ import annotations

import time
from typing import Any

from handlers.engine.replies import Job, Replies
from handlers.engine.waiting import Waiting
from handlers.generator import BatchGenerator, Media
from handlers.refusals import deadline_passed


class BatchScheduler:
    """Computes waiting requests a group a tick: at most `batch_size` of them, and `tile` images unless it is one alone.

    Between two groups the engine's loop reads cancellations, sends answers and gives a sign of life.
    """

    def __init__(self, generator: BatchGenerator, replies: Replies, batch_size: int, tile: int | None = None) -> None:
        self._generator, self._replies = generator, replies
        self._batch_size, self._tile = batch_size, tile or batch_size
        self._waiting = Waiting()
        generator.alive = replies.pulse

    @property
    def busy(self) -> bool:
        """Whether requests are waiting: whether a tick would compute anything."""
        return len(self._waiting) > 0

    def overdue(self, seconds: float) -> bool:
        """False: nothing is computed beside the ticks that could stand still."""
        return False

    def submit(self, number: int, params: Any, deadline: float | None, name: str = "") -> None:
        """Take a request, or refuse it at once."""
        job = self._replies.take(self._generator.parse, number, params, deadline, name=name)
        if job is not None:
            self._waiting.add(job)

    def cancel(self, number: int) -> None:
        """Forget a request that is waiting; one that is being computed runs to its end."""
        self._waiting.drop(number)
        self._replies.forget(number)

    def spoiled(self, number: int) -> None:
        """Fail a request whose frame could not be obeyed."""
        self._waiting.drop(number)
        self._replies.fail(number)

    def unreadable(self, number: int) -> None:
        """Refuse a request whose frame could not be read."""
        self._replies.refuse_unread(number)
        self._waiting.drop(number)

    def abandon(self) -> None:
        """Fail what a tick that raised had begun, or else the oldest request: it or its like would raise again."""
        if not self._replies.fail_begun():
            for job in list(self._waiting)[:1]:
                self.spoiled(job.number)

    def tick(self) -> None:
        """Compute one group and send its answers; what is past its deadline is not computed."""
        now = time.monotonic()
        for job in [job for job in self._waiting if job.late(now)]:
            self._waiting.drop(job.number)
            self._replies.expire(job)
        group = self._replies.begin(self._waiting.take(self._tile, self._batch_size, alone=True))
        for jobs, media in self._replies.singly(group, self._generate) if group else ():
            for job, item in zip(jobs, media, strict=True):
                if self._replies.send(job, item.body, "lower n, or use format jpeg"):
                    self._replies.count(item.items)
                    self._replies.end(job)
        self._replies.prove(self._generator)

    def _generate(self, jobs: list[Job]) -> list[Media]:
        if len(jobs) == 1 and jobs[0].late(time.monotonic()):  # those before it in the group may have taken long
            raise deadline_passed()
        params = [job.params for job in jobs]
        media: list[Media] = self._replies.timed(len(jobs), lambda: self._generator.generate(params))
        if len(media) != len(jobs):
            raise ValueError(f"the generator gave {len(media)} answers to {len(jobs)} items")
        return media

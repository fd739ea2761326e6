"""Sources are read beside the steps, in a thread of its own: texts in the making do not wait for those that join.

To read is the encoder's pass over a source, here and in all of handlers/; its text was tokenized when it was parsed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from handlers import metrics
from handlers.engine.replies import Job
from handlers.logs import about

TOGETHER = 4  # sources at once: FP32 gains nothing by more, and the first of them would wait for the last
log = logging.getLogger(__name__)


class Reader:
    """Runs `read` for one batch of jobs at a time. Everything but `read` itself belongs to the caller's thread."""

    def __init__(self, name: str, read: Callable[[Sequence[Any]], list[Any]]) -> None:
        self._name, self._read = name, read
        self._thread = ThreadPoolExecutor(1, "reader")
        self._began = 0.0
        self._found: Future[dict[Job, Any]] | None = None
        self.jobs: list[Job] = []  # that are being read

    @property
    def idle(self) -> bool:
        """Whether another batch may be given."""
        return self._found is None

    def submit(self, jobs: Sequence[Job]) -> None:
        """Begin to read the sources of jobs in the thread."""
        self.jobs, self._began = list(jobs), time.monotonic()
        self._found = self._thread.submit(self._read_all, tuple(jobs))

    def forget(self, number: int) -> None:
        """Throw away the result of a request once it is read: its caller has gone."""
        self.jobs = [job for job in self.jobs if job.number != number]

    def take(self, patience: float) -> tuple[list[Job], dict[Job, Any]] | None:
        """Jobs and what was read for each, once all is there; of a source that could not be read there is nothing.

        Waits up to `patience` seconds.
        """
        if self._found is None or not wait([self._found], patience).done:
            return None
        future, jobs = self._found, self.jobs
        self._found, self.jobs = None, []
        if (error := future.exception()) is not None:
            log.error("the reader failed", exc_info=error, extra=about(*(job.name for job in jobs)))
            return jobs, {}
        metrics.READ_SECONDS.labels(self._name).observe(time.monotonic() - self._began)
        return jobs, future.result()

    def overdue(self, seconds: float) -> bool:
        """Whether a batch has been read for longer than `seconds`."""
        reading = self._found is not None and not self._found.done()  # nobody may be left who takes what is there
        return reading and time.monotonic() - self._began > seconds

    def _read_all(self, jobs: Sequence[Job]) -> dict[Job, Any]:
        """In the thread: what was read for each job, one by one where all together cannot be read."""
        if len(jobs) > 1:
            try:
                return self._read_batch(jobs)
            except Exception:
                names = about(*(job.name for job in jobs))
                log.exception("%d sources cannot be read together; they are read one by one", len(jobs), extra=names)
        found: dict[Job, Any] = {}
        for job in jobs:
            self._began = time.monotonic()  # each has the whole time
            try:
                found |= self._read_batch([job])
            except Exception:
                log.exception("a source cannot be read: %s", job, extra=about(job.name))
        return found

    def _read_batch(self, jobs: Sequence[Job]) -> dict[Job, Any]:
        return dict(zip(jobs, self._read([job.params for job in jobs]), strict=True))

"""What a proxy counts of its requests (docs/metrics.md); counting never fails a request."""

from __future__ import annotations

import logging
import time

from handlers import metrics
from handlers.refusals import STATUSES

GAUGE_SECONDS = 0.1
log = logging.getLogger(__name__)


class Counts:
    """The counters, histograms and gauges of one model."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._published = 0.0
        self._in_flight = metrics.IN_FLIGHT.labels(name)
        self._depth = metrics.QUEUE_DEPTH.labels(name)
        self._queued = metrics.QUEUED_SECONDS.labels(name)
        self._good = metrics.ANSWERS.labels(name, "200")
        self._first_byte = metrics.FIRST_BYTE_SECONDS.labels(name)
        self._answer = metrics.ANSWER_SECONDS.labels(name)

    def status(self, status: int, reason: str | None = None) -> None:
        """Count an answer by its status, and a refusal by its reason, too: that of the status unless one is given."""
        try:
            if status == 200:
                self._good.inc()
            else:
                metrics.ANSWERS.labels(self._name, str(status)).inc()
                metrics.REJECTIONS.labels(self._name, reason or STATUSES[status].reason).inc()
        except Exception:
            log.exception("an answer could not be counted")

    def seconds(self, first_byte: float, whole: float) -> None:
        """Count a whole answer by the seconds from its request's arrival."""
        try:
            self._first_byte.observe(first_byte)
            self._answer.observe(whole)
        except Exception:
            log.exception("the time of an answer could not be counted")

    def gauge(self, in_engine: int, waiting: int, wait_seconds: float) -> None:
        """Publish the present state, at most so often, and always when nothing is left."""
        now = time.monotonic()
        if (in_engine or waiting) and now - self._published < GAUGE_SECONDS:
            return
        self._published = now
        try:
            self._in_flight.set(in_engine)
            self._depth.set(waiting)
            self._queued.set(wait_seconds)
        except Exception:
            log.exception("the queue could not be published")

    def restart(self) -> None:
        """Count an engine that had to be replaced."""
        try:
            metrics.RESTARTS.labels(self._name).inc()
        except Exception:
            log.exception("a restart could not be counted")

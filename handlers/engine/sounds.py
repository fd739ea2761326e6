"""What is counted of answers that are sounds: the time to the first of it, and the real-time factor."""

from __future__ import annotations

import logging

from handlers import metrics
from handlers.engine.replies import Job
from handlers.generator import SoundSlot
from handlers.logs import about

log = logging.getLogger(__name__)


def count_first(model: str, job: Job, now: float) -> None:
    """Count the time until the first piece of a stream, which is sent `now`."""
    if not isinstance(job.slot, SoundSlot) or not job.params.stream:
        return
    try:
        metrics.FIRST_AUDIO_SECONDS.labels(model).observe(now - job.taken)
    except Exception:  # the answer is whole all the same
        log.exception("the first sound of %s cannot be counted", job, extra=about(job.name))


def count_whole(model: str, job: Job) -> None:
    """Count the real-time factor of an answer that is whole: seconds of steps for a second of its sound."""
    if not isinstance(job.slot, SoundSlot) or not job.slot.seconds:
        return
    try:
        metrics.REAL_TIME_FACTOR.labels(model).observe(job.stepped / job.slot.seconds)
    except Exception:
        log.exception("the real-time factor of %s cannot be counted", job, extra=about(job.name))

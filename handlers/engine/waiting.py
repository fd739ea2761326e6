"""Requests that wait in the engine, counted in rows: narrow ones pass wide ones, and no wide one waits for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from operator import attrgetter

from handlers.engine.replies import Job

PASS_SECONDS = 0.5  # for so long narrow requests pass the oldest one while there is no room for it; then all wait

_rows = attrgetter("rows")


class Waiting:
    """Waiting requests in order of arrival. `take` begins in turn with the oldest and with the narrowest.

    So a narrow request waits for one turn more at most, however many wide ones came before it, and a wide one never
    waits for those that came after it, but for `PASS_SECONDS` and what runs then.
    """

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._narrow_first = False
        self._refused: tuple[int, float] | None = None  # the oldest request that found no room, and since when

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def add(self, job: Job) -> None:
        """One more, the youngest."""
        self._jobs[job.number] = job

    def drop(self, number: int) -> Job | None:
        """Forget a request; returns it if it was waiting."""
        return self._jobs.pop(number, None)

    def take(self, room: int, most: int, alone: bool = False) -> list[Job]:
        """At most `most` requests that fit into `room` rows together; with `alone`, one that is wider by itself."""
        if not self._jobs:
            return []
        oldest = next(iter(self._jobs.values()))
        order = sorted(self._jobs.values(), key=_rows)  # of equal width the older first
        if not self._narrow_first and order[0] is not oldest:
            order.remove(oldest)
            order.insert(0, oldest)
        if oldest.rows > room and not alone and self._overtaken(oldest):
            return []
        taken: list[Job] = []
        for job in order:
            if len(taken) == most or room < 1:
                break
            if job.rows <= room or (alone and not taken):
                taken.append(job)
                room -= job.rows
        for job in taken:
            del self._jobs[job.number]
        if taken:
            self._narrow_first = not self._narrow_first
        return taken

    def _overtaken(self, oldest: Job) -> bool:
        """Whether the oldest has been passed for long enough; the clock starts when it first finds no room."""
        now = time.monotonic()
        if self._refused is None or self._refused[0] != oldest.number:
            self._refused = (oldest.number, now)
        return now - self._refused[1] >= PASS_SECONDS

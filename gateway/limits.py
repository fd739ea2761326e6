"""What a key may use: requests a minute, requests at once, and units of work a day (UTC).

In memory, exact for the one process that answers; what was used of a day comes back from the database after a restart.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta

from gateway.accounts.audit import Audit
from gateway.accounts.caller import UNITS, Caller, share_of
from gateway.accounts.records import Use
from gateway.errors import ApiError

MINUTE = 60.0


class Limits:
    """Counts what callers do. All of it on the event loop, without waiting."""

    def __init__(
        self, audit: Audit, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._audit = audit
        self._clock = clock
        self._now = now
        self._recent: dict[str, deque[float]] = {}  # of a key: when it asked, at most its requests a minute
        self._running: Counter[str] = Counter()  # requests of a key
        self._jobs: Counter[str] = Counter()  # jobs of it that are at work
        self.freed: Callable[[], None] = _nothing  # called when a caller may have one more at once
        self._day = self.day()
        self._known: set[str] = set()  # keys that were met
        self._used: dict[tuple[str, str], float] = {}  # (key, unit) -> used on this day
        self._held: dict[tuple[str, str], float] = {}  # what running requests will use

    def day(self) -> str:
        """Today, as rows of quotas have it."""
        return datetime.fromtimestamp(self._now(), UTC).date().isoformat()

    def load(self, key_id: str, day: str, used: Mapping[str, float]) -> None:
        """Take over what a key had used of a day when this process first met it; from then on it counts itself."""
        self._turn()
        met = key_id in self._known
        self._known.add(key_id)
        if met or day != self._day:
            return
        for unit, amount in used.items():
            self._used[key_id, unit] = self._used.get((key_id, unit), 0.0) + amount

    @asynccontextmanager
    async def admit(self, caller: Caller, works: bool = True) -> AsyncIterator[None]:
        """For as long as a request runs. Raises a 429 over the rate, or over the number at once.

        Jobs at work are among the latter for a request that `works`; who asks about them is not kept from it.
        """
        most = caller.limits.concurrent
        running, jobs = self._running[caller.id], self._jobs[caller.id] if works else 0
        if most and running + jobs >= most:
            beside = f" and {jobs} jobs at work" if jobs else ""
            raise ApiError(
                429,
                f"{_who(caller)} has {running} requests running{beside}, and may have {most} at once: "
                "wait for one to end",
                code="rate_limit_exceeded",
                retry_after=1.0,
                should_retry=True,
            )
        self._count(caller)
        self._running[caller.id] += 1
        try:
            yield
        finally:
            _less(self._running, caller.id)
            if most:
                self.freed()

    def takes_job(self, caller: Caller) -> bool:
        """Whether one more job of this caller may begin: what he has at once, requests included, leaves room for it."""
        most = caller.limits.concurrent
        return not most or self._running[caller.id] + self._jobs[caller.id] < most

    def job_began(self, caller: Caller) -> None:
        """Count a job at work, until `job_ended`."""
        self._jobs[caller.id] += 1

    def job_ended(self, caller: Caller) -> None:
        """Count it no more."""
        _less(self._jobs, caller.id)

    @contextmanager
    def hold(self, caller: Caller, unit: str, amount: float = 1.0) -> Iterator[None]:
        """Keep `amount` of today's quota free while it is worked for; `spend` then says what it came to.

        Raises a 429 (`insufficient_quota`) before the work when less than that is left.
        """
        self._turn()
        place = (caller.id, unit)
        most = getattr(caller.limits, f"{unit}_a_day")
        used, held = self._used.get(place, 0.0), self._held.get(place, 0.0)
        if most and used + held + amount > most:
            raise self._used_up(unit, most, used, held, amount)
        self._held[place] = held + amount
        try:
            yield
        finally:
            self._held[place] -= amount
            if self._held[place] <= 0:
                del self._held[place]

    def spend(self, caller: Caller, unit: str, amount: float) -> None:
        """Count what was made: images, tokens, or audio_seconds. It is not refused: the work is done."""
        if unit not in UNITS.values():
            raise ValueError(f"{unit!r} is no unit; wanted one of {', '.join(UNITS.values())}")
        if not amount:
            return
        self._turn()
        self._used[caller.id, unit] = self._used.get((caller.id, unit), 0.0) + amount
        self._audit.use(Use(caller.id, self._day, unit), amount)

    def used(self, caller: Caller, unit: str) -> float:
        """How much of a unit a caller used today."""
        self._turn()
        return self._used.get((caller.id, unit), 0.0)

    def _count(self, caller: Caller) -> None:
        """One more request of the last minute: a moving window, so no two minutes beside each other give twice."""
        most = caller.limits.requests_a_minute
        if not most:
            return
        now = self._clock()
        recent = self._recent.setdefault(caller.id, deque())
        while recent and recent[0] <= now - MINUTE:
            recent.popleft()
        if len(recent) >= most:
            raise ApiError(
                429,
                f"{_who(caller)} may send {most} requests a minute, and has sent {len(recent)} in the last one",
                code="rate_limit_exceeded",
                retry_after=math.ceil(recent[-most] + MINUTE - now),
                should_retry=True,
            )
        recent.append(now)

    def _turn(self) -> None:
        """At midnight UTC every quota begins again."""
        if (day := self.day()) != self._day:
            self._day = day
            self._used.clear()
            for key_id in [key_id for key_id, recent in self._recent.items() if recent[-1] <= self._clock() - MINUTE]:
                del self._recent[key_id]

    def _used_up(self, unit: str, most: float, used: float, held: float, amount: float) -> ApiError:
        now = datetime.fromtimestamp(self._now(), UTC)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        running = f" and {held:g} in requests that run" if held else ""
        return ApiError(
            429,
            f"this takes {amount:g} {unit}; of {most:g} a day, {used:g} are used{running}. "
            f"A new day begins at midnight UTC; the operator can give a key more",
            code="insufficient_quota",
            type="insufficient_quota",
            retry_after=math.ceil((midnight - now).total_seconds()),
            should_retry=False,
        )


def _nothing() -> None:
    """Nobody waits for room."""


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _who(caller: Caller) -> str:
    """Whom a limit counts, as its refusal says it."""
    return "everybody together" if share_of(caller.id) is None else f"key {caller.id}"

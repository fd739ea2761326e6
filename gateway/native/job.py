"""A job: work that goes on while nobody waits, and what is known of it."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any, Literal

from gateway.errors import ApiError

Status = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
PREFIX = "job_"  # of every id
STEP_SECONDS = 0.1  # between two events of mere progress
ALIVE_SECONDS = 15.0  # between two signs of life


@dataclasses.dataclass(eq=False)
class Job:
    """One job of a caller. Times are seconds since the epoch."""

    owner: str  # id of a caller
    model: str
    id: str = dataclasses.field(default_factory=lambda: f"{PREFIX}{secrets.token_hex(16)}")
    status: Status = "queued"
    created: float = dataclasses.field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    tries: int = 0  # how often the model was asked: it is asked again where it was busy
    bytes: int = 0  # of the result, so far
    content_type: str | None = None
    error: ApiError | None = None
    token: str | None = None  # of the result
    _change: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    _told: float = 0.0  # when anything was told at last, by the event loop's clock
    _later: asyncio.TimerHandle | None = None  # when progress will be told that came soon after that

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self.status in ENDED

    def to(self, status: Status, **changes: Any) -> None:
        """Another status, which everybody who watches is told."""
        self.status = status
        for name, value in changes.items():
            setattr(self, name, value)
        if self.over:
            self.ended = time.time()
        self._tell()

    def progress(self, size: int) -> None:
        """So many more bytes of the result are there."""
        self.bytes += size
        loop = asyncio.get_running_loop()
        if (left := self._told + STEP_SECONDS - loop.time()) <= 0:
            self._tell()
        elif self._later is None:
            self._later = loop.call_later(left, self._tell)

    def document(self) -> dict[str, Any]:
        """What its owner is told."""
        return {
            "id": self.id,
            "object": "job",
            "model": self.model,
            "status": self.status,
            "created_at": int(self.created),
            "started_at": None if self.started is None else int(self.started),
            "ended_at": None if self.ended is None else int(self.ended),
            "tries": self.tries,
            "bytes": self.bytes,
            "content_type": self.content_type,
            "error": None if self.error is None else self.error.document()["error"],
        }

    async def watched(self) -> AsyncGenerator[dict[str, Any] | None, None]:
        """How it is now, whenever that changes, and how it ended; None as a sign of life in between."""
        while True:
            change = self._change
            yield self.document()
            if self.over:
                return
            while not change.is_set():
                try:
                    async with asyncio.timeout(ALIVE_SECONDS):
                        await change.wait()
                except TimeoutError:
                    yield None

    def _tell(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._told = asyncio.get_running_loop().time()
        self._change.set()
        self._change = asyncio.Event()

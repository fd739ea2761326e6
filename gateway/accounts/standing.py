"""Whether callers who were let in may go on: keys are revoked, and expire, while requests run and jobs wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import structlog

from gateway.accounts.caller import Caller
from gateway.errors import ApiError

log = structlog.get_logger("gateway.accounts")


class Standing:
    """What callers have running, and whose keys were revoked since. All of it on the event loop."""

    def __init__(self) -> None:
        self._revoked: set[str] = set()  # ids of keys, as many as the database has
        self._running: dict[str, set[asyncio.Task[object]]] = {}  # requests by their key

    def check(self, caller: Caller) -> None:
        """Raise the 401 that a request of this caller would get now, though he was let in before."""
        if caller.id in self._revoked:
            raise _ended(f"API key {caller.id} was revoked meanwhile: ask for another", "revoked_api_key")
        if caller.expires is not None and caller.expires <= time.time():
            raise _ended(f"API key {caller.id} expired meanwhile: ask for another", "expired_api_key")

    @contextmanager
    def running(self, caller: Caller) -> Iterator[None]:
        """While a request runs in this task. Raises a 401 in its middle once its key is revoked."""
        task = asyncio.current_task()
        assert task is not None
        tasks = self._running.setdefault(caller.id, set())
        tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in tasks or task.uncancel():  # somebody else ends it
                raise
            self.check(caller)
            raise
        finally:
            tasks.discard(task)
            if not tasks and self._running.get(caller.id) is tasks:
                del self._running[caller.id]

    def revoke(self, keys: Iterable[str]) -> None:
        """End what runs with keys of these ids, and let nothing more of them begin."""
        new = set(keys) - self._revoked
        self._revoked |= new
        for key in new & self._running.keys():
            tasks = self._running.pop(key)
            log.warning("a key was revoked while its requests ran", key=key, requests=len(tasks))
            ending = list(tasks)
            tasks.clear()  # those that are not in it any more were ended here
            for task in ending:
                task.cancel()


def _ended(message: str, code: str) -> ApiError:
    return ApiError(401, message, code=code, headers={"www-authenticate": "Bearer"})

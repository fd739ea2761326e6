"""Steady requests from threads while something is broken on purpose, and an account of what became of each."""

from __future__ import annotations

import collections
import itertools
import threading
from types import TracebackType
from typing import Any

from benchmarks.server import Server

REFUSED = "refused"  # nothing listened: the caller knows at once, and nothing had begun
LOST = "lost"  # accepted, and then neither answered nor refused


class Traffic:
    """While entered, `clients` threads send one request after the other, each with a seed of its own."""

    def __init__(self, server: Server, model: str, clients: int, timeout: float = 30.0, **params: Any) -> None:
        self._server, self._model, self._timeout, self._params = server, model, timeout, params
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._lock, self._stop, self._seeds = threading.Lock(), threading.Event(), itertools.count(1)
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._timeout + 5)
        if any(thread.is_alive() for thread in self._threads):
            raise RuntimeError("a client hangs: the server neither answers nor hangs up")

    @property
    def sent(self) -> int:
        """Requests so far."""
        return sum(self.outcomes.values())

    def _send(self) -> None:
        while not self._stop.is_set():
            word = request_outcome(self._server, self._model, self._timeout, seed=next(self._seeds), **self._params)
            with self._lock:
                self.outcomes[word] += 1
            if word == REFUSED:
                self._stop.wait(0.02)


def request_outcome(server: Server, model: str, timeout: float, **params: Any) -> str:
    """Send one request; returns its status, or REFUSED or LOST where there was none."""
    try:
        return str(server.post(params, model, timeout=timeout).status)
    except (ConnectionRefusedError, FileNotFoundError):
        return REFUSED
    except OSError:  # reset, closed without an answer, or silent for too long
        return LOST

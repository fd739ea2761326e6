"""What is too old goes, hour by hour: rows first, then their files, then files that no row has."""

from __future__ import annotations

import threading
import time
from itertools import islice

from gateway.accounts.history import MAX_AT_ONCE, Gone, History
from gateway.kept import ResultStore

EVERY_SECONDS = 3600.0
DAY = 86_400.0
GRACE_SECONDS = 3600.0  # for which a file may lie there before its row is written
MAX_ROUNDS = 200  # of `MAX_AT_ONCE` rows, of one sweep; the next one goes on


def sweep(
    history: History, store: ResultStore, days: int, stop: threading.Event, *, now: float | None = None
) -> tuple[int, int]:
    """Delete what is older than so many days (0: nothing is), and files without a row; how many rows and files.

    Every file is deleted after its row: what breaks off leaves files that no row has, which the next sweep finds.
    `stop` ends it early.
    """
    now = time.time() if now is None else now
    rows = files = 0
    for _ in range(MAX_ROUNDS if days else 0):
        gone = Gone(0, []) if stop.is_set() else history.expire(now - days * DAY)
        if not gone.rows:
            break
        for name in gone.results:
            store.delete(name)
        rows, files = rows + gone.rows, files + len(gone.results)
    old = (kept.name for kept in store.list() if kept.at < now - GRACE_SECONDS)
    while not stop.is_set() and (names := list(islice(old, MAX_AT_ONCE))):
        for name in history.orphans(names):
            store.delete(name)
            files += 1
    return rows, files

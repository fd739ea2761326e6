"""The log of requests, what they made, and quotas, from memory to the database: one thread, many rows a transaction.

Nothing is lost in silence: a request is refused (503) before its work begins when there is no room to keep it.
"""

from __future__ import annotations

import threading
import time

import structlog

from gateway.accounts.database import reason, told
from gateway.accounts.generations import Generation
from gateway.accounts.records import CURRENT, Record, Use
from gateway.accounts.store import Store
from gateway.errors import overloaded

ROOM = 10_000  # requests that are running, or whose rows the database has not got yet; some 10 MB
ROOM_BYTES = 64 << 20  # of generations, which hold what was asked and so may be long
BATCH = 500  # rows a transaction
LINGER_SECONDS = 0.1  # how long the first row of a batch waits for others
PAUSES = (0.1, 0.5, 1.0, 2.0)  # after a transaction that failed, after the next one, ...; the last one from then on
END_SECONDS = 0.5  # for which the end waits for a transaction that hangs
log = structlog.get_logger("gateway.accounts")


class Audit:
    """Takes records from the event loop, and hands them to a thread that writes."""

    def __init__(self, store: Store, room: int = ROOM, room_bytes: int = ROOM_BYTES) -> None:
        self._store = store
        self._room, self._room_bytes = room, room_bytes
        self._taken = 0  # running, or waiting to be written
        self._taken_bytes = 0  # of generations among them
        self._rows: list[Record | Generation] = []
        self._uses: dict[Use, float] = {}
        self._change = threading.Condition()
        self._hurry = 0  # callers that wait for everything to be written
        self._busy = False
        self._stopped = False
        self.trouble: str | None = None  # why the last transaction failed
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    def begin(self, request_id: str, key_id: str) -> Record:
        """Take a request that `end` will keep, whatever becomes of it. Raises a 503 when there is no room for it."""
        self._take(0)
        record = Record(request_id, key_id)
        CURRENT.set(record)
        return record

    def end(self, record: Record, route: str, status: int) -> None:
        """The request is over: hand its row to the thread that writes."""
        record.seconds, record.route, record.status, record.ended = time.monotonic() - record.began, route, status, True
        self._hand_over(record)

    def reserve(self, generation: Generation) -> None:
        """Take what is about to be made, which `keep` or `release` ends. Raises a 503 when there is no room for it."""
        self._take(generation.size)

    def keep(self, generation: Generation) -> None:
        """It was made, or failed: hand its row, which was reserved, to the thread that writes."""
        with self._change:  # what was written with it counts from now on
            self._taken_bytes += generation.held - generation.size
            generation.size = generation.held
        self._hand_over(generation)

    def release(self, generation: Generation) -> None:
        """Nothing of what was reserved is to be kept."""
        with self._change:
            self._taken -= 1
            self._taken_bytes -= generation.size

    def use(self, use: Use, amount: float) -> None:
        """Add to a quota: with the row of the request that runs, or by itself where there is none."""
        record = CURRENT.get()
        if record is not None and not record.ended and record.key_id == use.key_id:
            record.units[use.unit] = record.units.get(use.unit, 0.0) + amount
            record.uses[use] = record.uses.get(use, 0.0) + amount
            return
        with self._change:  # bounded by the number of keys
            self._uses[use] = self._uses.get(use, 0.0) + amount
            self._change.notify_all()

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._taken >= self._room or self._taken_bytes >= self._room_bytes

    def flush(self, seconds: float) -> bool:
        """Wait until everything that ended is in the database; False if that takes longer."""
        with self._change:
            self._hurry += 1
            self._change.notify_all()
            try:
                return self._change.wait_for(lambda: not (self._rows or self._uses or self._busy), seconds)
            finally:
                self._hurry -= 1

    def close(self, seconds: float) -> int:
        """Write what is left, for at most this long, and end the thread; how many rows were not written."""
        self.flush(seconds)
        with self._change:
            self._stopped = True
            self._change.notify_all()
        self._thread.join(END_SECONDS)
        return self._taken

    def _take(self, size: int) -> None:
        with self._change:
            if self.full or self._stopped or self._taken_bytes + size > self._room_bytes:
                why = f" ({self.trouble})" if self.trouble else ""
                raise overloaded(
                    f"the log of requests is full, {self._taken} rows wait for the database{why}: "
                    "nothing was begun, send the request again",
                    5.0,
                )
            self._taken += 1
            self._taken_bytes += size

    def _hand_over(self, row: Record | Generation) -> None:
        with self._change:
            self._rows.append(row)
            if len(self._rows) in (1, BATCH):  # between these two the thread sleeps on
                self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._rows or self._uses or self._stopped)
                if self._stopped:
                    return
                self._change.wait_for(lambda: self._hurry or self._stopped or len(self._rows) >= BATCH, LINGER_SECONDS)
                rows, self._rows = self._rows[:BATCH], self._rows[BATCH:]
                uses, self._uses = self._uses, {}
                self._busy = True
            written = self._write(rows, uses)
            with self._change:
                self._busy = False
                if written:
                    self._taken -= len(rows)
                    self._taken_bytes -= sum(row.size for row in rows if isinstance(row, Generation))
                else:
                    self._rows[:0] = rows
                self._change.notify_all()

    def _write(self, rows: list[Record | Generation], uses: dict[Use, float]) -> bool:
        """Try until it is written, or until the end; then what was not written is told by `close`."""
        total: dict[Use, float] = dict(uses)
        for row in rows:
            for use, amount in row.uses.items() if isinstance(row, Record) else ():
                total[use] = total.get(use, 0.0) + amount
        tries = 0
        while True:
            try:
                self._store.write(rows, total, again=tries > 0)
            except Exception as error:  # a thread that ended would lose everything after it
                if self.trouble is None:
                    log.error("the database cannot be written", reason=reason(error), rows=self._taken)
                self.trouble = told(error)
            else:
                if self.trouble is not None:
                    log.warning("the database can be written again")
                self.trouble = None
                return True
            with self._change:
                if self._change.wait_for(lambda: self._stopped, PAUSES[min(tries, len(PAUSES) - 1)]):
                    return False
            tries += 1

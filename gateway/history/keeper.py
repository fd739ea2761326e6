"""Keeps what is made: room is taken before the work begins, and what came of it is written behind the answer.

Nothing is lost in silence. Without room in memory a request is a 503 before its work; without room among the results
the work goes on, and its row says that the file is not kept.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog

from gateway.accounts.audit import Audit
from gateway.accounts.database import reason, told
from gateway.accounts.generations import Generation, Status
from gateway.answer import Answer
from gateway.errors import ApiError, overloaded
from gateway.history.writing import Came, Writer
from gateway.kept import NoRoom, ResultStore
from gateway.personal import removed
from gateway.sealed import Ring

if TYPE_CHECKING:
    from gateway.work import Made, Order

THREADS = 4
ROOM_BYTES = 64 << 20  # of answers that wait to be written; what is being made comes on top
BATCH = 16  # answers that one thread writes, one after the other
LINGER_SECONDS = 0.05  # for which the first of them waits for others: a thread is not woken for each
MAX_SOUND = 1 << 20  # bytes of a stream of sound that are kept; a longer one has a row without a file
NOT_KEPT = {"omitted": "an image that came with the request; the history does not keep it"}
log = structlog.get_logger("gateway.history")


class Keeper:
    """What answers are handed to. `store` None: nothing is kept."""

    def __init__(
        self,
        audit: Audit,
        store: ResultStore | None,
        ring: Ring | None = None,
        *,
        remove: bool = True,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        self._audit, self._store, self._room_bytes = audit, store, room_bytes
        self._writer = Writer(self._put, ring, removed if remove else None)
        self._threads = ThreadPoolExecutor(THREADS, "history")
        self._change = threading.Condition()
        self._batch: list[tuple[Generation, Came | None]] = []
        self._waiting = self._bytes = 0  # answers that are not handed to the log of requests yet, and what they hold
        self.trouble: str | None = None  # why the last file was not kept

    def making(self, order: Order) -> Making:
        """Room for what is about to be made. Raises a 503 when there is none."""
        if self._store is None:
            return Making(None, None)
        if self.full:
            raise overloaded(
                f"the history is full, {self._bytes} bytes of answers wait to be written: nothing was begun, "
                "send the request again",
                5.0,
            )
        model = order.model
        asked = _asked(order)
        row = Generation(order.caller.owner, model.name, model.version, model.medium, order.route, asked, job=order.job)
        self._audit.reserve(row)
        return Making(self, row)

    @property
    def full(self) -> bool:
        """Whether the next answer would be refused."""
        return self._bytes >= self._room_bytes

    def hand_over(self, row: Generation, came: Came | None) -> None:
        """Write it; its caller, on the event loop, does not wait for that."""
        with self._change:
            self._waiting += 1
            self._bytes += came.size if came is not None else 0
            self._batch.append((row, came))
            size = len(self._batch)
        if size == BATCH:
            self._submit()
        elif size == 1:
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._submit)

    def release(self, row: Generation) -> None:
        """Nothing was made."""
        self._audit.release(row)

    def flush(self, seconds: float) -> bool:
        """Wait until all that was made is in the database; False if that takes longer. It blocks."""
        until = time.monotonic() + seconds
        self._submit()
        with self._change:
            if not self._change.wait_for(lambda: self._waiting == 0, seconds):
                return False
        return self._audit.flush(max(0.0, until - time.monotonic()))

    def close(self, seconds: float) -> int:
        """Write what waits, for at most so long; how many answers are lost. It blocks."""
        self._submit()
        with self._change:
            self._change.wait_for(lambda: self._waiting == 0, seconds)
            self._threads.shutdown(wait=False, cancel_futures=True)
            return self._waiting

    def _submit(self) -> None:
        with self._change:
            batch, self._batch = self._batch, []
            if batch:
                self._threads.submit(self._write_all, batch)

    def _write_all(self, batch: list[tuple[Generation, Came | None]]) -> None:
        for row, came in batch:
            self._write(row, came)

    def _write(self, row: Generation, came: Came | None) -> None:
        try:
            self._writer.fill(row, came)
        except Exception:  # whatever it is, the row is kept: a thread that ended here would lose it
            log.exception("an answer is in the history without all of it", generation=row.id)
        finally:
            self._audit.keep(row)
            with self._change:
                self._waiting -= 1
                self._bytes -= came.size if came is not None else 0
                self._change.notify_all()

    def _put(self, content: bytes) -> str | None:
        assert self._store is not None
        try:
            name = self._store.put(content)
        except Exception as error:  # of whatever store it is
            why = "their room is used up" if isinstance(error, NoRoom) else told(error)
            if self.trouble is None:
                log.error("results cannot be kept; the history goes on without them", reason=reason(error))
            self.trouble = why
            return None
        if self.trouble is not None:
            log.warning("results can be kept again")
        self.trouble = None
        return name


class Making:
    """One answer that is being made. It ends by `keep`, by `end`, or with the block that it is entered for."""

    def __init__(self, keeper: Keeper | None, row: Generation | None) -> None:
        self._keeper, self._row = keeper, row
        self._answer: Answer | None = None
        self._pieces: list[bytes] | None = []
        self._size = 0

    def begun(self, answer: Answer) -> None:
        """A stream's head is there: from now on it is kept however it ends."""
        self._answer = answer

    def feed(self, piece: bytes) -> None:
        """The next bytes of a stream; a model's limit bounds them all."""
        if self._pieces is None or self._row is None:
            return
        self._size += len(piece)
        self._pieces.append(piece)
        if self._row.medium != "text" and self._size > MAX_SOUND:
            self._pieces = None

    def keep(self, made: Made) -> None:
        """A whole answer, as it is sent."""
        self._hand_over("done", Came([made.body], made.content_type, made.receipt_text, made.sha256s))

    def end(self, status: Status) -> None:
        """It ended so without an answer: the row alone is kept."""
        self._hand_over(status, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        answer = self._answer
        if answer is not None:
            if answer.refused:
                self._hand_over("failed", None)
            status: Status = "done" if answer.ended else "failed" if isinstance(error, ApiError) else "cancelled"
            self._hand_over(status, Came(self._pieces, answer.content_type, answer.receipt_text))
        elif self._keeper is not None and self._row is not None:
            self._keeper.release(self._row)
            self._keeper = None

    def _hand_over(self, status: Status, came: Came | None) -> None:
        keeper, self._keeper = self._keeper, None  # once
        if keeper is not None and self._row is not None:
            self._row.status = status
            keeper.hand_over(self._row, came)


def _asked(order: Order) -> Mapping[str, Any]:
    """What makes the same again, but for images, which are known by the receipt's digests alone."""
    images = {spec.name for spec in order.model.params.values() if spec.type == "image"}
    if images.isdisjoint(order.params):
        return order.params
    return {name: NOT_KEPT if name in images else value for name, value in order.params.items()}

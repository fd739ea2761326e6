"""Results that are kept for a while: images that were asked for as addresses, and what jobs made.

They lie beside the uploads, under names that nobody guesses, this user's alone. Each goes after its time; before that
only where room is needed, and then the oldest of the caller who keeps most.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections import Counter

from gateway.errors import ApiError
from gateway.spool_folder import Folder

MAX_FILES = 1024  # at once
TOKEN_BYTES = 24  # of randomness in a name


@dataclasses.dataclass(frozen=True)
class Result:
    """A file that is kept: the name it is found by, whose it is, what it is, and the receipt that came with it."""

    token: str
    owner: str  # of a caller
    file: str  # its name in the folder
    bytes: int
    content_type: str
    receipt: str | None


class Results:
    """All that are kept: at most `max_total` bytes in `MAX_FILES` files, each for `seconds`.

    All but reading and writing the files happens on the event loop.
    """

    def __init__(self, folder: Folder, max_total: int, seconds: float) -> None:
        self._folder = folder
        self._max_total, self._seconds = max_total, seconds
        self._there: dict[str, Result] = {}  # the oldest first
        self._ends: dict[str, asyncio.TimerHandle] = {}
        self.bytes = 0

    async def keep(self, owner: str, data: bytes, content_type: str, receipt: str | None) -> Result:
        """Keep a file. Raises `ApiError` where it is larger than everything that may be kept, or the disk is full."""
        if len(data) > self._max_total:
            message = f"the result has {len(data)} bytes, at most {self._max_total} are kept here; ask for the bytes"
            raise ApiError(413, message, code="too_large")
        self._make_room(len(data))
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self.bytes += len(data)  # held from now on: others keep files while this one is written
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, data))
        try:
            file = await asyncio.shield(writing)
        except OSError as error:
            self.bytes -= len(data)
            message = f"the server has no room for the result ({error.strerror}); ask for the bytes"
            raise ApiError(503, message, code="overloaded", retry_after=5) from None
        except asyncio.CancelledError:
            self.bytes -= len(data)
            writing.add_done_callback(self._unwanted)  # a thread goes on
            raise
        result = Result(token, owner, file, len(data), content_type, receipt)
        self._there[token] = result
        self._ends[token] = asyncio.get_running_loop().call_later(self._seconds, self.drop, token)
        return result

    def find(self, token: str) -> Result | None:
        """The result of that name, or None where it is not there any more."""
        return self._there.get(token)

    async def read(self, result: Result) -> bytes | None:
        """Its bytes, or None where it went meanwhile."""
        try:
            return await asyncio.to_thread((self._folder.path / result.file).read_bytes)
        except FileNotFoundError:
            return None

    def drop(self, token: str) -> None:
        """Remove a result; one that is gone is no error."""
        if (result := self._there.pop(token, None)) is not None:
            self._ends.pop(token).cancel()
            self.bytes -= result.bytes
            self._folder.remove(result.file)

    def close(self) -> None:
        """Remove everything."""
        for token in list(self._there):
            self.drop(token)
        self._folder.close()

    def _make_room(self, size: int) -> None:
        """Let go of what is in the way. Files that are being written are counted, and cannot go."""
        while self._there and (self.bytes + size > self._max_total or len(self._there) >= MAX_FILES):
            held: Counter[str] = Counter()
            for result in self._there.values():
                held[result.owner] += result.bytes
            most, _ = held.most_common(1)[0]
            self.drop(next(token for token, result in self._there.items() if result.owner == most))
        if self.bytes + size > self._max_total:
            message = "more results are being written than are kept here; send the request again later"
            raise ApiError(503, message, code="overloaded", retry_after=2)

    def _unwanted(self, writing: asyncio.Future[str]) -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._folder.remove(writing.result())

    def _write(self, data: bytes) -> str:
        name, descriptor = self._folder.new()
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
        except BaseException:
            self._folder.remove(name)
            raise
        return name

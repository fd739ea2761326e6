"""One upload while it arrives: counted, looked at and written piece by piece, so that nothing of it is kept in memory.

What it may not be is refused as soon as the bytes say so: too many of them, no picture, too many pixels.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any, Literal

from gateway.errors import ApiError, overloaded
from gateway.pictures import NotAPicture, Picture, measure
from gateway.spool_folder import Folder

PIECE = 256 * 1024  # bytes that are kept for one write, in a thread
FULL_SECONDS = 5.0  # after which to come again to a full disk
Kind = Literal["image", "json", "any"]


@dataclasses.dataclass(frozen=True)
class Spooled:
    """A file of the spool: its name there, digest, bytes, type by its first bytes; of a picture its size in pixels."""

    name: str
    sha256: str
    bytes: int
    content_type: str
    width: int | None = None
    height: int | None = None

    def reference(self) -> dict[str, Any]:
        """What stands in a request to a model in place of the bytes (docs/api.md)."""
        return {"spooled": {"name": self.name, "sha256": self.sha256, "bytes": self.bytes}}


class Arrival:
    """Takes the bytes of one upload: `write`, then `done`. `discard` at any time, also after `done`.

    `what` is how messages call it. `room` takes the bytes that are written in addition and raises `ApiError` where
    there is no room; `forget` is called once, when it is discarded.
    """

    def __init__(
        self,
        folder: Folder,
        room: Callable[[int], None],
        forget: Callable[[Arrival], None],
        kind: Kind,
        max_bytes: int,
        max_pixels: int | None = None,
        what: str = "image",
    ) -> None:
        self._folder, self._room, self._forget, self._kind, self._what = folder, room, forget, kind, what
        self._max_bytes, self._max_pixels = max_bytes, max_pixels
        self.name, self._file = "", -1
        self._digest = hashlib.sha256()
        self._head, self._waiting = bytearray(), bytearray()
        self._picture: Picture | None = None
        self._discarded = False
        self.bytes = 0

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes. Raises `ApiError`; nothing more is to be written then, but `discard` called."""
        if self.bytes + len(data) > self._max_bytes:
            raise ApiError(413, f"{self._what} has more than {self._max_bytes} bytes; send less", param=self._what)
        self._room(len(data))
        self.bytes += len(data)  # counted by both, or by none
        if self._kind == "image" and self._picture is None:
            self._head += data
            self._measure(whole=False)
        self._waiting += data
        if len(self._waiting) >= PIECE:
            await self._flush()

    async def done(self) -> Spooled:
        """The whole upload, which lies in the spool now. Raises `ApiError` for one that is empty or no picture."""
        if self.bytes == 0:
            raise ApiError(400, f"{self._what} is empty; send a file", param=self._what)
        if self._kind == "image" and self._picture is None:
            self._measure(whole=True)
        await self._flush()
        os.close(self._file)
        self._file = -1
        digest, found = self._digest.hexdigest(), self._picture
        if found is None:
            kind = "application/json" if self._kind == "json" else "application/octet-stream"
            return Spooled(self.name, digest, self.bytes, kind)
        return Spooled(self.name, digest, self.bytes, found.content_type, found.width, found.height)

    def discard(self) -> None:
        """Remove what there is of it. Removing a file of a folder in memory takes no time worth a thread."""
        if self._discarded:
            return
        self._discarded = True
        self._forget(self)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self.name:
            self._folder.remove(self.name)

    def _measure(self, whole: bool) -> None:
        try:
            self._picture = found = measure(self._head, whole)
        except NotAPicture as error:
            message = f"{self._what} is no picture that is read here: {error}; send a PNG, JPEG or WebP"
            raise ApiError(400, message, param=self._what) from None
        if found is None:
            return
        self._head = bytearray()
        if self._max_pixels is not None and found.width * found.height > self._max_pixels:
            size = f"{found.width} x {found.height} = {found.width * found.height} pixels"
            message = f"{self._what} has {size}, at most {self._max_pixels} are taken: make it smaller"
            raise ApiError(413, message, param=self._what)

    async def _flush(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        work = asyncio.ensure_future(asyncio.to_thread(self._write, data))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            while not work.done():  # the file may be closed and removed when nobody writes to it any more
                try:
                    await asyncio.wait({work})
                except asyncio.CancelledError:
                    continue
            work.exception()
            raise
        except OSError as error:
            message = f"the server has no room for {self._what} ({error.strerror}); send it again later"
            raise overloaded(message, FULL_SECONDS) from None

    def _write(self, data: bytearray) -> None:
        if self._file < 0:
            self.name, self._file = self._folder.new()
        self._digest.update(data)
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]

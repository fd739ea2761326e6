"""The socket pair to an engine, as one asyncio protocol: frames in, frames out, and when to stop either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from handlers.frames import Frame, Unpacker

# Bytes for the engine that its socket has not taken; over them no request is handed to it. The kernel's own buffer of
# the pair (net.core.wmem_max, some 200 kB) comes before, one request and 13 bytes a cancellation may come on top.
MAX_UNSENT_BYTES = 256 * 1024


class EngineLink(asyncio.Protocol):
    """Hands on whole frames; `gone` is set at the end, with `error` if what came made no sense."""

    def __init__(self, on_frames: Callable[[list[Frame]], None], on_room: Callable[[], None]) -> None:
        self._on_frames, self._on_room = on_frames, on_room
        self._unpacker = Unpacker()
        self._transport: asyncio.Transport | None = None
        self._full = False
        self.gone = asyncio.Event()
        self.error: Exception | None = None

    @property
    def has_room(self) -> bool:
        """Whether another request may be handed over."""
        return self._transport is not None and not self._full

    def connection_made(self, transport: Any) -> None:
        """Bound what waits for the engine."""
        self._transport = transport
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that are whole."""
        try:
            self._on_frames(self._unpacker.feed(data))
        except Exception as error:  # an exception that left here would be the event loop's
            self.error = error
            self.close()

    def pause_writing(self) -> None:
        """The bound is reached."""
        self._full = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._full = False
        self._on_room()

    def connection_lost(self, error: Exception | None) -> None:
        """The engine, or we, have closed it."""
        self._transport = None
        self.gone.set()

    def send(self, data: bytes) -> None:
        """Hand a frame over; what a dying engine does not take is lost with it."""
        if self._transport is not None:
            self._transport.write(data)

    def listen(self, wanted: bool) -> None:
        """Take no more frames, or take them again."""
        if self._transport is not None and wanted != self._transport.is_reading():
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def close(self) -> None:
        """Drop the connection with all that was not sent."""
        if self._transport is not None:
            self._transport.abort()

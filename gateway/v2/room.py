"""How much of memory all requests with tensors have together: they are read whole, and their answers are held whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.errors import overloaded

MAX_HELD = 256 << 20  # bytes of requests that are being worked on


class Room:
    """Bytes that are held; `hold` takes some for a while."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Room for a request of at most `size` bytes. Raises `ApiError` (503) where others have it."""
        if self.held + size > self._most:
            raise overloaded("too many large requests with tensors are being worked on; send the request again")
        self.held += size
        try:
            yield
        finally:
            self.held -= size

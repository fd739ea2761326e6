"""HTTP/1.1 responses parsed piece by piece, and the sample of each request, for both loops of the load generator."""

from __future__ import annotations

import dataclasses
import time

RESPONSE_SECONDS = 30.0
ERROR, UNSENT = "error", "unsent"  # outcomes that are no status: no whole response; never on the wire


@dataclasses.dataclass(slots=True)
class Sample:
    """Outcome, latency and size of one request; times in seconds."""

    due: float  # when it should have gone out, on the clock of time.perf_counter
    outcome: str  # the status, ERROR or UNSENT
    took: float  # from `due` to the end of the response
    first: float = 0.0  # from `due` to the first byte of the body
    size: int = 0  # bytes of the body, without the framing of chunks
    chunks: int = 0  # 0: not streamed


class ResponseParser:
    """Incremental parser of one response: bytes go in through `feed` until it is whole."""

    __slots__ = ("_at", "_data", "_length", "chunks", "closing", "first", "size", "status")

    def __init__(self) -> None:
        self._data, self._at, self._length = bytearray(), 0, 0  # _length of -1: in chunks
        self.status, self.closing, self.size, self.chunks = "", False, 0, 0
        self.first = 0.0  # when the first byte of the body came, on the clock of time.perf_counter

    def feed(self, piece: bytes) -> bool:
        """Parse the next piece; returns whether the response is whole.

        Raises `ValueError` for bytes that are no HTTP/1.1, `EOFError` for an end before the response is whole (b"").
        """
        if not piece:
            raise EOFError("the connection was closed before the response was whole")
        self._data += piece
        if not self.status and not self._read_head():
            return False
        if not self.first and len(self._data) > self._at:
            self.first = time.perf_counter()
        if self._length < 0:
            return self._read_chunks()
        self.size = len(self._data) - self._at
        return self.size >= self._length

    def sample(self, due: float) -> Sample:
        """The sample of a response that has just become whole, to a request that was due at `due`."""
        now = time.perf_counter()
        return Sample(due, self.status, now - due, (self.first or now) - due, self.size, self.chunks)

    def _read_head(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._data[: end + 2]).lower()
        status = head[9:12]
        if not head.startswith(b"http/1.") or not status.isdigit():
            raise ValueError(f"{head[:40]!r} is no HTTP/1.1 response")
        self._length = -1
        if b"\r\ntransfer-encoding: chunked" not in head:
            self._length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        self.status, self.closing, self._at = status.decode(), b"\r\nconnection: close" in head, end + 4
        return True

    def _read_chunks(self) -> bool:
        while (end := self._data.find(b"\r\n", self._at)) >= 0:
            length = int(self._data[self._at : end].partition(b";")[0], 16)
            if length == 0:  # trailers, of which there are hardly ever any, and an empty line
                return self._data.find(b"\r\n\r\n", end) >= 0
            after = end + 2 + length + 2
            if len(self._data) < after:
                return False
            self.chunks += 1
            self.size += length
            self._at = after
        return False

"""The head of a FLAC file (RFC 9639): how many samples there will be, which an encoder of a stream leaves open."""

from __future__ import annotations

_SAMPLES = 21  # where the last 36 bits of STREAMINFO before its digest begin: "fLaC", a block's head, 13 bytes
_HEAD = 26


class Stated:
    """Passes a file on; of one whose length is open it states `samples`, if those are known."""

    def __init__(self, samples: int | None) -> None:
        self._samples, self._head = samples, b""
        self.sounding = False  # whether a frame of sound was among it
        self._metadata = True

    def feed(self, data: bytes) -> bytes:
        """What is ready to be sent."""
        if not self._metadata:
            self.sounding |= bool(data)
            return data
        self._head += data
        at, last = 4, False
        while not last:
            if len(self._head) < at + 4:
                return b""
            last = bool(self._head[at] & 0x80)
            at += 4 + int.from_bytes(self._head[at + 1 : at + 4])
        if len(self._head) < at:
            return b""
        found, self._head, self._metadata = bytearray(self._head), b"", False
        self.sounding = len(found) > at
        if self._samples is not None and self._samples < 1 << 36:
            kept = found[_SAMPLES] & 0xF0  # bits of a sample
            found[_SAMPLES:_HEAD] = self._samples.to_bytes(5)
            found[_SAMPLES] |= kept
        return bytes(found)

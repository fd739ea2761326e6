"""Pages of an Ogg stream (RFC 3533) with a serial number that follows from the request, in place of a random one."""

from __future__ import annotations

import struct
import zlib

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LAST = 4  # the flag of a stream's last page
_HEADER = 27  # bytes of a page before its table of segments


class Pages:
    """Gives out whole pages as they come in, under another serial number, the last one `trim` samples shorter."""

    def __init__(self, serial: int, trim: int = 0) -> None:
        self._serial, self._trim = struct.pack("<I", serial), trim
        self._left = b""
        self.sounding = False  # whether a page with samples was among them

    def feed(self, data: bytes) -> bytes:
        """The pages that are whole now. Raises `ValueError` for what is no page."""
        self._left += data
        found, at = [], 0
        while len(self._left) - at >= _HEADER:
            if self._left[at : at + 4] != b"OggS":
                raise ValueError(f"an Ogg page begins with {self._left[at : at + 4]!r}, wanted b'OggS'")
            (position,), segments = struct.unpack_from("<q", self._left, at + 6), self._left[at + 26]
            end = at + _HEADER + segments
            end += sum(self._left[at + _HEADER : end])
            if end > len(self._left) or len(self._left) < at + _HEADER + segments:
                break
            self.sounding |= position > 0
            if self._left[at + 5] & _LAST:
                position -= self._trim
            page = bytearray(self._left[at:end])
            page[6:14], page[14:18], page[22:26] = struct.pack("<q", position), self._serial, bytes(4)
            page[22:26] = struct.pack("<I", crc(page))
            found.append(bytes(page))
            at = end
        self._left = self._left[at:]
        return b"".join(found)


def crc(data: bytes | bytearray) -> int:
    """Ogg's checksum: the polynomial of zlib's CRC with the bits the other way round, from 0, not inverted."""
    mirrored = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)

"""What the proxy and its engine process say to each other over a socket pair: small framed messages.

Frame: kind (1 byte), request number (8 bytes), length (4 bytes), payload. Big-endian; JSON payloads but for DATA.
"""

from __future__ import annotations

import enum
import json
import struct
from typing import Any, NamedTuple

_HEAD = struct.Struct("!BQI")
MAX_PAYLOAD = 64 * 1024 * 1024


class Kind(enum.IntEnum):
    """The first byte of a frame."""

    # proxy -> engine
    SUBMIT = 1  # {"params": ..., "deadline": seconds since the epoch or null}
    CANCEL = 2
    # engine -> proxy
    READY = 10  # {"capacity", "describe"}: once, when the engine is open
    FAILED = 11  # {"reason"}: in place of READY
    STARTED = 12  # {"receipt", "content_type" if known}: the request is being computed, a crash would take it along
    HEAD = 17  # {"content_type"}: before the first DATA, where STARTED could not say it
    DATA = 13  # bytes of the answer
    END = 14  # {"finished"}: the answer is whole
    REFUSED = 15  # {"status", "field", "message"}: no answer, or no more of it
    BEAT = 16  # {}: the engine is alive between two steps


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    number: int
    payload: bytes

    def json(self) -> Any:
        """The payload as the JSON value it is."""
        return json.loads(self.payload)


def pack(kind: Kind, number: int, payload: bytes | dict[str, Any] = b"") -> bytes:
    """A frame as bytes; a dict goes as JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return _HEAD.pack(kind, number, len(data)) + data


class Unpacker:
    """Collects bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises `ValueError` for bytes that are no frame."""
        self._data += data
        frames, at = [], 0
        while len(self._data) - at >= _HEAD.size:
            kind, number, length = _HEAD.unpack_from(self._data, at)
            if length > MAX_PAYLOAD:
                raise ValueError(f"a frame of {length} bytes, at most {MAX_PAYLOAD} are sent: this is no frame")
            if len(self._data) - at < _HEAD.size + length:
                break
            at += _HEAD.size
            frames.append(Frame(Kind(kind), number, bytes(self._data[at : at + length])))
            at += length
        del self._data[:at]
        return frames

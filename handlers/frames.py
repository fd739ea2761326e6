"""The messages between a proxy and its engine process, and their frames on the socket pair.

Frame: type of message (1 byte), request number (8 bytes), length (4 bytes), payload. Big-endian; the payload of `Data`
is its bytes, of `Submit` its deadline (8 bytes), the length of its name (2), name and body, of every other message its
fields as a JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

_HEAD = struct.Struct("!BQI")
_SUBMISSION = struct.Struct("!dH")
MAX_PAYLOAD = 64 * 1024 * 1024  # bytes of a frame


@dataclasses.dataclass(frozen=True)
class Submit:
    """Proxy to engine: compute this request.

    `body` is JSON in UTF-8 that the proxy has read once. `deadline` is on the clock of time.monotonic, which on Linux
    both processes share: setting the machine's clock moves nothing. `name` is what its caller calls it, for the log.
    """

    body: bytes
    deadline: float
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Proxy to engine: nobody wants the answer any more."""


@dataclasses.dataclass(frozen=True)
class Ready:
    """Engine to proxy, once: the engine is open and has this describe document."""

    describe: dict[str, Any]
    reason: str = "the engine is open"  # or more, where it serves something else than was chosen


@dataclasses.dataclass(frozen=True)
class Failed:
    """Engine to proxy, in place of `Ready`: nothing can be served, for this reason."""

    reason: str


@dataclasses.dataclass(frozen=True)
class Started:
    """Engine to proxy: the request is being computed, a crash would take it along; these are its answer's headers."""

    content_type: str
    receipt: str


@dataclasses.dataclass(frozen=True)
class Data:
    """Engine to proxy: the next bytes of an answer."""

    body: bytes


@dataclasses.dataclass(frozen=True)
class End:
    """Engine to proxy: the answer is whole."""


@dataclasses.dataclass(frozen=True)
class Refused:
    """Engine to proxy: no answer, or no more of it."""

    status: int
    message: str
    field: str | None


@dataclasses.dataclass(frozen=True)
class Beat:
    """Engine to proxy: the engine is alive between two steps."""


Message = Submit | Cancel | Ready | Failed | Started | Data | End | Refused | Beat
_TYPES: dict[int, type[Message]] = {
    1: Submit,
    2: Cancel,
    10: Ready,
    11: Failed,
    12: Started,
    13: Data,
    14: End,
    15: Refused,
    16: Beat,
}
_CODES = {message: code for code, message in _TYPES.items()}


class Frame(NamedTuple):
    """One message about one request; number 0 is about none."""

    number: int
    message: Message


def pack(number: int, message: Message) -> bytes:
    """A message about request `number` as a frame."""
    if isinstance(message, Data):
        payload = message.body
    elif isinstance(message, Submit):
        name = message.name.encode()
        payload = _SUBMISSION.pack(message.deadline, len(name)) + name + message.body
    else:
        fields = vars(message)
        payload = json.dumps(fields).encode() if fields else b""
    return _HEAD.pack(_CODES[type(message)], number, len(payload)) + payload


class Unpacker:
    """Collects bytes as they come and gives whole frames.

    `odd` is told the number of a frame whose payload makes no sense, and why; it is left out, the next ones are given.
    Without it such a frame raises `ValueError`.
    """

    def __init__(self, odd: Callable[[int, str], None] | None = None) -> None:
        self._data, self._odd = bytearray(), odd

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises `ValueError` for bytes that are no frame."""
        self._data += data
        frames, at = [], 0
        while len(self._data) - at >= _HEAD.size:
            code, number, length = _HEAD.unpack_from(self._data, at)
            if length > MAX_PAYLOAD:
                raise ValueError(f"a frame of {length} bytes, at most {MAX_PAYLOAD} are sent: this is no frame")
            if len(self._data) - at < _HEAD.size + length:
                break
            at += _HEAD.size
            payload = bytes(self._data[at : at + length])
            at += length
            try:
                frames.append(Frame(number, _message(code, payload)))
            except ValueError as error:
                if self._odd is None:
                    raise
                self._odd(number, str(error))
        del self._data[:at]
        return frames


def _message(code: int, payload: bytes) -> Message:
    if code not in _TYPES:
        raise ValueError(f"a frame of type {code}, known are {', '.join(map(str, _TYPES))}: this is no frame")
    if code == _CODES[Data]:
        return Data(payload)
    if code == _CODES[Submit]:
        return _submission(payload)
    try:
        return _TYPES[code](**(json.loads(payload) if payload else {}))
    except RecursionError:
        raise ValueError(f"a frame of type {code} is nested too deeply") from None
    except TypeError as error:
        raise ValueError(f"a frame of type {code} has other fields than it should: {error}") from None


def _submission(payload: bytes) -> Submit:
    if len(payload) < (start := _SUBMISSION.size):
        raise ValueError(f"a submission of {len(payload)} bytes, at least {start} are sent: this is no frame")
    deadline, size = _SUBMISSION.unpack_from(payload)
    if len(payload) < start + size:
        raise ValueError(f"a submission ends within its name of {size} bytes: this is no frame")
    return Submit(payload[start + size :], deadline, payload[start : start + size].decode())

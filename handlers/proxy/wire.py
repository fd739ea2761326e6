"""The bytes between TorchServe's front end and one of its workers, read and written without TorchServe.

Its own worker code reads a request in some sixty small system calls, copies the whole context for every request and
shares one socket between threads; here a message is parsed from one buffer and an answer is one write. All integers are
big-endian and signed (torchserve 0.12.0, ts/protocol/otf_message_handler.py):

    message   b"I", requests, -1
    request   id, headers, -1, parameters, -1        header     name, value
    parameter name, content type, value              each string or value: length, bytes
    answer    code, message, predictions, -1
    prediction id, content type, status, phrase, number of headers, headers, body
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from typing import Literal

STREAM = "ts_stream_next"  # "true": more frames follow; "false": this is the last, the front end forgets the request
_INT = struct.Struct("!i")
_END = _INT.pack(-1)


class WireError(ValueError):
    """Bytes that are no message of the front end."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One request as the front end hands it over; header names are lower-case."""

    id: str
    headers: dict[str, str]
    values: dict[str, bytes]  # parameter name -> value; a plain body is called "body"

    @property
    def is_http(self) -> bool:
        """HTTP/1.1 requests have a Host; what comes over gRPC has none."""
        return "host" in self.headers


class _Short(Exception):
    """The buffer ends inside a message."""


class _Cursor:
    def __init__(self, data: bytearray, at: int) -> None:
        self._data, self.at = data, at

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            raise _Short
        piece = bytes(self._data[self.at : end])
        self.at = end
        return piece

    def integer(self) -> int:
        value: int = _INT.unpack(self.take(4))[0]
        return value

    def string(self) -> bytes:
        return self.sized(self.integer())

    def sized(self, length: int) -> bytes:
        if length < 0:
            raise WireError(f"a length of {length} inside a message of the front end")
        return self.take(length)

    def strings(self, count: int) -> list[list[bytes]]:
        """Groups of `count` strings until a length of -1."""
        groups = []
        while (length := self.integer()) != -1:
            groups.append([self.sized(length), *(self.string() for _ in range(count - 1))])
        return groups


def parse(data: bytearray, at: int = 0) -> tuple[list[Call], int] | None:
    """The calls of the message that begins at `at`, and where it ends; None while it is not all there.

    Raises `WireError` for anything but a prediction message.
    """
    cursor = _Cursor(data, at)
    try:
        if (command := cursor.take(1)) != b"I":
            raise WireError(f"the front end sent command {command!r}, wanted b'I'")
        calls = []
        while (length := cursor.integer()) != -1:
            identifier = cursor.sized(length).decode()
            headers = {n.decode().lower(): v.decode() for n, v in cursor.strings(2)}
            values = {name.decode(): value for name, _, value in cursor.strings(3)}
            calls.append(Call(identifier, headers, values))
        return calls, cursor.at
    except _Short:
        return None


def encode(
    call: str,
    body: bytes,
    status: int = 200,
    phrase: str = "",
    content_type: str = "",
    headers: Mapping[str, str] = {},
    stream: Literal["true", "false"] | None = None,
) -> bytes:
    """One frame of an answer. The caller keeps line breaks out of headers: one would kill the worker."""
    extended = dict(headers) if stream is None else {**headers, STREAM: stream}
    parts = [_INT.pack(200), _string(b""), _string(call.encode()), _string(content_type.encode())]
    parts += [_INT.pack(status), _string(phrase.encode()), _INT.pack(len(extended))]
    for name, value in extended.items():
        parts += [_string(name.encode()), _string(value.encode())]
    return b"".join([*parts, _string(body), _END])


def _string(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data

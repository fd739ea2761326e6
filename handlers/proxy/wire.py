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
import re
import struct
from collections.abc import Mapping
from typing import Literal

STREAM = "ts_stream_next"  # "true": more frames follow; "false": this is the last, the front end forgets the request
MAX_VALUES = 16  # of one request; what a form holds beyond them is passed over, no object is made of it
MAX_STRING_BYTES = 64 * 1024 * 1024  # the front end's own limit of a request is far below
GRPC_HEADERS = ("describe", "ts_request_sequence_")
_LARGE = 4096  # bytes
_INT = struct.Struct("!i")
_END = _INT.pack(-1)
# Values of up to 32 bytes each in name, type and content, passed over in C: a form of a megabyte has 300,000 of them.
_SHORT_STRING = b"|".join([b"\\x00", *(b"\\x%02x.{%d}" % (size, size) for size in range(1, 33))])
_SHORT_VALUES = re.compile(b"(?s:(?:(?:\\x00\\x00\\x00(?:%b)){3})*+)" % _SHORT_STRING)


class WireError(ValueError):
    """Bytes that are no message of the front end."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One request as the front end hands it over.

    Header names are lower-case; one that came twice has both values, with a comma between (RFC 9110, 5.2).
    """

    id: str
    headers: dict[str, str]
    values: dict[str, bytes]  # parameter name -> value; a plain body is called "body"; at most MAX_VALUES

    @property
    def name(self) -> str:
        """What its caller calls it (X-Atelier-Id); "" where he does not."""
        return self.headers.get("x-atelier-id", "")

    @property
    def is_http(self) -> bool:
        """What comes over gRPC has no header, but for the front end's own; every HTTP request has one, even if no Host.

        The front end adds `explain` to every prediction over HTTP.
        """
        return any(not name.startswith(GRPC_HEADERS) for name in self.headers)

    @property
    def asks_to_describe(self) -> bool:
        """Whether the front end itself asks for the describe document: a caller's header comes among others."""
        return self.headers == {"describe": "True"}


class _Short(Exception):
    """The buffer ends inside a message."""


class _Cursor:
    def __init__(self, data: bytearray, at: int = 0) -> None:
        self._data, self.at = data, at

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            raise _Short
        if count < _LARGE:
            piece = bytes(self._data[self.at : end])
        else:  # copied once
            with memoryview(self._data) as whole:
                piece = bytes(whole[self.at : end])
        self.at = end
        return piece

    def integer(self) -> int:
        value: int = _INT.unpack(self.take(4))[0]
        return value

    def string(self) -> bytes:
        return self.sized(self.integer())

    def sized(self, length: int) -> bytes:
        return self.take(_checked(length))

    def headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while (length := self.integer()) != -1:
            name, value = self.sized(length).decode(errors="replace").lower(), self.string().decode(errors="replace")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def values(self) -> tuple[dict[str, bytes], bool]:
        """The first values, and whether there are no others."""
        values: dict[str, bytes] = {}
        for _ in range(MAX_VALUES):
            if (length := self.integer()) == -1:
                return values, True
            name, _, value = self.sized(length), self.string(), self.string()
            values[name.decode(errors="replace")] = value
        return values, False

    def skip_values(self) -> bool:
        """Go on behind all values that are there; returns whether the end of them was."""
        data, at, unpack = self._data, self.at, _INT.unpack_from
        try:
            while True:
                if (passed := _SHORT_VALUES.match(data, at)) is not None:
                    at = self.at = passed.end()
                if (length := unpack(data, at)[0]) == -1:
                    self.at = at + 4
                    return True
                at += 4 + _checked(length)
                at += 4 + _checked(unpack(data, at)[0])
                at += 4 + _checked(unpack(data, at)[0])
                if at > len(data):
                    return False
                self.at = at
        except struct.error:  # the rest has not come
            return False


class Reader:
    """Collects the front end's bytes as they come and gives whole calls.

    It holds what has come of one call. Of a call with more than MAX_VALUES values the rest is dropped as it comes.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._inside = False  # a message whose end has not come
        self._skipped: Call | None = None  # whose other values are passed over

    @property
    def held(self) -> int:
        """Bytes of the call that is not whole."""
        return len(self._data)

    def feed(self, data: bytes) -> list[Call]:
        """The calls that `data` completes. Raises `WireError` for anything but prediction messages."""
        self._data += data
        cursor, done, calls = _Cursor(self._data), 0, list[Call]()
        try:
            while True:
                if (call := self._next(cursor)) is not None:
                    calls.append(call)
                done = cursor.at
        except _Short:
            del self._data[: max(done, cursor.at if self._skipped is not None else 0)]
        return calls

    def _next(self, cursor: _Cursor) -> Call | None:
        if self._skipped is not None:
            if not cursor.skip_values():
                raise _Short
            call, self._skipped = self._skipped, None
            return call
        if not self._inside:
            if (command := cursor.take(1)) != b"I":
                raise WireError(f"the front end sent command {command!r}, wanted b'I'")
            self._inside = True
        elif (length := cursor.integer()) == -1:
            self._inside = False
        else:
            identifier = cursor.sized(length).decode(errors="replace")
            headers = cursor.headers()
            values, whole = cursor.values()
            call = Call(identifier, headers, values)
            if whole:
                return call
            self._skipped = call
        return None


def _checked(length: int) -> int:
    if length < 0 or length > MAX_STRING_BYTES:
        raise WireError(f"a length of {length} inside a message of the front end")
    return length


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

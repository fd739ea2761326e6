"""Bodies as they came, turned into JSON in UTF-8: packed ones unpacked, other charsets decoded, JSON looked over.

Everything here costs a bounded time: the proxy has one thread, and everybody's requests go through it.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from handlers.params import shown
from handlers.refusals import Refusal

MAX_MARKS = 8192  # of { [ : and , outside of strings: JSON costs by the value, not by the byte
_MARKS = b"{[:,"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}
_KNOWN_CHARSETS = "utf-8, iso-8859-1, utf-16, utf-16le, utf-16be"
_GZIP = 16 + zlib.MAX_WBITS


def unpacked(body: bytes, headers: Mapping[str, str], limit: int, name: str) -> bytes:
    """The body without its Content-Encoding, of at most `limit` bytes before and after. Raises `Refusal`."""
    if len(body) > limit:
        raise Refusal(413, f"the body has {len(body)} bytes, {name} takes at most {limit}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in ("gzip", "x-gzip"):
        message = f"Content-Encoding is {shown(encoding)}; send the body as it is, or packed once with gzip"
        raise Refusal(415, message, "Content-Encoding")
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(body, limit + 1)  # never more, whatever a bomb would unpack to
    except zlib.error as error:
        raise Refusal(400, f"Content-Encoding is gzip, the body is not ({error})", "Content-Encoding") from None
    if len(data) > limit:
        raise Refusal(413, f"the body unpacks to more than the {limit} bytes that {name} takes")
    if not unpacker.eof or unpacker.unused_data:
        wanted = "the body ends inside its gzip stream" if not unpacker.eof else "bytes follow the body's gzip stream"
        raise Refusal(400, f"{wanted}; send one whole stream", "Content-Encoding")
    return data


def decoded(body: bytes, charset: str, limit: int, name: str) -> bytes:
    """The body in UTF-8, whatever charset it is declared to have: never guessed. Raises `Refusal`."""
    codec = CHARSETS.get(charset)
    if codec is None:
        message = f"the charset is {shown(charset)}; known are {_KNOWN_CHARSETS}: JSON is sent in utf-8"
        raise Refusal(415, message, "Content-Type")
    if codec == "utf-8" and body.isascii():
        return body
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        raise Refusal(
            400, f"the body is not valid JSON (byte {error.start} is no {codec.upper()}){_hint(body)}"
        ) from None
    if text.startswith("\ufeff"):
        raise Refusal(400, "the body begins with a byte order mark, which is no JSON; send it without")
    if codec == "utf-8":
        return body
    data = text.encode()
    if len(data) > limit:
        raise Refusal(413, f"the body has {len(data)} bytes in UTF-8, {name} takes at most {limit}")
    return data


def check_json(body: bytes) -> None:
    """Raise `Refusal` for what is not JSON in UTF-8, NaN, fields named twice, and more values than are read."""
    if _count(body, _MARKS) > MAX_MARKS and _marks_are_many(body):
        message = f"the body has more than {MAX_MARKS} values (counted by {{ [ : and , outside of strings)"
        raise Refusal(400, f"{message}, which is all that is read: send fewer, one request at a time")
    try:
        _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", type(error).__name__)
        wanted = 'wanted an object such as {"seed": 7}'
        raise Refusal(400, f"the body is not valid JSON ({detail}); {wanted}{_hint(body)}") from None


def _marks_are_many(body: bytes) -> bool:
    """Whether there are more marks than are read when those in strings, where a text may have any, do not count.

    Between two strings of JSON stands a mark, so as many strings are as many marks; one quote in front of which a
    backslash stands may still end a string, so this counts too few strings, never too many.
    """
    if _count(body, b'"') - body.count(b'\\"') > 2 * (MAX_MARKS + 1):
        return True
    rest, strings = _STRING.subn(b"", body, MAX_MARKS + 2)
    return strings > MAX_MARKS + 1 or _count(rest, _MARKS) > MAX_MARKS


def _count(body: bytes, which: bytes) -> int:
    """How many of some bytes there are, in one pass: `bytes.count` is slow where there are many."""
    return len(body) - len(body.translate(None, which))


def _refuse_constant(name: str) -> None:
    raise Refusal(400, f"the body holds {name}, which is not JSON; use a finite number")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        raise Refusal(400, "the body names a field twice; name each once")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)


def _hint(body: bytes) -> str:
    """A word for those who send another charset without saying so."""
    return "; a body in UTF-16 or UTF-32 is sent again in UTF-8" if b"\0" in body else ""

"""Bodies as they came, turned into UTF-8: packed ones unpacked, other charsets decoded.

Everything here costs a bounded time: the proxy has one thread, and everybody's requests go through it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from handlers.params import shown
from handlers.refusals import Refusal
from handlers.strict_json import hint

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
            400, f"the body is not valid JSON (byte {error.start} is no {codec.upper()}){hint(body)}"
        ) from None
    if text.startswith("\ufeff"):
        raise Refusal(400, "the body begins with a byte order mark, which is no JSON; send it without")
    if codec == "utf-8":
        return body
    data = text.encode()
    if len(data) > limit:
        raise Refusal(413, f"the body has {len(data)} bytes in UTF-8, {name} takes at most {limit}")
    return data

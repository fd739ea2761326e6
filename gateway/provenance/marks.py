"""Marks of generated content in the metadata of a file: XMP, INFO, ID3 and Vorbis comments, as our engines write them.

The file is anybody's. Only places are read where metadata belongs, each up to a bound, without an XML parser.
"""

from __future__ import annotations

import html
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from gateway.provenance.kinds import TEXT, after_id3

MAX_PLACE = 256 << 10  # bytes that are read of one place
MAX_PLACES = 4096  # chunks or segments that are looked at
_SOURCE = re.compile(rb"digitalsourcetype/(\w{1,64})")
_TOOL = re.compile(rb"Atelier [\x21-\x7e]{1,128} [0-9a-f]{12}|Atelier [\x20-\x21\x23-\x3b\x3d\x3f-\x7e]{1,160}")
_AIGC = re.compile(rb"AIGC=(?:\"([^\"]{1,8192})\"|'([^']{1,8192})'|(\{[^\0}]{1,8192}\}))")
_PREFIX = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def marks(data: bytes, kind: str) -> list[dict[str, Any]]:
    """Every mark, with the place it was found at: `digital_source_type`, `tool` (ours alone), `aigc`."""
    found = []
    for place, content in _places(data, kind):
        source, tool, record = _SOURCE.search(content), _TOOL.search(content), _AIGC.search(content)
        mark: dict[str, Any] = {"place": place}
        if source is not None:
            mark["digital_source_type"] = _PREFIX + source[1].decode()
            mark["tool"] = tool[0].decode().strip() if tool is not None else None
        if record is not None and (fields := _record(next(group for group in record.groups() if group))) is not None:
            mark["aigc"] = fields
        if len(mark) > 1:
            found.append(mark)
    return found


def _record(text: bytes) -> Any:
    try:
        found = json.loads(html.unescape(text.decode()))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "Label" in found else None


def _places(data: bytes, kind: str) -> Iterator[tuple[str, bytes]]:
    readers = {
        "image/png": _png,
        "image/jpeg": _jpeg,
        "image/webp": _riff,
        "audio/wav": _riff,
        "audio/mpeg": _id3,
        "audio/flac": _flac,
        "audio/ogg": _ogg,
        TEXT: _text,
    }
    reader = readers.get(kind)
    if reader is not None:
        for count, (place, content) in enumerate(reader(data)):
            if count == MAX_PLACES:
                return
            yield place, content[:MAX_PLACE]


def _png(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 8
    while at + 8 <= len(data):
        (length,), name = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        if name in (b"iTXt", b"tEXt", b"zTXt"):
            yield f"PNG {name.decode()}", _inflated(name, data[at + 8 : at + 8 + min(length, MAX_PLACE)])
        at += 12 + length


def _inflated(name: bytes, content: bytes) -> bytes:
    """The text of a chunk; packed text is unpacked up to the bound."""
    keyword, _, rest = content.partition(b"\0")
    packed = rest[1:] if name == b"zTXt" else None
    if name == b"iTXt" and rest[:1] == b"\1":
        packed = rest[2:].split(b"\0", 2)[-1]
    if packed is None:
        return keyword + b"=" + rest if keyword == b"AIGC" else content
    try:
        return keyword + b"=" + zlib.decompressobj().decompress(packed, MAX_PLACE)
    except zlib.error:
        return b""


def _jpeg(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xDA, 0xD9):
        length = int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] in (0xE1, 0xFE):
            yield "JPEG APP1" if data[at + 1] == 0xE1 else "JPEG comment", data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)


def _riff(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name in (b"LIST", b"_PMX", b"XMP "):
            yield f"RIFF {name.decode().strip()}", data[at + 8 : at + 8 + min(length, MAX_PLACE)]
        at += 8 + length + length % 2


def _id3(data: bytes) -> Iterator[tuple[str, bytes]]:
    at, end = 10, min(after_id3(data), len(data))
    while at + 10 <= end:
        size = 0
        for byte in data[at + 4 : at + 8]:
            size = size << 7 | byte & 0x7F
        if (name := data[at : at + 4]) in (b"TXXX", b"TSSE", b"PRIV"):
            yield f"ID3 {name.decode()}", data[at + 10 : at + 10 + min(size, MAX_PLACE)]
        at += 10 + size


def _flac(data: bytes) -> Iterator[tuple[str, bytes]]:
    at = after_id3(data) + 4
    while at + 4 <= len(data):
        if data[at] & 0x7F == 4:
            length = min(int.from_bytes(data[at + 1 : at + 4]), MAX_PLACE)
            yield "FLAC comment", data[at + 4 : at + 4 + length]
        if data[at] & 0x80:
            return
        at += 4 + int.from_bytes(data[at + 1 : at + 4])


def _ogg(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The comments are in the second packet, which begins the second page."""
    head = data[:MAX_PLACE]
    for name in (b"OpusTags", b"\x03vorbis"):
        if (at := head.find(name)) >= 0:
            end = head.find(b"OggS", at)
            yield "Ogg comment", head[at:end] if end > 0 else head[at:]


def _text(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Answers in JSON say it in a field; a text by itself has no mark."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict) and isinstance(said := document.get("digital_source_type"), str):
        yield "JSON", said.encode(errors="replace")

"""The record `AIGC` of China's GB 45438-2025 (annex E) in a file's metadata, beside what the engine has written there.

It stands in the XMP packet that every image, WAV and MP3 of ours has, as `TC260:AIGC`, and in FLAC as a Vorbis comment.
Ogg has none: its pages would have to be written anew.
"""

from __future__ import annotations

import json
import struct
import zlib
from xml.sax.saxutils import quoteattr

NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
_BEFORE = b"/></rdf:RDF>"  # where the packet of the engine ends its one description
_SEGMENT = 65_533  # bytes that a segment of JPEG holds


def record(producer: str, identity: str) -> str:
    """The record as JSON: content that was made by a model ("1"), by whom, and the number that he gave it."""
    fields = {
        "Label": "1",
        "ContentProducer": producer,
        "ProduceID": identity,
        "ReservedCode1": "",
        "ContentPropagator": producer,
        "PropagateID": identity,
        "ReservedCode2": "",
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def added(content: bytes, record: str) -> bytes | None:
    """A file of an engine's with the record in it; None where it has no place for one."""
    attribute = f" xmlns:TC260={quoteattr(NAMESPACE)} TC260:AIGC={quoteattr(record)}".encode()
    if content.startswith(b"\x89PNG"):
        return _png(content, attribute)
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content, attribute)
    if content.startswith(b"RIFF"):
        return _riff(content, attribute)
    if content.startswith(b"ID3\x04"):
        return _id3(content, attribute)
    if content.startswith(b"fLaC"):
        return _flac(content, record)
    return None


def _packet(data: bytes, attribute: bytes) -> bytes | None:
    head, found, tail = data.partition(_BEFORE)
    return head + attribute + found + tail if found else None


def _png(content: bytes, attribute: bytes) -> bytes | None:
    at = 8
    while at + 12 <= len(content):
        (length,), name = struct.unpack_from(">I", content, at), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + length]
        if name == b"iTXt" and (changed := _packet(data, attribute)) is not None:
            chunk = struct.pack(">I", len(changed)) + name + changed + struct.pack(">I", zlib.crc32(name + changed))
            return content[:at] + chunk + content[at + 12 + length :]
        at += 12 + length
    return None


def _jpeg(content: bytes, attribute: bytes) -> bytes | None:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, at + 2)
        if content[at + 1] == 0xE1 and (changed := _packet(content[at + 4 : at + 2 + length], attribute)) is not None:
            if len(changed) > _SEGMENT:
                return None
            segment = b"\xff\xe1" + struct.pack(">H", len(changed) + 2) + changed
            return content[:at] + segment + content[at + 2 + length :]
        at += 2 + length
    return None


def _riff(content: bytes, attribute: bytes) -> bytes | None:
    """WAV and WebP: a chunk grows, and so does the file's own size."""
    at = 12
    while at + 8 <= len(content):
        name, length = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        end = at + 8 + length + length % 2
        if name in (b"_PMX", b"XMP ") and (changed := _packet(content[at + 8 : at + 8 + length], attribute)):
            chunk = name + struct.pack("<I", len(changed)) + changed + bytes(len(changed) % 2)
            whole = content[8:at] + chunk + content[end:]
            return b"RIFF" + struct.pack("<I", len(whole)) + whole
        at = end
    return None


def _id3(content: bytes, attribute: bytes) -> bytes | None:
    """ID3v2.4, whose sizes have 7 bits a byte."""
    at, end = 10, 10 + _number(content[6:10])
    while at + 10 <= end:
        name, length = content[at : at + 4], _number(content[at + 4 : at + 8])
        if name == b"PRIV" and (changed := _packet(content[at + 10 : at + 10 + length], attribute)) is not None:
            frame = name + _sevens(len(changed)) + content[at + 8 : at + 10] + changed
            tag = content[10:at] + frame + content[at + 10 + length : end]
            return content[:6] + _sevens(len(tag)) + tag + content[end:]
        at += 10 + length
    return None


def _flac(content: bytes, record: str) -> bytes | None:
    at = 4
    while at + 4 <= len(content):
        kind, length = content[at], int.from_bytes(content[at + 1 : at + 4])
        if kind & 0x7F == 4:  # VORBIS_COMMENT: the vendor, how many, each with its length before it
            data = content[at + 4 : at + 4 + length]
            count_at = 4 + struct.unpack_from("<I", data)[0]
            (count,) = struct.unpack_from("<I", data, count_at)
            comment = f"AIGC={record}".encode()
            changed = data[:count_at] + struct.pack("<I", count + 1) + data[count_at + 4 :]
            changed += struct.pack("<I", len(comment)) + comment
            return content[: at + 1] + len(changed).to_bytes(3) + changed + content[at + 4 + length :]
        if kind & 0x80:
            break
        at += 4 + length
    return None


def _number(data: bytes) -> int:
    value = 0
    for byte in data:
        value = value << 7 | byte & 0x7F
    return value


def _sevens(value: int) -> bytes:
    return bytes(value >> shift & 0x7F for shift in (21, 14, 7, 0))

"""WAV headers (RIFF, Microsoft and IBM 1991), marked as generated: LIST/INFO and XMP in the chunk `_PMX`.

All of the metadata stands before the samples, so that a stream is marked from its first byte.
"""

from __future__ import annotations

import struct

from handlers.media.mark import SOURCE_TYPE, xmp_packet

OPEN = 0xFFFFFFFF  # the size of what goes on until the stream ends, as players and libraries read it
_PCM, _FLOAT = 1, 3  # format tags


def header(rate: int, width: int, tool: str, size: int | None) -> bytes:
    """Everything before the samples of a mono file: `width` bytes each, 4 for floats; `size` bytes of them if known."""
    format = struct.pack("<HHIIHH", _FLOAT if width == 4 else _PCM, 1, rate, rate * width, width, width * 8)
    chunks = [_chunk(b"fmt ", format)]
    if width == 4:  # every format but PCM says how many samples there are
        chunks.append(_chunk(b"fact", struct.pack("<I", OPEN if size is None else size // width)))
    chunks.append(_chunk(b"LIST", b"INFO" + _chunk(b"ICMT", _text(SOURCE_TYPE)) + _chunk(b"ISFT", _text(tool))))
    chunks.append(_chunk(b"_PMX", xmp_packet(tool).encode()))
    before = b"".join(chunks)
    riff = OPEN if size is None else 4 + len(before) + 8 + size + size % 2
    data = OPEN if size is None else size
    return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + before + b"data" + struct.pack("<I", data)


def _text(text: str) -> bytes:
    return text.encode("ascii", "replace") + b"\0"


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)

"""What a file is by its first bytes: names and headers are never asked."""

from __future__ import annotations

UNKNOWN, TEXT = "application/octet-stream", "text/plain"
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"OggS", "audio/ogg"),
)


def kind_of(data: bytes) -> str:
    """A content type; `TEXT` for whole UTF-8, `UNKNOWN` for all else."""
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data.startswith(b"RIFF") and data[8:12] in (b"WEBP", b"WAVE"):
        return "image/webp" if data[8:12] == b"WEBP" else "audio/wav"
    start = after_id3(data)
    if data[start : start + 4] == b"fLaC":
        return "audio/flac"
    if start or (data[:1] == b"\xff" and len(data) > 1 and data[1] & 0xE6 == 0xE2):  # a frame of layer III
        return "audio/mpeg"
    return TEXT if _is_text(data) else UNKNOWN


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def after_id3(data: bytes) -> int:
    """Where the file goes on behind an ID3v2 tag; 0 without one."""
    if not data.startswith(b"ID3") or len(data) < 10:
        return 0
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size

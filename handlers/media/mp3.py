"""MP3 files: an ID3 tag with the mark at the head, and the frames of sound (ISO 11172-3, 13818-3).

An encoder begins with a frame of no sound, where it writes once it is done how long everything was (Xing, LAME). A
stream cannot have that, and a decoder takes other samples for the first where it is there; so it is left out of both.
"""

from __future__ import annotations

import struct

from handlers.media.mark import SOURCE_TYPE, xmp_packet

_KBITS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG-1, layer III
_KBITS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG-2 and 2.5
_RATES = (44100, 48000, 32000)


def tag(tool: str) -> bytes:
    """An ID3v2.4 tag: the source type as TXXX, the tool as TSSE, and both as XMP in PRIV."""
    frames = (
        _frame(b"TSSE", b"\x03" + tool.encode())
        + _frame(b"TXXX", b"\x03DigitalSourceType\0" + SOURCE_TYPE.encode())
        + _frame(b"PRIV", b"XMP\0" + xmp_packet(tool).encode())
    )
    return b"ID3\x04\x00\x00" + _synchsafe(len(frames)) + frames


class Frames:
    """Gives out an encoder's bytes as they come, behind the tag and without the first frame, which has no sound."""

    def __init__(self, tool: str) -> None:
        self._tag: bytes | None = tag(tool)
        self._left = b""
        self.sounding = False  # whether a frame of sound was among them

    def feed(self, data: bytes) -> bytes:
        """Bytes of frames that are ready now."""
        if self._tag is None:
            self.sounding |= bool(data)
            return data
        self._left += data
        if len(self._left) < 4 or len(self._left) <= (size := frame_bytes(self._left)):
            return b""
        found, self._left, self._tag = self._tag + self._left[size:], b"", None
        self.sounding = True
        return found


def frame_bytes(head: bytes) -> int:
    """The size of the frame of layer III that begins here. Raises `ValueError` for what is none."""
    (word,) = struct.unpack(">I", head[:4])
    version, kbits, rate = word >> 19 & 3, word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or word >> 17 & 3 != 1 or version == 1 or kbits in (0, 15) or rate == 3:
        raise ValueError(f"an MP3 frame begins with {head[:4].hex()}, wanted layer III with a bit rate")
    first = version == 3
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    padding: int = word >> 9 & 1
    return (144 if first else 72) * (_KBITS_1 if first else _KBITS_2)[kbits] * 1000 // hertz + padding


def _frame(name: bytes, data: bytes) -> bytes:
    return name + _synchsafe(len(data)) + bytes(2) + data


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

"""Sounds into files, whole or piece by piece. Every file is marked as generated in its format's own metadata.

The bytes follow from samples, format and tool alone: equal requests have equal files, in whatever process.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from handlers.media import flac, mp3, ogg, wav
from handlers.media.mark import SOURCE_TYPE

CONTENT_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm",
}
ENCODINGS = {"wav": ("pcm_16", "pcm_24", "float"), "flac": ("pcm_16", "pcm_24")}  # the first is the default
RATES = {  # Hz, where a format does not have every one
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
}
LIBRARY = f"libsndfile {soundfile.__libsndfile_version__}"
_WIDTHS = {"pcm_16": 2, "pcm_24": 3, "float": 4}  # bytes of a sample
_LIBRARY_FORMATS = {  # what libsndfile calls them; FLAC's second word is its encoding
    "flac": ("FLAC", ""),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
_OPUS_HERTZ = 48000  # in which Opus counts, whatever the rate
_SET_PAGE_LATENCY = 0x1302  # SFC_SET_OGG_PAGE_LATENCY_MS of sndfile.h
_PAGE_MS = 100.0
_BLOCK = 1024  # samples that the library gets at once: what its Vorbis makes of a sound depends on how it is cut


class _Filter(Protocol):
    sounding: bool

    def feed(self, data: bytes) -> bytes: ...


@functools.cache
def available() -> tuple[str, ...]:
    """The formats that this server's library can write."""
    written = soundfile.available_formats()
    found = []
    for name in CONTENT_TYPES:
        major, subtype = _LIBRARY_FORMATS.get(name, ("WAV", ""))
        if major in written and (not subtype or subtype in soundfile.available_subtypes(major)):
            found.append(name)
    return tuple(found)


def content_type(format: str, rate: int) -> str:
    """The content type of a file; that of raw samples says what they are, since nothing else does."""
    parameters = f"; rate={rate}; channels=1; encoding=s16le" if format == "pcm" else ""
    return CONTENT_TYPES[format] + parameters


def plain_bytes(format: str, encoding: str | None, samples: int) -> int:
    """How large a file of so many samples is without its header, at most; 0 where that is left to a lossy encoder."""
    return samples * _WIDTHS[encoding or "pcm_16"] if format in ("pcm", "wav", "flac") else 0


def levels(wave: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Samples in [-1, 1] as integers of 16 or 24 bits; what is over is clipped."""
    most = 2 ** (bits - 1) - 1
    found: NDArray[np.int32] = np.rint(np.clip(wave.astype(np.float64), -1, 1) * most).astype(np.int32)
    return found


class SoundFile:
    """One file in the making, of mono sound.

    `stream`: `take` gives what is new at any time, and nothing that was given changes; a WAV then has the size of one
    that goes on until its end, a FLAC no digest of its samples, and as its length the `samples` that are expected. Else
    `take` gives all of it, once it is closed. Both decode to the same samples. `serial` tells Ogg streams apart where
    somebody chains them.
    """

    def __init__(
        self,
        format: str,
        encoding: str | None,
        rate: int,
        tool: str,
        *,
        stream: bool,
        samples: int | None = None,
        serial: int = 0,
    ) -> None:
        if format not in available():
            raise ValueError(f"{format!r} cannot be written by {LIBRARY}; there are {', '.join(available())}")
        self._format, self._rate, self._tool, self._stream = format, rate, tool, stream
        self._encoding = encoding or "pcm_16"
        self._sink, self._closed, self._written = _Sink(stream), False, False
        # The library drops as much of the end of an Opus as its encoder is late, 6.5 ms; this goes in the place.
        self._late = rate // 100 if format == "opus" else 0
        self._pending = np.zeros(0, np.float32)  # less than a block
        self._filter: _Filter | None = None
        self._library: soundfile.SoundFile | None = None
        if format == "wav" and stream:
            self._sink.write(wav.header(rate, _WIDTHS[self._encoding], tool, None))
        if format in _LIBRARY_FORMATS:
            major, subtype = _LIBRARY_FORMATS[format]
            subtype = subtype or self._encoding.upper()
            sink: Any = self._sink
            # Of MP3 one bit rate: from a first frame that is not like the others readers guess a wrong length.
            settings: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if format == "mp3" else {}
            self._library = soundfile.SoundFile(sink, "w", rate, 1, subtype, format=major, **settings)
            if format == "mp3":
                self._filter = mp3.Frames(tool)
            else:
                self._library.comment, self._library.software = f"DigitalSourceType={SOURCE_TYPE}", tool
                if format == "flac":
                    self._filter = flac.Stated(samples if stream else None)
                else:
                    self._filter = ogg.Pages(serial, _OPUS_HERTZ * self._late // rate)
                if format == "opus" and stream:
                    _page_milliseconds(self._library, _PAGE_MS)

    def write(self, wave: NDArray[np.float32]) -> None:
        """Append samples (T,) in [-1, 1]; what is over is clipped, but for floats.

        Raises `ValueError` for what is no number, of which every format would make something else.
        """
        if not len(wave):
            return
        if not np.isfinite(wave).all():
            raise ValueError(f"{int((~np.isfinite(wave)).sum())} of {len(wave)} samples are no finite numbers")
        self._written = True
        if self._library is None:
            self._sink.write(_encoded(wave, self._encoding))
            return
        self._pending = np.concatenate([self._pending, wave])
        whole = len(self._pending) // _BLOCK * _BLOCK
        self._encode(self._pending[:whole])
        self._pending = self._pending[whole:]

    def close(self) -> None:
        """End the file: nothing is written any more."""
        if self._library is not None:
            self.write(np.zeros(self._late, np.float32))
            self._encode(self._pending)
            self._library.close()
        elif self._format == "wav" and not self._stream:
            size = self._sink.size
            self._sink.put_before(wav.header(self._rate, _WIDTHS[self._encoding], self._tool, size))
            self._sink.write(bytes(size % 2))
        self._closed = True

    def take(self) -> bytes:
        """Bytes that are ready and were not taken before."""
        if not (self._stream or self._closed):
            return b""
        data = self._sink.take()
        return data if self._filter is None else self._filter.feed(data)

    @property
    def sounding(self) -> bool:
        """Whether sound was among the bytes taken so far, or will be among the next."""
        return self._written if self._filter is None else self._filter.sounding

    def _encode(self, wave: NDArray[np.float32]) -> None:
        assert self._library is not None
        data: NDArray[Any] = np.clip(wave, -1, 1)
        if self._format == "flac":  # the library takes 24 bits from the upper ones of 32
            data = levels(wave, 24) << 8 if self._encoding == "pcm_24" else levels(wave, 16).astype(np.int16)
        for at in range(0, len(data), _BLOCK):
            self._library.write(data[at : at + _BLOCK])


def _page_milliseconds(file: soundfile.SoundFile, milliseconds: float) -> None:
    """Have libsndfile end a page of Opus that often; its own 1,000 make a stream late. Of Vorbis it has no such thing.

    The package offers none of the library's commands by itself.
    """
    value = soundfile._ffi.new("double *", milliseconds)
    soundfile._snd.sf_command(file._file, _SET_PAGE_LATENCY, value, soundfile._ffi.sizeof("double"))


def _encoded(wave: NDArray[np.float32], encoding: str) -> bytes:
    """Samples as they stand in a WAV, little endian."""
    if encoding == "float":
        return wave.astype("<f4").tobytes()
    if encoding == "pcm_16":
        return levels(wave, 16).astype("<i2").tobytes()
    return levels(wave, 24).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


class _Sink:
    """The file that the library writes to. Of a stream nothing is kept, or changed, that was taken."""

    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self._data, self._gone, self._at = bytearray(), 0, 0

    @property
    def size(self) -> int:
        return self._gone + len(self._data)

    def write(self, data: Any) -> int:
        data = bytes(data)
        at, self._at = self._at, self._at + len(data)
        if self._stream and at < self.size:
            return len(data)  # what the library knows better at the end: sizes, digests
        at -= self._gone
        self._data[at : at + len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        return b""

    def put_before(self, data: bytes) -> None:
        self._data[:0] = data
        self._at += len(data)

    def take(self) -> bytes:
        found, self._gone = bytes(self._data), self.size
        self._data.clear()
        return found

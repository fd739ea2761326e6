"""Sound files as one channel at one rate, block by block: a file of hours is never in memory as a whole.

libsndfile decodes, whatever the suffix of a file says its content is; soxr resamples.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from training.data import Unusable
from training.data.listing import Found, suffix_of
from training.data.sound_content import Content

EXTENSIONS = (
    ".wav",
    ".wave",
    ".flac",
    ".ogg",
    ".oga",
    ".opus",
    ".mp3",
    ".aif",
    ".aiff",
    ".aifc",
    ".au",
    ".caf",
    ".w64",
)
# What a content may be, whatever its name says: others of libsndfile are seldom needed.
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")
SLOWEST, FASTEST = 2_000, 768_000  # Hz
MOST_CHANNELS = 32
MOST_SECONDS = 24 * 3600  # of one file
BLOCK = 30  # seconds of a file that are in memory at once
_READ = 65_536  # frames that are decoded at once
# ITU-R BS.775: the low-frequency channel of 5.1 is left out, front centre and surround count 0.7071.
_SURROUND = {"OGG": (1.0, 0.7071, 1.0, 0.7071, 0.7071, 0.0)}  # in the order of Vorbis: L C R Ls Rs LFE
_SURROUND_USUAL = (1.0, 1.0, 0.7071, 0.0, 0.7071, 0.7071)  # L R C LFE Ls Rs
_CUT = re.compile(r"^\s*(?:data|SSND)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_ENDLESS = 0x7FFF0000  # bytes: a header that was written before the end was known says so much
# How contents begin that are often found under the name of a sound.
_KNOWN = (
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the file itself"),
    (b"<", "it is a web page: get the sound itself"),
    (b"MThd", "it is MIDI, which holds notes and no sound"),
    (b"PK\x03\x04", "it is an archive: unpack it"),
    (b"\0\0\0", "it is MP4 or AAC: save it as WAV or FLAC"),
)

Wave = NDArray[np.float32]


def blocks(file: Found, rate: int) -> Iterator[Wave]:
    """One channel of a file at `rate` Hz in blocks of `BLOCK` seconds, the last one shorter; full scale is 1.

    Raises `Unusable` with the reason, maybe after some blocks, and what its medium raises.
    """
    with contextlib.ExitStack() as stack:
        content = stack.enter_context(Content(file))
        try:
            sound = stack.enter_context(soundfile.SoundFile(content))
        except (soundfile.LibsndfileError, TypeError) as error:
            content.check()
            raise Unusable(_why(content, file.name, error)) from None
        _check(sound)
        try:
            for block in _regrouped(_resampled(sound, rate), BLOCK * rate):
                content.check()
                yield block
            content.check()
        except soundfile.LibsndfileError as error:
            content.check()
            raise Unusable(f"it is damaged ({_said(error)}): get it again") from None


def _check(sound: soundfile.SoundFile) -> None:
    if sound.format not in FORMATS:
        raise Unusable(f"it is {sound.format_info}, wanted one of {', '.join(FORMATS)}")
    if not SLOWEST <= sound.samplerate <= FASTEST:
        raise Unusable(f"its rate is {sound.samplerate} Hz, wanted {SLOWEST} to {FASTEST}")
    if sound.channels > MOST_CHANNELS:
        raise Unusable(f"it has {sound.channels} channels, wanted at most {MOST_CHANNELS}")
    for stated, held in _CUT.findall(sound.extra_info):
        if int(held) < int(stated) < _ENDLESS:
            raise Unusable(f"it is cut off: its header says {stated} bytes of sound, it holds {held}")
    if not sound.frames:
        raise Unusable("it holds no sound: its length is zero")


def _resampled(sound: soundfile.SoundFile, rate: int) -> Iterator[Wave]:
    weights = _weights(sound.format, sound.channels)
    most = MOST_SECONDS * sound.samplerate
    stream = None if sound.samplerate == rate else soxr.ResampleStream(sound.samplerate, rate, 1, "float32")
    count = 0
    while True:
        frames = sound.read(_READ, "float32", always_2d=True)
        if not np.isfinite(frames).all():
            first = count + int(np.argmin(np.isfinite(frames).all(axis=1)))
            raise Unusable(f"it holds values that are no numbers, the first at {first / sound.samplerate:.2f} s")
        count += len(frames)
        if count > most:
            raise Unusable(f"it is longer than {MOST_SECONDS // 3600} hours: give a part of it")
        mono = np.ascontiguousarray(frames @ weights)
        yield mono if stream is None else stream.resample_chunk(mono, last=not len(frames))
        if not len(frames):
            return


def _weights(format_: str, channels: int) -> Wave:
    """What each channel counts in the mix, of sum 1."""
    usual = _SURROUND.get(format_, _SURROUND_USUAL) if channels == 6 else (1.0,) * channels
    return np.array(usual, np.float32) / np.float32(sum(usual))


def _regrouped(parts: Iterator[Wave], length: int) -> Iterator[Wave]:
    """The same samples in pieces of `length`, the last one shorter."""
    held: list[Wave] = []
    for part in parts:
        held.append(part)
        while sum(map(len, held)) >= length:
            row = np.concatenate(held)
            yield row[:length]
            held = [row[length:]]
    rest = np.concatenate(held)
    if len(rest):
        yield rest


def _why(content: Content, name: str, error: Exception) -> str:
    """Why a content cannot be opened."""
    content.seek(0)
    head = content.read(64)
    if not head:
        return "it is empty"
    if not head.strip(b"\0"):
        return "it holds nothing but zeros"
    for beginning, reason in _KNOWN:
        if head.lstrip(b" \r\n\t").startswith(beginning):
            return reason
    known = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF"}
    for beginning, what in known.items():
        if head.startswith(beginning) or (what == "MP3" and suffix_of(name) == ".mp3"):
            return f"it is {what} with a damaged header ({_said(error)}): get it again"
    return f"it is no sound (wanted one of {', '.join(FORMATS)})"


def _said(error: Exception) -> str:
    """What libsndfile says, in one line. Of a file object that ends too soon it says that the file does not exist."""
    said = str(getattr(error, "error_string", error)).strip().removeprefix("Error : ").rstrip(".")
    return "it ends too soon" if "does not exist" in said else said

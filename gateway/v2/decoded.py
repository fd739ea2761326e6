"""Files of answers as numbers: pixels of images (Pillow, in a thread), samples of sounds. Without numpy."""

from __future__ import annotations

import array
import io
import sys
import wave
from collections.abc import Sequence

from gateway.errors import ApiError
from gateway.pictures import NotAPicture, measure

FORMATS = ("png", "jpeg", "webp")
CHANNELS = 3  # red, green, blue
MAX_BYTES = 64 << 20  # of one output of numbers
SCALE = 32768.0  # of 16 bits: samples of FP32 lie in [-1, 1)
_STRANGE = "the model answered with a file that nobody reads; run gateway and server of one version"


def pixels(files: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Images as bytes of red, green and blue, and their shape [n, height, width, 3].

    Raises `ApiError`: 502 for what is no image, 400 where they are too large to be sent so.
    """
    from PIL import Image

    found, size = [], None
    for file in files:
        try:
            said = measure(file, whole=True)
        except NotAPicture:
            raise ApiError(502, _STRANGE, should_retry=False) from None
        assert said is not None
        _bounded(said.width * said.height * CHANNELS * len(files))
        size = size or (said.width, said.height)
        if size != (said.width, said.height):
            raise ApiError(400, "the images have different sizes: ask for image, which is their files")
        with Image.open(io.BytesIO(file), formats=FORMATS) as picture:
            found.append(picture.convert("RGB").tobytes())
    width, height = size or (0, 0)
    return b"".join(found), [len(files), height, width, CHANNELS]


def samples(files: Sequence[bytes]) -> tuple[list[array.array[int]], int]:
    """Sounds of whole WAV files of 16 bits and one channel, and their rate in Hz. Raises `ApiError` (502)."""
    found, rate = [], 0
    for file in files:
        try:
            with wave.open(io.BytesIO(file)) as sound:
                if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
                    raise ApiError(502, _STRANGE, should_retry=False)
                rate = sound.getframerate()
                one = array.array("h", sound.readframes(sound.getnframes()))
        except (wave.Error, EOFError):
            raise ApiError(502, _STRANGE, should_retry=False) from None
        if sys.byteorder == "big":
            one.byteswap()
        found.append(one)
    return found, rate


def as_tensor(sounds: Sequence[array.array[int]], datatype: str) -> tuple[bytes, list[int]]:
    """Sounds as FP32 or INT16, and their shape [n, samples]: silence follows those that are shorter.

    Raises `ApiError` (400) where they are too long to be sent so.
    """
    longest = max(len(one) for one in sounds)
    _bounded(longest * len(sounds) * (4 if datatype == "FP32" else 2))
    rows = []
    for one in sounds:
        whole = one + array.array("h", bytes(2 * (longest - len(one))))
        row = array.array("f", (value / SCALE for value in whole)) if datatype == "FP32" else whole
        if sys.byteorder == "big":
            row.byteswap()
        rows.append(row.tobytes())
    return b"".join(rows), [len(sounds), longest]


def _bounded(size: int) -> None:
    if size > MAX_BYTES:
        raise ApiError(400, f"the output has {size} bytes, at most {MAX_BYTES} are sent as numbers: ask for files")

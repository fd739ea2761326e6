"""A sound to look at: its waveform above its log-mel spectrogram, as a PNG."""

from __future__ import annotations

import io
import math

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

WIDTH, WAVE_HEIGHT, MEL_HEIGHT = 800, 120, 240  # pixels
BANDS = 80
WINDOW = 0.032  # seconds
FLOOR_DB = -80.0  # of a full-scale sine
_BLOCK = 1 << 16
_GAP = 8
# Colours of the spectrogram from the floor to full scale, after matplotlib's magma.
_COLOURS = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))


class UnreadableSoundError(ValueError):
    """Bytes that are no sound; the message says what was found."""


def read(data: bytes, content_type: str) -> tuple[NDArray[np.float32], int]:
    """Samples (T,), the mean of all channels, and the rate. Raises `UnreadableSoundError`.

    Of raw samples (audio/pcm) the content type has to say what they are.
    """
    if content_type.partition(";")[0] == "audio/pcm":
        said = dict(part.strip().split("=", 1) for part in content_type.split(";")[1:] if "=" in part)
        if said.get("encoding") != "s16le" or said.get("channels") != "1" or not said.get("rate", "").isdecimal():
            raise UnreadableSoundError(f"content type {content_type!r}, wanted rate, channels=1 and encoding=s16le")
        return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768), int(
            said["rate"]
        )
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            blocks = [np.zeros((0, file.channels), np.float32)]
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
            wave = np.concatenate(blocks).mean(axis=1)
            return np.asarray(wave, np.float32), int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise UnreadableSoundError(f"{len(data)} bytes of {content_type} that cannot be read: {error}") from None


def picture(wave: NDArray[np.float32], rate: int) -> bytes:
    """The PNG of samples (T,) in [-1, 1]: WIDTH pixels wide, from the first sample to the last."""
    sheet = np.full((WAVE_HEIGHT + _GAP + MEL_HEIGHT, WIDTH, 3), 255, np.uint8)
    sheet[:WAVE_HEIGHT] = _waveform(wave)
    levels = np.clip(1 - log_mel(wave, rate) / FLOOR_DB, 0, 1)  # (M, F)
    places = np.linspace(0, 1, len(_COLOURS))
    colours = np.stack([np.interp(levels, places, channel) for channel in np.array(_COLOURS, float).T], axis=-1)
    image = Image.fromarray(colours[::-1].astype(np.uint8)).resize((WIDTH, MEL_HEIGHT), Image.Resampling.BILINEAR)
    sheet[WAVE_HEIGHT + _GAP :] = np.asarray(image)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    return buffer.getvalue()


def log_mel(wave: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Decibels (M, F) of a full-scale sine, at most WIDTH frames: of a long sound what lies between them is not seen.

    Bands are triangles of equal width in mel = 2595 log10(1 + f / 700), each of sum 1.
    """
    length = 1 << math.ceil(math.log2(max(2, WINDOW * rate)))
    padded = np.pad(np.nan_to_num(wave.astype(np.float64)), length // 2)
    step = max(length // 4, math.ceil(len(wave) / WIDTH))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(padded, (0, length)), length)[: max(1, len(wave)) : step]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(length), 2 * length)) * (4 / length)  # (F, bins)
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, length + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    triangles /= triangles.sum(axis=1, keepdims=True)
    found: NDArray[np.float64] = 20 * np.log10(np.maximum(triangles @ spectrum.T, 10 ** (FLOOR_DB / 20)))
    return found


def _waveform(wave: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(WAVE_HEIGHT, WIDTH, 3): in each column a line from the lowest of its samples to the highest."""
    drawn = np.full((WAVE_HEIGHT, WIDTH, 3), 255, np.uint8)
    drawn[WAVE_HEIGHT // 2] = 200
    wave = np.clip(np.nan_to_num(wave), -1, 1)
    if len(wave):
        begins = np.arange(WIDTH) * len(wave) // WIDTH
        low, high = np.minimum.reduceat(wave, begins), np.maximum.reduceat(wave, begins)
        top, bottom = ((1 - edge) / 2 * (WAVE_HEIGHT - 1) for edge in (high, low))
        rows = np.arange(WAVE_HEIGHT)[:, None]
        drawn[(rows >= np.floor(top)) & (rows <= np.ceil(bottom))] = (31, 119, 180)
    return drawn

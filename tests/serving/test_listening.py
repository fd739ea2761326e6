"""What `serving try` saves of sounds: files that play, and pictures that show what is heard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from handlers.generator import Request
from handlers.media import sound_picture
from serving.listening import sound_files
from tests.support.sounds import RATE, Tones, tone


def answer(**params: Any) -> tuple[str, bytes]:
    """Content type and body of what a generator makes."""
    generator = Tones()
    (slot,) = generator.start([generator.parse(Request({"seed": 3, **params}))])
    pieces = [generator.drain(slot)]
    while slot.finished is None:
        generator.step([slot])
        pieces.append(generator.drain(slot))
    return slot.params.content_type, b"".join(pieces)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "extension"), [("wav", "wav"), ("flac", "flac"), ("opus", "ogg"), ("mp3", "mp3")])
def test_a_sound_is_saved_as_it_came_with_its_picture(tmp_path: Path, name: str, extension: str, stream: bool) -> None:
    content_type, body = answer(format=name, stream=stream)
    found = sound_files(content_type, body, tmp_path / "voice")
    assert list(found) == [tmp_path / f"voice.{extension}", tmp_path / "voice.png"]
    assert found[tmp_path / f"voice.{extension}"] == body
    with Image.open(io.BytesIO(found[tmp_path / "voice.png"])) as picture:
        assert picture.size == (800, 368)


def test_raw_samples_become_a_file_that_plays(tmp_path: Path) -> None:
    content_type, body = answer(format="pcm", sample_rate=8000)
    found = sound_files(content_type, body, tmp_path / "voice")
    data, rate = soundfile.read(io.BytesIO(found[tmp_path / "voice.wav"]), dtype="int16")
    assert (data.astype("<i2").tobytes(), rate) == (body, 8000)


def test_several_sounds_become_several_files(tmp_path: Path) -> None:
    content_type, body = answer(n=2, format="flac")
    found = sound_files(content_type, body, tmp_path / "voice")
    assert [path.name for path in found] == ["voice-0.flac", "voice-0.png", "voice-1.flac", "voice-1.png"]
    for index in range(2):
        data, _ = soundfile.read(io.BytesIO(found[tmp_path / f"voice-{index}.flac"]), dtype="float32")
        np.testing.assert_allclose(data, tone(3 + index, 8000), atol=1e-4)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", b"..."),
        ("application/json", b'{"choices": []}'),
        ("application/json", b"[1]"),
        ("application/json", b'{"data": [{"b64_json": "AA=="}], "content_type": "image/png"}'),
    ],
)
def test_what_is_no_sound_is_left_alone(content_type: str, body: bytes) -> None:
    assert sound_files(content_type, body, Path("x")) == {}


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("audio/wav", "the answer is no sound: 7 bytes of audio/wav that cannot be read: .*"),
        ("audio/pcm", "the answer is no sound: content type 'audio/pcm', wanted rate, channels=1 and encoding=s16le"),
    ],
)
def test_what_says_it_is_a_sound_and_is_none_is_an_error(content_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sound_files(content_type, b"nothing", Path("x"))


def test_the_picture_shows_a_tone_where_it_is_and_silence_where_there_is_none() -> None:
    at = np.arange(RATE) / RATE
    wave = np.where(at < 0.5, np.sin(2 * np.pi * 1000 * at), 0).astype(np.float32)
    levels = sound_picture.log_mel(wave, RATE)
    band = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + RATE / 2 / 700)) * 81 - 1
    assert abs(levels[:, 20].argmax() - band) < 1
    assert -9 < levels[:, 20].max() < 0.5  # a band is wider than a tone
    assert levels[:, -10:].max() == sound_picture.FLOOR_DB
    pixels = np.asarray(Image.open(io.BytesIO(sound_picture.picture(wave, RATE))))
    blue = (pixels[:120] == (31, 119, 180)).all(axis=2).sum(axis=0)
    assert blue[:390].min() > 100
    assert blue[410:].max() <= 3
    assert pixels[128:, 500].max() <= 4


@pytest.mark.parametrize("samples", [0, 1, 100, 16000 * 40])
def test_every_length_has_a_picture_of_one_size(samples: int) -> None:
    with Image.open(io.BytesIO(sound_picture.picture(tone(1, samples), RATE))) as picture:
        assert picture.size == (800, 368)
    assert sound_picture.log_mel(tone(1, samples), RATE).shape[1] <= 800 + 1


def test_channels_are_mixed() -> None:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.stack([np.full(50, 0.5), np.full(50, -0.25)], axis=1), 8000, format="WAV", subtype="FLOAT"
    )
    wave, rate = sound_picture.read(buffer.getvalue(), "audio/wav")
    assert (wave.tolist(), rate) == ([0.125] * 50, 8000)

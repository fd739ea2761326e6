"""Parameters of sound: what goes together, what is refused with which words, what a receipt says."""

from __future__ import annotations

from typing import Any

import pytest
import soundfile

from handlers import records
from handlers.audio.params import AudioParams, common, samples_of
from handlers.generator import Request
from handlers.limits import AnyLimits
from handlers.media import sound
from handlers.params import MAX_SEED
from handlers.refusals import Refusal
from tests.support.sounds import RATE, Tones, audio_limits


def parse(**params: Any) -> AudioParams:
    return Tones().parse(Request(params))


def test_the_defaults_are_those_of_the_model() -> None:
    params = parse(seed=7)
    assert (params.samples, params.format, params.encoding, params.sample_rate) == (8000, "wav", "pcm_16", RATE)
    assert (params.content_type, params.rows, list(params.seeds)) == ("audio/wav", 1, [7])
    assert params.public() == {
        "seed": 7,
        "n": 1,
        "samples": 8000,
        "format": "wav",
        "encoding": "pcm_16",
        "sample_rate": RATE,
        "stream": False,
    }


def test_a_receipt_says_what_was_resampled_and_has_no_encoding_where_there_is_none() -> None:
    found = parse(seed=7, format="opus", sample_rate=48000, seconds=0.25).public()
    assert found["resampled_from"] == RATE
    assert (found["sample_rate"], found["samples"], "encoding" in found) == (48000, 4000, False)


def test_seconds_and_samples_are_the_same_length() -> None:
    assert parse(seconds=1.5).samples == parse(samples=24000).samples == 24000


def test_several_sounds_are_json_of_as_many_rows() -> None:
    params = parse(seed=3, n=3)
    assert (params.content_type, params.rows, list(params.seeds)) == ("application/json", 3, [3, 4, 5])


def test_a_seed_is_drawn_with_room_for_all_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.audio.params.draw_seed", lambda: MAX_SEED)
    assert list(parse(n=4).seeds)[-1] == MAX_SEED


@pytest.mark.parametrize(
    ("params", "content_type"),
    [
        ({"format": "opus"}, "audio/ogg; codecs=opus"),
        ({"format": "pcm", "sample_rate": 22050}, "audio/pcm; rate=22050; channels=1; encoding=s16le"),
        ({"format": "MP3"}, "audio/mpeg"),
    ],
)
def test_content_types(params: dict[str, Any], content_type: str) -> None:
    assert parse(**params).content_type == content_type


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"seconds": 1, "samples": 3}, "samples", "seconds and samples are both given; leave one of them out"),
        ({"seconds": 61}, "seconds", "seconds is 61, wanted a number from 0.01 to 60"),
        ({"seconds": "two"}, "seconds", 'seconds is "two", wanted a number from 0.01 to 60'),
        ({"samples": 0}, "samples", "samples is 0, wanted an integer from 1 to 960000"),
        (
            {"format": "aiff"},
            "format",
            'format is "aiff", wanted one of wav, flac, ogg, opus, mp3, pcm',
        ),
        (
            {"format": "flac", "encoding": "float"},
            "encoding",
            "encoding is float, of flac it is one of pcm_16, pcm_24",
        ),
        (
            {"format": "mp3", "encoding": "pcm_16"},
            "encoding",
            "encoding is pcm_16, of mp3 it is none: leave it out, or use format wav or flac",
        ),
        ({"sample_rate": 7999}, "sample_rate", "sample_rate is 7999, wanted an integer from 8000 to 48000"),
        (
            {"format": "opus", "sample_rate": 44100},
            "sample_rate",
            "sample_rate is 44100; opus has 8000, 12000, 16000, 24000, 48000: ask for one of them",
        ),
        (
            {"n": 2, "stream": True},
            "n",
            "a stream has one sound, n is 2: leave out stream, or ask for one sound at a time",
        ),
        (
            {"n": 2, "seed": MAX_SEED},
            "seed",
            f"seed + n - 1 is over {MAX_SEED}; sound i of n uses seed + i: lower the seed",
        ),
    ],
)
def test_what_is_refused_and_how(params: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(**params)
    assert (refused.value.status, refused.value.message, refused.value.field) == (400, message, field)


def test_the_length_is_checked_against_the_limits_too() -> None:
    limits = audio_limits(max_audio_seconds=2)
    with pytest.raises(Refusal, match=r"40000 samples at 16000 Hz are 2.5 seconds, wanted from 1 sample to 2 seconds"):
        samples_of({"seconds": 2.5, "samples": None}, limits, 1.0)
    with pytest.raises(Refusal, match=r"0 samples at 16000 Hz are 0 seconds, .*; change seconds"):
        samples_of({"seconds": 1e-6, "samples": None}, limits, 1.0)


def test_a_model_of_a_rate_that_a_format_does_not_have_says_so() -> None:
    values = {"seed": 1, "n": 1, "format": "opus", "encoding": None, "sample_rate": None, "stream": False}
    with pytest.raises(Refusal, match=r"sample_rate is 22050, the model's own; opus has 8000, .*: ask for one of them"):
        common(values, audio_limits(rate=22050), 100)


def test_an_answer_that_will_be_too_large_is_not_computed() -> None:
    limits = audio_limits(max_response_bytes=100_000)
    generator = Tones(limits=limits)
    assert generator.parse(Request({"samples": 50_000})).samples == 50_000
    assert generator.parse(Request({"samples": 500_000, "format": "opus"})).samples == 500_000
    for params, size in (
        ({"samples": 50_001}, 100_002),
        ({"samples": 50_001, "stream": True}, 100_002),
        ({"samples": 40_000, "sample_rate": 48000, "encoding": "float"}, 480_000),
        ({"samples": 20_000, "n": 2}, 106_666),
    ):
        with pytest.raises(Refusal) as refused:
            generator.parse(Request(params))
        remedy = "lower seconds, samples, n or sample_rate, or ask for a format that is compressed"
        assert refused.value.status == 413
        assert refused.value.message == f"the answer would have {size} bytes, the limit is 100000: {remedy}"


def test_a_format_that_is_not_compiled_in_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_subtypes", lambda format: {"VORBIS": "Vorbis"})
    sound.available.cache_clear()
    try:
        with pytest.raises(Refusal) as refused:
            parse(format="mp3")
    finally:
        sound.available.cache_clear()
    assert refused.value.message == (
        f"mp3 is not compiled into this server's {sound.LIBRARY}; there are wav, flac, ogg, pcm"
    )


def test_limits_come_back_from_a_manifest_as_what_they_were() -> None:
    limits = audio_limits(max_audio_seconds=9)
    assert records.read(AnyLimits, limits.document(), "limits") == limits  # type: ignore[arg-type]

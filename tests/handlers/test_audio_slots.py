"""Sounds in the making: streams, whole answers and neighbours; resampling and cross-fades piece by piece."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from handlers import metrics
from handlers.audio.crossfade import Crossfade, joined
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Data, End
from handlers.generator import Request
from handlers.media import mp3
from handlers.media.resample import Resampler, resampled
from handlers.refusals import deadline_passed
from tests.support.helpers import Ear, run_out
from tests.support.sounds import RATE, Tones, tone


class Listener(Ear):
    """Replies with receipts that say the seed, and room for sounds."""

    def __init__(self) -> None:
        super().__init__(16 << 20)

    def _receipt(self, params: Any) -> str:
        return str(params.seed)


def answers(*requests: dict[str, Any], capacity: int = 8, block: int = 1600) -> list[bytes]:
    """The answers to requests that come together."""
    ear = Listener()
    scheduler = StepScheduler(Tones(capacity, block), ear.replies)
    for number, params in enumerate(requests, 1):
        scheduler.submit(number, params, None)
    run_out(scheduler)
    assert all(ear.ends(number) == End() for number in range(1, len(requests) + 1))
    return [ear.data(number) for number in range(1, len(requests) + 1)]


def samples(body: bytes) -> Any:
    return soundfile.read(io.BytesIO(body), dtype="float32")[0]


FORMATS = ("wav", "flac", "ogg", "opus", "mp3")


@pytest.mark.parametrize("rate", [RATE, 48000])
@pytest.mark.parametrize("name", FORMATS)
def test_the_stream_is_the_whole_answer_sample_for_sample(name: str, rate: int) -> None:
    params = {"seed": 5, "seconds": 1.1, "format": name, "sample_rate": rate}
    whole, stream = answers(params, {**params, "stream": True})
    np.testing.assert_array_equal(samples(stream), samples(whole))
    assert len(samples(whole)) >= round(1.1 * rate)


@pytest.mark.parametrize("name", FORMATS)
def test_an_answer_is_the_same_bytes_alone_among_others_and_in_other_steps(name: str) -> None:
    params = {"seed": 5, "seconds": 0.7, "format": name, "sample_rate": 24000, "stream": True}
    others = [{"seed": seed, "stream": True, "format": "opus"} for seed in range(3)]
    (alone,) = answers(params)
    assert answers(*others, params)[-1] == alone
    assert answers(params, block=333) == [alone]


def test_several_sounds_come_as_json_each_as_it_comes_alone() -> None:
    (body,) = answers({"seed": 8, "n": 3, "format": "flac"})
    document = json.loads(body)
    assert document["content_type"] == "audio/flac"
    assert [entry["seed"] for entry in document["data"]] == [8, 9, 10]
    for entry, alone in zip(
        document["data"], answers(*({"seed": s, "format": "flac"} for s in (8, 9, 10))), strict=True
    ):
        assert base64.b64decode(entry["b64_json"]) == alone


@pytest.mark.parametrize("name", [*FORMATS, "pcm"])
def test_nothing_of_a_stream_is_sent_before_there_is_sound_in_it(name: str) -> None:
    generator = Tones(block=800)
    (slot,) = generator.start([generator.parse(Request({"format": name, "stream": True, "seconds": 12}))])
    assert slot.drain() == b""  # a header alone
    pieces = []
    while slot.finished is None:
        generator.step([slot])
        pieces.append(slot.drain())
    sent = [piece for piece in pieces if piece]
    assert len(sent) >= 2
    if name == "mp3":
        assert len(sent[0]) > len(mp3.tag("Atelier tones 1")) + 100
    elif name != "pcm":
        with soundfile.SoundFile(io.BytesIO(sent[0])) as file:
            assert len(file.read(100)) > 0


def test_an_encoder_that_raises_costs_its_own_sound_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    (wanted,) = answers({"seed": 1})

    def broken(self: Any, wave: Any) -> None:
        raise RuntimeError("the encoder broke")

    ear = Listener()
    generator = Tones()
    scheduler = StepScheduler(generator, ear.replies)
    monkeypatch.setattr("handlers.media.sound.SoundFile._encode", broken)
    scheduler.submit(1, {"seed": 1}, None)
    scheduler.submit(2, {"seed": 2, "format": "flac"}, None)
    scheduler.submit(3, {"seed": 3, "format": "ogg", "stream": True}, None)
    run_out(scheduler)
    assert ear.data(1) == wanted
    assert [ear.refusal(number).status for number in (2, 3)] == [500, 500]
    assert generator.free == generator.capacity


def test_a_stream_that_is_late_is_ended_by_its_deadline_and_the_other_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (wanted,) = answers({"seed": 2, "stream": True})
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ear, generator = Listener(), Tones()
    scheduler = StepScheduler(generator, ear.replies)
    scheduler.submit(1, {"seed": 1, "seconds": 60, "stream": True}, 1001.0)
    scheduler.submit(2, {"seed": 2, "stream": True}, None)
    scheduler.tick()
    now[0] = 1002.0
    run_out(scheduler)
    late = deadline_passed()
    assert (ear.refusal(1).status, ear.refusal(1).message) == (late.status, late.message)
    assert ear.kinds(1)[1] is Data
    assert (ear.data(2), ear.ends(2)) == (wanted, End())
    assert generator.free == generator.capacity


def figure(name: str) -> float:
    found = metrics.REAL_TIME_FACTOR if name == "factor" else metrics.FIRST_AUDIO_SECONDS
    return next(
        sample.value
        for family in found.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels["model"] == "fake"
    )


def test_each_answer_has_its_real_time_factor_and_each_stream_its_first_sound() -> None:
    answers({"seed": 1, "stream": True})
    factors, firsts = figure("factor"), figure("first")
    answers({"seed": 1}, {"seed": 2, "stream": True}, {"seed": 3, "n": 2})
    assert (figure("factor") - factors, figure("first") - firsts) == (3, 1)


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 44100, 48000])
def test_sound_that_is_resampled_in_pieces_is_what_the_whole_becomes(rate: int) -> None:
    wave = tone(1, 20011)
    whole = soxr.resample(wave, RATE, rate)
    for piece in (320, 1777, 20011):
        made = Resampler(RATE, rate)
        parts = [made.resample(wave[at : at + piece], last=False) for at in range(0, len(wave), piece)]
        found = np.concatenate([*parts, made.resample(wave[:0], last=True)])
        np.testing.assert_array_equal(found, whole)
        assert len(found) == resampled(len(wave), RATE, rate)


def test_at_the_same_rate_nothing_is_changed() -> None:
    wave = tone(1, 50)
    assert Resampler(RATE, RATE).resample(wave, last=False) is wave


@pytest.mark.parametrize("size", [1000, 170])
def test_faded_clips_have_no_gap_and_the_length_that_was_said(size: int) -> None:
    clips = [tone(seed, 1000) for seed in (1, 2, 3)]
    fade = Crossfade((1000,) * 3, 100)
    cuts = [(clip, at) for clip in range(3) for at in range(0, 1000, size)]
    found = np.concatenate([fade.add(clip, at, clips[clip][at : at + size]) for clip, at in cuts])
    assert len(found) == joined(1000, 3, 100) == 2800
    np.testing.assert_array_equal(found[:900], clips[0][:900])
    np.testing.assert_array_equal(found[1000:1800], clips[1][100:900])
    np.testing.assert_array_equal(found[1900:], clips[2][100:])


def test_a_fade_keeps_the_power_of_what_has_nothing_to_do_with_each_other() -> None:
    ones, fade = np.ones(1000, np.float32), Crossfade((1000, 1000), 500)
    found = np.concatenate([fade.add(clip, 0, ones) for clip in range(2)])
    assert abs(found[500:1000].max() - 2**0.5) < 1e-5
    noise = np.random.default_rng(0).standard_normal((2, 200_000)).astype(np.float32)
    faded = Crossfade((200_000, 200_000), 100_000)
    faded.add(0, 0, noise[0])
    middle = faded.add(1, 0, noise[1])[:100_000]
    assert abs(float((middle**2).mean()) - 1) < 0.02


def test_clips_may_be_changed_afterwards_and_are_not_changed_themselves() -> None:
    clips = [np.ones(100, np.float32), np.zeros(100, np.float32)]
    fade = Crossfade((100, 100), 10)
    first = fade.add(0, 0, clips[0])
    clips[0][:] = 5
    assert first.tolist() == [1.0] * 90
    assert fade.add(1, 0, clips[1]).max() < 1.0
    assert not clips[1].any()


def test_what_cannot_be_faded_is_said() -> None:
    with pytest.raises(ValueError, match="overlap is -1 samples, wanted at least 0"):
        Crossfade((100, 100), -1)
    with pytest.raises(ValueError, match="a clip of 19 samples is shorter than two fades of 10"):
        Crossfade((100, 19), 10)
    np.testing.assert_array_equal(Crossfade((3, 3), 0).add(0, 0, np.ones(3, np.float32)), np.ones(3))

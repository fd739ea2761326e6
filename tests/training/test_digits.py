"""The spoken digits: the same ones always, and what is said of a clip can be heard in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training.data import digits, voice
from training.data.held_out import HELD_OUT
from training.evaluate_sounds import hearing_of

RATE = 16_000


def test_a_clip_is_the_same_alone_and_among_others_and_for_good() -> None:
    _, some = digits.spoken(0, range(8), RATE, RATE)
    _, alone = digits.spoken(0, range(5, 6), RATE, RATE)
    assert np.array_equal(some[5], alone[0])
    world = digits.sound_set(8_000, 8_000, 4)
    # A digest that changes is another world: raise VERSION with it, no run of the old one can go on.
    assert (digits.VERSION, world.sha256[:16]) == (1, "39cb6721fbfb1076")
    assert world.name == "spoken-digits-v1-8000hz-4"


def test_the_set_has_learned_and_held_out_clips_of_all_classes_whatever_its_size() -> None:
    small, large = digits.sound_set(4_000, 4_000, 3), digits.sound_set(4_000, 4_000, 12)
    assert len(small.learned) == 3 and len(large.learned) == 12
    assert len(small.held_out) == len(large.held_out) == HELD_OUT
    for index in range(0, HELD_OUT, 50):
        assert np.array_equal(small.clip(3 + index), large.clip(12 + index)), "held out: the same ones in any size"
    assert small.classes == tuple("0123456789")
    assert set(small.labels[small.held_out]) == set(range(10))
    assert small.starts[-1] == len(small.samples) and len(small.labels) == len(small.starts) - 1


@pytest.mark.parametrize(("rate", "longest"), [(16_000, 16_384), (8_000, 4_096), (22_050, 22_050), (44_100, 44_100)])
def test_clips_have_their_length_and_level_at_any_rate(rate: int, longest: int) -> None:
    said, clips = digits.spoken(0, range(20), rate, longest)
    for each, clip in zip(said, clips, strict=True):
        assert clip.dtype == np.int16 and len(clip) == int(each.seconds * rate) <= longest
        assert abs(clip).max() == round(digits.LOUDEST * 32767)
        assert abs(clip[: rate // 200]).max() < 700, "a clip begins softly"
        assert abs(clip[-rate // 400 :]).max() < 2_000, "and ends so"


def test_the_pitch_is_the_stated_one() -> None:
    said, clips = digits.spoken(0, range(60), RATE, RATE)
    checked = 0
    for each, clip in zip(said, clips, strict=True):
        if each.digit not in (1, 9):  # voiced from beginning to end
            continue
        checked += 1
        middle = clip[len(clip) // 2 - 800 : len(clip) // 2 + 800].astype(float)
        lags = range(int(RATE / 270), int(RATE / 75))
        at = max(lags, key=lambda lag: float(middle[lag:] @ middle[:-lag]) / len(middle[lag:]))
        assert RATE / at == pytest.approx(each.pitch, rel=0.12)
    assert checked >= 5


def test_the_formants_are_the_stated_ones() -> None:
    """The long vowel of "3" has its second formant near 2,280 Hz times the tract, that of "2" near 870 Hz."""
    said, clips = digits.spoken(0, range(80), RATE, RATE)
    checked = 0
    for each, clip in zip(said, clips, strict=True):
        if each.digit not in (2, 3):
            continue
        checked += 1
        part = clip[int(0.7 * len(clip)) : int(0.9 * len(clip))].astype(float)
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)), RATE)) ** 2  # bins of 1 Hz
        formant = each.formants[-1][1]
        near = power[int(formant - 250) : int(formant + 250)].sum()
        away = power[1_350:1_850].sum()  # between the second formants of the two vowels
        assert near > 4 * away, (each, near, away)
    assert checked >= 8


def test_where_clips_must_be_short_all_are_spoken_faster() -> None:
    slow, fast = digits.digit(0, 7), digits.digit(0, 7, most_seconds=digits.LONGEST / 2)
    assert fast.seconds == pytest.approx(slow.seconds / 2)
    assert (fast.digit, fast.pitch, fast.shifts) == (slow.digit, slow.pitch, slow.shifts)


def test_voices_that_clips_share_speak_always_in_their_way() -> None:
    said = [digits.digit(0, index, voices=2) for index in range(100)]
    for voice_of, other in ((said[::2], said[1::2]), (said[1::2], said[::2])):
        assert len({each.tract for each in voice_of}) == 1 != len({each.pitch for each in voice_of})
        assert max(each.pitch for each in voice_of) < 1.07 * min(each.pitch for each in voice_of)
        assert voice_of[0].tract != other[0].tract
    assert {each.digit for each in said} == set(range(10))
    assert {(each.glide, each.wave, each.breath) for each in said} == {(0.15, (0.0, 0.0), 0.0)}
    world = digits.sound_set(8_000, 6_400, 4, voices=1)
    # A digest that changes is another world: raise VERSION with it, no run of the old one can go on.
    assert (digits.VERSION, world.name) == (1, "spoken-digits-v1-8000hz-4-1voices")
    assert world.sha256[:16] == "5e320c4ae51253b7"


@pytest.mark.slow
def test_the_classifier_of_the_whole_world_hears_the_digits_of_one_voice(tmp_path: Path) -> None:
    world = digits.sound_set(8_000, 6_400, 1, voices=1)
    listener = hearing_of(world, 6_400, tmp_path)
    assert listener is not None and listener.accuracy["digit"] >= 0.98
    heard = listener.heard(torch.from_numpy(world.waves(world.held_out, 6_400)))["digit"]
    assert (heard == world.labels[world.held_out]).mean() >= 0.98


@pytest.mark.parametrize("longest", [1, 16, 64, 256, 1_000, 2_048])
def test_clips_of_a_few_samples_can_be_made(longest: int) -> None:
    world = digits.sound_set(RATE, longest, 30)
    lengths = np.diff(world.starts)
    assert lengths.min() >= 1 and lengths.max() <= longest and len(world) == 30 + HELD_OUT
    if longest >= 256:
        assert all(abs(world.clip(at)).max() > 20_000 for at in range(30))


def test_resonators_are_those_of_the_formula() -> None:
    """One resonator of the chain against y[t] = a x[t] + b y[t - 1] + c y[t - 2] written out."""
    tracks = _still(frames=40)
    a, b, c = voice._coefficients(tracks, RATE)
    source = np.zeros((40 * 40, 1))
    source[3] = 1.0
    out = voice._filtered(source, np.zeros_like(source), (a, b, c), 40)[:, 0]
    expected = source[:, 0]
    for row in range(voice.FORMANTS):
        filtered = np.zeros(len(expected))
        for t in range(len(expected)):
            filtered[t] = a[0, row, 0] * expected[t] + b[0, row, 0] * filtered[t - 1] + c[0, row, 0] * filtered[t - 2]
        expected = filtered
    late = voice.FORMANTS - 1
    np.testing.assert_allclose(out[late:], expected[:-late], atol=1e-12)


def test_a_resonator_stands_at_its_frequency_and_lets_0_hz_pass() -> None:
    a, b, c = (values[0, 1, 0] for values in voice._coefficients(_still(frames=1), RATE))
    z = np.exp(-2j * np.pi * np.arange(0, 8_000) / RATE)
    gain = abs(a / (1 - b * z - c * z * z))
    assert gain[0] == pytest.approx(1.0)
    assert int(gain.argmax()) == pytest.approx(1_200, abs=10)


def _still(frames: int) -> voice.Tracks:
    """A voice that holds the formants 500, 1,200 and 2,500 Hz."""
    one = np.ones((frames, 1))
    formants = np.stack([500 * one, 1_200 * one, 2_500 * one])
    return voice.Tracks(formants, 100 * one, one, 0 * one, 0 * one, 4_000 * one, 2_000 * one, one, np.ones(1))

"""The world of melodies: the same for ever, in its key, at its tempo; and the synthesiser, against its formulas."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from training.data import DataError
from training.data.held_out import HELD_OUT
from training.data.melodies import SCALE, piece
from training.data.music import open_music
from training.data.synthesizer import LOUDEST, Note, Timbre, frequency, render

RATE = 16_000
EXPECTED = (0, 97, ("I", "IV", "V", "I"), "9ff3d7bdc93e6b21")
PURE = Timbre((1.0,), decay=0.0, brightness=0.0)


def test_pieces_are_the_same_for_ever() -> None:
    """A digest that changes means another world: raise its VERSION."""
    first = piece(0, 0, 4.0)
    sound = render(first.notes, 4 * RATE, RATE)
    assert (first.tonic, first.tempo, first.chords[:4]) == EXPECTED[:3]
    assert hashlib.sha256(sound.tobytes()).hexdigest()[:16] == EXPECTED[3]


def test_every_note_is_of_the_scale_and_on_a_half_of_a_beat() -> None:
    for index in range(30):
        found = piece(3, index, 6.0)
        scale = {(found.tonic + step) % 12 for step in SCALE}
        assert {note.pitch % 12 for note in found.notes} <= scale
        halves = np.array([note.start * found.tempo / 30.0 for note in found.notes])
        np.testing.assert_allclose(halves, halves.round(), atol=1e-9)
        assert set(halves.round().astype(int)[:1]) == {0}
        assert max(note.start for note in found.notes) > 6.0 - 60.0 / found.tempo


def test_all_keys_and_many_tempos_occur() -> None:
    found = [piece(0, index, 1.0) for index in range(200)]
    assert {each.tonic for each in found} == set(range(12))
    assert len({each.tempo for each in found}) > 50
    assert min(each.tempo for each in found) >= 80
    assert max(each.tempo for each in found) <= 150


def test_the_set_divides_and_knows_its_pieces() -> None:
    data = open_music("melodies", RATE, 1.0, 5, at_least=5)
    assert len(data) == 5 + HELD_OUT
    assert data.learned.tolist() == [0, 1, 2, 3, 4]
    assert data.classes[data.labels[2]] == data.classes[piece(0, 2, 1.0).tonic]
    assert data.tempos[2] == piece(0, 2, 1.0).tempo
    assert data.tempo_range == (min(data.tempos[:5]), max(data.tempos[:5]))
    np.testing.assert_array_equal(data.clip(2), render(piece(0, 2, 1.0).notes, RATE, RATE))
    assert data.sha256 != open_music("melodies", RATE, 1.0, 6, at_least=5).sha256


def test_too_small_a_world_says_what_to_raise() -> None:
    with pytest.raises(DataError, match="3 melodies are fewer than one batch of 4: raise --world-size"):
        open_music("melodies", RATE, 1.0, 3, at_least=4)


def test_pitches_are_those_of_equal_temperament() -> None:
    for pitch in range(128):
        assert frequency(pitch) == pytest.approx(440.0 * 2.0 ** ((pitch - 69) / 12), rel=1e-14)


def test_a_pure_note_is_a_sine_of_its_frequency() -> None:
    wave = render([Note(0.0, 2.0, 69, 0.5, PURE)], RATE, RATE).astype(float)
    wanted = np.sin(2 * np.pi * 440.0 * np.arange(RATE) / RATE) * LOUDEST * 32767
    np.testing.assert_allclose(wave[200:], wanted[200:], atol=20)  # the attack is over, the table has 2^14 places


def test_partials_die_away_as_stated() -> None:
    fading = Timbre((1.0,), decay=0.02, brightness=0.0)
    wave = render([Note(0.0, 3.0, 69, 1.0, fading)], 2 * RATE, RATE).astype(float)
    level = [float(np.abs(wave[at : at + 1600]).max()) for at in (RATE // 2, RATE)]
    assert level[1] / level[0] == pytest.approx(0.98**50, rel=0.02)


def test_a_note_ends_and_high_partials_are_left_out() -> None:
    wave = render([Note(0.1, 0.2, 69, 1.0, PURE)], RATE, RATE)
    assert not wave[: RATE // 10].any()
    assert wave[RATE // 10 : 3 * RATE // 10].any()
    assert not wave[int(0.36 * RATE) :].any()
    bright = Timbre((1.0, 1.0, 1.0), decay=0.0, brightness=0.0)
    one, three = (render([Note(0.0, 1.0, 117, 1.0, each)], RATE, RATE) for each in (PURE, bright))
    np.testing.assert_array_equal(one, three)  # 6645 Hz: its double is over half of the rate


def test_no_notes_are_silence() -> None:
    assert not render([], 100, RATE).any()

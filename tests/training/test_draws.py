"""Draws are equal everywhere and for good, and no number is likelier than another."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pytest

from training.draws import AT_ONCE, BITS, Draws


class Scripted:
    """A source of given words."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)

    def random_raw(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        given, self.words = self.words[:count], self.words[count:]
        return np.array(given, np.uint64)


def scripted(monkeypatch: pytest.MonkeyPatch, *words: int) -> Draws:
    monkeypatch.setattr(np.random, "Philox", lambda key: Scripted(*words))
    return Draws(0, 0)


def test_the_words_of_a_key_are_those_that_numpy_promises() -> None:
    assert np.random.Philox(key=[0, 0]).random_raw(2).tolist() == [213000021201967259, 4455796210202625458]
    draws = Draws(0, 0)
    assert [draws.below(1 << BITS) for _ in range(2)] == [213000021201967259, 4455796210202625458]


def test_all_draws_of_a_key_stay_what_they_are() -> None:
    draws = Draws(3, 5)
    assert [draws.below(limit) for limit in (1, 2, 10, 1000, 10**12)] == [0, 0, 1, 371, 394591352657]
    assert draws.pick("abcdef") == "f"
    assert draws.shuffled("abcdefgh") == list("hbgcfeda")
    assert (draws.unit(), draws.between(-1, 3), draws.bell()) == (
        0.14629242818121713,
        1.73612359500738,
        -0.9360019283006933,
    )
    assert draws.indices(20_000, 4).tolist() == [14461, 2170, 2404, 12780]


def test_other_keys_have_other_draws_and_a_long_row_goes_on() -> None:
    rows = [[draws.below(1000) for _ in range(3 * AT_ONCE)] for draws in (Draws(1, 2), Draws(1, 2), Draws(2, 1))]
    assert rows[0] == rows[1] != rows[2]
    assert len(set(rows[0])) > 2 * AT_ONCE


def test_every_number_is_as_likely() -> None:
    counts = Counter(Draws(1, 2).indices(7, 70_000).tolist())
    assert sorted(counts) == list(range(7))
    assert all(abs(count - 10_000) < 400 for count in counts.values())


def test_a_word_that_would_favour_a_number_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """2**64 is 1 over a multiple of 3: of all words exactly one is refused, and it is the one whose low half is 0."""
    assert scripted(monkeypatch, 0, (1 << BITS) - 1).below(3) == 2
    assert scripted(monkeypatch, 1).below(3) == 0
    assert scripted(monkeypatch, 0).below(4) == 0  # a power of two favours none


def test_a_pick_leaves_out_what_it_should() -> None:
    draws = Draws(0, 1)
    assert {draws.pick("abc", but="b") for _ in range(100)} == {"a", "c"}


def test_a_shuffle_keeps_all_and_every_order_comes() -> None:
    draws = Draws(0, 2)
    values = (1, 2, 3)
    counts = Counter(tuple(draws.shuffled(values)) for _ in range(6000))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 150 for count in counts.values())
    assert values == (1, 2, 3)
    assert draws.shuffled([]) == []


def test_floats_are_spread_as_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = Draws(0, 3)
    units = [draws.unit() for _ in range(20_000)]
    assert abs(statistics.mean(units) - 0.5) < 0.01
    bells = [draws.bell() for _ in range(20_000)]
    assert abs(statistics.mean(bells)) < 0.03
    assert abs(statistics.pstdev(bells) - 1) < 0.03
    assert scripted(monkeypatch, (1 << BITS) - 1).unit() == 1 - 2.0**-53
    assert scripted(monkeypatch, 0).unit() == 0

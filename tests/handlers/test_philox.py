"""The sampler is the published one, and stays the same for ever: its outputs are pinned here."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.params import MAX_SEED
from handlers.sampling import philox

seeds = st.integers(0, MAX_SEED)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # the known-answer vectors of the Random123 distribution (Salmon et al. 2011), philox4x32-10
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], words: list[int]) -> None:
    result = philox.philox(np.array(counter, np.uint64), np.array(key, np.uint64))
    assert [int(word) for word in result] == words


@given(st.lists(seeds, min_size=1, max_size=40), st.integers(1, 130))
@settings(deadline=None, max_examples=50)
def test_a_row_depends_on_its_seed_alone(some: list[int], count: int) -> None:
    together = philox.normals(some, count)
    assert together.shape == (len(some), count)
    assert together.dtype == np.float32
    for i in {0, len(some) // 2, len(some) - 1}:
        np.testing.assert_array_equal(together[i], philox.normals([some[i]], count)[0])
        np.testing.assert_array_equal(together[i], philox.normals([some[i]], 131)[0, :count])  # and so is a prefix


def test_streams_and_seeds_differ() -> None:
    a = philox.normals([5], 100)
    assert not np.array_equal(a, philox.normals([6], 100))
    assert not np.array_equal(a, philox.normals([5], 100, stream=1))
    assert not np.array_equal(a, philox.normals([5 + 2**32], 100))  # the high word counts


def test_moments_are_those_of_the_normal_distribution() -> None:
    z = philox.normals(range(5000), 100).astype(np.float64).ravel()
    assert abs(z.mean()) < 0.005
    assert abs(z.std() - 1) < 0.005
    assert abs((z**3).mean()) < 0.02
    assert abs((z**4).mean() - 3) < 0.05


def test_uniforms_stay_inside_and_use_all_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in (0, 0xFFFFFFFF):
        monkeypatch.setattr(philox, "philox", lambda c, k, word=word: np.full((*c.shape[:-1], 4), word, np.uint64))
        u = philox.uniforms([1], 2)
        assert ((u > 0) & (u < 1)).all()
        assert np.isfinite(philox.normals([1], 2)).all()


def test_the_quantile_agrees_with_an_independent_one() -> None:
    p = np.concatenate(
        [10.0 ** -np.arange(1, 300, 7.0), np.linspace(0.001, 0.999, 999), 1 - 10.0 ** -np.arange(1, 15.0)]
    )
    wanted = [NormalDist().inv_cdf(float(x)) for x in p]
    np.testing.assert_allclose(philox.inverse_normal(p), wanted, rtol=1e-13, atol=1e-15)


def test_the_logarithm_is_right_to_the_last_bits() -> None:
    x = np.concatenate([10.0 ** np.arange(-300, 0, 3.0), np.linspace(0.4, 1.0, 1000)])
    np.testing.assert_allclose(philox._log(x), np.log(x), rtol=4e-16, atol=1e-16)


def test_pinned_values() -> None:
    """If these change, every stored seed means another image: raise the bundle format instead."""
    z = philox.normals([0, 7, MAX_SEED], 4)
    assert [[float(v).hex() for v in row] for row in z] == PINNED


PINNED = [
    ["-0x1.05f49e0000000p-2", "0x1.42a7700000000p-1", "0x1.ea308c0000000p+0", "0x1.03989c0000000p-1"],
    ["0x1.b0f0080000000p+0", "-0x1.34612e0000000p+0", "-0x1.e20a2c0000000p-3", "-0x1.e4e7d80000000p-1"],
    ["-0x1.d6a2080000000p-2", "0x1.e42d1e0000000p-1", "-0x1.9bb7880000000p-1", "0x1.8be5000000000p-2"],
]

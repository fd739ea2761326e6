"""Random draws that never change: of one key, from the raw 64-bit words of a Philox generator.

numpy promises the words of `numpy.random.Philox` (Salmon 2011, "Parallel random numbers: as easy as 1, 2, 3") for good:
"a fixed seed will always produce the same random integer stream". It promises no method of its `Generator`, so what is
made of the words stands here. A written world's digest, and so whether a run can be resumed, hangs on it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 64  # words: one call of the generator costs as much as drawing a few dozen
BITS = 64
T = TypeVar("T")


class Draws:
    """The random numbers of the key (seed, index), both from 0 to 2**64 - 1: always the same ones in the same order."""

    def __init__(self, seed: int, index: int) -> None:
        self._words = _words(np.random.Philox(key=[seed, index]))

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1, each equally likely: `limit` from 1 to 2**64.

        The high half of word times limit, drawn again where it would favour some numbers (Lemire 2019, "Fast random
        integer generation in an interval", arXiv:1805.10941, algorithm 5).
        """
        while True:
            high, low = divmod(next(self._words) * limit, 1 << BITS)
            if low >= limit or low >= (1 << BITS) % limit:
                return high

    def pick(self, values: Sequence[T], but: Collection[T] = ()) -> T:
        """One of `values` that is not in `but`: if it is, the next one that is not."""
        at = self.below(len(values))
        while values[at] in but:
            at = (at + 1) % len(values)
        return values[at]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """All of `values` in any order (Durstenfeld 1964, algorithm 235)."""
        order = list(values)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def unit(self) -> float:
        """A number from 0 to just under 1, a multiple of 2**-53."""
        return (next(self._words) >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        return low + (high - low) * self.unit()

    def bell(self) -> float:
        """About a standard normal number: twelve of `unit` less 6 (Irwin-Hall), sums alone, equal on every machine."""
        return math.fsum(self.unit() for _ in range(12)) - 6.0

    def indices(self, limit: int, count: int) -> NDArray[np.int64]:
        """`count` numbers from 0 to `limit` - 1 (count,), with repetition: the rows of a batch."""
        return np.array([self.below(limit) for _ in range(count)], np.int64)


def _words(source: np.random.Philox) -> Iterator[int]:
    while True:
        yield from source.random_raw(AT_ONCE).tolist()

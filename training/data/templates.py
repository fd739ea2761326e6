"""What the written worlds of pairs share: the numbers drawn for one text, and the pattern of a template with slots."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

_SLOT = re.compile(r"\{(\w+)\}")
_AT_ONCE = 64  # numbers: one call of the generator costs as much as drawing a few dozen
T = TypeVar("T")


class Draws:
    """The random numbers of text `index` of `seed`: always the same, whatever is drawn for other texts."""

    def __init__(self, seed: int, index: int) -> None:
        self._random = np.random.Generator(np.random.Philox(key=[seed, index]))
        self._left: list[int] = []

    def below(self, limit: int) -> int:
        """A whole number from 0 to `limit` - 1."""
        if not self._left:
            self._left = self._random.integers(1 << 32, size=_AT_ONCE, dtype=np.uint64).tolist()
        return self._left.pop() * limit >> 32

    def pick(self, values: Sequence[T], but: Collection[T] = ()) -> T:
        """One of `values` that is not in `but`: if it is, the next one that is not."""
        at = self.below(len(values))
        while values[at] in but:
            at = (at + 1) % len(values)
        return values[at]


@functools.lru_cache(maxsize=100_000)
def slots(template: str) -> tuple[str, ...]:
    """The slots of a template, each once, in the order of their coming."""
    return tuple(dict.fromkeys(_SLOT.findall(template)))


def pattern(template: str, values: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """What matches a filled template: a group for every slot that takes its `values`, or any text if it has none.

    No slot may come twice.
    """
    parts = _SLOT.split(template)  # text and slot in turn
    parts[::2] = map(re.escape, parts[::2])
    for at, slot in enumerate(parts[1::2]):
        parts[2 * at + 1] = f"(?P<{slot}>{'|'.join(map(re.escape, values[slot])) if slot in values else '.+?'})"
    return re.compile("".join(parts))


def words(text: str) -> tuple[str, ...]:
    """The values of a list, none of which holds a space."""
    return tuple(text.split())

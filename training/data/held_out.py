"""The division of a written world into items to learn from and items to measure on."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable
from typing import TypeVar

HELD_OUT = 256  # items of a written world that are kept for measuring
EVERY = 20  # one item in so many is kept for measuring
T = TypeVar("T")


def divide(write: Callable[[int, int], T], key: Callable[[T], str], count: int) -> tuple[list[T], list[T]]:
    """The first `count` items to learn from that `write(0, index)` gives, and `HELD_OUT` others, each once.

    On which side an item is follows from the CRC-32 of its `key` alone: nothing that is measured on is learned from in
    a world of any size, and figures of worlds of different sizes can be compared.
    """
    learned: list[T] = []
    held_out: dict[T, None] = {}  # short items come again
    for index in itertools.count():
        if len(learned) >= count and len(held_out) == HELD_OUT:
            break
        item = write(0, index)
        if zlib.crc32(key(item).encode()) % EVERY:
            if len(learned) < count:
                learned.append(item)
        elif len(held_out) < HELD_OUT:
            held_out[item] = None
    return learned, list(held_out)

"""Templates of the written worlds: their slots, and the regular expression of their filled forms."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

SLOT = re.compile(r"\{(\w+)\}")


@functools.lru_cache(maxsize=100_000)
def slots(template: str) -> tuple[str, ...]:
    """The slots of a template, each once, in the order of their coming."""
    return tuple(dict.fromkeys(SLOT.findall(template)))


def pattern(template: str, values: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    """The regular expression of a filled template: a group for every slot that takes its `values`, or any text without.

    No slot may come twice.
    """
    parts = SLOT.split(template)  # text and slot in turn
    parts[::2] = map(re.escape, parts[::2])
    for at, slot in enumerate(parts[1::2]):
        parts[2 * at + 1] = f"(?P<{slot}>{'|'.join(map(re.escape, values[slot])) if slot in values else '.+?'})"
    return re.compile("".join(parts))


def words(text: str) -> tuple[str, ...]:
    """The values of a list, none of which holds a space."""
    return tuple(text.split())

"""Pairs to learn sequence-to-sequence from: documents and their summaries, conversations and their replies.

They come from a written world, whose pairs can be judged exactly, or from files (see `pair_files`). Pairs to measure on are
chosen by the digest of their source, so all pairs of one source are on the same side: none that is measured on was learned.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from training.data import DataError

HELD_OUT = 256  # written pairs that are kept for measuring
HELD_OUT_EVERY = 20  # one in so many pairs is kept for measuring
MAX_HELD_OUT = 1000  # pairs of files that are kept for measuring
ENOUGH = 200  # pairs to measure on: of a small file up to a tenth is kept for them


@dataclasses.dataclass(frozen=True)
class Pair:
    """What is read, and what is to be written for it."""

    source: tuple[str, ...]
    """a document, or the turns of a conversation: the oldest first, the last one is answered"""
    target: str


@dataclasses.dataclass(frozen=True)
class PairSet:
    """Pairs to learn from and pairs to measure on, and their provenance: what a checkpoint records about its data."""

    name: str
    pairs: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    sha256: str  # of all of them in their order
    licence: str
    source: str
    skipped: tuple[str, ...] = ()  # lines that could not be used: "file:line: reason"


@dataclasses.dataclass(frozen=True)
class Fields:
    """The names of the two fields of a JSON object, or of the two columns of a table."""

    source: str
    target: str


def open_pairs(data: str, count: int, fields: Fields, most_bad: float = 0.01) -> PairSet:
    """The first `count` pairs of the world `data` ("reports" or "smalltalk"), else all pairs of its files.

    Several files are divided by commas. `fields` is for files only, and so is `most_bad`: the share of their lines that may be
    unusable. Raises `DataError` for files that cannot be read or learned from.
    """
    from training.data import reports, smalltalk

    if data == reports.NAME:
        return _written_set(f"{reports.NAME}-v{reports.VERSION}", reports.report, count)
    if data == smalltalk.NAME:
        return _written_set(f"{smalltalk.NAME}-v{smalltalk.VERSION}", smalltalk.conversation, count)
    return _file_set(data, fields, most_bad)


def _written_set(name: str, write: Callable[[int, int], Pair], count: int) -> PairSet:
    learned: list[Pair] = []
    held_out: dict[Pair, None] = {}  # each once: a short conversation comes again
    for index in itertools.count():
        if len(learned) >= count and len(held_out) == HELD_OUT:
            break
        pair = write(0, index)
        # By its digest, so that no held-out source is learned from in a world of any size, and figures can be compared.
        if zlib.crc32("\n".join(pair.source).encode()) % HELD_OUT_EVERY:
            if len(learned) < count:
                learned.append(pair)
        elif len(held_out) < HELD_OUT:
            held_out[pair] = None
    source = f"written by training/data/{name.partition('-')[0]}.py"
    return _pair_set(f"{name}-{count}", learned, list(held_out), "Apache-2.0", source)


def _file_set(data: str, fields: Fields, most_bad: float) -> PairSet:
    from training.data import pair_files

    paths = pair_files.paths(data)
    lines = pair_files.read(paths, fields, most_bad)
    found = list(dict.fromkeys(lines.pairs))  # a pair that comes again teaches nothing new
    kept = _kept(found)
    name = "+".join(path.name for path in paths)
    learned = [pair for pair in found if pair.source not in kept]
    held_out = [pair for pair in found if pair.source in kept]
    if not learned:
        raise DataError(f"{name} holds pairs of 1 source, wanted at least 2 (one to learn, one to measure): add pairs")
    source = ", ".join(path.name for path in paths)
    return _pair_set(f"{name}-{len(found)}", learned, held_out, "unknown (user data)", source, lines.skipped)


def _kept(pairs: Sequence[Pair]) -> set[tuple[str, ...]]:
    """The sources to measure on: those of the lowest digests, until they have the share of all pairs that is wanted."""
    sizes = Counter(pair.source for pair in pairs)
    enough = min(ENOUGH, 2 * len(pairs) // HELD_OUT_EVERY)
    wanted = min(MAX_HELD_OUT, max(1, enough, len(pairs) // HELD_OUT_EVERY))
    kept: set[tuple[str, ...]] = set()
    for source in sorted(sizes, key=lambda source: hashlib.sha256("\n".join(source).encode()).digest()):
        if sizes[source] <= wanted:  # a source of many pairs may be too much, and a later one not
            kept.add(source)
            wanted -= sizes[source]
    return kept or {min(sizes, key=sizes.__getitem__)}


def _pair_set(
    name: str, pairs: Sequence[Pair], held_out: Sequence[Pair], licence: str, source: str, skipped: Iterable[str] = ()
) -> PairSet:
    digest = hashlib.sha256()
    for pair in (*pairs, *held_out):  # no text holds the byte 0 or a line break
        digest.update("\0".join((*pair.source, pair.target)).encode() + b"\n")
    return PairSet(name, tuple(pairs), tuple(held_out), digest.hexdigest(), licence, source, tuple(skipped))

"""Pairs to learn sequence-to-sequence from: documents and their summaries, conversations and their replies.

They come from a written world, whose pairs can be judged exactly, or from files (see `pair_files`). Pairs to measure on
are chosen by the digest of their source, so all pairs of one source are on the same side: no source that is measured on
was learned from.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType

from training.data import DataError, Fields, Pair, PairSet, documents, held_out, pair_files, reports, smalltalk

MAX_HELD_OUT = 1000  # pairs of files that are kept for measuring
GROUPS = 20  # first turns of conversations, from which on whole conversations are kept
ENOUGH = 200  # pairs to measure on: of a small file up to a tenth is kept for them


def open_pairs(data: str, count: int, fields: Fields, most_bad: float = 0.01, encoding: str | None = None) -> PairSet:
    """The first `count` pairs of the world `data` ("reports" or "smalltalk"), else all pairs of its files.

    Several files are divided by commas. `fields` is for files only, and so are `most_bad`, the share of their rows that
    may be lost, and their `encoding`. Raises `DataError` for files that cannot be read or learned from.
    """
    if data == reports.NAME:
        return _written_set(reports, *held_out.divide(reports.report, source_text, count))
    if data == smalltalk.NAME:
        return _written_set(smalltalk, *held_out.divide(smalltalk.conversation, source_text, count))
    return _file_set(data, fields, most_bad, encoding)


def source_text(pair: Pair) -> str:
    """The source of a pair as one text, a turn a line: its digest says on which side the pair is."""
    return "\n".join(pair.source)


def _written_set(world: ModuleType, learned: Sequence[Pair], kept: Sequence[Pair]) -> PairSet:
    return PairSet(
        name=f"{world.NAME}-v{world.VERSION}-{len(learned)}",
        sha256=_digest(learned, kept),
        licence="Apache-2.0",
        source=f"written by training/data/{world.NAME}.py",
        notes=documents.hidden_by(world.NAME),
        pairs=tuple(learned),
        held_out=tuple(kept),
    )


def _file_set(data: str, fields: Fields, most_bad: float, encoding: str | None) -> PairSet:
    lines = pair_files.read(data, fields, most_bad, encoding)
    paths = documents.paths(data)
    found = list(dict.fromkeys(lines.pairs))  # a pair that comes again teaches nothing new
    key = _first_turn if lines.by_conversation and len({pair.source[:1] for pair in found}) >= GROUPS else _source
    sources = _measured(found, key)
    name = "+".join(path.name for path in paths)
    learned = [pair for pair in found if key(pair) not in sources]
    kept = [pair for pair in found if key(pair) in sources]
    if not learned:
        raise DataError(f"{name} holds pairs of 1 source, wanted at least 2 (one to learn, one to measure): add pairs")
    return PairSet(
        name=f"{name}-{len(found)}",
        sha256=_digest(learned, kept),
        licence="unknown (user data)",
        source=", ".join(path.name for path in paths),
        skipped=lines.skipped,
        lost=lines.lost,
        notes=lines.notes,
        pairs=tuple(learned),
        held_out=tuple(kept),
    )


def _source(pair: Pair) -> tuple[str, ...]:
    return pair.source


def _first_turn(pair: Pair) -> tuple[str, ...]:
    """The same for all pairs of a conversation: what it says later was answered in the middle of another pair."""
    return pair.source[:1]


def _measured(pairs: Sequence[Pair], key: Callable[[Pair], tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The sources to measure on: those of the lowest digests, until they have the share of all pairs that is wanted."""
    sizes = Counter(map(key, pairs))
    enough = min(ENOUGH, 2 * len(pairs) // held_out.EVERY)
    wanted = min(MAX_HELD_OUT, max(1, enough, len(pairs) // held_out.EVERY))
    sources: set[tuple[str, ...]] = set()
    for source in sorted(sizes, key=lambda source: hashlib.sha256("\n".join(source).encode()).digest()):
        if sizes[source] <= wanted:  # a source of many pairs may be too much, and a later one not
            sources.add(source)
            wanted -= sizes[source]
    return sources or {min(sizes, key=sizes.__getitem__)}


def _digest(learned: Sequence[Pair], kept: Sequence[Pair]) -> str:
    digest = hashlib.sha256()
    for pair in (*learned, *kept):  # no text holds the byte 0 or a line break
        digest.update("\0".join((*pair.source, pair.target)).encode() + b"\n")
    return digest.hexdigest()

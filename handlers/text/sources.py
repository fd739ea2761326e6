"""Sources of text from text: turns into tokens and a BERT's word pieces, too long ones refused or cut; batches of them.

training/encoding.py makes the same numbers of the same turns.

Dimensions: B sources, S tokens, P word pieces, each padded to a whole multiple.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handlers.limits import SourceLimits
from handlers.refusals import Refusal
from handlers.text.tokenizer import TURN, SubwordTokenizer, WordPieces


@dataclasses.dataclass(frozen=True)
class Source:
    """A source as numbers; `pieces` and `at` are empty where no BERT reads it."""

    ids: tuple[int, ...]  # (S,)
    pieces: tuple[int, ...] = ()  # (P,)
    at: tuple[int, ...] = ()  # (S,), which of the pieces stands where a token begins


class Sources:
    """The tokenizers and limits of a model called `name`."""

    def __init__(
        self, tokens: SubwordTokenizer, limits: SourceLimits, name: str, words: WordPieces | None = None
    ) -> None:
        self._tokens, self._limits, self._name, self._words = tokens, limits, name, words

    def kept(self, turns: Sequence[str], field: str, truncate: bool) -> Sequence[str]:
        """Turns of at most `max_source_bytes`: all, or the rest of the last one where cutting is asked for.

        A document (`text`) is cut at its end, a conversation at its beginning. Raises `Refusal` for a source that is
        too long and may not be cut.
        """
        size, most = sum(len(turn.encode()) for turn in turns), self._limits.max_source_bytes
        if size <= most:
            return turns
        if not truncate:
            raise self._too_long(field, f"{size} bytes", f"{most} ({self._limits.max_source} tokens)")
        last = turns[-1].encode()
        return [(last[:most] if field == "text" else last[-most:]).decode(errors="ignore")]

    def tokenize(self, turns: Sequence[str], field: str, truncate: bool) -> Source:
        """The turns of `kept` as numbers, cut likewise to the tokens that are read. Raises `Refusal` as `kept` does."""
        tokens, room = self._limits.max_source, self._limits.max_pieces or 0
        whole = self._aligned(turns)
        if len(whole.ids) > tokens and not truncate:
            raise self._too_long(field, f"{len(whole.ids)} tokens", str(tokens))
        if len(whole.pieces) > room and not truncate:
            raise self._too_long(field, f"{len(whole.pieces)} word pieces", str(room))
        if not whole.pieces:
            return Source(whole.ids[:tokens] if field == "text" else whole.ids[-tokens:])
        return (_cut_end if field == "text" else _cut_beginning)(whole, tokens, room)

    def inputs(self, sources: Sequence[Source]) -> dict[str, NDArray[np.int64]]:
        """The encoder's inputs for a batch: tokens (B, S) and lengths (B,).

        For a BERT tokens, pieces (B, P), piece_lengths (B,) and at (B, S).
        """
        multiple = self._limits.source_multiple
        tokens, lengths = padded([source.ids for source in sources], multiple)
        if self._words is None:
            return {"tokens": tokens, "lengths": lengths}
        pieces, piece_lengths = padded([source.pieces for source in sources], multiple)
        at = padded([source.at for source in sources], multiple)[0]
        return {"tokens": tokens, "pieces": pieces, "piece_lengths": piece_lengths, "at": at}

    def _too_long(self, field: str, found: str, wanted: str) -> Refusal:
        remedy = "shorten it, or send truncate=true to have it cut"
        return Refusal(400, f"{field} has {found}, {self._name} reads at most {wanted}; {remedy}", field)

    def _aligned(self, turns: Sequence[str]) -> Source:
        """The whole source: TURN between the tokens of turns, and a BERT's marks around the pieces of each.

        A token begins at the first piece that ends behind the token's first character, or else at the mark behind its
        turn.
        """
        if self._words is None:
            return Source(tuple(self._tokens.encode_turns(turns)))
        ids, pieces, at = list[int](), [self._words.begin], list[NDArray[np.int64]]()
        for (mine, starts), (theirs, ends) in zip(self._tokens.parts(turns), self._words.encode(turns), strict=True):
            if at:  # it stands at the mark of the turn before it
                ids.append(TURN)
                at.append(np.array([len(pieces) - 1]))
            at.append(len(pieces) + np.searchsorted(np.maximum.accumulate(ends), starts, side="right"))
            ids += mine
            pieces += [*theirs, self._words.end]
        return Source(tuple(ids), tuple(pieces), tuple(np.maximum.accumulate(np.concatenate(at)).tolist()))


def padded(rows: Sequence[Sequence[int]], multiple: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of ids -> (B, S) with zeros after each, S a whole `multiple`, and their lengths (B,)."""
    lengths = np.array([len(row) for row in rows], np.int64)
    out = np.zeros((len(rows), -(-int(lengths.max()) // multiple) * multiple), np.int64)
    for number, row in enumerate(rows):
        out[number, : len(row)] = row
    return out, lengths


def _cut_end(whole: Source, most: int, room: int) -> Source:
    """The beginning that both tokenizers have room for; the last piece stays a mark."""
    ids, pieces, at = whole.ids, whole.pieces, whole.at
    if len(ids) <= most and len(pieces) <= room:
        return whole
    count = min(most, int(np.searchsorted(at, room - 2, side="right")))
    last = max(at[count], at[count - 1] + 1) if count < len(ids) else len(pieces) - 1
    return Source(ids[:count], (*pieces[: min(last, room - 1)], pieces[-1]), at[:count])


def _cut_beginning(whole: Source, most: int, room: int) -> Source:
    """The end that both tokenizers have room for; the first piece stays a mark."""
    ids, pieces, at = whole.ids, whole.pieces, whole.at
    least = max(1, len(pieces) + 1 - room)  # the first piece there is room for
    first = max(len(ids) - most, min(int(np.searchsorted(at, least)), len(ids) - 1), 0)
    gone = max(at[first], least) - 1
    return Source(ids[first:], (pieces[0], *pieces[gone + 1 :]), tuple(max(place - gone, 1) for place in at[first:]))
